"""What happens between reading and committing can't break the cap, nor the log of it (F5, F9)."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.rounds import Verdict
from enforcement.cus_checks.service import CusEnforcementService, _joined
from enforcement.cus_decisions.models import CusDecisionTotals, CusEnforcementDecision
from enforcement.cus_reading.connection import DeciderConnection
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.models import CusEnforcementHold
from telemetry.cus_holds.sweeping import sweep
from tests.conftest import as_if
from tests.cus_factories import SdkClient, make_integration, record

pytestmark = pytest.mark.django_db(transaction=True)

SOON = 30.0


def ask(integration: CusIntegration, *calls: tuple[str, int]) -> list[Verdict]:
    # Far enough in the future that no check is late, however slow the machine.
    caller = Caller(integration.tenant_id, integration.id, time.monotonic() + SOON)
    return CusEnforcementService(caller).check_batch(
        [CheckRequest(call_id=name, estimated_cost_cents=cents) for name, cents in calls]
    )


def answers(verdicts: list[Verdict]) -> list[tuple[str, str]]:
    return [(str(one.decision.result), one.decision.reasons[0].code) for one in verdicts]


def govern(integration: CusIntegration, **limits: Any) -> None:
    CusIntegration.objects.filter(id=integration.id).update(**limits)


def before_committing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something once, after the next check has read and before it commits."""
    rows, done = DeciderConnection.all_rows, threading.Event()

    def acting(self: DeciderConnection, message: str) -> Any:
        if message.endswith("COMMIT") and not done.is_set():
            done.set()
            act()
        return rows(self, message)

    monkeypatch.setattr(DeciderConnection, "all_rows", acting)


def test_who_asks_after_a_limit_was_lowered_is_bound_by_it_though_others_are_being_decided(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    govern(integration, budget_limit_cents=100)
    read, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        read.set()
        assert go_on.wait(SOON)

    before_committing(monkeypatch, wait)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(ask, integration, ("first", 50))
        assert read.wait(SOON)
        govern(integration, budget_limit_cents=60)
        second = threads.submit(ask, integration, ("second", 20))
        while not any(_joined._lines.values()):
            time.sleep(0.001)
        go_on.set()
        verdicts = [*first.result(SOON), *second.result(SOON)]

    assert answers(verdicts) == [
        ("allowed", "all_checks_passed"),
        ("blocked", "estimate_exceeds_room"),
    ]
    authority = verdicts[1].facts.authority
    assert authority
    assert authority.budget_limit_cents == 60


def test_a_hold_that_is_swept_while_it_is_renewed_is_decided_and_taken_anew(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    govern(integration, budget_limit_cents=10)
    ask(integration, ("runs", 6))
    before_committing(monkeypatch, lambda: assert_equal(_sweep_all(), (1, 0)))

    (verdict,) = ask(integration, ("runs", 6))

    assert answers([verdict]) == [("allowed", "all_checks_passed")]
    assert not verdict.facts.admitted_before
    assert CusEnforcementHold.objects.get().expires_at == verdict.hold_expires_at


def test_room_that_a_swept_hold_left_and_another_took_is_not_given_twice(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    govern(integration, budget_limit_cents=10)
    ask(integration, ("runs", 6))

    def sweep_and_use_up() -> None:
        _sweep_all()
        SdkClient.of(integration).report(record(call_id="other", cost_cents=6))

    before_committing(monkeypatch, sweep_and_use_up)

    assert answers(ask(integration, ("runs", 6))) == [("blocked", "estimate_exceeds_room")]
    assert not CusEnforcementHold.objects.exists()


def test_a_round_that_is_decided_again_is_logged_and_counted_once(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    govern(integration, budget_limit_cents=10)
    reporter = SdkClient.of(integration)

    def land() -> None:
        reporter.report(record(call_id="landed", tokens_in=1, tokens_out=1, cost_cents=1))

    before_committing(monkeypatch, land)

    verdicts = ask(integration, ("own", 2), ("landed", 2), ("too-much", 9))

    assert answers(verdicts) == [
        ("allowed", "all_checks_passed"),
        ("hard_blocked", "call_recorded"),
        ("blocked", "estimate_exceeds_room"),
    ]
    logged = CusEnforcementDecision.objects.values_list("call_id", flat=True)
    assert sorted(logged) == ["landed", "too-much"]
    totals = CusDecisionTotals.objects.get(integration_id=integration.id)
    assert (totals.allowed, totals.blocked, totals.hard_blocked) == (1, 1, 1)
    held = CusEnforcementHold.objects.filter(integration_id=integration.id)
    assert [(one.call_id, one.cents) for one in held] == [("own", 2)]


def test_two_integrations_that_ask_for_one_call_id_at_once_each_have_a_call(
    integration: CusIntegration,
) -> None:
    sibling = make_integration(integration.tenant)
    for one in (integration, sibling):
        govern(one, budget_limit_cents=100)
    start = threading.Barrier(2)

    def race(who: CusIntegration) -> list[str]:
        results = []
        for number in range(20):
            start.wait(SOON)
            results += [code for _, code in answers(ask(who, (f"call-{number}", 1)))]
        connections.close_all()
        return results

    with ThreadPoolExecutor(2) as threads:
        ours, theirs = threads.map(race, (integration, sibling))

    assert {*ours, *theirs} == {"all_checks_passed"}
    assert CusEnforcementHold.objects.count() == 40


def test_a_call_repeated_in_a_batch_is_held_once_at_the_most_that_had_room(
    integration: CusIntegration,
) -> None:
    govern(integration, budget_limit_cents=10)

    verdicts = ask(integration, ("a", 2), ("a", 7), ("b", 2), ("a", 9), ("c", 2))

    results = [result for result, _ in answers(verdicts)]
    assert results == ["allowed", "allowed", "allowed", "blocked", "blocked"]
    held = {hold.call_id: hold.cents for hold in CusEnforcementHold.objects.all()}
    assert held == {"a": 7, "b": 2}


@pytest.mark.parametrize(
    "name",
    ["it's", "back\\slash", "'';COMMIT;--", "{a,b}", '"q"', "NULL", "$1", "%s", "\\x27", "E'\\''"],
)
def test_no_call_id_is_more_than_a_name(
    sdk: SdkClient, integration: CusIntegration, name: str
) -> None:
    govern(integration, budget_limit_cents=4)
    first = sdk.check(name, estimated_cost_cents=2).json()
    again = sdk.check(name, estimated_cost_cents=3).json()

    assert (first["result"], again["result"]) == ("allowed", "allowed")
    hold = CusEnforcementHold.objects.get()
    assert (hold.call_id, hold.cents) == (name, 3)
    assert sdk.check(f"{name}-2", estimated_cost_cents=2).json()["result"] == "blocked"
    assert CusEnforcementDecision.objects.get().call_id == f"{name}-2"
    sdk.report(record(call_id=name, cost_cents=1))
    assert not CusEnforcementHold.objects.exists()
    assert sdk.check(name).json()["reasons"][0]["code"] == "call_recorded"


def _sweep_all() -> tuple[int, int]:
    """Sweep as if all holds had been over for a while."""
    as_if("UPDATE cus_enforcement_holds SET expires_at = now() - interval '1 hour'")
    return sweep()


def assert_equal(found: Any, wanted: Any) -> None:
    assert found == wanted
