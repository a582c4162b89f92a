"""Days of time zones: without gaps, each moment in its day, hours split only where days begin."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.cus_reads.local_days import hour_of, local_days
from telemetry.cus_reads.periods import HOUR, Period, month_in, period_of, start_of_day

ZONES = (
    *("UTC", "Pacific/Kiritimati", "Pacific/Niue", "Asia/Kolkata", "Asia/Kathmandu"),
    *("Australia/Lord_Howe", "Pacific/Chatham", "America/St_Johns", "Europe/Berlin"),
    *("Africa/Cairo", "America/Havana", "Asia/Beirut", "America/Santiago", "Atlantic/Azores"),
)
QUARTER = timedelta(minutes=15)
zones = st.sampled_from(ZONES).map(ZoneInfo)
SINCE = datetime(2022, 1, 1, tzinfo=UTC)
moments = st.integers(0, 8 * 365 * 96).map(lambda quarters: SINCE + quarters * QUARTER)
lengths = st.integers(1, 20 * 96).map(lambda quarters: quarters * QUARTER)


@given(zones, moments, lengths)
def test_each_moment_of_a_period_lies_in_the_day_that_its_clock_shows(
    zone: ZoneInfo, start: datetime, length: timedelta
) -> None:
    period = Period(start, start + length)
    found = local_days(period, zone)

    assert found.starts[0] <= period.start
    assert found.starts[-1] < period.end
    at = period.start
    while at < period.end:
        number = sum(1 for begin in found.starts if begin <= at)
        assert found.days[number - 1] == at.astimezone(zone).date()
        at += 23 * QUARTER


@given(zones, moments)
def test_a_day_begins_where_the_zones_date_changes(zone: ZoneInfo, moment: datetime) -> None:
    day = moment.date()
    start = start_of_day(day, zone)

    assert start.astimezone(zone).date() == day
    assert (start - timedelta(seconds=1)).astimezone(zone).date() < day
    assert (start - hour_of(start)) % QUARTER == timedelta()


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23.0),
        ("Europe/Berlin", date(2026, 10, 25), 25.0),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("America/Havana", date(2026, 11, 1), 25.0),
        ("Africa/Cairo", date(2026, 4, 24), 23.0),
        ("Pacific/Kiritimati", date(2026, 1, 1), 24.0),
    ],
)
def test_a_day_has_as_many_hours_as_its_clocks_show(zone: str, day: date, hours: float) -> None:
    own = ZoneInfo(zone)
    length = start_of_day(day + timedelta(days=1), own) - start_of_day(day, own)
    assert length / HOUR == hours


def test_a_day_that_a_zone_skipped_is_no_day() -> None:
    apia = ZoneInfo("Pacific/Apia")
    period = Period(datetime(2011, 12, 29, 12, tzinfo=UTC), datetime(2011, 12, 31, tzinfo=UTC))
    assert local_days(period, apia).days == (date(2011, 12, 29), date(2011, 12, 31))


def test_only_days_that_begin_within_an_hour_split_an_hour() -> None:
    period = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC))
    assert local_days(period, ZoneInfo("Pacific/Kiritimati")).borders_within_hours == []
    assert local_days(period, ZoneInfo("Asia/Kolkata")).borders_within_hours == [
        datetime(2025, 12, 31, 18, 30, tzinfo=UTC) + timedelta(days=n) for n in range(3)
    ]


def test_a_month_is_that_of_the_zone() -> None:
    at = datetime(2026, 10, 31, 11, tzinfo=UTC)
    kiritimati = ZoneInfo("Pacific/Kiritimati")
    expected = Period(
        datetime(2026, 10, 31, 10, tzinfo=UTC), datetime(2026, 11, 30, 10, tzinfo=UTC)
    )
    assert month_in(at, kiritimati) == expected
    found = period_of(None, None, now=at, longest=timedelta(days=366), zone=kiritimati)
    assert found == expected
