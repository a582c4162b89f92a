"""The forecast of a month's cost, from the same weekdays and hours before."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from telemetry.cus_analytics.forecast import HISTORY, HOUR, expected_rest, naive_rest

WEEK = timedelta(weeks=1)
END = datetime(2026, 12, 1, tzinfo=UTC)
hours = st.integers(0, 29 * 24).map(
    lambda number: datetime(2026, 11, 1, tzinfo=UTC) + number * HOUR
)
weeks = st.lists(st.integers(0, 10**9), min_size=168, max_size=168)


def _cost(week: list[int], hour: datetime) -> int:
    return week[int(hour.timestamp()) // 3600 % 168]


def _history(week: list[int], now: datetime, length: timedelta) -> dict[datetime, int]:
    return {now - n * HOUR: _cost(week, now - n * HOUR) for n in range(1, length // HOUR + 1)}


def _truth(week: list[int], now: datetime) -> int:
    return sum(_cost(week, now + n * HOUR) for n in range((END - now) // HOUR))


@given(weeks, hours, st.integers(1, 6))
def test_weeks_that_repeat_are_forecast_exactly(
    week: list[int], now: datetime, number: int
) -> None:
    costs = _history(week, now, number * WEEK)
    assert expected_rest(costs, now=now, end=END) == _truth(week, now)


def test_hours_without_a_cost_count_as_nothing() -> None:
    now = datetime(2026, 11, 10, tzinfo=UTC)
    week = [0] * 168
    week[10] = week[100] = 700
    costs = {hour: cost for hour, cost in _history(week, now, HISTORY).items() if cost}
    assert expected_rest(costs, now=now, end=END) == _truth(week, now)


def test_the_rest_of_the_hour_that_runs_is_part_of_the_forecast() -> None:
    now = END - timedelta(minutes=45)
    costs = _history([600] * 168, END - HOUR, WEEK)
    assert expected_rest(costs, now=now, end=END) == 450


def test_with_less_than_a_week_an_hour_is_forecast_by_the_same_hour_of_other_days() -> None:
    now = datetime(2026, 11, 10, tzinfo=UTC)
    costs = {now - n * HOUR: 1_000 if (now - n * HOUR).hour == 9 else 0 for n in range(1, 49)}
    assert expected_rest(costs, now=now, end=now + timedelta(days=5)) == 5_000


def test_growth_of_the_last_week_goes_on() -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    costs = _history([100] * 168, now, HISTORY)
    costs |= {now - n * HOUR: 200 for n in range(1, 169)}
    assert expected_rest(costs, now=now, end=END) == 200 * 168


def test_with_less_than_a_day_there_is_no_forecast() -> None:
    now = datetime(2026, 11, 10, tzinfo=UTC)
    assert expected_rest({}, now=now, end=END) is None
    assert expected_rest({now - 23 * HOUR: 5}, now=now, end=END) is None
    assert expected_rest({now - 24 * HOUR: 24}, now=now, end=now + 24 * HOUR) == 24


def test_what_is_older_than_four_weeks_has_no_weight() -> None:
    now = datetime(2026, 11, 10, tzinfo=UTC)
    costs = _history([5] * 168, now, HISTORY) | {now - HISTORY - HOUR: 10**12}
    assert expected_rest(costs, now=now, end=now + HOUR) == 5


def test_the_naive_forecast_is_the_mean_so_far() -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    now = start + timedelta(days=10)
    assert naive_rest(1_000, start=start, now=now, end=END) == 2_000
    assert naive_rest(0, start=start, now=start, end=END) is None
