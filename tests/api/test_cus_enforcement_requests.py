"""Checks over HTTP: whose word counts, which requests are refused, batches, status and configuration."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from enforcement.cus_decisions.models import CusDecisionTotals, CusEnforcementDecision
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.verifier import forget_sdk_keys, issue_sdk_key, revoke_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.models import CusEnforcementHold
from tests.api.cus_checks import FAR_AWAY, ask, batch, codes, govern
from tests.cus_factories import (
    ENFORCEMENT,
    SdkClient,
    make_integration,
    record,
)

pytestmark = pytest.mark.django_db(transaction=True)


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


def test_in_a_batch_each_call_sees_those_before_it(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, budget_limit_cents=12, rate_limit_rpm=4)
    sdk.check("held", estimated_cost_cents=2)

    response = batch(
        sdk, ask("z", 5), ask("held", 2), ask("a", 6), ask("z", 5), ask("b", 3), ask("c", 0)
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
    assert batch(sdk).status_code == 400
    assert batch(sdk, *(ask(f"c{n}") for n in range(101))).status_code == 400
    assert batch(sdk, ask("a"), {"call_id": 1}).json()["errors"][0]["attr"] == "requests[1].call_id"
    assert len(batch(sdk, *(ask(f"c{n}") for n in range(100))).json()["decisions"]) == 100
    assert CusEnforcementHold.objects.count() == 100


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
