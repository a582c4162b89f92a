"""The expected cost of the rest of a month, by integration, from stored hours."""

import uuid
from collections import defaultdict
from collections.abc import Collection
from datetime import datetime

from django.db.models import F, Sum

from integrations.cus_lifecycle.limits import month_end
from telemetry.cus_analytics.forecast import HISTORY, expected_rest, hour_before
from telemetry.cus_analytics.models import CusUsageHourly

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
