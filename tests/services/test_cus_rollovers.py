"""Months on end: tables are always ahead, nothing is refused, and nothing is lost.

`--months` says how many: 14, so that every change of months is among them, or, in
`make trust-lifecycle`, those of three years.
"""

import io
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connections
from django.utils import timezone
from pytest_django import Settings

from telemetry.cus_analytics.models import CusUsageDaily
from telemetry.cus_evidence.models import CusDroppedMonth, CusLLMUsage, CusPeriodTotals
from telemetry.cus_evidence.partitions import Month, existing_months, make_partitions
from telemetry.cus_statements.models import CusMonthStatement
from telemetry.tasks import (
    cus_close_months,
    cus_drop_old_months,
    cus_make_partitions,
    cus_rollup_usage,
    cus_seal_evidence,
)
from tests.cus_factories import SdkClient, make_integration, record
from tests.services.cus_analytics_audit import analytics_findings, totals_findings
from tests.services.cus_moved_clock import MovedClock, moved_clock

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

_SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> Iterator[MovedClock]:
    """It is noon on the first day of the next month; the months that a test makes go with it."""
    before = existing_months()
    with moved_clock(Month.of(timezone.now()).shifted(1).start + timedelta(hours=12)) as clock:
        yield clock
    with connections["owner"].cursor() as cursor:
        for month in existing_months() - before:
            cursor.execute(f"DROP TABLE {month.partition}")
    make_partitions(timezone.now())


@pytest.fixture
def months(request: pytest.FixtureRequest, clock: MovedClock) -> list[Month]:
    """The month of the clock, and those after it."""
    first = Month.of(timezone.now())
    return [first.shifted(number) for number in range(request.config.getoption("--months"))]


def _moments(month: Month) -> list[datetime]:
    """The first and last seconds of a month, between them its middle and its last hour's turn."""
    end = month.shifted(1).start
    return [month.start, month.start + timedelta(days=14), end - timedelta(hours=1), end - _SECOND]


def _report(sdk: SdkClient, moment: datetime) -> None:
    """A call of now, and one of an hour ago, which in a month's first second was the month before."""
    calls = [record(timestamp=at.isoformat()) for at in (moment, moment - timedelta(hours=1))]
    answer = sdk.report_batch(*calls)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2), answer.content


def test_no_call_of_any_month_is_refused_or_lost_though_beat_works_every_third_month_alone(
    clock: MovedClock, months: list[Month], sdk: SdkClient
) -> None:
    sent: Counter[Month] = Counter()
    for number, month in enumerate(months):
        for moment in _moments(month):
            clock.move(moment)
            assert month in existing_months()
            # In a month's first second before beat had its turn.
            _report(sdk, moment)
            sent[month] += 2
            if number % 3 == 0:
                cus_make_partitions()
                assert {month.shifted(ahead) for ahead in range(4)} <= existing_months()
        cus_rollup_usage()
    clock.move(timezone.now() + timedelta(minutes=1))
    cus_rollup_usage()

    received = Counter(Month.of(row.created_at) for row in CusLLMUsage.objects.all())
    assert received == sent
    totals: Counter[Month] = Counter()
    for total in CusPeriodTotals.objects.all():
        totals[Month.of(total.period)] += total.calls
    assert totals == sent
    assert analytics_findings() == []


def _work(clock: MovedClock, moment: datetime, *programs: SdkClient) -> None:
    """Programs report at a moment, and beat has its turn a minute later."""
    clock.move(moment)
    cus_make_partitions()
    for program in programs:
        _report(program, moment)
    clock.move(moment + timedelta(minutes=1))
    cus_rollup_usage()


def test_months_are_sealed_closed_and_dropped_in_turn_and_all_sums_agree(
    clock: MovedClock, months: list[Month], sdk: SdkClient, settings: Settings
) -> None:
    settings.CUS_RETENTION_MONTHS = 3
    other, first = SdkClient.of(make_integration()), min(existing_months())
    for month in [*months, months[-1].shifted(1)]:
        _work(clock, month.start, sdk, other)
        # The night after the end of the month before.
        clock.move(month.start + timedelta(hours=1))
        cus_rollup_usage()
        cus_seal_evidence()
        cus_close_months()
        cus_drop_old_months()
        assert min(existing_months()) == max(month.shifted(-3), first)
        _work(clock, month.shifted(1).start - _SECOND, sdk, other)

    assert CusLLMUsage.objects.count() == 4 * 8
    # Those before the first call had no rows.
    with_rows = CusDroppedMonth.objects.filter(rows__gt=0)
    assert list(with_rows.order_by("month").values_list("rows", flat=True)) == [8] * (
        len(months) - 3
    )
    assert CusMonthStatement.objects.count() == 2 * len(months)
    assert sum(CusUsageDaily.objects.values_list("total_calls", flat=True)) == 8 * (len(months) + 1)
    assert totals_findings() == []
    cus_seal_evidence()
    output = io.StringIO()
    call_command("cus_evidence_verify", stdout=output)
    assert " 0 with faults" in output.getvalue()
