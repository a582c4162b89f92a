"""The chart of a month: what is left of the budget, or what was spent, and what is expected."""

import uuid
from collections.abc import Sequence
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Sum
from django.http import HttpRequest
from django.utils.safestring import SafeString

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_accounts.models import CusTenant
from integrations.cus_console.amounts import dollars
from integrations.cus_console.charts import Chart, Kind, Series, Unit, drawn, in_dollars
from integrations.cus_integrations.scopes import UsageScope
from integrations.cus_lifecycle.limits import month_of
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.models import CusUsageDaily
from telemetry.cus_analytics.month_forecast import rest_of_month
from telemetry.cus_reads.chart_panels import days_in_words


def burn_down(_request: HttpRequest, scope: UsageScope) -> SafeString:
    """What is left of the month's budget, or what was spent, with what is expected of the rest."""
    start, end = month_of(scope.now)
    days = [start.date() + timedelta(days=number) for number in range((end - start).days)]
    spent = _spent_by_day(scope, days)
    today = scope.now.astimezone(UTC).date()
    so_far, running = [], 0
    for day in days:
        running += spent.get(day, 0)
        so_far.append(running if day <= today else None)
    rest = _expected_rest(scope)
    ahead = _projected(days, today, running, rest)
    one = scope.integration
    budget = one.budget_limit_cents * MICROCENTS_PER_CENT if one else 0
    has_use = budget or running
    title = "Left of the budget" if budget else "Spent"
    return drawn(
        Chart(
            Kind.LINES,
            Unit.DOLLARS,
            f"{title}, {start:%B %Y} (UTC), by exact cost; dashed: at this pace.",
            "Day",
            days_in_words(days),
            [
                Series(title, _left(budget, so_far)),
                Series("At this pace", _left(budget, ahead), is_projected=True),
            ]
            if has_use
            else [],
            "Nothing was spent this month yet.",
            _pace(budget, days, ahead, rest),
        )
    )


def _left(budget: int, spent: Sequence[int | None]) -> list[Decimal | None]:
    """What is left of a budget; what was spent where there is no budget."""
    return [
        None if at is None else in_dollars(max(budget - at, 0) if budget else at) for at in spent
    ]


def _projected(
    days: Sequence[date], today: date, running: int, rest: int | None
) -> list[int | None]:
    """What will have been spent at the end of each day from today on, the rest spread evenly."""
    if rest is None:
        return [None] * len(days)
    ahead = max((days[-1] - today).days, 1)
    return [
        None if day < today else running + rest * min((day - today).days, ahead) // ahead
        for day in days
    ]


def _pace(budget: int, days: Sequence[date], ahead: Sequence[int | None], rest: int | None) -> str:
    if rest is None:
        return "There is no forecast yet: it needs a day of history."
    if not budget:
        return f"At this pace {dollars(rest)} will be added by the end of the month."
    over = next((day for day, at in zip(days, ahead, strict=True) if at and at >= budget), None)
    if over is None:
        return "At this pace the budget lasts until the end of the month."
    return f"At this pace the budget lasts until {over.day} {over:%B}."


def _spent_by_day(scope: UsageScope, days: Sequence[date]) -> dict[date, int]:
    rows = _of_scope(CusUsageDaily.objects.filter(date__range=(days[0], days[-1])), scope)
    # A day's columns have the names that the specification gives them.
    exact = (
        Sum("total_cost_microcents") + Sum("settled_cost_microcents") + Sum("correction_microcents")
    )
    return {day: int(cost) for day, cost in rows.values_list("date").annotate(exact=exact)}


def _expected_rest(scope: UsageScope) -> int | None:
    if scope.tenant is None:
        return None
    rest = rest_of_month(_living(scope.tenant, scope.integration), scope.now)
    return sum(rest.values()) if rest else None


def _living(tenant: CusTenant, one: CusIntegration | None) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Tenant and integration of each integration that may still be used."""
    if one:
        return [] if one.deleted_at else [(one.tenant_id, one.id)]
    living = CusIntegration.objects.filter(tenant=tenant, deleted_at__isnull=True)
    return list(living.values_list("tenant_id", "id"))


def _of_scope(rows: Any, scope: UsageScope) -> Any:
    if scope.tenant:
        rows = rows.filter(tenant_id=scope.tenant.id)
    return rows.filter(integration_id=scope.integration.id) if scope.integration else rows
