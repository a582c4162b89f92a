"""Checks over HTTP: what is answered, held, logged and counted (http-api "Enforcement")."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from aos_sdk.cus_cost import CusTokenUsage, get_model_pricing
from enforcement.cus_decisions.models import CusDecisionTotals, CusEnforcementDecision
from enforcement.cus_decisions.sdk_decisions import take_in
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.verifier import forget_sdk_keys, issue_sdk_key, revoke_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_prices.models import CusPriceOverride
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_holds.models import CusEnforcementHold, CusEnforcementLease
from telemetry.cus_holds.sweeping import sweep
from tests.conftest import as_if
from tests.cus_factories import (
    ENFORCEMENT,
    SdkClient,
    correct,
    make_integration,
    make_tenant,
    make_user,
    record,
)

pytestmark = pytest.mark.django_db(transaction=True)


# A limit that nothing here reaches: without any nothing is held (ruling F5b).
FAR_AWAY = {"token_limit_month": 10**15}


def govern(integration: CusIntegration, **limits: Any) -> None:
    CusIntegration.objects.filter(id=integration.id).update(**limits)


def codes(response: Any) -> list[str]:
    return [reason["code"] for reason in response.json()["reasons"]]


def test_an_allowed_call_is_held_for_and_counted_and_not_logged(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, **FAR_AWAY)
    answer = sdk.check("call", estimated_cost_cents=7, estimated_tokens=900).json()

    assert {name: answer[name] for name in ("result", "call_id", "degraded", "config_version")} == {
        "result": "allowed", "call_id": "call", "degraded": False, "config_version": 2,
    }  # fmt: skip
    assert answer["integration_id"] == str(integration.id)
    assert answer["tenant_id"] == str(integration.tenant_id)
    hold = CusEnforcementHold.objects.get()
    assert (hold.cents, hold.microcents, hold.tokens) == (7, 7_000_000, 900)
    assert hold.expires_at - hold.taken_at == timedelta(minutes=15)
    assert datetime.fromisoformat(answer["hold_expires_at"]) == hold.expires_at
    assert CusEnforcementDecision.objects.count() == 0
    assert CusDecisionTotals.objects.get().allowed == 1


def test_the_cap_holds_to_the_cent(sdk: SdkClient, integration: CusIntegration) -> None:
    govern(integration, budget_limit_cents=10)

    results = [sdk.check().json()["result"] for _ in range(12)]

    assert results == ["allowed"] * 8 + ["warned"] * 2 + ["blocked"] * 2
    totals = CusDecisionTotals.objects.get()
    assert (totals.allowed, totals.warned, totals.blocked) == (8, 2, 2)
    logged = CusEnforcementDecision.objects.order_by("created_at")
    assert [one.result for one in logged] == results[8:]
    assert {one.decided_by for one in logged} == {"server"}


def test_a_refused_call_holds_nothing_and_says_what_to_do(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, token_limit_month=100)

    answer = sdk.check(estimated_tokens=101).json()

    (reason,) = answer["reasons"]
    assert (answer["result"], reason["code"]) == ("blocked", "estimate_exceeds_room")
    assert (reason["limit_type"], reason["limit_value"], reason["current_value"]) == (
        "tokens",
        100,
        0,
    )
    assert reason["action"].startswith(
        "Set max_tokens, or ask for less; else increase limit or wait until 1 "
    )
    assert answer["retry_after_seconds"] > 0
    assert answer["hold_expires_at"] is None
    assert not CusEnforcementHold.objects.exists()


def test_used_held_and_leased_count_together(sdk: SdkClient, integration: CusIntegration) -> None:
    govern(integration, budget_limit_cents=100)
    sdk.report(record(cost_cents=30))
    sdk.check(estimated_cost_cents=20)
    CusEnforcementLease.objects.create(
        tenant_id=integration.tenant_id, id=integration.id, integration_id=integration.id,
        holder_id="process", cents=40, microcents=40_000_000, tokens=5, calls=3,
        expires_at=datetime.now(UTC) + timedelta(minutes=15),
    )  # fmt: skip

    assert sdk.check(estimated_cost_cents=11).json()["result"] == "blocked"
    assert sdk.check(estimated_cost_cents=10).json()["result"] == "warned"
    as_if("UPDATE cus_enforcement_leases SET expires_at = now()")
    sweep()
    assert sdk.check(estimated_cost_cents=40).json()["result"] == "allowed"


def test_the_exact_basis_counts_microcents_and_corrections(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, budget_limit_cents=2, budget_basis="exact")
    sdk.report(record(cost_cents=500, tokens_in=1000, tokens_out=500))  # exactly 0.75 cents

    assert (
        sdk.check(estimated_cost_cents=None, estimated_cost_microcents=1_250_001).json()["result"]
        == "blocked"
    )
    correct(CusLLMUsage.objects.get(), by_microcents=-1)
    asked = {"estimated_cost_cents": None, "estimated_cost_microcents": 1_250_001}
    assert sdk.check("c", **asked).json()["result"] == "allowed"
    hold = CusEnforcementHold.objects.get()
    assert (hold.cents, hold.microcents) == (2, 1_250_001)


def test_checking_again_renews_the_same_hold_and_keeps_the_larger_estimate(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, budget_limit_cents=10, rate_limit_rpm=1)
    sdk.check("call", estimated_cost_cents=9)
    as_if("UPDATE cus_enforcement_holds SET expires_at = now() + interval '1 minute'")
    before = CusEnforcementHold.objects.get()

    assert sdk.check("call", estimated_cost_cents=5).json()["result"] == "allowed"
    assert sdk.check("call", estimated_cost_cents=10).json()["result"] == "allowed"
    assert sdk.check("call", estimated_cost_cents=11).json()["result"] == "blocked"

    hold = CusEnforcementHold.objects.get()
    assert (hold.cents, hold.taken_at) == (10, before.taken_at)
    assert hold.expires_at > before.expires_at + timedelta(minutes=13)


def test_a_running_calls_hold_is_renewed_even_when_it_would_not_be_let_in_now(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, **FAR_AWAY)
    sdk.check("call")
    as_if("UPDATE cus_enforcement_holds SET expires_at = now() + interval '30 seconds'")
    soon = CusEnforcementHold.objects.get().expires_at
    govern(integration, status="disabled")

    assert sdk.check("call").json()["result"] == "hard_blocked"

    assert CusEnforcementHold.objects.get().expires_at > soon


def test_a_hold_whose_life_is_over_counts_until_it_is_swept_and_begins_anew(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, budget_limit_cents=10)
    sdk.check("call", estimated_cost_cents=10)
    as_if(
        "UPDATE cus_enforcement_holds SET taken_at = taken_at - interval '16 minutes',"
        " expires_at = expires_at - interval '16 minutes'"
    )
    past = datetime.now(UTC)

    assert sdk.check("other", estimated_cost_cents=4).json()["result"] == "blocked"
    assert sweep() == (1, 0)
    assert sdk.check("other", estimated_cost_cents=4).json()["result"] == "allowed"
    assert sdk.check("call", estimated_cost_cents=6).json()["result"] == "allowed"

    hold = CusEnforcementHold.objects.get(call_id="call")
    assert (hold.cents, hold.taken_at > past) == (6, True)


def test_a_recorded_call_id_is_refused_at_every_level(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, enforcement_level="visibility")
    sdk.report(record(call_id="used"))

    response = sdk.check("used")

    assert (response.json()["result"], codes(response)) == ("hard_blocked", ["call_recorded"])
    assert not CusEnforcementHold.objects.exists()


def test_a_sibling_integration_holds_and_settles_its_own_call_of_that_id(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    siblings = make_integration(integration.tenant)
    sibling = SdkClient.of(siblings)
    for one in (integration, siblings):
        govern(one, budget_limit_cents=100)
    sdk.check("guessed", estimated_cost_cents=90)

    assert sibling.check("guessed", estimated_cost_cents=5).json()["result"] == "allowed"
    assert sibling.report(record(call_id="guessed", cost_cents=0)).status_code == 201

    hold = CusEnforcementHold.objects.get()
    assert (hold.integration_id, hold.cents) == (integration.id, 90)
    assert sdk.check(estimated_cost_cents=11).json()["result"] == "blocked"
    assert sdk.report(record(call_id="guessed", cost_cents=90)).status_code == 201
    assert sdk.check(estimated_cost_cents=11).json()["result"] == "blocked"
    assert not CusEnforcementHold.objects.exists()


def test_an_integration_without_a_limit_holds_nothing(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    answer = sdk.check("call").json()

    assert (answer["result"], answer["hold_expires_at"]) == ("allowed", None)
    assert not CusEnforcementHold.objects.exists()


def test_as_many_calls_are_held_for_as_the_operator_allows(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, budget_limit_cents=1_000, max_live_holds=3)
    for name in "abc":
        assert sdk.check(name).json()["result"] == "allowed"

    response = sdk.check("d")

    (reason,) = response.json()["reasons"]
    assert (response.json()["result"], reason["code"]) == ("throttled", "contention")
    assert "at most 3 " in reason["message"]
    assert (reason["limit_type"], reason["limit_value"], reason["current_value"]) == ("holds", 3, 3)
    assert response["Retry-After"] == "1"
    assert sdk.check("a").json()["result"] == "allowed"  # renews its own
    sdk.report(record(call_id="b"))
    assert sdk.check("d").json()["result"] == "allowed"
    assert CusEnforcementHold.objects.count() == 3


def test_a_level_that_does_not_throttle_lets_in_beyond_the_bound_and_holds_no_more(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, budget_limit_cents=10, max_live_holds=2, enforcement_level="visibility")

    results = [sdk.check().json()["result"] for _ in range(4)]

    assert results == ["allowed"] * 4
    assert CusEnforcementHold.objects.count() == 2


def test_in_a_batch_too_no_more_calls_are_held_for_than_may_be(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, budget_limit_cents=1_000, max_live_holds=2)

    answer = _batch(sdk, *(_ask(name) for name in "abcd")).json()

    assert [one["result"] for one in answer["decisions"]] == ["allowed"] * 2 + ["throttled"] * 2
    assert CusEnforcementHold.objects.count() == 2


def test_without_reserving_nothing_is_held(sdk: SdkClient) -> None:
    answer = sdk.check(reserve=False).json()

    assert (answer["result"], answer["hold_expires_at"]) == ("allowed", None)
    assert not CusEnforcementHold.objects.exists()


# --- Rate (ruling F4) ---------------------------------------------------------------------------


def test_rate_counts_running_and_landed_calls_of_the_last_minute_once(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, rate_limit_rpm=3)
    sdk.check("one")
    sdk.report(record(call_id="one"))
    sdk.check("two")
    sdk.report(record())  # never asked: counts by when it came

    response = sdk.check()

    assert codes(response) == ["rate_limit_exceeded"]
    assert response["Retry-After"] == "60" == str(response.json()["retry_after_seconds"])


def test_rate_does_not_count_refusals_replayed_spools_or_what_was_let_in_earlier(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, rate_limit_rpm=1)
    long_ago = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    sdk.report_batch(
        record(policy_result="blocked", error_code="cus_throttled", tokens_in=0, tokens_out=0),
        record(timestamp=long_ago),
    )
    sdk.check("runs long")
    as_if("UPDATE cus_enforcement_holds SET taken_at = now() - interval '61 seconds'")
    sdk.report(record(call_id="runs long"))

    assert sdk.check().json()["result"] == "allowed"
    assert sdk.check().json()["result"] == "throttled"
    assert sdk.check().json()["reasons"][0]["current_value"] == 1


# --- Estimates (ruling F3) ----------------------------------------------------------------------


def test_a_missing_estimate_is_the_most_that_the_model_can_do(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, default_model="gpt-4o-mini", **FAR_AWAY)
    sdk.check("named", estimated_tokens=None, estimated_cost_cents=None)
    sdk.check("unnamed", model=None, estimated_tokens=None, estimated_cost_cents=None)

    for call_id, model in (("named", "gpt-4o"), ("unnamed", "gpt-4o-mini")):
        pricing = get_model_pricing(model)
        assert pricing
        assert pricing.context_window
        assert pricing.max_output
        hold = CusEnforcementHold.objects.get(call_id=call_id)
        assert hold.tokens == pricing.context_window + pricing.max_output
        most = CusTokenUsage(pricing.context_window, pricing.max_output)
        assert hold.microcents == pricing.cost_microcents(most)
        assert hold.cents == -(-hold.microcents // 1_000_000)


@pytest.mark.parametrize(
    ("cents", "microcents", "held"),
    [(0, None, (1, 1_000_000)), (None, 0, (1, 1)), (0, 0, (1, 1)), (2, 0, (2, 1)), (0, 9, (1, 9))],
)
def test_an_estimate_of_nothing_counts_as_the_least_that_a_call_can_cost(
    sdk: SdkClient,
    integration: CusIntegration,
    cents: int | None,
    microcents: int | None,
    held: tuple[int, int],
) -> None:
    govern(integration, **FAR_AWAY)
    sdk.check(estimated_tokens=0, estimated_cost_cents=cents, estimated_cost_microcents=microcents)

    hold = CusEnforcementHold.objects.get()
    assert (hold.cents, hold.microcents, hold.tokens) == (*held, 1)


def test_estimates_of_nothing_use_the_room_up(sdk: SdkClient, integration: CusIntegration) -> None:
    govern(integration, budget_limit_cents=3)

    results = [sdk.check(estimated_cost_cents=0).json()["result"] for _ in range(4)]

    assert results == ["allowed", "allowed", "allowed", "blocked"]


def test_tokens_without_a_cost_are_priced_at_the_dearest_rate(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, **FAR_AWAY)
    sdk.check(estimated_tokens=1_000, estimated_cost_cents=None)

    hold = CusEnforcementHold.objects.get()
    assert (hold.microcents, hold.cents) == (1_000_000, 1)  # $10 a million, gpt-4o's output


def test_a_tenants_own_price_decides_from_its_moment_on(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, **FAR_AWAY)
    now = datetime.now(UTC)
    for dollars, start in (("20", now - timedelta(days=1)), ("90", now + timedelta(days=1))):
        CusPriceOverride.objects.create(
            tenant=integration.tenant, model="gpt-4o", valid_from=start,
            prices={"input": "1", "output": dollars},
        )  # fmt: skip

    sdk.check(estimated_tokens=1_000, estimated_cost_cents=None)

    assert CusEnforcementHold.objects.get().microcents == 2_000_000


@pytest.mark.parametrize("asked", [{}, {"model": None}])
def test_an_unpriced_model_is_stopped_by_a_budget_unless_it_is_allowed(
    sdk: SdkClient, integration: CusIntegration, asked: dict[str, None]
) -> None:
    unknown = {"model": "nobody-knows", "estimated_cost_cents": None} | asked
    assert sdk.check(**unknown).json()["result"] == "allowed"
    govern(integration, budget_limit_cents=100)
    assert codes(sdk.check(**unknown)) == ["model_unpriced"]
    govern(integration, enforcement_level="warn")
    assert sdk.check(**unknown).json()["result"] == "warned"
    govern(integration, enforcement_level="block", allow_unpriced=True)
    assert sdk.check(**unknown).json()["result"] == "allowed"


# --- Authority ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": "created"}, "integration_not_enabled"),
        ({"status": "disabled"}, "integration_disabled"),
        ({"status": "error"}, "integration_error"),
        ({"credential_state": "invalid"}, "credentials_invalid"),
        ({"deleted_at": datetime(2026, 1, 1, tzinfo=UTC)}, "integration_not_found"),
    ],
)
def test_a_change_of_authority_acts_on_the_next_check(
    sdk: SdkClient, integration: CusIntegration, change: dict[str, Any], code: str
) -> None:
    assert sdk.check().json()["result"] == "allowed"
    govern(integration, enforcement_level="visibility", **change)

    response = sdk.check()

    assert (response.json()["result"], codes(response)) == ("hard_blocked", [code])
    assert response.json()["retry_after_seconds"] is None


def test_a_limit_that_is_raised_acts_on_the_next_check(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, budget_limit_cents=1)
    assert sdk.check(estimated_cost_cents=2).json()["result"] == "blocked"
    govern(integration, budget_limit_cents=3)
    assert sdk.check(estimated_cost_cents=2).json()["result"] == "allowed"


def test_only_a_living_sdk_key_is_answered(client: Client, integration: CusIntegration) -> None:
    key, text = issue_sdk_key(integration)
    sdk = SdkClient(text)
    assert sdk.check().status_code == 200
    other = make_integration()
    swapped = text.replace(str(integration.id), str(other.id))
    assert SdkClient(swapped).check().status_code == 401
    for wrong in ("x", text[:-1], f"{text}x", f"{'a' * 36}:{'b' * 36}:{text.split(':')[2]}"):
        assert SdkClient(wrong).check().status_code == 401
    assert (
        client.post(f"{ENFORCEMENT}/check", {}, content_type="application/json").status_code == 401
    )
    revoke_sdk_key(CusSdkKey.objects.get(id=key.id))
    forget_sdk_keys()
    assert sdk.check().status_code == 401


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        (b"{}", "call_id"),
        (b'{"call_id": "a b"}', "call_id"),
        (b'{"call_id": ""}', "call_id"),
        (b'{"call_id": 5}', "call_id"),
        (b'{"call_id": "a", "estimated_tokens": "5"}', "estimated_tokens"),
        (b'{"call_id": "a", "estimated_tokens": 1.5}', "estimated_tokens"),
        (b'{"call_id": "a", "estimated_tokens": true}', "estimated_tokens"),
        (b'{"call_id": "a", "estimated_cost_cents": -1}', "estimated_cost_cents"),
        (b'{"call_id": "a", "estimated_cost_microcents": 9223372036854775808}', "estimated_cost_microcents"),
        (b'{"call_id": "a", "reserve": 1}', "reserve"),
        (b'{"call_id": "a", "model": "x\\u0000"}', "model"),
        (b"[]", "body"),
        (b"", "body"),
        (b"{", "body"),
        (b"\xff", "body"),
        (b'{"call_id": "a", "x": ' + b"[" * 100_000 + b"}", "body"),
    ],
)  # fmt: skip
def test_what_is_no_check_is_refused_by_field(sdk: SdkClient, body: bytes, attr: str) -> None:
    response = sdk.client.post(f"{ENFORCEMENT}/check", body, content_type="application/json")

    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == attr


def test_the_largest_estimates_overflow_nothing(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, budget_limit_cents=5, token_limit_month=5, enforcement_level="visibility")
    most = 2**63 - 1
    for name in "abc":
        sdk.check(name, estimated_tokens=most, estimated_cost_cents=most)
    govern(integration, enforcement_level="block")

    assert codes(sdk.check()) == ["budget_exceeded", "token_limit_exceeded"]


# --- Batch --------------------------------------------------------------------------------------


def _batch(sdk: SdkClient, *requests: Any) -> Any:
    return sdk.client.post(
        f"{ENFORCEMENT}/batch", {"requests": requests}, content_type="application/json"
    )


def _ask(call_id: str, cents: int = 1) -> dict[str, Any]:
    return {"call_id": call_id, "estimated_cost_cents": cents, "estimated_tokens": 1}


def test_in_a_batch_each_call_sees_those_before_it(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, budget_limit_cents=12, rate_limit_rpm=4)
    sdk.check("held", estimated_cost_cents=2)

    response = _batch(
        sdk, _ask("z", 5), _ask("held", 2), _ask("a", 6), _ask("z", 5), _ask("b", 3), _ask("c", 0)
    )

    decisions = response.json()["decisions"]
    assert [one["call_id"] for one in decisions] == ["z", "held", "a", "z", "b", "c"]
    assert [one["result"] for one in decisions] == [
        "allowed", "allowed", "blocked", "allowed", "allowed", "warned",
    ]  # fmt: skip
    held = {hold.call_id: hold.cents for hold in CusEnforcementHold.objects.all()}
    assert held == {"held": 2, "z": 5, "b": 3, "c": 1}
    assert sdk.check(estimated_cost_cents=0).json()["result"] == "throttled"


def test_a_batch_has_1_to_100_checks(sdk: SdkClient, integration: CusIntegration) -> None:
    govern(integration, **FAR_AWAY)
    assert _batch(sdk).status_code == 400
    assert _batch(sdk, *(_ask(f"c{n}") for n in range(101))).status_code == 400
    assert (
        _batch(sdk, _ask("a"), {"call_id": 1}).json()["errors"][0]["attr"] == "requests[1].call_id"
    )
    assert len(_batch(sdk, *(_ask(f"c{n}") for n in range(100))).json()["decisions"]) == 100
    assert CusEnforcementHold.objects.count() == 100


# --- Status and config --------------------------------------------------------------------------


def test_status_says_where_the_integration_stands(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, budget_limit_cents=10)
    sdk.report(record(cost_cents=7))
    sdk.check(estimated_cost_cents=2)

    status = sdk.client.get(f"{ENFORCEMENT}/status").json()

    assert (status["used"]["cents"], status["held"]["cents"], status["leased"]["cents"]) == (
        7,
        2,
        0,
    )
    assert (status["result"], status["budget_limit_cents"]) == ("warned", 10)
    assert status["period_end"].endswith("-01T00:00:00Z")
    assert CusEnforcementDecision.objects.count() == 0 == CusDecisionTotals.objects.get().warned


def test_config_is_not_sent_again_until_it_changes(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    address = f"{ENFORCEMENT}/config"
    first = sdk.client.get(address)
    assert first.json()["budget_limit_cents"] == 0
    assert first.json()["warning_threshold_percent"] == 80
    tag = {"If-None-Match": first["ETag"]}
    assert sdk.client.get(address, headers=tag).status_code == 304
    govern(integration, budget_limit_cents=5, config_version=9)
    again = sdk.client.get(address, headers=tag)
    assert (again.status_code, again["ETag"], again.json()["budget_limit_cents"]) == (200, '"9"', 5)
    assert "credential" not in again.content.decode().replace("credential_state", "")


# --- The log ------------------------------------------------------------------------------------


@pytest.fixture
def refused(sdk: SdkClient, integration: CusIntegration) -> CusEnforcementDecision:
    govern(integration, budget_limit_cents=1)
    sdk.check("refused", estimated_cost_cents=2)
    return CusEnforcementDecision.objects.get()


@pytest.mark.parametrize(
    ("role", "own", "seen"),
    [("operator", False, 1), ("support", False, 1), ("admin", True, 1), ("member", True, 1),
     ("admin", False, 0), ("member", False, 0)],
)  # fmt: skip
def test_people_read_the_decisions_of_their_tenant(
    client: Client, refused: CusEnforcementDecision, integration: CusIntegration,
    role: str, own: bool, seen: int,
) -> None:  # fmt: skip
    tenant = integration.tenant if own else make_tenant()
    client.force_login(make_user(role, None if role in ("operator", "support") else tenant))

    answer = client.get(f"{ENFORCEMENT}/decisions").json()

    assert [one["call_id"] for one in answer["results"]] == ["refused"] * seen
    if seen:
        assert answer["results"][0]["facts"]["authority"]["budget_limit_cents"] == 1


def test_decisions_are_filtered(client: Client, refused: CusEnforcementDecision) -> None:
    client.force_login(make_user("operator"))
    moment = refused.created_at
    kept: list[dict[str, Any]] = [
        {"call_id": "refused"}, {"integration_id": refused.integration_id}, {"result": "blocked"},
        {"from": moment.isoformat(), "to": (moment + timedelta(seconds=1)).isoformat()},
    ]  # fmt: skip
    left_out: list[dict[str, Any]] = [
        {"call_id": "other"}, {"integration_id": refused.id}, {"result": "warned"},
        {"to": moment.isoformat()},
    ]  # fmt: skip
    for filters, number in [*((one, 1) for one in kept), *((one, 0) for one in left_out)]:
        answer = client.get(f"{ENFORCEMENT}/decisions", filters)
        assert len(answer.json()["results"]) == number, filters
    odd = ({"result": "x"}, {"from": "x"}, {"integration_id": "x"}, {"call_id": "\x00"})
    for bad in odd:
        assert client.get(f"{ENFORCEMENT}/decisions", bad).status_code == 400


def test_programs_and_strangers_read_no_decisions(client: Client, sdk: SdkClient) -> None:
    assert client.get(f"{ENFORCEMENT}/decisions").status_code in (401, 403)
    assert sdk.client.get(f"{ENFORCEMENT}/decisions").status_code in (401, 403)


def test_decisions_that_the_sdk_took_come_with_the_record_and_are_logged_once(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    said = {
        "result": "throttled", "step": 6, "evaluated_at": "2026-11-22T10:00:00Z",
        "reasons": [{"code": "rate_limit_exceeded", "message": "m", "action": "a"}],
        "facts": {"lease": "gone"},
    }  # fmt: skip
    blocked = {"policy_result": "blocked", "tokens_in": 0, "tokens_out": 0, "cost_cents": 0}
    sdk.report_batch(
        record(call_id="a", decision=said, **blocked),
        record(call_id="b", decision={"reasons": "odd", "step": 99, "result": []}, degraded=True),
        record(call_id="c"),
        record(call_id="d", decision={"x": "y" * 20_000}),
    )

    assert [take_in(), take_in()] == [2, 0]

    first, second = CusEnforcementDecision.objects.order_by("call_id")
    assert (first.result, first.reason, first.step, first.decided_by) == (
        "throttled", "rate_limit_exceeded", 6, "sdk",
    )  # fmt: skip
    assert first.facts == {"lease": "gone"}
    assert (second.call_id, second.result, second.degraded, second.step) == (
        "b",
        "allowed",
        True,
        None,
    )
    totals = CusDecisionTotals.objects.get()
    assert (totals.throttled, totals.allowed, totals.degraded) == (1, 1, 1)
    assert totals.contention == 0


def test_a_degraded_decision_of_the_server_is_logged_once_whoever_logs_it(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    unread = {
        "result": "allowed", "decided_by": "server", "degraded": True,
        "reasons": [{"code": "evidence_unavailable", "message": "m", "action": "a"}],
    }  # fmt: skip
    CusEnforcementDecision.objects.create(
        id=uuid.uuid4(), tenant_id=integration.tenant_id, integration_id=integration.id,
        call_id="logged", result="allowed", reason="evidence_unavailable", degraded=True,
        decided_by="server", facts={}, reasons=[], evaluated_at=timezone.now(),
        created_at=timezone.now(),
    )  # fmt: skip
    for call_id in ("logged", "not-logged"):
        sdk.report(record(call_id=call_id, decision=unread, degraded=True))

    assert [take_in(), take_in()] == [1, 0]
    assert CusEnforcementDecision.objects.get(decided_by="sdk").call_id == "not-logged"


def test_contention_has_a_metric_of_its_own(
    client: Client, sdk: SdkClient, integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_CHECKS_PER_SECOND = 1
    _batch(sdk, *(_ask(f"call-{number}") for number in range(60)))
    assert codes(sdk.check()) == ["contention"]
    settings.CUS_CHECKS_PER_SECOND = 0
    sdk.check()

    whose = f'integration_id="{integration.id}",tenant_id="{integration.tenant_id}"'
    text = client.get("/metrics").content.decode()
    assert f"cus_enforcement_contention_total{{{whose}}} 1" in text


def test_metrics_count_decisions_from_the_start(
    client: Client, refused: CusEnforcementDecision
) -> None:
    quiet = make_integration()
    text = client.get("/metrics").content.decode()
    whose = f'integration_id="{refused.integration_id}",tenant_id="{refused.tenant_id}"'
    blocked = f'cus_enforcement_blocked_total{{{{{{}},reason="{refused.reason}"}}}}'
    assert f"{blocked.format(whose)} 1\n" in text
    assert f"cus_enforcement_contention_total{{{whose}}} 0\n" in text
    whose = f'integration_id="{quiet.id}",tenant_id="{quiet.tenant_id}"'
    assert f"{blocked.format(whose)} 0\n" in text
    assert f"cus_enforcement_contention_total{{{whose}}} 0\n" in text
    assert f'cus_enforcement_decisions_total{{{whose},result="allowed"}} 0\n' in text
