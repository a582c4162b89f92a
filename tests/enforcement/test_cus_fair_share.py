"""One integration's share of a process is bounded, so others do not wait for it."""

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from pytest_django import Settings

from aos_sdk.cus_wire import CusReasonCode
from enforcement.cus_checks.fair_share import FairShare, ShareTaken, fair_share
from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.service import CusEnforcementService
from enforcement.cus_checks.turned_away import log_turned_away
from enforcement.cus_decisions.explain import explain
from enforcement.cus_decisions.models import CusDecisionTotals, CusEnforcementDecision
from enforcement.cus_reading.absence import DatabaseAbsent
from enforcement.cus_reading.connection import DeciderConnection
from enforcement.cus_rules.precedence import Decision
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.models import CusEnforcementHold
from tests.cus_factories import make_integration

ONE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
SOON = 30.0
BATCH = [f"call-{number}" for number in range(50)]


class Clock:
    """A monotonic clock that goes when it is told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr("enforcement.cus_checks.fair_share.time", stopped)
    return stopped


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def asks(share: FairShare, integration: uuid.UUID, checks: int = 1) -> bool:
    """Whether an integration that asks and is answered was within its share."""
    try:
        with share.taken(integration, checks):
            return True
    except ShareTaken:
        return False


def test_checks_are_counted_and_not_requests(clock: Clock, settings: Settings) -> None:
    settings.CUS_CHECKS_PER_SECOND = 100
    share = FairShare()

    assert [asks(share, ONE, 60) for _ in range(3)] == [True, True, False]
    assert asks(share, OTHER, 60)
    clock.now += 0.19  # not quite as much as was too much
    assert not asks(share, ONE)
    clock.now += 0.02
    assert asks(share, ONE, 100)
    clock.now += 0.9
    assert not asks(share, ONE)
    clock.now += 3_600
    assert [asks(share, ONE, 100) for _ in range(2)] == [True, False]


def test_who_is_alone_takes_all_and_makes_room_once_another_asks(
    clock: Clock, settings: Settings, stack: ExitStack
) -> None:
    settings.CUS_CHECK_REQUESTS_AT_ONCE = 2
    share = FairShare()
    for _ in range(3):
        stack.enter_context(share.taken(ONE, 1))

    assert asks(share, OTHER)
    assert not asks(share, ONE)
    clock.now += 9.9
    assert not asks(share, ONE)
    clock.now += 0.2
    assert asks(share, ONE)


def test_a_place_is_free_again_however_its_request_ended(clock: Clock, settings: Settings) -> None:
    settings.CUS_CHECK_REQUESTS_AT_ONCE = 1
    share = FairShare()
    assert asks(share, OTHER)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), share.taken(ONE, 1):
            assert not asks(share, ONE)
            raise ZeroDivisionError
    assert asks(share, ONE)


def test_without_limits_nobody_is_turned_away(
    clock: Clock, settings: Settings, stack: ExitStack
) -> None:
    settings.CUS_CHECKS_PER_SECOND = settings.CUS_CHECK_REQUESTS_AT_ONCE = 0
    share = FairShare()
    assert asks(share, OTHER)

    for _ in range(50):
        stack.enter_context(share.taken(ONE, 100))


# --- With a database ----------------------------------------------------------------------------


def decide(integration: CusIntegration, *call_ids: str) -> list[Decision]:
    # A machine that is slow to start threads must not make a check late.
    caller = Caller(integration.tenant_id, integration.id, time.monotonic() + SOON)
    requests = [
        CheckRequest(call_id=name, estimated_tokens=1, estimated_cost_cents=1) for name in call_ids
    ]
    verdicts = CusEnforcementService(caller).check_batch(requests)
    return [verdict.decision for verdict in verdicts]


def results(decisions: list[Decision]) -> list[str]:
    return [str(one.result) for one in decisions]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("limited")
def test_who_asks_for_more_than_its_share_is_throttled_without_the_database_and_logged_later(
    integration: CusIntegration, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert results(decide(integration, "first")) == ["allowed"]
    settings.CUS_CHECKS_PER_SECOND = 1
    # In debt for longer than the slowest machine takes for this test.
    assert results(decide(integration, *BATCH)) == ["allowed"] * 50
    with monkeypatch.context() as away:
        away.setattr(DeciderConnection, "all_rows", lambda *_: pytest.fail("asked the database"))
        turned_away = [one for n in range(60) for one in decide(integration, f"x{n}", f"y{n}")]

    assert {one.result for one in turned_away} == {"throttled"}
    assert {one.reasons[0].code for one in turned_away} == {CusReasonCode.CONTENTION}
    assert turned_away[0].retry_after_seconds == 1
    assert CusEnforcementHold.objects.count() == 51

    settings.CUS_CHECKS_PER_SECOND = 0
    decide(integration, "last")
    totals = CusDecisionTotals.objects.get()
    assert (totals.allowed, totals.throttled, totals.contention) == (52, 120, 120)
    logged = CusEnforcementDecision.objects.all()
    assert len(logged) == 100
    assert all(explain(one).identical for one in logged)


@pytest.mark.django_db(transaction=True)
def test_what_no_round_has_logged_is_logged_as_the_process_ends_if_the_database_answers(
    integration: CusIntegration,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    decide(integration, "first")
    settings.CUS_CHECKS_PER_SECOND = 1
    decide(integration, *BATCH)
    decide(integration, "refused", "refused too")
    log_turned_away(seconds=SOON)
    log_turned_away(seconds=SOON)

    assert CusEnforcementDecision.objects.filter(call_id__startswith="refused").count() == 2
    assert CusDecisionTotals.objects.get().throttled == 2
    decide(integration, "lost")
    with monkeypatch.context() as away:
        away.setattr(DeciderConnection, "all_rows", _no_answer)
        log_turned_away(seconds=SOON)
    assert "decisions were not logged" in caplog.text
    log_turned_away(seconds=SOON)
    assert not CusEnforcementDecision.objects.filter(call_id="lost").exists()


def _no_answer(*_message: Any) -> Any:
    raise DatabaseAbsent


@pytest.mark.django_db(transaction=True)
def test_what_a_failed_round_should_have_logged_the_next_one_logs(
    integration: CusIntegration, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(integration, "first")
    settings.CUS_CHECKS_PER_SECOND = 1
    decide(integration, *BATCH)
    assert results(decide(integration, "refused")) == ["throttled"]
    settings.CUS_CHECKS_PER_SECOND = 0
    rows = DeciderConnection.all_rows

    def no_commit(self: DeciderConnection, message: str) -> Any:
        return rows(self, message.replace("COMMIT", "SELECT 1 / 0; COMMIT"))

    with monkeypatch.context() as patch:
        patch.setattr(DeciderConnection, "all_rows", no_commit)
        decide(integration, "lost")
    assert not CusEnforcementDecision.objects.filter(call_id="refused").exists()

    decide(integration, "kept")
    assert CusEnforcementDecision.objects.filter(call_id="refused").count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("limited")
def test_an_integration_whose_rounds_hang_leaves_threads_and_connections_to_others(
    integration: CusIntegration, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CUS_CHECK_REQUESTS_AT_ONCE = 2
    stranger = make_integration()
    for each in (integration, stranger):
        decide(each, "warm")
    hanging, release = threading.Event(), threading.Event()
    rows = DeciderConnection.all_rows

    def hang(self: DeciderConnection, message: str) -> Any:
        if "cus_change_holds" in message and str(integration.id) in message:
            hanging.set()
            assert release.wait(SOON)
        return rows(self, message)

    monkeypatch.setattr(DeciderConnection, "all_rows", hang)
    with ThreadPoolExecutor(2) as threads:
        taken = [threads.submit(decide, integration, f"call-{n}") for n in range(2)]
        assert hanging.wait(SOON)
        while fair_share._uses[integration.id].inside < 2:
            time.sleep(0.001)

        assert results(decide(integration, "third")) == ["throttled"]
        assert results(decide(stranger, "call")) == ["allowed"]
        release.set()
        assert [results(one.result(SOON)) for one in taken] == [["allowed"]] * 2
