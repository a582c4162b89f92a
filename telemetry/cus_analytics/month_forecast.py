"""The expected cost of the rest of a month, by integration, from stored hours."""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import date, datetime

from django.db import transaction
from django.db.models import F, Sum

from integrations.cus_lifecycle.limits import month_end, month_of
from telemetry.cus_analytics.forecast import HISTORY, expected_rest, hour_before
from telemetry.cus_analytics.models import CusCostForecast, CusUsageHourly
from telemetry.cus_evidence.models import CusPeriodTotals
from telemetry.cus_money.amounts import MOST

# The exact cost as corrected.
EXACT = F("cost_microcents") + F("settled_cost_microcents") + F("correction_microcents")


def rest_of_month(
    integrations: Collection[tuple[uuid.UUID, uuid.UUID]], now: datetime
) -> dict[uuid.UUID, int]:
    """The exact cost in microcents that is expected from now to the month's end (UTC).

    `integrations` are pairs of a tenant's and an integration's id. An integration with less than a
    day of history is left out.
    """
    this_hour = hour_before(now)
    hours = CusUsageHourly.objects.filter(
        tenant_id__in={tenant_id for tenant_id, _ in integrations},
        integration_id__in=[integration_id for _, integration_id in integrations],
        hour__gte=this_hour - HISTORY,
        hour__lt=this_hour,
    )
    costs: dict[uuid.UUID, dict[datetime, int]] = defaultdict(dict)
    sums = hours.values_list("integration_id", "hour").annotate(exact=Sum(EXACT))
    for integration_id, hour, exact in sums:
        costs[integration_id][hour] = int(exact)
    end = month_end(now)
    expected = {one: expected_rest(costs[one], now=now, end=end) for one in costs}
    return {one: rest for one, rest in expected.items() if rest is not None}


def keep_forecasts(now: datetime) -> int:
    """Compute what this month will have cost at its end, for each integration with calls in it.

    Metrics read what is kept, because computing it reads four weeks of hours. Returns the number
    of integrations with enough history.
    """
    period = month_of(now)[0].date()
    so_far: dict[uuid.UUID, dict[uuid.UUID, int]] = defaultdict(dict)
    for tenant_id, integration_id, cost in _exact_costs(period):
        so_far[tenant_id][integration_id] = int(cost)
    return sum(_keep(tenant_id, costs, period, now) for tenant_id, costs in so_far.items())


def _exact_costs(period: date) -> Iterator[tuple[uuid.UUID, uuid.UUID, int]]:
    """The exact cost of a month so far, as corrected, by tenant and integration."""
    totals = CusPeriodTotals.objects.filter(period=period)
    exact = Sum(F("cost_microcents") + F("correction_microcents"))
    yield from totals.values_list("tenant_id", "integration_id").annotate(exact=exact)


def _keep(tenant_id: uuid.UUID, costs: dict[uuid.UUID, int], period: date, now: datetime) -> int:
    rests = rest_of_month([(tenant_id, one) for one in costs], now)
    with transaction.atomic():
        CusCostForecast.objects.filter(tenant_id=tenant_id).delete()
        CusCostForecast.objects.bulk_create(
            CusCostForecast(
                tenant_id=tenant_id,
                integration_id=one,
                period=period,
                microcents=min(costs[one] + rest, MOST),
                computed_at=now,
            )
            for one, rest in rests.items()
        )
    return len(rests)
