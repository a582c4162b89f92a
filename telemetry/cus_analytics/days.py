"""Days in UTC, the moments at which their rows may have come, and whether evidence has them all."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.conf import settings
from django.db import connection

from telemetry.cus_evidence.partitions import Month, months_with_evidence

# A sender's clock may run ahead by 5 minutes (ruling E3), and an ingest transaction takes time.
CLOCK_AHEAD = timedelta(minutes=10)
_MARGIN_DAYS = 1
# Before everything that was received.
EVER = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_DAY = timedelta(days=1)


def start_of(day: date) -> datetime:
    """The first moment of a day."""
    return datetime.combine(day, time.min, UTC)


def final_at(day: date) -> datetime:
    """When no more calls of the day can come, so that its figures are final (ruling E8a)."""
    # The day itself, the greatest delay of its calls, and a margin.
    return start_of(day) + timedelta(days=1 + settings.CUS_TELEMETRY_MAX_AGE_DAYS + _MARGIN_DAYS)


def first_open_day(now: datetime) -> date:
    """The earliest day that is not final."""
    return (now - (final_at(now.date()) - start_of(now.date())) + _ONE_DAY).date()


@dataclass(frozen=True, order=True)
class TenantDay:
    """A day of a tenant: what is recomputed in one transaction, under one lock."""

    day: date
    tenant_id: uuid.UUID

    @property
    def start(self) -> datetime:
        return start_of(self.day)

    @property
    def end(self) -> datetime:
        return start_of(self.day + _ONE_DAY)

    @property
    def months(self) -> list[Month]:
        """The months in which the calls of the day may have been received."""
        first, last = Month.of(self.start - CLOCK_AHEAD), Month.of(final_at(self.day))
        count = (last.year - first.year) * 12 + last.number - first.number
        return [first.shifted(n) for n in range(count + 1)]

    def kept_until(self) -> datetime | None:
        """Until when the day's figures are kept for good, because retention dropped rows of it.

        Settlements and corrections that came from then on are added. None: no row was dropped.
        """
        with connection.cursor() as cursor:
            cursor.execute(_KEPT_UNTIL, [self.tenant_id, self.start, self.end])
            moment: datetime | None = cursor.fetchone()[0]
        return moment

    def has_all_evidence(self) -> bool:
        """Whether no row of the day can have been dropped by retention."""
        return self.kept_until() is None and have_all_evidence(self.tenant_id, [self])


def have_all_evidence(tenant_id: uuid.UUID, days: Iterable[TenantDay]) -> bool:
    """Whether no row of these days of the tenant can have been dropped by retention."""
    needed = {month for day in days for month in day.months}
    present = months_with_evidence()
    missing = [month.start.date() for month in needed if month not in present]
    return not missing or not _had_rows(tenant_id, missing)


# Asked of the hours, not of the months: `CUS_TELEMETRY_MAX_AGE_DAYS` may be another now.
_KEPT_UNTIL = """
SELECT max(computed_at) FROM cus_usage_hourly
WHERE tenant_id = %s AND hour >= %s AND hour < %s AND kept
"""
# The totals of a month stay when retention drops its rows (ruling E8).
_HAD_ROWS = """
SELECT EXISTS (SELECT FROM cus_period_totals
    WHERE tenant_id = %s AND period = ANY(%s::date[]) AND (calls > 0 OR blocked > 0))
"""


def _had_rows(tenant_id: uuid.UUID, months: list[date]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_HAD_ROWS, [tenant_id, months])
        return bool(cursor.fetchone()[0])
