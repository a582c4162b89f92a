"""Budgets in code as the console shows them: a row of each session, and the panel with the last."""

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_console.amounts import dollars
from integrations.cus_console.bars import Bar, bars_shown
from integrations.cus_console.panels import Cell, table, with_link
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.words import moment_text
from telemetry.cus_holds.limit_models import CusRunLimit
from telemetry.cus_run_budgets.service import CusRunBudgetService
from telemetry.cus_run_budgets.uses import RunAmount, amounts_of

_MOST_SHOWN = 5
_NEAR_PERCENT = 80
_HEADERS = ("Session", "Used", "Raised by", "Last named")


def budgets_in_code(_request: HttpRequest, integration: CusIntegration) -> SafeString | None:
    """The budgets that were named last; nothing if no session has any."""
    found = CusRunBudgetService(integration).scope().order_by("-used_at", "session_id")
    rows = list(found[: _MOST_SHOWN + 1])
    if not rows:
        return None
    note = "There are more." if len(rows) > _MOST_SHOWN else ""
    panel = budgets_shown(rows[:_MOST_SHOWN], note=note)
    return with_link(panel, page_of_all(integration.id), "All budgets in code")


def budgets_shown(rows: Sequence[CusRunLimit], *, note: str = "") -> SafeString:
    """A table of budgets with what is taken of them."""
    amounts = amounts_of(rows)
    return table(
        _HEADERS,
        [_row(row, amounts[row.limit_id]) for row in rows],
        empty="No session has a budget in code. Programs give one by cus_context(budget_cents=…).",
        note=note,
    )


def bars_of(amounts: Sequence[RunAmount]) -> SafeString:
    """A bar for each amount of a budget."""
    return bars_shown([_bar(amount) for amount in amounts])


def page_of_all(integration_id: Any) -> str:
    """The address of the page of an integration's budgets in code."""
    return reverse("cus-run-limits", args=[integration_id])


def page_of(row: CusRunLimit) -> str:
    """The address of the page on which a budget is raised."""
    return reverse("cus-run-limit", args=[row.integration_id, row.limit_id])


def written(unit: str, amount: int) -> str:
    """An amount of a budget, for people."""
    if unit == "cents":
        return dollars(amount * MICROCENTS_PER_CENT)
    return dollars(amount) if unit == "microcents" else f"{amount:,} {unit}"


def _row(row: CusRunLimit, amounts: Sequence[RunAmount]) -> list[Cell]:
    link = format_html('<a href="{}" class="underline">{}</a>', page_of(row), row.session_id)
    return [link, bars_of(amounts), row.raised_by, moment_text(row.used_at)]


def _bar(amount: RunAmount) -> Bar:
    unit, held = amount.unit, amount.held + amount.leased
    parts = [f"{written(unit, amount.used)} used"]
    if held:
        parts.append(f"{written(unit, held)} held by running calls or lent")
    text = f"{', '.join(parts)} of {written(unit, amount.limit)}"
    if amount.raised_to is not None:
        text += f" (code gives {written(unit, amount.by_code)})"
    return Bar.of(
        "",
        text,
        used=amount.used,
        held=held,
        most=amount.limit,
        is_near=(amount.used + held) * 100 >= amount.limit * _NEAR_PERCENT,
    )
