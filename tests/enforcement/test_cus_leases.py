"""Leases beside landings, crashes and a database in trouble (rulings F5a, F5c and F6)."""

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone
from pytest_django import Settings

from enforcement.cus_checks.fair_share import fair_share
from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.lending_requests import CallEstimate, LeaseRequest, OverLease, SetAside
from enforcement.cus_checks.lending_service import CusLendingService, Lending
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_reading.absence import DatabaseAbsent
from enforcement.cus_reading.connection import DeciderConnection
from enforcement.cus_rules.lending import YOUNG_PERCENT
from enforcement.tasks import cus_sweep_late_holds
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_holds.leases import LEASE_LIFE
from telemetry.cus_holds.models import CusEnforcementHold, CusEnforcementLease
from telemetry.cus_ids import lock_key
from telemetry.cus_money.amounts import LeaseAmounts
from tests.conftest import _superuser, as_if
from tests.cus_factories import SdkClient, make_integration, record, set_aside

pytestmark = pytest.mark.django_db(transaction=True)

SOON = 30.0
NOTHING = SetAside(0, 0, 0, 0)


@pytest.fixture
def budget(integration: CusIntegration) -> CusIntegration:
    """With a budget of $100."""
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=10_000)
    return integration


def caller_of(integration: CusIntegration, early: float = SOON, **known: bool) -> Caller:
    # Far enough in the future that no request is late, however slow the machine.
    return Caller(integration.tenant_id, integration.id, time.monotonic() + early, **known)


def lend(
    integration: CusIntegration, holder_id: str = "holder", *, at: Any = None, **fields: Any
) -> Lending:
    asked = LeaseRequest(holder_id=holder_id, **({"estimate": CallEstimate(5)} | fields))
    return CusLendingService(caller_of(integration), at=at).lease(asked)


def lent(integration: CusIntegration, holder_id: str = "holder", **fields: Any) -> uuid.UUID:
    """The id of a lease that there is room for."""
    lease = lend(integration, holder_id, is_durable=True, **fields).lease
    assert lease
    return lease.id


def why(lending: Lending) -> tuple[str, str]:
    decision = lending.verdict.decision
    return str(decision.result), decision.reasons[0].code


def remaining(lease_id: uuid.UUID) -> int:
    return CusEnforcementLease.objects.get(id=lease_id).cents


# --- The dead -----------------------------------------------------------------------------------


def test_a_program_that_crashes_at_each_of_a_thousand_starts_locks_a_tenth_of_the_budget(
    budget: CusIntegration,
) -> None:
    for number in range(1_000):
        lend(budget, f"start-{number}")

    locked = sum(CusEnforcementLease.objects.values_list("cents", flat=True))
    assert 0 < locked <= 10_000 * YOUNG_PERCENT // 100
    # All of the rest is for checks.
    check = SdkClient.of(budget).check(estimated_cost_cents=10_000 - locked)
    assert check.json()["result"] == "allowed"


def test_where_no_worker_sweeps_leases_another_one_does_late_and_says_so(
    budget: CusIntegration, caplog: pytest.LogCaptureFixture
) -> None:
    lent(budget)
    cus_sweep_late_holds()
    assert CusEnforcementLease.objects.exists()
    assert not caplog.text

    as_if("UPDATE cus_enforcement_leases SET expires_at = now() - interval '90 seconds'")
    cus_sweep_late_holds()

    assert not CusEnforcementLease.objects.exists()
    assert "is a worker running with -Q cus_holds?" in caplog.text


def test_a_holder_that_never_got_the_answer_returns_the_lease_by_the_id_that_it_chose(
    budget: CusIntegration,
) -> None:
    chosen = uuid.uuid4()
    assert lent(budget, next_lease_id=chosen) == chosen
    assert remaining(chosen) > 0

    answer = lend(budget, returns=[OverLease(chosen, NOTHING)])

    assert list(answer.returned) == [chosen]
    assert remaining(chosen) == 0


def test_a_repeated_request_gets_no_second_lease(budget: CusIntegration) -> None:
    chosen = uuid.uuid4()
    lent(budget, next_lease_id=chosen)
    before = remaining(chosen)

    assert lend(budget, next_lease_id=chosen, is_durable=True).lease is None
    assert remaining(chosen) == before
    assert CusEnforcementLease.objects.count() == 1


def test_a_lease_is_no_holders_after_five_seconds(budget: CusIntegration) -> None:
    now = timezone.now()
    spent = SetAside(10_000, 0, 0, 0)
    first = lend(budget, "first", at=now, spent=spent).lease
    with_two = lend(budget, "second", at=now, spent=spent).lease
    alone = lend(budget, "third", at=now + LEASE_LIFE, spent=spent).lease

    assert first
    assert with_two
    assert alone
    assert (first.lent.cents, with_two.lent.cents) == (5_000, 1_250)
    assert alone.lent.cents == (10_000 - 5_000 - 1_250) // 2


# --- Returns and landings -----------------------------------------------------------------------


@contextmanager
def landing(table: str) -> Iterator[None]:
    """Another transaction has locked the table's only row, as ingest does before it changes it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT FROM {table} FOR UPDATE")
        assert cursor.rowcount == 1
        yield


def in_a_thread(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(_closing, work).result(SOON)


def _closing(work: Callable[[], Any]) -> Any:
    try:
        return work()
    finally:
        connections.close_all()


def test_a_return_waits_for_no_landing_and_is_named_again(budget: CusIntegration) -> None:
    lease_id = lent(budget)
    over = [OverLease(lease_id, SetAside(5, 5, 5, 1))]
    service = CusLendingService(caller_of(budget))
    aside = LeaseAmounts(5, 5, 5, 1)
    with landing("cus_enforcement_leases"):
        assert in_a_thread(lambda: lend(budget, "other", returns=over)).returned == []
        assert in_a_thread(lambda: service.end(lease_id, aside)) == []

    assert remaining(lease_id) == 20
    assert lend(budget, returns=over).returned == [lease_id]
    assert remaining(lease_id) == 5


def test_a_renewal_waits_for_no_landing(budget: CusIntegration) -> None:
    SdkClient.of(budget).check("lands")
    before = CusEnforcementHold.objects.get().expires_at
    with landing("cus_enforcement_holds"):
        assert in_a_thread(lambda: lend(budget, running=["lands"])).lease
    assert CusEnforcementHold.objects.get().expires_at == before
    lend(budget, running=["lands"])
    assert CusEnforcementHold.objects.get().expires_at > before


ASIDE = {"cents": 5, "microcents": 5_000_000, "tokens": 10}
ESTIMATE = CallEstimate(5, 5_000_000, 10)
FOUR_CALLS = SetAside(20, 20_000_000, 40, 4)


def land_three(integration: CusIntegration, leases: list[uuid.UUID]) -> None:
    """Three of each lease's calls land."""
    program = SdkClient.of(integration)
    for lease_id in leases:
        for _ in range(3):
            answer = program.report(record(lease_id=str(lease_id), reserved=ASIDE))
            assert answer.status_code == 201


def return_twice(integration: CusIntegration, leases: list[uuid.UUID]) -> None:
    """Each lease is returned, and then again by a request that lies."""
    for lease_id in leases:
        over = [OverLease(lease_id, FOUR_CALLS)]
        while lease_id not in lend(integration, returns=over, estimate=ESTIMATE).returned:
            pass
        CusLendingService(caller_of(integration)).end(lease_id, LeaseAmounts())


def test_returns_that_race_with_landings_leave_what_runs_to_the_cent(
    budget: CusIntegration,
) -> None:
    """Four calls begin under each lease, and three of them land while it is returned."""
    leases = [lent(budget, f"h{number}", estimate=ESTIMATE) for number in range(16)]

    with ThreadPoolExecutor(4) as threads:
        works = [
            threads.submit(_closing, partial(work, budget, leases[place::2]))
            for work in (land_three, return_twice)
            for place in range(2)
        ]
        for work in works:
            work.result(2 * SOON)

    for lease in CusEnforcementLease.objects.filter(id__in=leases):
        assert (lease.cents, lease.microcents, lease.tokens, lease.calls) == (5, 5_000_000, 10, 1)
    assert CusLLMUsage.objects.count() == 48


def test_a_call_counts_for_the_rate_from_when_its_lease_was_lent(budget: CusIntegration) -> None:
    lease_id = lent(budget)
    taken_at = CusEnforcementLease.objects.get(id=lease_id).taken_at
    SdkClient.of(budget).report(record(lease_id=str(lease_id), reserved=set_aside(cents=5)))

    assert CusLLMUsage.objects.get().admitted_at == taken_at


# --- Changes of the console ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{"status": "disabled"}, {"budget_limit_cents": 30}, {"rate_limit_rpm": 1}], ids=str
)
def test_a_change_reaches_each_holder_within_the_life_of_a_lease(
    budget: CusIntegration, change: dict[str, Any]
) -> None:
    """A holder counts its lease from before it asks, so all that was lent before a change is over
    five seconds after it; and from the change on nothing is lent that it forbids."""
    holders = [f"h{number}" for number in range(3)]
    before = [lend(budget, holder, is_durable=True) for holder in holders]
    CusIntegration.objects.filter(id=budget.id).update(**change)

    after = [lend(budget, holder, is_durable=True) for holder in holders]

    assert all(one.lease for one in before)
    assert not any(one.lease for one in after)
    assert timedelta(seconds=5) == LEASE_LIFE


# --- Without evidence ---------------------------------------------------------------------------


@pytest.mark.real_deadlines
def test_a_lock_that_another_holds_is_contention_and_no_lease(budget: CusIntegration) -> None:
    lent(budget)
    with _superuser(str(connections["default"].settings_dict["NAME"])) as other:
        with other.transaction():
            other.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(budget.id)])
            service = CusLendingService(caller_of(budget, early=0))
            lending = service.lease(LeaseRequest(holder_id="h", estimate=CallEstimate(5)))

    assert (lending.lease, lending.returned) == (None, ())
    assert why(lending) == ("throttled", "contention")
    assert not CusEnforcementDecision.objects.exists()


@pytest.mark.real_deadlines
@pytest.mark.parametrize(
    ("locked", "result", "code"),
    [
        ("LOCK TABLE cus_period_totals IN ACCESS EXCLUSIVE MODE", "allowed", "evidence_unavailable"),
        # A row that ingest has locked is load, and so is a table that taking back waits for.
        ("SELECT FROM cus_hold_sums FOR UPDATE", "throttled", "contention"),
        ("LOCK TABLE cus_enforcement_leases IN ACCESS EXCLUSIVE MODE", "throttled", "contention"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_degraded_and_what_cannot_be_taken_back_is_contention(
    budget: CusIntegration, locked: str, result: str, code: str
) -> None:
    first = lent(budget)
    over = [OverLease(first, NOTHING)]
    with _superuser(str(connections["default"].settings_dict["NAME"])) as other:
        with other.transaction():
            other.execute(locked.encode())
            lending = lend_now(budget, returns=over)

    assert lending.lease is None
    assert why(lending) == (result, code)
    assert lending.verdict.decision.degraded == (result == "allowed")
    assert remaining(first) == 20


def lend_now(integration: CusIntegration, **fields: Any) -> Lending:
    asked = LeaseRequest(holder_id="h", estimate=CallEstimate(5), **fields)
    return CusLendingService(caller_of(integration, early=0.1)).lease(asked)


def test_a_lease_that_could_not_be_committed_is_none(
    budget: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, rows = lent(budget), DeciderConnection.all_rows

    def no_commit(self: DeciderConnection, message: str) -> Any:
        if message.startswith("EXECUTE cus_lend"):
            message = message.replace("COMMIT", "SELECT 1 / 0")
        return rows(self, message)

    monkeypatch.setattr(DeciderConnection, "all_rows", no_commit)
    lending = lend(budget, returns=[OverLease(first, NOTHING)], is_durable=True)

    assert (lending.lease, lending.returned) == (None, ())
    assert why(lending) == ("throttled", "contention")
    assert remaining(first) == 20
    assert CusEnforcementLease.objects.count() == 1


def test_without_a_database_a_holder_is_told_by_the_state_last_known(
    budget: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    lent(budget)
    asked = LeaseRequest(holder_id="h", estimate=CallEstimate(5))
    monkeypatch.setattr(DeciderConnection, "all_rows", _no_answer)

    absent = CusLendingService(caller_of(budget, absent=True))
    assert why(absent.lease(asked)) == ("allowed", "evidence_unavailable")
    assert why(lend(budget)) == ("allowed", "evidence_unavailable")
    with pytest.raises(DatabaseAbsent):
        absent.end(uuid.uuid4(), LeaseAmounts())
    stranger = make_integration(budget.tenant)
    assert why(lend(stranger)) == ("hard_blocked", "state_unknown")


def test_a_made_up_key_gets_no_lease_and_learns_nothing(budget: CusIntegration) -> None:
    lent(budget)
    unverified = CusLendingService(caller_of(budget, absent=True, verified=False))

    lending = unverified.lease(LeaseRequest(holder_id="h", estimate=CallEstimate(5)))

    assert (lending.lease, why(lending)) == (None, ("hard_blocked", "state_unknown"))
    with pytest.raises(DatabaseAbsent):
        unverified.end(uuid.uuid4(), LeaseAmounts())


def _no_answer(*_message: Any) -> Any:
    raise DatabaseAbsent("no answer")


def test_beyond_its_share_an_integration_gets_no_lease_and_the_database_is_not_asked(
    budget: CusIntegration, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CUS_CHECKS_PER_SECOND = 1
    lent(budget)
    # In debt for longer than the slowest machine takes for this test.
    fair_share.forget()
    with fair_share.taken(budget.id, 60):
        pass
    monkeypatch.setattr(DeciderConnection, "all_rows", lambda *_: pytest.fail("asked"))

    assert why(lend(budget)) == ("throttled", "contention")


def test_a_return_needs_no_lock(budget: CusIntegration) -> None:
    lease_id = lent(budget)
    with _superuser(str(connections["default"].settings_dict["NAME"])) as other:
        with other.transaction():
            other.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(budget.id)])
            returned = CusLendingService(caller_of(budget)).end(lease_id, LeaseAmounts())

    assert returned == [lease_id]
    assert remaining(lease_id) == 0


def test_lending_is_two_messages_to_the_database(
    budget: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    lent(budget)
    rows, sent = DeciderConnection.all_rows, list[str]()

    def listening(self: DeciderConnection, message: str) -> Any:
        sent.append(message)
        return rows(self, message)

    monkeypatch.setattr(DeciderConnection, "all_rows", listening)
    lend(budget, is_durable=True)

    first, second = sent
    order = ["pg_advisory_xact_lock", "cus_release_leases", "cus_read_lending"]
    places = [first.index(one) for one in order]
    assert places == sorted(places)
    assert second.startswith("EXECUTE cus_lend")
    assert second.endswith("; COMMIT")


def test_a_month_that_ended_leaves_its_leases_counting_in_the_next(budget: CusIntegration) -> None:
    """A call that began in one month may land in the next, and counts there."""
    lent(budget, spent=SetAside(10_000, 0, 0, 0))
    next_month = datetime.now(UTC).replace(day=28) + timedelta(days=5)

    after = lend(budget, "other", at=next_month, spent=SetAside(10_000, 0, 0, 0)).lease

    assert after
    assert after.lent.cents == 2_500
