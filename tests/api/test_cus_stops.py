"""The kill switch: what is stopped is refused at once, and runs again when it is lifted."""

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from enforcement.cus_decisions.explain import explain
from enforcement.cus_decisions.models import CusEnforcementDecision
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_stops.models import CusStop
from tests.cus_factories import (
    ENFORCEMENT,
    SdkClient,
    as_written,
    make_integration,
    make_user,
    signed_in,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def admin(integration: CusIntegration) -> Client:
    return signed_in(make_user("admin", integration.tenant))


def _url(integration: CusIntegration) -> str:
    return f"/api/v1/cus/integrations/{integration.id}/stops"


def _stop(admin: Client, integration: CusIntegration, **fields: str) -> dict[str, Any]:
    body = {"scope": "agent_id", "value": "crawler", "reason": "It loops."} | fields
    answer = admin.post(_url(integration), body, content_type="application/json")
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    return made


def _result(sdk: SdkClient, **fields: Any) -> tuple[str, str]:
    answer = sdk.check(**fields).json()
    return answer["result"], answer["reasons"][0]["code"]


STOPPED = ("hard_blocked", "stopped")
PASSED = ("allowed", "all_checks_passed")
NAMES = {"agent_id": "crawler", "session_id": "s-1", "end_user": "ada", "model": "gpt-4o"}


@pytest.mark.parametrize("scope", NAMES)
def test_only_calls_that_name_what_is_stopped_are_refused_until_it_is_lifted(
    admin: Client, integration: CusIntegration, sdk: SdkClient, scope: str
) -> None:
    stop = _stop(admin, integration, scope=scope, value=NAMES[scope])

    assert _result(sdk, **NAMES) == STOPPED
    assert _result(sdk, **NAMES | {scope: "gpt-4o-mini"}) == PASSED
    assert _result(SdkClient.of(make_integration(integration.tenant)), **NAMES) == PASSED

    assert admin.delete(f"{_url(integration)}/{stop['id']}").status_code == 204
    assert _result(sdk, **NAMES) == PASSED


@pytest.mark.parametrize("level", ["visibility", "control_plane", "warn", "throttle", "block"])
def test_it_is_refused_at_every_level_with_and_without_limits(
    admin: Client, integration: CusIntegration, sdk: SdkClient, level: str
) -> None:
    _stop(admin, integration)
    scope = CusIntegration.objects.filter(id=integration.id)
    scope.update(enforcement_level=level)
    assert _result(sdk, agent_id="crawler") == STOPPED
    scope.update(budget_limit_cents=1_000)
    assert _result(sdk, agent_id="crawler") == STOPPED
    assert _result(sdk, agent_id="another") == PASSED


def test_a_call_that_names_no_model_is_of_the_default_model(
    admin: Client, integration: CusIntegration, sdk: SdkClient
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(default_model="gpt-4o")
    _stop(admin, integration, scope="model", value="gpt-4o")
    assert _result(sdk, model=None) == STOPPED


def test_the_refusal_says_by_whom_and_why_and_explains_itself(
    admin: Client, integration: CusIntegration, sdk: SdkClient
) -> None:
    stop = _stop(admin, integration)
    (reason,) = sdk.check("refused", agent_id="crawler").json()["reasons"]
    assert reason["message"] == (
        f"The agent crawler was stopped by {stop['stopped_by']}: It loops."
    )
    assert reason["limit_type"] == "agent_id"
    explained = explain(CusEnforcementDecision.objects.get(call_id="refused"))
    assert explained.verdict == "identical"
    assert explained.step == "4, is anything stopped that the call names"
    assert "no stop: allowed" in explained.changes


def test_in_a_batch_each_call_is_judged_by_its_own_names(
    admin: Client, integration: CusIntegration, sdk: SdkClient
) -> None:
    _stop(admin, integration)
    requests = [{"call_id": f"c-{name}", "agent_id": name} for name in ("crawler", "another")]
    answer = sdk.client.post(
        f"{ENFORCEMENT}/batch", {"requests": requests}, content_type="application/json"
    )
    assert [one["result"] for one in answer.json()["decisions"]] == ["hard_blocked", "allowed"]


def test_programs_learn_of_stops_by_the_configuration_whose_version_rises(
    admin: Client, integration: CusIntegration, sdk: SdkClient
) -> None:
    before = sdk.client.get(f"{ENFORCEMENT}/config")
    stop = _stop(admin, integration)
    after = sdk.client.get(f"{ENFORCEMENT}/config", headers={"If-None-Match": before["ETag"]})
    assert after.json()["config_version"] == before.json()["config_version"] + 1
    assert after.json()["stops"] == [
        {"scope": "agent_id", "value": "crawler", "reason": "It loops."}
    ]
    admin.delete(f"{_url(integration)}/{stop['id']}")
    lifted = sdk.client.get(f"{ENFORCEMENT}/config").json()
    assert (lifted["stops"], lifted["config_version"]) == ([], after.json()["config_version"] + 1)


def test_stopping_and_lifting_again_changes_nothing_and_the_trail_has_each_once(
    admin: Client, integration: CusIntegration
) -> None:
    first = _stop(admin, integration)
    again = _stop(admin, integration, reason="Another reason.")
    assert again == first
    assert [one["id"] for one in admin.get(_url(integration)).json()["results"]] == [first["id"]]
    for _ in range(2):
        assert admin.delete(f"{_url(integration)}/{first['id']}").status_code == 204
    assert admin.get(_url(integration)).json()["results"] == []

    trail = as_written(CusAuditEntry.objects.filter(object_id=first["id"]))
    assert [one.action for one in trail] == ["stop.made", "stop.lifted"]
    assert CusStop.objects.get().lifted_by == trail[1].actor
    assert _stop(admin, integration)["id"] != first["id"]


@pytest.mark.parametrize(
    ("fields", "attr"),
    [
        ({"scope": "tag"}, "scope"),
        ({"value": ""}, "value"),
        ({"value": "x" * 101}, "value"),
        ({"reason": " "}, "reason"),
        ({"until": "x"}, "until"),
    ],
)
def test_a_bad_stop_is_refused_by_its_field(
    admin: Client, integration: CusIntegration, fields: dict[str, str], attr: str
) -> None:
    body = {"scope": "agent_id", "value": "crawler", "reason": "It loops."} | fields
    answer = admin.post(_url(integration), body, content_type="application/json")
    assert answer.status_code == 400
    assert {error["attr"] for error in answer.json()["errors"]} == {attr}


def test_where_names_must_not_be_stored_an_end_user_is_stopped_by_a_pseudonym(
    admin: Client, integration: CusIntegration, sdk: SdkClient, settings: Settings
) -> None:
    settings.CUS_HASH_END_USERS = True
    made = _stop(admin, integration, scope="end_user", value="ada")
    assert made["value"].startswith("hmac-sha256:")
    assert _result(sdk, end_user="ada") == STOPPED
    assert _result(sdk, end_user="bob") == PASSED
    # The pseudonym, as usage records show it, names the same person.
    assert _stop(admin, integration, scope="end_user", value=made["value"]) == made


def test_the_console_stops_and_lifts(
    admin: Client, integration: CusIntegration, sdk: SdkClient
) -> None:
    page = "/admin/integrations/cusstop/"
    body = {"integration": integration.id, "scope": "agent_id", "value": "crawler",
            "reason": "It loops."}  # fmt: skip
    assert admin.post(f"{page}add/", body).status_code == 302
    assert _result(sdk, agent_id="crawler") == STOPPED
    stop = CusStop.objects.get()
    assert "It loops." in admin.get(page).content.decode()
    assert "Lift" in admin.get(f"{page}{stop.id}/change/").content.decode()
    assert admin.post(f"{page}{stop.id}/lift/").status_code == 302
    assert _result(sdk, agent_id="crawler") == PASSED
