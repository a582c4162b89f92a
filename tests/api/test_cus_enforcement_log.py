"""The log of decisions, and its metrics (http-api "Enforcement")."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from enforcement.cus_decisions.models import CusDecisionTotals, CusEnforcementDecision
from enforcement.cus_decisions.sdk_decisions import take_in
from integrations.cus_lifecycle.models import CusIntegration
from tests.api.cus_checks import ask, batch, codes, govern
from tests.cus_factories import (
    ENFORCEMENT,
    SdkClient,
    make_integration,
    make_tenant,
    make_user,
    record,
)

pytestmark = pytest.mark.django_db(transaction=True)


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
    batch(sdk, *(ask(f"call-{number}") for number in range(60)))
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
