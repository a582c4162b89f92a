"""Checks of one integration that are asked at once are decided in one round, and only once."""

import re
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.db import connections

from enforcement.cus_checks.joined import GroupFailed, JoinedWork, QueueTimeout
from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.rounds import Verdict
from enforcement.cus_checks.service import CusEnforcementService, _joined
from enforcement.cus_reading.connection import DeciderConnection
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.models import CusEnforcementHold
from telemetry.cus_ids import lock_key
from tests.conftest import _superuser

SOON = 30.0

pytestmark = pytest.mark.real_deadlines


class Line:
    """Callers of one key whose first is kept at work until it is let go."""

    def __init__(self, most: int = 100) -> None:
        self.joined = JoinedWork[int, int](most)
        self.worked: list[list[int]] = []
        self._let_go = threading.Event()
        self._threads = ThreadPoolExecutor(16)

    def work(self, asked: Sequence[int]) -> list[int]:
        self.worked.append(list(asked))
        if len(self.worked) == 1:
            assert self._let_go.wait(SOON)
        if 13 in asked:
            raise ZeroDivisionError
        return [-number for number in asked]

    def ask(self, *asked: int, turn_in: float = SOON) -> "Future[Sequence[int]]":
        """Asks in a thread of its own, and gives back once that one stands in the line."""
        by = time.monotonic() + turn_in
        future = self._threads.submit(
            self.joined.run, "key", asked, self.work, turn_by=by, end_by=by + SOON
        )
        # A request with a short deadline may have left the queue already.
        while not (self.stands(asked) or future.done()):
            time.sleep(0.001)
        return future

    def stands(self, asked: Sequence[int]) -> bool:
        line = self.joined._lines.get("key", [])
        return list(asked) in self.worked or any(one.asked == asked for one in line)

    def let_go(self) -> None:
        self._let_go.set()


def test_those_who_wait_are_taken_along_in_their_order_and_get_their_own_answers() -> None:
    line = Line()
    first, *others = line.ask(1), line.ask(2, 3), line.ask(4), line.ask(5)
    line.let_go()

    assert first.result(SOON) == [-1]
    assert [list(one.result(SOON)) for one in others] == [[-2, -3], [-4], [-5]]
    assert line.worked == [[1], [2, 3, 4, 5]]
    assert line.joined._lines == {}


def test_a_group_is_no_larger_than_a_batch_may_be() -> None:
    line = Line(most=3)
    futures = [line.ask(1), line.ask(2, 3), line.ask(4), line.ask(5, 6), line.ask(7, 8, 9, 10)]
    line.let_go()

    assert [list(one.result(SOON)) for one in futures][-1] == [-7, -8, -9, -10]
    assert line.worked == [[1], [2, 3, 4], [5, 6], [7, 8, 9, 10]]


def test_a_failure_is_told_to_all_whom_it_concerns_and_to_nobody_else() -> None:
    line = Line(most=2)
    futures = [line.ask(1), line.ask(13), line.ask(2), line.ask(3)]
    line.let_go()

    assert futures[0].result(SOON) == [-1]
    with pytest.raises(ZeroDivisionError):
        futures[1].result(SOON)
    with pytest.raises(GroupFailed) as failed:
        futures[2].result(SOON)
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert futures[3].result(SOON) == [-3]


def test_whose_turn_does_not_come_leaves_the_line() -> None:
    line = Line()
    first, hasty, patient = line.ask(1), line.ask(2, turn_in=0.2), line.ask(3)
    with pytest.raises(QueueTimeout):
        hasty.result(SOON)
    line.let_go()

    assert (first.result(SOON), patient.result(SOON)) == ([-1], [-3])
    assert line.worked == [[1], [3]]


def test_a_thousand_askers_each_get_their_own_answer_once() -> None:
    joined, seen = JoinedWork[int, int](8), list[int]()

    def work(asked: Sequence[int]) -> list[int]:
        seen.extend(asked)
        return [-number for number in asked]

    def ask(number: int) -> bool:
        by = time.monotonic() + SOON
        return joined.run(number % 3, [number], work, turn_by=by, end_by=by) == [-number]

    with ThreadPoolExecutor(24) as threads:
        assert all(threads.map(ask, range(1_000)))
    assert sorted(seen) == list(range(1_000))
    assert joined._lines == {}


# --- With a database ----------------------------------------------------------------------------


def check(integration: CusIntegration, call_id: str, late: float = 0.0) -> Verdict:
    caller = Caller(integration.tenant_id, integration.id, time.monotonic() - late)
    request = CheckRequest(call_id=call_id, estimated_tokens=1, estimated_cost_cents=1)
    return CusEnforcementService(caller).check(request)


@pytest.mark.django_db(transaction=True)
def test_checks_that_wait_for_one_lock_share_a_round_and_the_room_that_is_left(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=4)
    locked, release = threading.Event(), threading.Event()
    rounds: list[int] = []
    rows = DeciderConnection.all_rows

    def slow(self: DeciderConnection, message: str) -> Any:
        if "pg_advisory_xact_lock" in message:
            asked = re.findall(r"ARRAY\[(.*?)\]", message)
            rounds.append(len(asked[0].split(", ")))
            if len(rounds) == 1:
                locked.set()
                assert release.wait(SOON)
        return rows(self, message)

    monkeypatch.setattr(DeciderConnection, "all_rows", slow)
    # A machine that is slow to start threads must not make a request late.
    early = -SOON
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(check, integration, "first", early)
        assert locked.wait(SOON)
        others = [threads.submit(check, integration, f"call-{n}", early) for n in range(7)]
        while sum(len(line) for line in _joined._lines.values()) < 7:
            time.sleep(0.001)
        release.set()
        verdicts = [first.result(SOON), *(one.result(SOON) for one in others)]

    results = [str(verdict.decision.result) for verdict in verdicts]
    assert results.count("blocked") == 4
    assert CusEnforcementHold.objects.count() == 4
    assert {verdict.facts.call_id for verdict in verdicts if verdict.hold_expires_at} == set(
        CusEnforcementHold.objects.values_list("call_id", flat=True)
    )
    assert rounds == [1, 7]


@pytest.mark.django_db(transaction=True)
def test_being_too_slow_to_ask_for_the_lock_is_load_and_not_absence(
    integration: CusIntegration,
) -> None:
    check(integration, "warm")

    decision = check(integration, "late", late=0.25).decision

    assert (decision.result, decision.reasons[0].code) == ("throttled", "contention")
    assert not decision.degraded


@pytest.mark.django_db(transaction=True)
def test_who_was_taken_along_by_one_whose_time_was_over_goes_on_alone(
    integration: CusIntegration,
) -> None:
    check(integration, "warm")
    database = str(connections["default"].settings_dict["NAME"])
    number = lock_key(uuid.UUID(str(integration.id)))
    with ThreadPoolExecutor(3) as threads:
        with _superuser(database) as holder:
            holder.execute("SELECT pg_advisory_lock(%s)", [number])
            hasty = [threads.submit(check, integration, f"call-{n}", 0.1 - n / 10) for n in (0, 1)]
            time.sleep(0.05)
            patient = threads.submit(check, integration, "patient", -SOON)
            for one in hasty:
                assert one.result(SOON).decision.result == "throttled"
        assert patient.result(SOON).decision.result == "allowed"


@pytest.mark.django_db(transaction=True)
def test_a_refusal_stands_though_the_commit_of_its_round_fails(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=1)
    rows = DeciderConnection.all_rows

    def broken(self: DeciderConnection, message: str) -> Any:
        if "cus_change_holds" in message and "COMMIT" in message:
            raise psycopg.errors.DiskFull
        return rows(self, message)

    monkeypatch.setattr(DeciderConnection, "all_rows", broken)
    caller = Caller(integration.tenant_id, integration.id, time.monotonic() + SOON)
    verdicts = CusEnforcementService(caller).check_batch(
        [CheckRequest(call_id=name, estimated_cost_cents=1) for name in ("fits", "does-not")]
    )

    outcomes = [(one.decision.result, one.decision.reasons[0].code) for one in verdicts]
    assert outcomes == [("allowed", "evidence_unavailable"), ("blocked", "budget_exceeded")]
    assert verdicts[0].decision.degraded
    assert not CusEnforcementHold.objects.exists()
