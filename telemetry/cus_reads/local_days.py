"""The days of a time zone, and the hours of UTC that they split."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from telemetry.cus_reads.periods import HOUR, Period, start_of_day

_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class LocalDays:
    """The days of a zone that a period meets, in their order, and when each begins in UTC."""

    days: tuple[date, ...]
    starts: tuple[datetime, ...]

    @property
    def borders_within_hours(self) -> list[datetime]:
        """The beginnings of days that are not the beginning of an hour in UTC."""
        return [start for start in self.starts if hour_of(start) != start]


def local_days(period: Period, zone: ZoneInfo) -> LocalDays:
    """The days of the zone that the period meets; a day that the zone skipped is none of them."""
    day = period.start.astimezone(zone).date()
    days, starts = [day], [start_of_day(day, zone)]
    while True:
        day += _ONE_DAY
        start = start_of_day(day, zone)
        if start >= period.end:
            return LocalDays(tuple(days), tuple(starts))
        if start == starts[-1]:
            days[-1] = day
            continue
        days.append(day)
        starts.append(start)


def hour_of(moment: datetime) -> datetime:
    """The hour in UTC in which a moment lies."""
    return moment - (moment - datetime(2000, 1, 1, tzinfo=UTC)) % HOUR
