"""Checks over HTTP: what is answered, held and counted (http-api "Enforcement")."""

from datetime import UTC, datetime, timedelta

import pytest

from enforcement.cus_decisions.models import CusDecisionTotals, CusEnforcementDecision
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_holds.models import CusEnforcementHold, CusEnforcementLease
from telemetry.cus_holds.sweeping import sweep
from tests.api.cus_checks import FAR_AWAY, ask, batch, codes, govern
from tests.conftest import as_if
from tests.cus_factories import (
    SdkClient,
    correct,
    make_integration,
    record,
)

pytestmark = pytest.mark.django_db(transaction=True)


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

    answer = batch(sdk, *(ask(name) for name in "abcd")).json()

    assert [one["result"] for one in answer["decisions"]] == ["allowed"] * 2 + ["throttled"] * 2
    assert CusEnforcementHold.objects.count() == 2


def test_without_reserving_nothing_is_held(sdk: SdkClient) -> None:
    answer = sdk.check(reserve=False).json()

    assert (answer["result"], answer["hold_expires_at"]) == ("allowed", None)
    assert not CusEnforcementHold.objects.exists()


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
