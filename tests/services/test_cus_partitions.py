"""Months of evidence exist before they are needed (ruling E3)."""

import io
from datetime import UTC, datetime

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from telemetry.cus_evidence.partitions import Month, existing_months, make_partitions, wanted_months


@pytest.mark.parametrize(
    ("month", "by", "result"),
    [
        (Month(2026, 1), -1, Month(2025, 12)),
        (Month(2026, 12), 1, Month(2027, 1)),
        (Month(2026, 11), 3, Month(2027, 2)),
        (Month(2026, 5), 0, Month(2026, 5)),
        (Month(2026, 5), -17, Month(2024, 12)),
    ],
)
def test_months_are_counted_across_years(month: Month, by: int, result: Month) -> None:
    assert month.shifted(by) == result


def test_a_month_is_utcs_whatever_the_zone_of_the_moment() -> None:
    moment = datetime.fromisoformat("2026-12-31T23:30:00-05:00")

    assert wanted_months(moment)[1] == Month(2027, 1)


def test_after_migrate_the_wanted_months_exist(db: None) -> None:
    wanted = set(wanted_months(timezone.now()))

    assert len(wanted) == 1 + 1 + settings.CUS_PARTITIONS_AHEAD_MONTHS
    assert wanted <= existing_months()


@pytest.mark.django_db(databases=["default", "owner"])
def test_making_them_again_makes_nothing() -> None:
    assert make_partitions(timezone.now()) == []


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_a_month_is_made_when_its_time_comes_and_its_indexes_with_it() -> None:
    from django.db import connections

    made = make_partitions(datetime(2031, 11, 15, tzinfo=UTC))
    try:
        assert [str(month) for month in made] == [
            "October 2031", "November 2031", "December 2031", "January 2032", "February 2032",
        ]  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_indexes WHERE tablename = %s", [made[0].partition]
            )
            assert cursor.fetchone() == (10,)
            cursor.execute(
                "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = %s",
                [made[2].partition],
            )
            (bounds,) = cursor.fetchone()
        assert "'2031-12-01 00:00:00+00'" in bounds
        assert "'2032-01-01 00:00:00+00'" in bounds
    finally:
        with connections["owner"].cursor() as cursor:
            for month in made:
                cursor.execute(f"DROP TABLE {month.partition}")


@pytest.mark.django_db(databases=["default", "owner"])
def test_the_command_shows_the_months_and_what_comes_next() -> None:
    output = io.StringIO()

    call_command("cus_telemetry_partitions", "--make", stdout=output)

    shown = output.getvalue()
    for month in wanted_months(timezone.now()):
        assert month.partition in shown
    assert "Next: " in shown
    assert "Missing" not in shown


def test_the_command_names_what_is_missing(db: None, settings: Settings) -> None:
    settings.CUS_PARTITIONS_AHEAD_MONTHS = 5
    output = io.StringIO()

    call_command("cus_telemetry_partitions", stdout=output)

    assert "Beat makes them" in output.getvalue()


def test_no_model_lacks_a_migration(db: None) -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
