"""Recompute the hours and days of a period from evidence, whatever their age (§8)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db import connection, transaction

from integrations.cus_web.errors import CusError
from telemetry.cus_analytics.days import TenantDay, final_at, start_of
from telemetry.cus_analytics.usage_aggregator import SETTINGS

_ONE_DAY = timedelta(days=1)


class EvidenceDropped(CusError):
    """Retention dropped evidence of these days, so their figures can't be recomputed and stay as
    they are. Choose days after them.
    """

    code, status = "evidence_dropped", 409

    def __init__(self, days: list[date]) -> None:
        super().__init__(
            f"Retention dropped evidence of {days[0]} to {days[-1]}, so the figures of these days "
            f"can't be recomputed and stay as they are. Begin with {days[-1] + _ONE_DAY}."
        )


@dataclass(frozen=True)
class Period:
    """Whole days in UTC, `start` and `end` included."""

    start: date
    end: date

    def days(self) -> Iterator[date]:
        for number in range((self.end - self.start).days + 1):
            yield self.start + timedelta(days=number)

    def has(self, day: TenantDay) -> bool:
        return self.start <= day.day <= self.end


# Hours with evidence, and hours with figures, which must go if they have no evidence.
_HOURS = """
SELECT tenant_id, date_trunc('hour', occurred_at, 'UTC') AS hour FROM cus_llm_usage
WHERE occurred_at >= %(start)s AND occurred_at < %(end)s
    AND created_at >= %(start)s - interval '10 minutes' AND created_at < %(final)s
UNION SELECT tenant_id, hour FROM cus_usage_hourly WHERE hour >= %(start)s AND hour < %(end)s
UNION SELECT tenant_id, date::timestamp AT TIME ZONE 'UTC' FROM cus_usage_daily
    WHERE date = %(day)s
ORDER BY tenant_id, hour
"""
_NOTE = f"""
INSERT INTO cus_rollup_due (tenant_id, hour) {_HOURS} ON CONFLICT (tenant_id, hour) DO NOTHING
"""
_DAYS = f"SELECT DISTINCT tenant_id FROM ({_HOURS}) AS found ORDER BY tenant_id"  # noqa: S608  (ours)


def days_with_figures(period: Period) -> Iterator[TenantDay]:
    """The tenants' days of a period that a backfill recomputes."""
    for day in period.days():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(SETTINGS)
            cursor.execute(_DAYS, _values(day))
            tenants = [tenant_id for (tenant_id,) in cursor.fetchall()]
        yield from (TenantDay(day, tenant_id) for tenant_id in tenants)


def refuse_dropped(days: list[TenantDay]) -> None:
    """Raises EvidenceDropped if retention dropped rows of one of these days."""
    dropped = sorted({day.day for day in days if not day.has_all_evidence()})
    if dropped:
        raise EvidenceDropped(dropped)


def note_period(period: Period) -> Iterator[date]:
    """Note all hours of a period to be recomputed; yields each day, which is then committed.

    What is noted stays noted when the command is stopped: the next run of the rollup goes on.
    """
    for day in period.days():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(SETTINGS)
            cursor.execute(_NOTE, _values(day))
        yield day


def _values(day: date) -> dict[str, Any]:
    return {
        "day": day,
        "start": start_of(day),
        "end": start_of(day + _ONE_DAY),
        "final": final_at(day),
    }
