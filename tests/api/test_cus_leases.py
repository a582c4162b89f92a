"""Leases over HTTP: what a program gets, keeps and returns (rulings F5a and F5c)."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from enforcement.cus_decisions.models import CusDecisionTotals, CusEnforcementDecision
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.models import CusEnforcementHold, CusEnforcementLease
from telemetry.cus_holds.sweeping import sweep
from tests.conftest import as_if
from tests.cus_factories import (
    ENFORCEMENT,
    SdkClient,
    make_integration,
    record,
    set_aside,
)

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = f"{ENFORCEMENT}/lease"
NOTHING = {"cents": 0, "microcents": 0, "tokens": 0, "calls": 0}


def govern(integration: CusIntegration, **columns: Any) -> None:
    CusIntegration.objects.filter(id=integration.id).update(**columns)


def only_lease() -> CusEnforcementLease:
    return CusEnforcementLease.objects.get()


def left(lease: CusEnforcementLease) -> tuple[int, int, int, int]:
    lease.refresh_from_db()
    return lease.cents, lease.microcents, lease.tokens, lease.calls


@pytest.fixture
def budget(integration: CusIntegration) -> CusIntegration:
    """With a budget of $10."""
    govern(integration, budget_limit_cents=1_000)
    return integration


def test_a_holder_gets_four_calls_first_and_is_told_until_when_and_of_which_limit(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    answer = sdk.lease(cents=5, microcents=4_200_000, tokens=300).json()

    assert {name: answer[name] for name in ("cents", "microcents", "tokens", "calls")} == {
        "cents": 20, "microcents": 16_800_000, "tokens": 1_200, "calls": 4,
    }  # fmt: skip
    assert answer["slices"] == [{"limit_id": "budget_limit_cents", "unit": "cents", "amount": 20}]
    assert (answer["valid_for_ms"], answer["returned"]) == (5_000, [])
    assert answer["config_version"] == answer["decision"]["config_version"] == 2
    assert answer["decision"]["result"] == "allowed"
    lease = only_lease()
    assert (str(lease.id), lease.holder_id, lease.slices) == (
        answer["lease_id"],
        "holder",
        answer["slices"],
    )
    assert lease.expires_at - lease.taken_at == timedelta(minutes=15, seconds=5)
    assert left(lease) == (20, 16_800_000, 1_200, 4)


def test_a_lease_counts_for_checks_like_a_hold(sdk: SdkClient, budget: CusIntegration) -> None:
    sdk.lease(cents=100, is_durable=True)

    assert sdk.check(estimated_cost_cents=601).json()["result"] == "blocked"
    assert sdk.check(estimated_cost_cents=600).json()["result"] == "allowed"
    status = sdk.client.get(f"{ENFORCEMENT}/status").json()
    assert (status["held"]["cents"], status["leased"]["cents"]) == (600, 400)


def test_each_limit_that_is_set_gives_a_slice_in_the_unit_in_which_it_binds(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    govern(budget, budget_basis="exact", token_limit_month=10_000, rate_limit_rpm=60)

    answer = sdk.lease(cents=1, microcents=500_000, tokens=50).json()

    assert answer["slices"] == [
        {"limit_id": "budget_limit_cents", "unit": "microcents", "amount": 2_000_000},
        {"limit_id": "token_limit_month", "unit": "tokens", "amount": 200},
        {"limit_id": "rate_limit_rpm", "unit": "calls", "amount": 4},
    ]


def test_a_holder_that_spends_gets_twice_what_it_spent(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    answer = sdk.lease(spent=set_aside(cents=40, tokens=900, calls=30)).json()

    assert (answer["cents"], answer["tokens"], answer["calls"]) == (80, 1_800, 60)


def test_many_holders_share_half_of_the_room(sdk: SdkClient, budget: CusIntegration) -> None:
    spent = set_aside(cents=10_000, calls=10_000)
    lent = [sdk.lease(holder_id=f"h{number}", spent=spent).json()["cents"] for number in range(4)]

    assert lent[0] == 500  # half
    assert lent[1] == 125  # a quarter of the other half
    assert sum(lent) < 1_000
    assert lent == sorted(lent, reverse=True)
    # The same holder asks again: it is no fifth.
    assert sdk.lease(holder_id="h0", spent=spent).json()["cents"] == (1_000 - sum(lent)) // 8


@pytest.mark.parametrize(
    "columns",
    [
        {"budget_limit_cents": 0},
        {"enforcement_level": "warn"},
        {"enforcement_level": "visibility"},
        {"budget_limit_cents": 7},
        {"rate_limit_rpm": 7},
        {"token_limit_month": 7},
    ],
    ids=str,
)
def test_no_lease_where_no_limit_refuses_or_one_has_no_room_for_eight_calls(
    sdk: SdkClient, budget: CusIntegration, columns: dict[str, Any]
) -> None:
    govern(budget, **columns)

    answer = sdk.lease(is_durable=True).json()

    assert answer["lease_id"] is None
    assert (answer["slices"], answer["valid_for_ms"], answer["cents"]) == ([], 0, 0)
    assert answer["decision"]["result"] == "allowed"
    assert not CusEnforcementLease.objects.exists()


@pytest.mark.parametrize(
    ("columns", "result", "code"),
    [
        ({"status": "disabled"}, "hard_blocked", "integration_disabled"),
        ({"credential_state": "invalid"}, "hard_blocked", "credentials_invalid"),
        ({"budget_limit_cents": 1}, "blocked", "estimate_exceeds_room"),
    ],
)
def test_a_holder_that_gets_none_is_told_why(
    sdk: SdkClient, budget: CusIntegration, columns: dict[str, Any], result: str, code: str
) -> None:
    govern(budget, **columns)

    answer = sdk.lease(cents=2).json()

    assert answer["lease_id"] is None
    assert answer["decision"]["result"] == result
    assert answer["decision"]["reasons"][0]["code"] == code


def test_the_verdict_of_a_lease_is_of_no_call_and_is_neither_logged_nor_counted(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    govern(budget, status="disabled")
    sdk.lease()

    assert not CusEnforcementDecision.objects.exists()
    assert not CusDecisionTotals.objects.exists()


def test_a_young_holder_without_a_disk_gets_from_a_tenth_of_the_room(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    starts = [sdk.lease(holder_id=f"start-{number}", cents=5).json() for number in range(8)]

    assert [start["cents"] for start in starts] == [20] * 5 + [0] * 3
    assert sdk.lease(holder_id="durable", is_durable=True, cents=5).json()["cents"] == 20
    assert sdk.lease(holder_id="start-0", spent=NOTHING, cents=5).json()["cents"] == 20


def test_the_leases_of_young_holders_that_return_make_room_for_other_young_ones(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    first = sdk.lease(cents=25).json()
    assert sdk.lease(holder_id="second", cents=25).json()["lease_id"] is None

    sdk.end_lease(first["lease_id"], NOTHING)

    assert sdk.lease(holder_id="second", cents=25).json()["cents"] == 100


def test_what_was_never_set_aside_returns_at_once_and_the_rest_as_its_calls_land(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    lease_id = sdk.lease(cents=5, microcents=5_000_000, tokens=100).json()["lease_id"]
    aside = {"cents": 5, "microcents": 5_000_000, "tokens": 100}
    sdk.report(record(lease_id=lease_id, reserved=aside))

    # Two calls began; one has landed.
    told = set_aside(cents=10, microcents=10_000_000, tokens=200, calls=2)
    assert sdk.end_lease(lease_id, told).json() == {"returned": [lease_id]}

    assert left(only_lease()) == (5, 5_000_000, 100, 1)
    sweep()
    sdk.report(record(lease_id=lease_id, reserved=aside))
    assert left(only_lease()) == (0, 0, 0, 0)
    assert sweep() == (0, 1)


def test_a_lease_returns_once(sdk: SdkClient, budget: CusIntegration) -> None:
    lease_id = sdk.lease(cents=5).json()["lease_id"]
    sdk.end_lease(lease_id, set_aside(cents=10, calls=2))

    again = sdk.end_lease(lease_id, NOTHING)

    assert again.json() == {"returned": [lease_id]}
    assert left(only_lease())[0] == 10
    assert only_lease().set_aside_cents == 10


def test_more_that_was_set_aside_than_lent_returns_nothing(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    lease_id = sdk.lease(cents=5).json()["lease_id"]
    sdk.end_lease(lease_id, set_aside(cents=10**9, microcents=10**15, tokens=10**9, calls=10**9))

    assert left(only_lease()) == (20, 4, 4, 4)


def test_a_renewal_returns_the_lease_before_in_the_same_request(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    first = sdk.lease(cents=5).json()["lease_id"]
    over = {"lease_id": first, "set_aside": set_aside(cents=15, calls=3)}

    answer = sdk.lease(returns=[over], spent=set_aside(cents=15, calls=3), cents=5).json()

    assert answer["returned"] == [first]
    assert answer["cents"] == 30
    status = sdk.client.get(f"{ENFORCEMENT}/status").json()
    assert status["leased"]["cents"] == 45


def test_what_nobody_knows_need_not_be_named_again(sdk: SdkClient, budget: CusIntegration) -> None:
    unknown = str(uuid.uuid4())
    over = {"lease_id": unknown, "set_aside": NOTHING}

    assert sdk.lease(returns=[over]).json()["returned"] == [unknown]
    assert sdk.end_lease(unknown, NOTHING).json() == {"returned": [unknown]}


def test_a_siblings_or_a_strangers_lease_is_as_one_that_nobody_knows(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    lease_id = sdk.lease(cents=5).json()["lease_id"]
    expires = only_lease().expires_at
    as_if("UPDATE cus_enforcement_leases SET expires_at = now() + interval '1 minute'")
    sibling, stranger = make_integration(budget.tenant), make_integration()
    for other in (sibling, stranger):
        govern(other, budget_limit_cents=1_000)
        program = SdkClient.of(other)
        over = {"lease_id": lease_id, "set_aside": NOTHING}
        assert program.end_lease(lease_id, NOTHING).json() == {"returned": [lease_id]}
        assert program.lease(returns=[over], keep=[lease_id]).json()["returned"] == [lease_id]

    lease = CusEnforcementLease.objects.get(id=lease_id)
    assert left(lease)[0] == 20
    assert lease.set_aside_cents is None
    assert lease.expires_at < expires


def test_running_calls_keep_their_holds_and_their_leases(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    sdk.check("runs")
    kept = sdk.lease().json()["lease_id"]
    sdk.end_lease(kept, set_aside(cents=1, microcents=1, tokens=1, calls=1))
    soon = "expires_at = now() + interval '1 minute'"
    as_if(f"UPDATE cus_enforcement_leases SET {soon}", f"UPDATE cus_enforcement_holds SET {soon}")

    sdk.lease(running=["runs", "ended"], keep=[kept, str(uuid.uuid4())])

    later = datetime.now(UTC) + timedelta(minutes=14)
    assert CusEnforcementHold.objects.get().expires_at > later
    lease = CusEnforcementLease.objects.get(id=kept)
    assert lease.expires_at > later
    assert left(lease)[0] == 1


def test_a_dead_holders_room_returns_when_its_calls_can_run_no_more(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    sdk.lease(cents=100, is_durable=True)
    assert sdk.check(estimated_cost_cents=1_000).json()["result"] == "blocked"

    as_if("UPDATE cus_enforcement_leases SET expires_at = now()")
    assert sweep() == (0, 1)

    assert sdk.check(estimated_cost_cents=1_000).json()["result"] == "allowed"


def test_a_change_of_the_console_reaches_the_next_lease(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    """A lease is valid for five seconds from before it was asked for, so no holder knows later."""
    assert sdk.lease().json()["lease_id"]

    govern(budget, budget_limit_cents=10)
    assert sdk.lease(holder_id="other").json()["slices"] == []
    govern(budget, budget_limit_cents=1_000, status="disabled")
    assert sdk.lease(holder_id="other").json()["decision"]["result"] == "hard_blocked"


def test_leased_calls_count_for_the_rate_from_when_they_were_lent(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, rate_limit_rpm=10)
    lease_id = sdk.lease(is_durable=True).json()["lease_id"]
    assert [sdk.check().json()["result"] for _ in range(7)] == ["allowed"] * 6 + ["throttled"]

    sdk.end_lease(lease_id, NOTHING)
    assert sdk.check().json()["result"] == "allowed"


def test_an_integration_has_no_more_leases_than_it_may_have_holds(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    govern(budget, max_live_holds=2)
    given = [sdk.lease(holder_id=f"h{number}", is_durable=True).json() for number in range(3)]

    assert [bool(one["lease_id"]) for one in given] == [True, True, False]


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"holder_id": ""}, "holder_id"),
        ({"holder_id": "a\x00b"}, "holder_id"),
        ({"holder_id": "a" * 101}, "holder_id"),
        ({"estimate": None}, "estimate"),
        ({"estimate": {"cents": -1}}, "estimate.cents"),
        ({"estimate": {"cents": 2**63}}, "estimate.cents"),
        ({"running": ["a b"]}, "running[0]"),
        ({"running": ["c"] * 1_001}, "running"),
        ({"keep": ["x"]}, "keep[0]"),
        ({"returns": [{"lease_id": str(uuid.UUID(int=0))}]}, "returns[0].set_aside"),
        ({"is_durable": 1}, "is_durable"),
        ({"spent": {"cents": 1}}, "spent.microcents"),
    ],
    ids=str,
)
def test_a_request_that_is_none_is_refused_by_its_field(
    sdk: SdkClient, integration: CusIntegration, body: dict[str, Any], attr: str
) -> None:
    asked = {"holder_id": "h", "estimate": {}} | body
    response = sdk.client.post(LEASE, asked, content_type="application/json")

    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == attr


def test_unknown_fields_are_ignored_and_scopes_may_be_a_list(
    sdk: SdkClient, budget: CusIntegration
) -> None:
    asked = {"holder_id": "h", "estimate": {}, "scopes": [{"agent_id": "a"}], "new": 1}
    response = sdk.client.post(LEASE, asked, content_type="application/json")

    assert response.json()["calls"] == 4


def test_an_end_without_what_was_set_aside_is_refused(sdk: SdkClient, db: None) -> None:
    for body in ("", "{}", '{"set_aside": {"cents": 0}}'):
        response = sdk.client.delete(
            f"{LEASE}/{uuid.uuid4()}", body, content_type="application/json"
        )
        assert response.status_code == 400


def test_nobody_without_a_key_gets_a_lease(client: Client, db: None) -> None:
    asked = {"holder_id": "h", "estimate": {}}
    assert client.post(LEASE, asked, content_type="application/json").status_code == 401
