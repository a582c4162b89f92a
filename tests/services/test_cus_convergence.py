"""Everything that can go wrong at once: afterwards hours and days say what the evidence says.

Each fault by itself is in `test_cus_hourly.py`. Here programs report without a pause while rollups
die at every statement, run at once, and are compared and repaired.
"""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.utils import timezone

from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.backfill import Period, note_period
from telemetry.cus_analytics.models import CusRollupDue, CusUsageHourly
from telemetry.cus_analytics.reconcile import reconcile
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_evidence.models import CusLLMUsage, CusUsageSettlement
from tests.cus_factories import (
    SdkClient,
    correct,
    make_integration,
    record,
    settling,
    unmeasured,
)
from tests.services.cus_analytics_audit import analytics_findings

pytestmark = pytest.mark.django_db(transaction=True)

# A rollup of three days has about as many.
_STATEMENTS = 40


_THREADS = 9


class Killed(BaseException):
    """The process dies here."""


class Storm:
    """Threads that work until the one that counts is done; the first error of any is raised."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self._pool = ThreadPoolExecutor(_THREADS)
        self._work: list[Future[None]] = []

    def goes_on(self, turn: Callable[[int], None]) -> None:
        """Take one turn after the other, until the storm is over."""

        def work() -> None:
            try:
                for number in itertools.count():
                    if self.is_over.is_set():
                        return
                    turn(number)
            finally:
                connections.close_all()

        self._work.append(self._pool.submit(work))

    def end(self) -> None:
        self.is_over.set()
        self._pool.shutdown()
        for one in self._work:
            one.result()


@contextmanager
def storm() -> Iterator[Storm]:
    """A storm that ends with the block."""
    blowing = Storm()
    try:
        yield blowing
    finally:
        blowing.end()


def _ago(**period: float) -> str:
    return (datetime.now(UTC) - timedelta(**period)).isoformat()


def _roll_up(_turn: int = 0) -> None:
    assert rollup_usage(timezone.now()).failed == []


def _die_at(statement: int) -> bool:
    """Whether a rollup died at its statement of this number."""
    seen = itertools.count()

    def execute(run: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if next(seen) == statement:
            raise Killed
        return run(sql, params, many, context)

    try:
        with connection.execute_wrapper(execute):
            _roll_up()
    except Killed:
        return True
    finally:
        # The process is gone, and its connection with it.
        connection.close()
    return False


def _report_all_kinds(sdk: SdkClient, turn: int) -> None:
    """Calls of now, late ones, one of unknown usage that the next turn settles, a replay."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    around = midnight + timedelta(seconds=turn % 2 - 0.5)
    late = [record(timestamp=_ago(days=turn % 35)), record(timestamp=around.isoformat())]
    known = [settling(f"{sdk.key}-{turn - 1}"[-60:])] if turn else []
    unknown = unmeasured(response_id=f"{sdk.key}-{turn}"[-60:], timestamp=_ago(hours=turn % 40))
    calls = [record(agent_id=f"a{turn % 3}"), *late, unknown, *known]
    for _ in range(2):
        answer = sdk.report_batch(*calls)
        assert answer.status_code == 200, answer.content
        assert answer.json()["rejected"] == 0, answer.json()


def _correct_some(_turn: int) -> None:
    row = CusLLMUsage.objects.exclude(cost_microcents=0).order_by("?").first()
    if row:
        # A call may be corrected already.
        with suppress(IntegrityError):
            correct(row, by_microcents=row.id.int % 1_000 + 1)


class Rollups:
    """Rollups of several threads, and how many are done."""

    def __init__(self, blowing: Storm) -> None:
        self._storm = blowing
        self._done = itertools.count()
        self._last = 0

    def turn(self, _number: int) -> None:
        _roll_up()
        self._last = next(self._done)

    def wait_for(self, more: int) -> None:
        """Wait until so many more rollups are done, or the storm is over."""
        enough = self._last + more
        while self._last < enough and not self._storm.is_over.wait(0.02):
            pass


def _commit_late(sdk: SdkClient, rollups: Rollups, turn: int) -> None:
    """An ingest transaction that is open while rollups read, and commits after they have."""
    with transaction.atomic():
        answer = sdk.report_batch(
            record(agent_id="open"), record(timestamp=_ago(days=turn % 3, hours=turn % 5))
        )
        assert answer.json()["accepted"] == 2
        # Two may have begun before.
        rollups.wait_for(4)


def _compare(_turn: int) -> None:
    """Nothing differs, however much is in motion."""
    run = reconcile(timezone.now())
    assert run.failed_tenants == 0
    assert list(run.differences.values("kind", "figure", "stored", "expected", "starts_at")) == []


def _backfill(_turn: int) -> None:
    today = datetime.now(UTC).date()
    for _day in note_period(Period(today - timedelta(days=3), today)):
        pass


def test_all_that_can_go_wrong_at_once_leaves_hours_and_days_as_the_evidence_says(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    programs = [
        sdk,
        SdkClient.of(make_integration(integration.tenant)),
        SdkClient.of(make_integration()),
    ]
    slow = SdkClient.of(make_integration(integration.tenant))
    for program in programs:
        _report_all_kinds(program, 0)
    with storm() as blowing:
        rollups = Rollups(blowing)
        for program in programs:
            blowing.goes_on(partial(_report_later, program))
        blowing.goes_on(_correct_some)
        blowing.goes_on(rollups.turn)
        blowing.goes_on(rollups.turn)
        blowing.goes_on(partial(_commit_late, slow, rollups))
        blowing.goes_on(_compare)
        blowing.goes_on(_backfill)
        deaths = sum(_die_at(statement) for statement in range(_STATEMENTS))

    assert deaths > _STATEMENTS // 2
    result = rollup_usage(timezone.now() + timedelta(seconds=1))
    assert result.failed == []
    assert not CusRollupDue.objects.exists()
    assert analytics_findings() == []
    assert CusLLMUsage.objects.filter(agent_id="open").exists()
    assert CusUsageSettlement.objects.exists()
    assert sum(CusUsageHourly.objects.values_list("correction_microcents", flat=True)) != 0


def _report_later(sdk: SdkClient, turn: int) -> None:
    _report_all_kinds(sdk, turn + 1)
