"""What a limit of the tenant allots to integrations, and how one gets more of it (ruling F5c)."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import RequestFactory
from django.utils import timezone

from enforcement.cus_checks import service as checks
from enforcement.cus_checks.allotting import refill
from enforcement.cus_checks.lending_requests import CallEstimate, LeaseRequest, LeaseScopes
from enforcement.cus_checks.lending_service import CusLendingService
from enforcement.cus_checks.rounds import Verdict
from enforcement.cus_checks.service import CusEnforcementService
from enforcement.cus_decisions.decision_page import figures
from enforcement.cus_decisions.explain import explain
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_reading.connection import DeciderConnection
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from telemetry.cus_holds.limit_models import CusLimitAllotment
from telemetry.cus_holds.models import CusEnforcementHold
from telemetry.cus_holds.sweeping import sweep_limits
from telemetry.cus_ids import lock_key
from tests.conftest import _superuser, as_if
from tests.cus_factories import SdkClient, make_integration, record
from tests.cus_limits import change_limit, make_limit
from tests.enforcement.test_cus_leases import caller_of
from tests.enforcement.test_cus_scoped_limits import PASSED, check, check_all, request, said

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def other(integration: CusIntegration) -> CusIntegration:
    return make_integration(integration.tenant)


@contextmanager
def locked(*owners: Any) -> Iterator[None]:
    """Somebody else has the check locks of these integrations and tenants."""
    with _superuser(str(connections["default"].settings_dict["NAME"])) as holder:
        for owner in owners:
            holder.execute("SELECT pg_advisory_lock(%s)", [lock_key(owner.id)])
        try:
            yield
        finally:
            holder.execute("SELECT pg_advisory_unlock_all()")


def check_at_once(integration: CusIntegration, call_id: str, cents: int) -> Verdict:
    """A check that does not wait long for a lock."""
    caller = caller_of(integration, early=0)
    return CusEnforcementService(caller).check(request(call_id, cents))


def allotted(limit: CusScopedLimit) -> dict[Any, int]:
    rows = CusLimitAllotment.objects.filter(limit_id=limit.id)
    return {row.integration_id: row.amount for row in rows}


# --- Without waiting ----------------------------------------------------------------------------


def test_a_check_waits_for_nobody_while_its_allotment_has_room(
    integration: CusIntegration, other: CusIntegration
) -> None:
    make_limit(integration, "tenant", "")
    check(integration, "first", 10)
    with locked(other, integration.tenant):
        assert said(check_at_once(integration, "second", 10)) == PASSED


def test_a_check_that_needs_more_waits_for_the_tenants_lock_as_long_as_for_its_own(
    integration: CusIntegration,
) -> None:
    make_limit(integration, "tenant", "")
    check(integration, "first", 10)
    with locked(integration.tenant):
        found = said(check_at_once(integration, "second", 80))
    assert found[:2] == ("throttled", "contention")
    assert said(check(integration, "third", 80)) == PASSED


def test_calls_that_need_no_more_run_beside_calls_that_wait_for_the_tenants_lock_in_vain(
    integration: CusIntegration,
) -> None:
    make_limit(integration, "tenant", "")
    check(integration, "first", 10)
    with locked(integration.tenant):
        calls = [request("small", 5), request("large", 80), request("smaller", 3)]
        found = CusEnforcementService(caller_of(integration, early=0)).check_batch(calls)
    assert [said(verdict)[:2] for verdict in found] == [
        PASSED[:2],
        ("throttled", "contention"),
        PASSED[:2],
    ]
    held = set(CusEnforcementHold.objects.values_list("call_id", flat=True))
    assert held == {"first", "small", "smaller"}


def test_a_limit_that_is_used_up_refuses_without_the_tenants_lock(
    integration: CusIntegration, other: CusIntegration
) -> None:
    make_limit(integration, "tenant", "")
    check(integration, "first", 95)
    with locked(integration, integration.tenant):
        found = check_at_once(other, "second", 10)
    assert said(found)[:2] == ("blocked", "estimate_exceeds_room")
    assert "allotted" not in found.decision.reasons[0].message


def test_an_allotment_has_room_again_when_its_calls_leave_the_window(
    integration: CusIntegration,
) -> None:
    minute = make_limit(integration, "tenant", "", unit="calls", window="minute", amount=4)
    for number in range(4):
        assert said(check(integration, f"call-{number}"))[0] == "allowed"
    assert said(check(integration, "late"))[0] == "blocked"
    before = allotted(minute)
    with locked(integration.tenant):
        later = timezone.now() + timedelta(seconds=62)
        assert said(check(integration, "next", at=later))[0] == "allowed"
    assert allotted(minute) == before


# --- More of the limit ---------------------------------------------------------------------------


def test_what_an_idle_integration_has_not_spent_is_taken_back(
    integration: CusIntegration, other: CusIntegration
) -> None:
    limit = make_limit(integration, "tenant", "")
    check(integration, "first", 10)
    assert allotted(limit)[integration.id] > 50
    assert said(check(other, "second", 85)) == PASSED
    assert allotted(limit)[integration.id] == 10
    assert said(check(integration, "third", 5))[0] == "warned"
    assert said(check(integration, "fourth", 1))[:2] == ("blocked", "budget_exceeded")


def test_an_allotment_leaves_a_part_of_the_rest_to_others(
    integration: CusIntegration, other: CusIntegration
) -> None:
    limit = make_limit(integration, "tenant", "", amount=1_000)
    check(integration, "first", 200)
    check(other, "second", 100)
    assert allotted(limit) == {integration.id: 600, other.id: 175}


def test_all_calls_of_a_round_are_decided_by_one_refill(integration: CusIntegration) -> None:
    limit = make_limit(integration, "tenant", "")
    calls: list[Any] = [(f"call-{number}", 30, {}) for number in range(5)]
    verdicts = check_all(integration, *calls)
    assert [said(verdict)[0] for verdict in verdicts] == ["allowed"] * 3 + ["blocked"] * 2
    # Of the ten that are left nobody has asked for any.
    assert said(check(integration, "small", 10))[0] == "warned"
    assert allotted(limit) == {integration.id: 100}


def test_a_call_that_was_admitted_is_renewed_without_the_tenants_lock(
    integration: CusIntegration, other: CusIntegration
) -> None:
    make_limit(integration, "tenant", "")
    check(integration, "running", 60)
    check(other, "all", 40)
    with locked(integration.tenant):
        assert said(check_at_once(integration, "running", 60)) == PASSED


def test_an_integration_that_is_stopped_asks_for_nothing(integration: CusIntegration) -> None:
    limit = make_limit(integration, "tenant", "")
    CusIntegration.objects.filter(id=integration.id).update(status="disabled")
    assert said(check(integration, "first", 10))[:2] == ("hard_blocked", "integration_disabled")
    asked = LeaseRequest(holder_id="h", estimate=CallEstimate(cents=5), scopes=LeaseScopes())
    assert not CusLendingService(caller_of(integration)).lease(asked).lease
    assert allotted(limit) == {}


def test_warnings_go_by_what_is_used_not_by_what_is_allotted(
    integration: CusIntegration, other: CusIntegration
) -> None:
    make_limit(integration, "tenant", "")
    check(integration, "first", 40)
    assert said(check(other, "second", 20)) == PASSED


def test_a_call_that_others_allotments_leave_no_room_is_refused_and_told_why(
    integration: CusIntegration, other: CusIntegration
) -> None:
    make_limit(integration, "tenant", "")
    check(integration, "first", 20)
    with locked(integration):
        found = check(other, "second", 60)
    assert said(found) == ("blocked", "estimate_exceeds_room", "tenant", "")
    (fact,) = found.facts.limits
    assert (fact.used, fact.held, fact.elsewhere) == (0, 20, 40)
    message = found.decision.reasons[0].message
    assert "$0.20 held by running calls, $0.40 allotted to other integrations, and" in message
    # A smaller call fits, and the next call finds the lock free.
    with locked(integration):
        assert said(check(other, "third", 40))[0] == "allowed"
    assert said(check(other, "fourth", 40)) == PASSED


def test_the_refusal_is_decided_the_same_again_and_its_page_tells_what_others_may_take(
    integration: CusIntegration, other: CusIntegration
) -> None:
    make_limit(integration, "tenant", "")
    check(integration, "first", 20)
    with locked(integration):
        check(other, "second", 60)
    decision = CusEnforcementDecision.objects.get(integration_id=other.id)
    assert decision.facts["limits"][0]["elsewhere"] == 40
    explained = explain(decision)
    assert explained.verdict == "identical"
    assert "nothing left to other integrations: allowed" in explained.changes
    page = str(figures(RequestFactory().get("/"), decision))
    assert "Others may take" in page
    # Held, left to others, this call, and all together.
    for amount in ("$0.20", "$0.40", "$0.60", "$1.20"):
        assert amount in page


def test_calls_that_nobody_held_for_count_before_what_was_allotted(
    integration: CusIntegration, other: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "tenant", "")
    third = make_integration(integration.tenant)
    check(other, "one", 10)
    check(third, "one", 10)
    assert min(allotted(limit).values()) > 15
    sdk.report(record(call_id="unheld", cost_cents=75))
    # Both have allotments, and five cents are left.
    with locked(other):
        assert said(check(third, "two", 5))[0] == "blocked"
    assert said(check(third, "three", 5))[0] == "warned"
    assert said(check(other, "two", 5))[0] == "blocked"


def test_a_limit_that_another_stood_in_for_is_not_passed_by_old_allotments(
    integration: CusIntegration, other: CusIntegration
) -> None:
    third = make_integration(integration.tenant)
    make_limit(integration, "tenant", "", window="life")
    check(other, "one", 1)
    check(third, "one", 1)
    now = timezone.now()
    make_limit(
        integration, "tenant", "", window="life", amount=1_000, valid_until=now + timedelta(hours=1)
    )
    assert said(check(integration, "much", 93))[0] == "allowed"
    later = now + timedelta(hours=2)
    with locked(third):
        assert said(check(other, "two", 5, at=later))[0] == "blocked"
    assert said(check(other, "three", 5, at=later))[0] == "warned"
    assert said(check(third, "two", 1, at=later))[0] == "blocked"


def test_two_limits_of_the_tenant_are_filled_together(
    integration: CusIntegration, other: CusIntegration
) -> None:
    month = make_limit(integration, "tenant", "")
    minute = make_limit(
        integration, "tenant", "", unit="calls", window="minute", amount=10, result="throttled"
    )
    assert said(check(integration, "first", 10)) == PASSED
    assert said(check(other, "second", 10)) == PASSED
    assert [sum(allotted(limit).values()) for limit in (month, minute)] == [73, 7]


# --- Changes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 50},
        {"amount": 500},
        {"basis": "exact"},
        {"enabled": False},
        {"valid_from": timezone.now() - timedelta(days=1)},
        {"valid_until": timezone.now() + timedelta(days=1)},
        {"deleted_at": timezone.now()},
    ],
    ids=lambda change: "-".join(change),
)
def test_a_limit_that_changes_allots_anew(
    integration: CusIntegration, change: dict[str, Any]
) -> None:
    limit = make_limit(integration, "tenant", "")
    check(integration, "first", 10)
    change_limit(limit, reason="said again")
    assert allotted(limit)
    change_limit(limit, **change)
    assert allotted(limit) == {}


def test_a_lower_amount_binds_all_integrations_at_once(
    integration: CusIntegration, other: CusIntegration
) -> None:
    limit = make_limit(integration, "tenant", "")
    check(integration, "first", 20)
    check(other, "first", 20)
    change_limit(limit, amount=45)
    assert said(check(integration, "second", 6))[0] == "blocked"
    assert said(check(other, "second", 5))[0] == "warned"
    change_limit(limit, amount=100)
    assert said(check(integration, "third", 55)) == PASSED


def test_a_limit_that_was_disabled_knows_what_was_used_meanwhile(
    integration: CusIntegration, other: CusIntegration
) -> None:
    limit = make_limit(integration, "tenant", "")
    check(integration, "first", 10)
    change_limit(limit, enabled=False)
    assert said(check(other, "second", 85)) == PASSED
    change_limit(limit, enabled=True)
    assert said(check(integration, "third", 6))[0] == "blocked"
    assert said(check(integration, "fourth", 5))[0] == "warned"


def test_another_basis_counts_in_its_own_amount(
    integration: CusIntegration, other: CusIntegration
) -> None:
    limit = make_limit(integration, "tenant", "")
    fields: dict[str, Any] = {"estimated_cost_microcents": 30_500_000}
    check(integration, "first", 31, **fields)
    change_limit(limit, basis="exact")
    exactly: dict[str, Any] = {"estimated_cost_microcents": 69_500_001}
    assert said(check(other, "second", 70, **exactly))[0] == "blocked"
    assert said(check(other, "third", 70, estimated_cost_microcents=69_500_000))[0] == "allowed"
    (row,) = CusLimitAllotment.objects.filter(integration_id=other.id)
    assert row.binds == "microcents"


def test_a_process_that_dies_while_it_refills_loses_nothing(
    integration: CusIntegration, other: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = make_limit(integration, "tenant", "")
    check(integration, "first", 20)
    before = allotted(limit)
    deaths: list[Any] = []

    def refill_and_die(connection: DeciderConnection, *arguments: Any) -> bool:
        refilled = refill(connection, *arguments)
        if not deaths:
            with _superuser(str(connections["default"].settings_dict["NAME"])) as superuser:
                pid = connection.info.backend_pid
                superuser.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
            deaths.append(allotted(limit))
        return refilled

    monkeypatch.setattr(checks, "refill", refill_and_die)
    # The check asks again, on another connection.
    assert said(check(other, "second", 75)) == PASSED
    assert deaths == [before]
    assert allotted(limit) == {integration.id: 20, other.id: 76}


# --- Leases -------------------------------------------------------------------------------------


def test_a_lease_is_not_small_because_the_allotment_is(
    integration: CusIntegration, other: CusIntegration
) -> None:
    limit = make_limit(integration, "tenant", "", amount=1_000)
    check(integration, "first", 10)
    check(other, "first", 1)
    change_limit(limit, reason="the same")
    asked = LeaseRequest(
        holder_id="holder",
        estimate=CallEstimate(cents=100),
        is_durable=True,
        scopes=LeaseScopes(),
    )
    lease = CusLendingService(caller_of(other)).lease(asked).lease
    assert lease
    # Four calls, of the room for eight that a lease takes half of.
    assert lease.lent.cents == 400
    assert allotted(limit)[integration.id] == 10
    assert sum(allotted(limit).values()) <= 1_000


def test_a_lease_within_the_allotment_needs_only_the_integrations_lock(
    integration: CusIntegration, other: CusIntegration
) -> None:
    make_limit(integration, "tenant", "", amount=1_000)
    check(integration, "first", 10)
    asked = LeaseRequest(
        holder_id="holder", estimate=CallEstimate(cents=5), is_durable=True, scopes=LeaseScopes()
    )
    with locked(other, integration.tenant):
        caller = caller_of(integration, early=0)
        assert CusLendingService(caller).lease(asked).lease


# --- The end ------------------------------------------------------------------------------------


def test_allotments_of_what_is_over_are_swept(
    integration: CusIntegration, other: CusIntegration
) -> None:
    living = make_limit(integration, "tenant", "")
    over = make_limit(integration, "tenant", "", window="day")
    for one in (integration, other):
        check(one, "first", 10)
    sweep_limits()
    assert set(allotted(living)) == set(allotted(over)) == {integration.id, other.id}
    as_if(
        f"UPDATE cus_scoped_limits SET deleted_at = now() - interval '2 days' WHERE id = '{over.id}'",
        f"UPDATE cus_integrations SET deleted_at = now() - interval '2 days' WHERE id = '{other.id}'",
    )
    sweep_limits()
    assert set(allotted(living)) == {integration.id}
    assert allotted(over) == {}
