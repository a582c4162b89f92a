"""The stored figures of hours and days, newest first, by key."""

import uuid
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from msgspec import Meta

from integrations.cus_accounts.models import CusTenant
from telemetry.cus_analytics.figures import FIGURES, KEY, all_of, daily_name
from telemetry.cus_reads.local_days import local_days
from telemetry.cus_reads.pages import Page, Place, page_of
from telemetry.cus_reads.periods import HOUR, Period, start_of_day
from telemetry.cus_reads.sources import SETTINGS, hours_source
from telemetry.cus_reads.summaries import find_integration
from telemetry.cus_reads.usage_figures import UsageFigures, usage_figures
from telemetry.cus_sums import execute_sums

# A page's place: the values of the key, in the order of the list.
HourPlace = tuple[
    Annotated[datetime, Meta(tz=True)], uuid.UUID, str, str, str, str, bool, str, bool
]
DayPlace = tuple[date, uuid.UUID]
_HOUR_KEY = (*KEY, "kept")
_DAY_KEY = ("date", "integration_id")
# So many days of a zone are summed first for a page.
_FIRST_DAYS = 4


@dataclass(frozen=True)
class StoredFigures:
    """The key of an hour or a day, its figures, and when they were computed."""

    key: dict[str, Any]
    figures: UsageFigures
    computed_at: datetime

    @property
    def place(self) -> Place:
        """The place after which the next page begins."""
        return tuple(self.key.values())


class CusUsageAggregates:
    """The hours and days of one tenant's usage. Raises IntegrationNotFound for another's."""

    def __init__(self, tenant: CusTenant) -> None:
        self.tenant = tenant

    def hours(
        self, period: Period, filters: dict[str, Any], *, after: HourPlace | None, limit: int
    ) -> Page[StoredFigures]:
        """Hours in a period; `filters` are values of key columns."""
        bounds = {"start": period.start, "end": period.end}
        return self._page("cus_usage_hourly", _HOUR_KEY, FIGURES, bounds | filters, after, limit)

    def days(
        self, start: date, end: date, filters: dict[str, Any], *, after: DayPlace | None, limit: int
    ) -> Page[StoredFigures]:
        """Days from `start` up to, not including, `end`."""
        bounds = {"start": start, "end": end}
        names = [f"{daily_name(name)} AS {name}" for name in FIGURES]
        return self._page("cus_usage_daily", _DAY_KEY, names, bounds | filters, after, limit)

    def local_days(
        self,
        period: Period,
        zone: ZoneInfo,
        integration_id: uuid.UUID | None,
        *,
        after: DayPlace | None,
        limit: int,
    ) -> Page[StoredFigures]:
        """Days of a zone, summed from hours; the period has whole days of the zone.

        Where the zone's days split hours, the evidence of these hours is read: only for the days of
        the page, and a few more. Raises RecordsDropped where it is gone.
        """
        find_integration(self.tenant, integration_id)
        if after is not None:
            end = start_of_day(after[0] + timedelta(days=1), zone)
            period = Period(period.start, min(period.end, max(end, period.start + HOUR)))
        found: list[StoredFigures] = []
        end, length = period.end, _FIRST_DAYS
        while end > period.start and len(found) <= limit:
            part = _last_days(Period(period.start, end), zone, length)
            missing = limit + 1 - len(found)
            rows = self._local_days_of(part, zone, integration_id, after, missing)
            found += rows
            # As many days as are enough if they are like these, and at most twice as many.
            needed = ceil((missing - len(rows)) * length / len(rows)) if rows else 2 * length
            end, length = part.start, min(needed, 2 * length)
        return page_of(found, limit, lambda one: one.place)

    def _local_days_of(
        self,
        period: Period,
        zone: ZoneInfo,
        integration_id: uuid.UUID | None,
        after: DayPlace | None,
        most: int,
    ) -> list[StoredFigures]:
        days = local_days(period, zone)
        source = hours_source(self.tenant.id, integration_id, period, days.borders_within_hours)
        place = after and (bisect_left(days.days, after[0]) + 1, after[1])
        values = {
            "day_starts": list(days.starts),
            "before_day": place and place[0],
            "before_integration": place and place[1],
            "limit": most,
        }
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(SETTINGS)
            execute_sums(
                cursor,
                _LOCAL_DAYS.format(parts=source.summed(_LOCAL_KEY, _LOCAL_SUMS)),
                source.values | values,
            )
            rows = [(days.days[number - 1], *rest) for number, *rest in cursor.fetchall()]
        return [_read(_DAY_KEY, row) for row in rows]

    def _page(
        self,
        table: str,
        key: Sequence[str],
        figures: Sequence[str],
        values: dict[str, Any],
        after: Place | None,
        limit: int,
    ) -> Page[StoredFigures]:
        find_integration(self.tenant, values.get("integration_id"))
        filters = [f"{name} = %({name})s" for name in values if name in key]
        given = {"tenant": self.tenant.id, "limit": limit + 1, **values}
        if after is not None:
            given |= {f"after{number}": value for number, value in enumerate(after)}
            marks = ", ".join(f"%(after{number})s" for number in range(len(after)))
            filters.append(f"({', '.join(key)}) < ({marks})")
        statement = f"""
        SELECT {", ".join(key)}, computed_at, {", ".join(figures)} FROM {table}
        WHERE tenant_id = %(tenant)s AND {key[0]} >= %(start)s AND {key[0]} < %(end)s
            {"".join(f" AND {one}" for one in filters)}
        ORDER BY {", ".join(f"{name} DESC" for name in key)} LIMIT %(limit)s
        """  # noqa: S608  (the names are this module's own)
        with connection.cursor() as cursor:
            cursor.execute(statement, given)
            found = [_read(key, row) for row in cursor.fetchall()]
        return page_of(found, limit, lambda one: one.place)


def _last_days(period: Period, zone: ZoneInfo, length: int) -> Period:
    """The last days of the zone in a period, so many at most."""
    last = (period.end - timedelta.resolution).astimezone(zone).date()
    start = start_of_day(last - timedelta(days=length - 1), zone)
    return Period(max(start, period.start), period.end)


_LOCAL_KEY = {
    "day_number": "width_bucket(hour, %(day_starts)s::timestamptz[])",
    "integration_id": "integration_id",
}
_LOCAL_SUMS = f"min(computed_at) AS computed_at, {all_of()}"
_LOCAL_DAYS = f"""
SELECT * FROM (
    SELECT day_number, integration_id, {_LOCAL_SUMS} FROM ({{parts}}) AS figures GROUP BY 1, 2
) AS days
WHERE %(before_day)s::int IS NULL
    OR (day_number, integration_id) < (%(before_day)s::int, %(before_integration)s::uuid)
ORDER BY day_number DESC, integration_id DESC LIMIT %(limit)s
"""  # noqa: S608  (the names are this module's own)


def _read(key: Sequence[str], row: Sequence[Any]) -> StoredFigures:
    values, computed_at, sums = row[: len(key)], row[len(key)], row[len(key) + 1 :]
    return StoredFigures(
        dict(zip(key, values, strict=True)),
        usage_figures(dict(zip(FIGURES, sums, strict=True))),
        computed_at,
    )
