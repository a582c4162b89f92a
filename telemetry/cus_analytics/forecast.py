"""What a month will have cost at its end, from the same weekdays and hours before."""

from collections.abc import Mapping
from datetime import datetime, timedelta

HOUR = timedelta(hours=1)
# The past that a forecast looks at: the last four of each weekday.
HISTORY = timedelta(weeks=4)
# With less history than a day, not each hour of the day was seen.
LEAST_HISTORY = timedelta(hours=24)
_WEEK = timedelta(weeks=1)
_HOURS_A_DAY, _HOURS_A_WEEK = 24, 7 * 24


def expected_rest(costs: Mapping[datetime, int], *, now: datetime, end: datetime) -> int | None:
    """The cost that is expected from `now` up to `end`; None with too little history.

    `costs` are those of hours, by the beginning of the hour; an hour that is not named cost
    nothing. History begins with the earliest hour named, at most four weeks before `now`. An hour
    to come is expected to cost the mean of the same weekday's hours in the history, times how the
    last seven days compare with the mean week; where the history has no such hour, the mean of that
    hour of all days.
    """
    this_hour = hour_before(now)
    known = {hour: cost for hour, cost in costs.items() if this_hour - HISTORY <= hour < this_hour}
    if not known or this_hour - min(known) < LEAST_HISTORY:
        return None
    by_week = _means(known, min(known), this_hour, _HOURS_A_WEEK)
    by_day = _means(known, min(known), this_hour, _HOURS_A_DAY)

    level = _level(known, by_week, this_hour)

    def expected(hour: datetime) -> float:
        number = _number(hour)
        return level * by_week.get(number % _HOURS_A_WEEK, by_day[number % _HOURS_A_DAY])

    # What this hour has cost so far is no forecast, so only its rest is added.
    rest = expected(this_hour) * ((this_hour + HOUR - now) / HOUR)
    hours = range(1, (hour_before(end) - this_hour) // HOUR)
    return round(rest + sum(expected(this_hour + number * HOUR) for number in hours))


def naive_rest(so_far: int, *, start: datetime, now: datetime, end: datetime) -> int | None:
    """The cost from `now` up to `end` if all time costs the mean of the time since `start`."""
    return round(so_far * ((end - now) / (now - start))) if now > start else None


def hour_before(moment: datetime) -> datetime:
    """The beginning of the hour in which a moment lies."""
    return moment.replace(minute=0, second=0, microsecond=0)


def _number(hour: datetime) -> int:
    return int(hour.timestamp()) // 3600


def _level(costs: Mapping[datetime, int], by_week: Mapping[int, float], now: datetime) -> float:
    """The last seven days as a multiple of the mean week, so that growth is no surprise."""
    usual = sum(by_week.values())
    if len(by_week) < _HOURS_A_WEEK or not usual:
        return 1.0
    return sum(cost for hour, cost in costs.items() if hour >= now - _WEEK) / usual


def _means(
    costs: Mapping[datetime, int], start: datetime, end: datetime, period: int
) -> dict[int, float]:
    """The mean cost of the hours from `start` up to `end` whose numbers agree modulo a period."""
    sums: dict[int, int] = {}
    counts: dict[int, int] = {}
    for number in range(_number(start), _number(end)):
        counts[number % period] = counts.get(number % period, 0) + 1
    for hour, cost in costs.items():
        place = _number(hour) % period
        sums[place] = sums.get(place, 0) + cost
    return {place: sums.get(place, 0) / count for place, count in counts.items()}
