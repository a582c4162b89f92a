"""The period that a read covers: bounded, also where the caller names no bound."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from integrations.cus_web.errors import CusError

IN_UTC = ZoneInfo("UTC")
HOUR = timedelta(hours=1)
_ONE_DAY = timedelta(days=1)


class PeriodRefused(CusError):
    """This period can't be read. Name a `from` before its `to`, and a shorter time between them."""

    attr = "from"


class RecordsDropped(CusError):
    """Retention dropped records of this period, from which sessions and parts of hours are summed.
    Name whole hours in UTC without a session, or a later period; for days, name zone=UTC.
    """

    code, attr = "records_dropped", "from"


@dataclass(frozen=True)
class Period:
    """From `start` up to, not including, `end`."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    @property
    def is_of_whole_days(self) -> bool:
        """Whether the period consists of whole days in UTC."""
        return _day(self.start) == self.start and _day(self.end) == self.end

    def whole_hours(self) -> "Period | None":
        """The part of the period that consists of whole hours in UTC; None if there is none."""
        start, end = _hour(self.start), _hour(self.end)
        start += HOUR if start < self.start else timedelta()
        return Period(start, end) if start < end else None

    def whole_days(self) -> "Period | None":
        """The part of the period that consists of whole days in UTC; None if there is none."""
        start, end = _day(self.start), _day(self.end)
        start += _ONE_DAY if start < self.start else timedelta()
        return Period(start, end) if start < end else None

    def edges(self) -> "list[Period]":
        """The parts of the period that are no whole hours: none, one or two."""
        whole = self.whole_hours()
        if whole is None:
            return [self]
        edges = (Period(self.start, whole.start), Period(whole.end, self.end))
        return [edge for edge in edges if edge.start < edge.end]


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _day(moment: datetime) -> datetime:
    return _hour(moment).replace(hour=0)


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins in the zone, in UTC.

    Where clocks skip midnight, the day begins with the first moment after the gap; where midnight
    comes twice, with the first of the two. So a day may have 23, 24, 25 or other numbers of hours.
    """
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def month_in(moment: datetime, zone: ZoneInfo) -> Period:
    """The month of the zone in which a moment lies."""
    first = moment.astimezone(zone).date().replace(day=1)
    following = (first + 31 * _ONE_DAY).replace(day=1)
    return Period(start_of_day(first, zone), start_of_day(following, zone))


def period_of(
    start: datetime | None,
    end: datetime | None,
    *,
    now: datetime,
    longest: timedelta,
    zone: ZoneInfo = IN_UTC,
) -> Period:
    """The period from `start` to `end`: this month in the zone, unless one of them is named.

    If only one bound is named, the other is that of the bound's month. Raises PeriodRefused if the
    period is empty or longer than `longest`.
    """
    month = month_in(start or (end - timedelta(microseconds=1) if end else now), zone)
    period = Period(start or month.start, end or month.end)
    if period.start >= period.end:
        raise PeriodRefused("`from` is not before `to`. Name a `from` that is earlier.")
    if period.length > longest:
        raise PeriodRefused(
            f"The period is longer than {longest.days} days. Name a shorter one, and read on from "
            "its end."
        )
    return period


def recent_period(
    start: datetime | None, end: datetime | None, *, now: datetime, default: timedelta
) -> Period:
    """The period from `start` to `end`: up to now and `default` long, unless bounds are named."""
    last = end or max(now + timedelta(seconds=1), (start or now) + timedelta(seconds=1))
    period = Period(start or last - default, last)
    if period.start >= period.end:
        raise PeriodRefused("`from` is not before `to`. Name a `from` that is earlier.")
    return period
