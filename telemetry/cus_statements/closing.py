"""Close the months of all tenants that are over and that nobody has closed."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

from django.db import DatabaseError, connection

from integrations.cus_accounts.models import CusTenant
from integrations.cus_web.errors import CusError
from telemetry.cus_evidence.partitions import Month, months_with_evidence
from telemetry.cus_statements.models import CusMonthStatement
from telemetry.cus_statements.months import CLOSING_WAIT
from telemetry.cus_statements.service import CusMonthService, MonthClosed


@dataclass(frozen=True)
class CloseOutcome:
    """A month of a tenant: its statement, or the error for which it stays open."""

    tenant_id: uuid.UUID
    month: date
    statement: CusMonthStatement | None = None
    error: Exception | None = None


def close_months(now: datetime) -> Iterator[CloseOutcome]:
    """Close each month that received something and is over at `now`, the database's time.

    A statement is of what the month received, so it is the same whenever the month is closed. A
    tenant's error holds up nothing else; the next run tries again.
    """
    for tenant_id, month in _open_months(now):
        try:
            statement = _close(tenant_id, month, now)
        except (CusError, CusTenant.DoesNotExist, DatabaseError) as error:
            yield CloseOutcome(tenant_id, month, error=error)
        else:
            if statement:
                yield CloseOutcome(tenant_id, month, statement)


def _close(tenant_id: uuid.UUID, month: date, now: datetime) -> CusMonthStatement | None:
    try:
        return CusMonthService(CusTenant.objects.get(id=tenant_id)).close(month, now=now)
    except MonthClosed:
        return None  # A person was quicker.


# A settlement's amounts are in the totals of the month in which it came. A correction's are in those
# of its row's month, so the months in which corrections came are looked up by themselves.
_OPEN_MONTHS = """
WITH received AS (
    SELECT DISTINCT tenant_id, period AS month FROM cus_period_totals WHERE period = ANY(%(over)s)
    UNION
    SELECT tenant.id, over.month
    FROM cus_tenants AS tenant CROSS JOIN unnest(%(over)s::date[]) AS over (month)
    WHERE EXISTS (SELECT FROM cus_cost_adjustments AS added WHERE added.tenant_id = tenant.id
        AND added.created_at >= over.month::timestamp AT TIME ZONE 'UTC'
        AND added.created_at < (over.month + interval '1 month') AT TIME ZONE 'UTC')
)
SELECT tenant_id, month FROM received WHERE NOT EXISTS (
    SELECT FROM cus_month_statements AS closed
    WHERE closed.tenant_id = received.tenant_id AND closed.month = received.month)
ORDER BY month, tenant_id
"""


def _open_months(now: datetime) -> list[tuple[uuid.UUID, date]]:
    """The tenants' months that are over, received something and have no statement."""
    current = Month.of((now - CLOSING_WAIT).astimezone(UTC))
    over = [month.start.date() for month in months_with_evidence() if month < current]
    with connection.cursor() as cursor:
        cursor.execute(_OPEN_MONTHS, {"over": over})
        found: list[tuple[uuid.UUID, date]] = cursor.fetchall()
    return found
