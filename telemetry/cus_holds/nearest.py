"""The integrations whose monthly budget is nearest its end, for the console's first page."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from django.db import connection
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import shown_tenant
from integrations.cus_console.amounts import dollars
from integrations.cus_console.attention import Problem, Weight
from integrations.cus_console.bars import Bar
from integrations.cus_integrations.panels import link_to, tab_link
from integrations.cus_lifecycle.limits import month_of
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_clock import page_now
from telemetry.cus_money.amounts import USED, capped, summed

MOST_SHOWN: Final = 10
_NEAR_PERCENT: Final = 80
_KEPT: Final = "_cus_nearest_budgets"


def _in_microcents(cents: str) -> str:
    return capped(f"{cents}::numeric * {MICROCENTS_PER_CENT}")


# The month's totals one integration at a time, by their key: there are more of them each month.
_NEAREST = f"""
SELECT id, budget, used, held, forecast FROM (
    SELECT integration.id, integration.budget_limit_cents * {MICROCENTS_PER_CENT}::bigint AS budget,
        CASE integration.budget_basis WHEN 'exact' THEN used.microcents
            ELSE {_in_microcents("used.cents")} END AS used,
        CASE integration.budget_basis WHEN 'exact' THEN held.microcents
            ELSE {_in_microcents("held.cents")} END AS held,
        -- greatest() passes over a NULL.
        CASE WHEN forecast.microcents IS NOT NULL
            THEN greatest(forecast.microcents - used.exact, 0) END AS forecast
    FROM cus_integrations AS integration
    CROSS JOIN LATERAL (
        SELECT {USED.cents} AS cents, {USED.microcents} AS microcents,
            {summed("cost_microcents::numeric + correction_microcents")} AS exact
        FROM cus_period_totals WHERE period = %(period)s
            AND (tenant_id, integration_id) = (integration.tenant_id, integration.id)
    ) AS used
    CROSS JOIN LATERAL (
        SELECT {summed("cents + leased_cents")} AS cents,
            {summed("microcents + leased_microcents")} AS microcents
        FROM cus_hold_sums
        WHERE (tenant_id, integration_id) = (integration.tenant_id, integration.id)
    ) AS held
    LEFT JOIN cus_cost_forecasts AS forecast ON forecast.period = %(period)s AND
        (forecast.tenant_id, forecast.integration_id) = (integration.tenant_id, integration.id)
    WHERE integration.deleted_at IS NULL AND integration.budget_limit_cents > 0
        AND (integration.tenant_id = %(own)s OR %(own)s IS NULL)
) AS budgets
ORDER BY (used + held)::numeric / budget DESC, id LIMIT {MOST_SHOWN}
"""  # noqa: S608  (the names are the product's own)


@dataclass(frozen=True)
class BudgetUse:
    """A monthly budget and what counts against it, in microcents.

    `rest` is what the rest of the month is expected to cost, exactly; None without a forecast.
    """

    integration: CusIntegration
    budget: int
    used: int
    held: int
    rest: int | None

    @property
    def percent(self) -> int:
        """The share that is used or held."""
        return 100 * (self.used + self.held) // self.budget

    def lasts_until(self, now: datetime) -> datetime | None:
        """When the budget is used up if the rest is spent evenly; None if it lasts, or is unknown."""
        room, (_, end) = self.budget - self.used - self.held, month_of(now)
        if room <= 0:
            return now
        if self.rest is None or self.rest <= room:
            return None
        return now + (end - now) * (room / self.rest)


def nearest_budgets(request: HttpRequest) -> list[BudgetUse]:
    """The budgets of the person's integrations that are nearest their end, the nearest first."""
    kept: list[BudgetUse] | None = getattr(request, _KEPT, None)
    if kept is None:
        kept = list(_read(shown_tenant(cast("CusUser", request.user)), page_now(request)))
        setattr(request, _KEPT, kept)
    return kept


def _read(own: uuid.UUID | None, now: datetime) -> Iterator[BudgetUse]:
    with connection.cursor() as cursor:
        cursor.execute(_NEAREST, {"own": own, "period": month_of(now)[0].date()})
        rows = cursor.fetchall()
    named = CusIntegration.objects.select_related("tenant").in_bulk([row[0] for row in rows])
    for integration_id, budget, used, held, rest in rows:
        yield BudgetUse(named[integration_id], budget, used, held, rest)


def nearest_their_budgets(request: HttpRequest, _subject: None) -> SafeString:
    """A bar for each of these budgets, with how long it lasts at this pace."""
    now = page_now(request)
    bars = [_bar(use, now) for use in nearest_budgets(request)]
    empty = "No integration has a monthly budget. Set one on its page, under Settings."
    return render_to_string("admin/cus_limit_bars.html", {"bars": bars, "empty": empty})


def _bar(use: BudgetUse, now: datetime) -> Bar:
    return Bar.of(
        link_to(use.integration, "limits"),
        _in_words(use, now),
        used=use.used,
        held=use.held,
        most=use.budget,
        is_near=use.percent >= _NEAR_PERCENT,
    )


def _in_words(use: BudgetUse, now: datetime) -> str:
    text = f"{dollars(use.used)} used"
    if use.held:
        text += f", {dollars(use.held)} held or lent"
    text += f" of {dollars(use.budget)}"
    until = use.lasts_until(now)
    if until == now:
        return f"{text}: nothing is left"
    if until:
        until = until.astimezone(UTC)
        return f"{text}: at this pace until {until.day} {until:%B}"
    return text if use.rest is None else f"{text}: at this pace it lasts this month"


def budgets_near_their_end(request: HttpRequest) -> Iterator[Problem]:
    """The budgets of which 80 % or more are used or held."""
    now = page_now(request)
    for use in nearest_budgets(request):
        if use.percent >= _NEAR_PERCENT:
            is_over = use.percent >= 100
            yield Problem(
                Weight.REFUSING if is_over else Weight.NEAR,
                link_to(use.integration, "limits"),
                f"{use.percent} % of the budget: {_in_words(use, now)}",
                tab_link(use.integration, "change", "Look at its limits"),
            )
