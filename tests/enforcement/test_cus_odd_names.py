"""Names that no careful program would give bind and are bound like others, or are refused (E3a)."""

import json
from typing import Any

import pytest

from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import ENFORCEMENT, SdkClient, record
from tests.cus_limits import make_limit

pytestmark = pytest.mark.django_db(transaction=True)

ODD = {
    "longer than a column": "a" * 500,
    "a NUL": "wri\x00ter",
    "half of a pair": "wri\ud800ter",
    "spaces": "  writer  ",
    "a line's end": "writer\n",
    "right to left": "\u202eretirw",
    "composed otherwise": "e\u0301crivain",
    "beyond the basic plane": "\U0001f600" * 60,
    "quotes and a comma": "{a,\"b\",'c'}\\",
    "a number of percent": "%s%(x)s",
}


def post(sdk: SdkClient, path: str, body: Any) -> Any:
    # Django's own test client would not write half of a pair.
    path = f"{ENFORCEMENT}/{path}"
    return sdk.client.post(path, json.dumps(body), content_type="application/json")


def check(sdk: SdkClient, call_id: str, fields: dict[str, Any]) -> Any:
    asked = {"estimated_tokens": 10, "estimated_cost_cents": 6, "model": "gpt-4o"}
    return post(sdk, "check", asked | {"call_id": call_id} | fields)


def named(scope: str, name: str) -> dict[str, Any]:
    return {"tags": [f"team={name}"]} if scope == "tag" else {scope: name}


@pytest.mark.parametrize("scope", ["agent_id", "session_id", "end_user", "tag", "model"])
def test_a_limit_of_each_value_binds_whatever_name_its_calls_have(
    integration: CusIntegration, sdk: SdkClient, scope: str
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(allow_unpriced=True)
    make_limit(integration, scope, None, tag="team" if scope == "tag" else "", amount=10)
    bound = 0
    for number, name in enumerate(ODD.values()):
        names, call_id = named(scope, name), f"call-{number}"
        first = check(sdk, call_id, names)
        if first.status_code == 400:
            continue
        assert first.json()["result"] == "allowed"
        assert not first.json()["degraded"]
        assert check(sdk, f"beside-{number}", names).json()["result"] == "blocked"
        assert sdk.report(record(call_id=call_id, cost_cents=10) | names).status_code == 201
        assert check(sdk, f"after-{number}", names).json()["result"] == "blocked"
        bound += 1
    # The rest are no JSON, no text of a column, or longer than what is asked.
    assert bound >= 6


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
def test_a_budget_in_code_binds_a_session_whatever_its_name_or_the_check_is_refused(
    integration: CusIntegration, sdk: SdkClient, name: str
) -> None:
    answer = check(sdk, "one", {"session_id": name, "run": {"cents": 5}})
    assert answer.status_code == 400 or answer.json()["result"] == "blocked"
    lease = {"holder_id": "h", "estimate": {"cents": 6}, "run": {"cents": 5}}
    answer = post(sdk, "lease", lease | {"scopes": {"session_id": name}})
    assert answer.status_code == 400 or answer.json()["lease_id"] is None
