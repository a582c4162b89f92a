"""An integration's use of its limits this month, for people and programs.

For display only: a decision reads the same tables under its own lock (ruling F5).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_currency.service import display_currency
from integrations.cus_lifecycle.limits import LIMITS, Limit, Unit, Window, month_of
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_money.amounts import USED, summed

_EXACT = CusIntegration.BudgetBasis.EXACT

# A single statement, so that a call is either in the sums or in the holds, never in both or none.
_STANDING = f"""
WITH used AS (
    SELECT {summed("calls")} AS calls, {summed("blocked")} AS blocked,
        {summed("tokens_in::numeric + tokens_out")} AS tokens,
        {summed("cost_cents")} AS cost_cents,
        {summed("counted_cents")} AS counted_cents,
        {summed("cost_microcents")} AS cost_microcents,
        {summed("correction_microcents")} AS correction_microcents,
        {summed("unmeasured - settled")} AS unmeasured_calls,
        {summed("provisional_cents::numeric - released_cents")} AS provisional_cents,
        {summed("provisional_microcents::numeric - released_microcents")}
            AS provisional_microcents,
        {summed("provisional_tokens::numeric - released_tokens")} AS provisional_tokens,
        {USED.cents} AS used_cents, {USED.microcents} AS used_microcents,
        {USED.tokens} AS used_tokens
    FROM cus_period_totals
    WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s AND period = %(period)s
), held AS (
    SELECT {summed("calls + leased_calls")}, {summed("cents + leased_cents")},
        {summed("microcents + leased_microcents")}, {summed("tokens + leased_tokens")}
    FROM cus_hold_sums WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s
)
SELECT used.*, held.* FROM used, held
"""  # noqa: S608  (the names are `cus_money`'s own)


@dataclass(frozen=True)
class Standing:
    """A month so far. Costs in cents as reported and as counted (M3a), and in exact microcents."""

    calls: int
    blocked_calls: int
    tokens: int
    cost_cents: int
    counted_cents: int
    recorded_microcents: int
    correction_microcents: int
    unmeasured_calls: int
    provisional_cents: int
    provisional_microcents: int
    provisional_tokens: int
    # What limits count as used (`cus_money.amounts.USED`).
    used_cents: int
    used_microcents: int
    used_tokens: int
    held_calls: int
    held_cents: int
    held_microcents: int
    held_tokens: int

    @property
    def cost_microcents(self) -> int:
        """The exact sum, with the corrections of an open month (ruling M9)."""
        return self.recorded_microcents + self.correction_microcents

    def used(self, *, exact: bool) -> int:
        """What a budget counts on a basis, in microcents (ruling M3)."""
        return self.used_microcents if exact else self.used_cents * MICROCENTS_PER_CENT


def limits_of(integration: CusIntegration, *, now: datetime) -> dict[str, Any]:
    """Limits, the month's use, holds, and what remains: the answer of `…/limits`."""
    start, end = month_of(now)
    month = _standing(integration, now)
    return {
        "integration_id": integration.id,
        "period_start": start,
        "period_end": end,
        "budget_basis": integration.budget_basis,
        "calls": month.calls,
        "blocked_calls": month.blocked_calls,
        "tokens": month.tokens,
        "cost_cents": month.cost_cents,
        "counted_cents": month.counted_cents,
        "cost_microcents": month.cost_microcents,
        "correction_microcents": month.correction_microcents,
        "unmeasured_calls": month.unmeasured_calls,
        "provisional_cents": month.provisional_cents,
        "provisional_microcents": month.provisional_microcents,
        "provisional_tokens": month.provisional_tokens,
        "held_calls": month.held_calls,
        "held_cents": month.held_cents,
        "held_microcents": month.held_microcents,
        "held_tokens": month.held_tokens,
        **{limit.shown_as: _shown(limit, integration, month) for limit in LIMITS},
        "display": _displayed(integration, month, now),
    }


def has_share(limit: Limit) -> bool:
    """Whether the month's evidence holds the used and held amounts of the limit."""
    return limit.window is Window.MONTH


def _shown(
    limit: Limit, integration: CusIntegration, month: Standing
) -> dict[str, Any] | int | None:
    value: int = getattr(integration, limit.column)
    if not has_share(limit):
        return value or None
    if limit.unit is Unit.CENTS:
        return _budget(value, integration, month)
    if limit.unit is Unit.TOKENS:
        return _share(value, month.used_tokens, month.held_tokens)
    return _share(value, month.calls, month.held_calls)


def _displayed(
    integration: CusIntegration, month: Standing, now: datetime
) -> dict[str, Any] | None:
    """The amounts in the tenant's own currency, for people's eyes; None where it has none."""
    display = display_currency(integration.tenant_id, now)
    if display is None:
        return None
    cents = {"cost": month.cost_cents, "counted": month.counted_cents}
    budget = _budget(integration.budget_limit_cents, integration, month)
    return {
        "currency": display.currency,
        "rate": display.rate,
        "valid_from": display.valid_from,
        **{name: display.shown(amount * MICROCENTS_PER_CENT) for name, amount in cents.items()},
        "exact": display.shown(month.cost_microcents),
        **{
            f"budget_{name}": None if budget[name] is None else display.shown(budget[name])
            for name in ("limit", "used", "held", "remaining")
        },
    }


def _standing(integration: CusIntegration, now: datetime) -> Standing:
    names: dict[str, Any] = {
        "tenant": integration.tenant_id,
        "integration": integration.id,
        "period": month_of(now)[0].date(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_STANDING, names)
        return Standing(*cursor.fetchone())


def _budget(cents: int, integration: CusIntegration, month: Standing) -> dict[str, Any]:
    """The budget's share in microcents, on either basis: both have the same limit (ruling M3)."""
    exact = integration.budget_basis == _EXACT
    held = month.held_microcents if exact else month.held_cents * MICROCENTS_PER_CENT
    return _share(cents * MICROCENTS_PER_CENT, month.used(exact=exact), held)


def _share(limit: int, used: int, held: int) -> dict[str, Any]:
    """0 means unlimited (ruling F3): limit, remaining and percent are None."""
    return {
        "limit": limit or None,
        "used": used,
        "held": held,
        "remaining": max(limit - used - held, 0) if limit else None,
        "percent": round(100 * (used + held) / limit, 2) if limit else None,
    }


# People are warned from this share of an integration's bound of holds on (ruling F5b).
_WARNING_PERCENT = 80
_RUNNING = """
SELECT coalesce(sum(calls), 0)::bigint FROM cus_hold_sums
WHERE tenant_id = %s AND integration_id = %s
"""


def holds_warning(integration: CusIntegration) -> str | None:
    """A warning if the integration's bound of holds is nearly reached, else None."""
    with connection.cursor() as cursor:
        cursor.execute(_RUNNING, [integration.tenant_id, integration.id])
        (running,) = cursor.fetchone()
    bound = integration.max_live_holds
    if running * 100 < bound * _WARNING_PERCENT:
        return None
    return (
        f"{running:,} calls are held for, and at most {bound:,} may be at once; beyond that checks "
        "are throttled. Holds end when calls are reported, or 15 minutes after they were renewed."
    )
