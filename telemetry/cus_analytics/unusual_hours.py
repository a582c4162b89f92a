"""Hours that cost far more than the same hour of the same weekday usually does.

One rule, for each integration, and for each model and agent of an integration: the hour costs more
than five times the median of the same weekday and hour in the eight weeks before, and at least the
floor (`CUS_ANOMALY_FLOOR_CENTS`). The rule needs four weeks of history. Weekdays and hours are UTC.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

import structlog
from django.conf import settings
from django.db import Error, connection, transaction

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_accounts.models import CusTenant
from telemetry.cus_analytics.forecast import hour_before

log = structlog.get_logger(__name__)

FACTOR = 5
WEEKS = 8
LEAST_WEEKS = 4
# A run looks at the hours of this time before it, and at the hour that runs.
LOOKS_BACK = timedelta(hours=25)


@dataclass(frozen=True)
class UnusualHour:
    """An hour above the rule's bounds; amounts are exact, in microcents of US dollars.

    `name` is that of the model or agent; an integration's is empty.
    """

    tenant_id: uuid.UUID
    integration_id: uuid.UUID
    subject: str
    name: str
    hour: datetime
    cost_microcents: int
    usual_microcents: int
    weeks: int


def usual_cost(weeks: Sequence[int]) -> int | None:
    """The median of what the hour cost in the weeks before; None if there are too few weeks."""
    return int(median(weeks)) if len(weeks) >= LEAST_WEEKS else None


def is_unusual(cost: int, usual: int, *, floor: int) -> bool:
    """Whether an hour's cost is an anomaly, in the unit of its amounts."""
    return cost >= floor and cost > FACTOR * usual


def find_unusual_hours(now: datetime) -> int:
    """Keep each unusual hour as an event, once; the number of new events.

    An event's cost grows while its hour's cost does. A tenant whose hours can't be read is logged
    and holds up no other; the next run tries again.
    """
    found = 0
    for tenant_id in CusTenant.objects.values_list("id", flat=True):
        try:
            with transaction.atomic():
                found += sum(_keep(event) for event in _unusual(tenant_id, now))
        except Error as error:
            log.error(
                "a tenant's hours could not be compared; the next run tries again",
                tenant_id=str(tenant_id),
                error=type(error).__name__,
            )
    return found


# The hours above the floor, with the costs of the same hour in the weeks since the subject was
# first used, as far back as the rule looks.
_CANDIDATES = """
WITH costly AS (
    SELECT integration_id, subject, name, hour,
        sum(cost_microcents + settled_cost_microcents) AS cost
    FROM cus_usage_hourly CROSS JOIN LATERAL (VALUES
        ('integration', ''), ('model', model), ('agent', agent_id)) AS whose (subject, name)
    WHERE tenant_id = %(tenant)s AND hour >= %(since)s AND hour <= %(until)s
        AND (subject = 'integration' OR name <> '')
    GROUP BY integration_id, subject, name, hour
    HAVING sum(cost_microcents + settled_cost_microcents) >= %(floor)s
)
SELECT costly.*, before.costs FROM costly CROSS JOIN LATERAL (
    SELECT array_agg(coalesce(week.cost, 0) ORDER BY number) AS costs
    FROM generate_series(1, %(weeks)s) AS number LEFT JOIN LATERAL (
        SELECT sum(cost_microcents + settled_cost_microcents) AS cost FROM cus_usage_hourly AS past
        WHERE past.tenant_id = %(tenant)s AND past.integration_id = costly.integration_id
            AND past.hour = costly.hour - number * interval '168 hours'
            AND (subject = 'integration' OR (subject = 'model' AND past.model = name)
                OR (subject = 'agent' AND past.agent_id = name))
    ) AS week ON true
    WHERE EXISTS (
        SELECT FROM cus_usage_hourly AS past
        WHERE past.tenant_id = %(tenant)s AND past.integration_id = costly.integration_id
            AND past.hour >= costly.hour - %(weeks)s * interval '168 hours'
            AND past.hour <= costly.hour - number * interval '168 hours'
            AND (subject = 'integration' OR (subject = 'model' AND past.model = name)
                OR (subject = 'agent' AND past.agent_id = name))
    )
) AS before WHERE before.costs IS NOT NULL
"""


def _unusual(tenant_id: uuid.UUID, now: datetime) -> Iterator[UnusualHour]:
    floor = settings.CUS_ANOMALY_FLOOR_CENTS * MICROCENTS_PER_CENT
    until = hour_before(now)
    values: dict[str, Any] = {
        "tenant": tenant_id,
        "since": until - LOOKS_BACK,
        "until": until,
        "floor": floor,
        "weeks": WEEKS,
    }
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '2min'; SET LOCAL jit = off")
        cursor.execute(_CANDIDATES, values)
        rows = cursor.fetchall()
    for integration_id, subject, name, hour, cost, weeks in rows:
        usual = usual_cost([int(one) for one in weeks])
        if usual is not None and is_unusual(int(cost), usual, floor=floor):
            yield UnusualHour(
                tenant_id, integration_id, subject, name, hour, int(cost), usual, len(weeks)
            )


_KEEP = """
INSERT INTO cus_usage_anomalies AS kept (tenant_id, integration_id, subject, name, hour,
    cost_microcents, usual_microcents, weeks)
VALUES (%s, %s, %s, %s, %s, least(%s, 9223372036854775807), least(%s, 9223372036854775807), %s)
ON CONFLICT (tenant_id, integration_id, subject, name, hour) DO UPDATE
    SET cost_microcents = greatest(kept.cost_microcents, excluded.cost_microcents)
RETURNING xmax = 0
"""


def _keep(event: UnusualHour) -> bool:
    """Keep an event; False if the event was there."""
    with connection.cursor() as cursor:
        cursor.execute(
            _KEEP,
            [
                event.tenant_id,
                event.integration_id,
                event.subject,
                event.name,
                event.hour,
                event.cost_microcents,
                event.usual_microcents,
                event.weeks,
            ],
        )
        return bool(cursor.fetchone()[0])
