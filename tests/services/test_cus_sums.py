"""Sums of BIGINT: as PostgreSQL's own, and bounded where no column could hold them."""

import random

import pytest
from django.db import DataError, connection, transaction

from telemetry.cus_sums import execute_sums

pytestmark = pytest.mark.django_db

_MOST = 2**63 - 1
_SUM = "SELECT cus_sum(n), cus_sum(n) FILTER (WHERE n < 0) FROM unnest(%s::bigint[]) AS n"


def _sums(*numbers: int | None) -> tuple[int, int]:
    with connection.cursor() as cursor:
        execute_sums(cursor, _SUM, [list(numbers)])
        found: tuple[int, int] = cursor.fetchone()
    return found


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((), (0, 0)),
        ((None, 3, None, -5), (-2, -5)),
        ((_MOST, 0), (_MOST, 0)),
        ((_MOST, 1), (_MOST, 0)),
        ((_MOST, _MOST, -_MOST), (_MOST, -_MOST)),
        ((_MOST, 10, -10, -_MOST), (0, -_MOST)),
        ((-_MOST, -_MOST), (-_MOST, -_MOST)),
    ],
)
def test_a_sum_is_exact_and_stays_at_the_end_of_what_a_column_holds(
    numbers: tuple[int | None, ...], expected: tuple[int, int]
) -> None:
    assert _sums(*numbers) == expected


def test_both_aggregates_sum_what_the_databases_own_sums() -> None:
    numbers = [random.Random(3).randint(-(2**40), 2**40) for _ in range(2_000)]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT cus_sum(n), cus_sum_bounded(n), sum(n)::bigint FROM unnest(%s::bigint[]) AS n",
            [numbers],
        )
        assert set(cursor.fetchone()) == {sum(numbers)}


def test_a_sum_that_overflows_leaves_its_transaction_as_it_was() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT 1 AS one")
        assert _sums(_MOST, _MOST)[0] == _MOST
        cursor.execute("SELECT one FROM kept")
        assert cursor.fetchone() == (1,)


@pytest.mark.parametrize("wrong", ["SELECT 1 / 0", "SELECT 'x'::int", "SELECT (2^40)::int"])
def test_other_errors_stay_errors(wrong: str) -> None:
    with connection.cursor() as cursor, pytest.raises(DataError), transaction.atomic():
        execute_sums(cursor, wrong)
