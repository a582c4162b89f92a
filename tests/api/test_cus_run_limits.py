"""Budgets in code over HTTP: listed, read and raised, and what is refused."""

from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.limit_models import CusRunLimit
from tests.cus_factories import SdkClient, listed, make_integration, make_user, record, signed_in
from tests.cus_limits import make_run_limit

pytestmark = pytest.mark.django_db
RAISED = {"cents": 200, "reason": "The report has to be done today."}


@pytest.fixture
def admin(integration: CusIntegration) -> Client:
    return signed_in(make_user("admin", integration.tenant))


def _url(integration: CusIntegration, session: str = "") -> str:
    of_one = f"/{quote(session, safe='')}" if session else ""
    return f"/api/v1/cus/integrations/{integration.id}/run-limits{of_one}"


def _patch(admin: Client, url: str, body: dict[str, Any], etag: str | None = None) -> Any:
    headers = {"If-Match": etag} if etag else {}
    return admin.patch(url, body, content_type="application/json", headers=headers)


def _errors(answer: Any) -> dict[str, str]:
    assert answer.status_code == 400
    return {error["attr"]: error["detail"] for error in answer.json()["errors"]}


def test_a_budget_tells_what_code_gave_and_what_is_left(
    admin: Client, integration: CusIntegration, sdk: SdkClient
) -> None:
    make_run_limit(integration, "chat/1", cents=100, calls=3)
    sdk.report(record(cost_cents=30, session_id="chat/1"))
    answer = admin.get(_url(integration, "chat/1"))
    assert answer.headers["ETag"] == '"1"'
    budget = answer.json()
    cents, calls = budget["amounts"]
    assert cents == {
        "unit": "cents",
        "by_code": 100,
        "raised_to": None,
        "limit": 100,
        "used": 30,
        "held": 0,
        "leased": 0,
        "left": 70,
    }
    assert (calls["unit"], calls["used"], calls["left"]) == ("calls", 1, 2)
    assert (budget["session_id"], budget["raised_by"]) == ("chat/1", "")


def test_the_list_has_all_sessions_of_the_integration_by_pages(
    admin: Client, integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetry.cus_run_budgets.api.LastUsedFirst.page_size", 2)
    for number in range(5):
        make_run_limit(integration, f"s-{number}")
    make_run_limit(make_integration(integration.tenant), "another")
    found = [row["session_id"] for row in listed(admin, _url(integration))]
    assert sorted(found) == [f"s-{number}" for number in range(5)]


def test_the_list_can_be_of_one_session(admin: Client, integration: CusIntegration) -> None:
    for session in ("a", "ab"):
        make_run_limit(integration, session)
    answer = admin.get(_url(integration), {"session_id": "a"}).json()
    assert [row["session_id"] for row in answer["results"]] == ["a"]
    assert admin.get(_url(integration), {"session": "a"}).status_code in (200, 400)
    assert admin.get(_url(integration), {"session_id": "\0"}).status_code == 400


def test_an_admin_raises_a_budget_and_the_trail_says_so(
    admin: Client, integration: CusIntegration
) -> None:
    row = make_run_limit(integration, "chat/1", cents=100, tokens=1_000)
    answer = _patch(admin, _url(integration, "chat/1"), RAISED, etag='"1"')
    assert answer.status_code == 200, answer.content
    assert answer.headers["ETag"] == '"2"'
    cents, tokens = answer.json()["amounts"]
    assert (cents["by_code"], cents["raised_to"], cents["limit"]) == (100, 200, 200)
    assert (tokens["raised_to"], tokens["limit"]) == (None, 1_000)
    entry = CusAuditEntry.objects.get(action="run_budget.raised")
    assert answer.json()["raised_by"] == entry.actor_label
    assert (entry.object_type, entry.object_id) == ("budget in code", str(row.limit_id))
    assert entry.object_label == "chat/1"
    assert entry.changes == {
        "raised_cents": {"from": None, "to": 200},
        "raised_reason": {"from": "", "to": RAISED["reason"]},
    }


def test_an_increase_can_be_taken_back(admin: Client, integration: CusIntegration) -> None:
    make_run_limit(integration, "s")
    _patch(admin, _url(integration, "s"), RAISED)
    answer = _patch(admin, _url(integration, "s"), {"cents": None, "reason": "Done."}).json()
    assert (answer["amounts"][0]["limit"], answer["raised_at"], answer["raised_by"]) == (
        *(100, None, ""),
    )
    assert CusAuditEntry.objects.filter(action="run_budget.raised").count() == 2


def test_what_is_raised_already_changes_nothing(admin: Client, integration: CusIntegration) -> None:
    make_run_limit(integration, "s")
    for _ in range(2):
        answer = _patch(admin, _url(integration, "s"), RAISED)
        assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')
    assert CusAuditEntry.objects.filter(action="run_budget.raised").count() == 1


def test_who_read_an_older_version_raises_nothing(
    admin: Client, integration: CusIntegration
) -> None:
    make_run_limit(integration, "s")
    _patch(admin, _url(integration, "s"), RAISED)
    answer = _patch(admin, _url(integration, "s"), RAISED | {"cents": 900}, etag='"1"')
    assert answer.status_code == 412
    assert CusRunLimit.objects.get().raised_cents == 200


@pytest.mark.parametrize(
    ("body", "field", "text"),
    [
        ({"cents": 100}, "cents", "Code gives this session $1.00: name more"),
        ({"cents": 99}, "cents", "name more"),
        ({"cents": 0}, "cents", "greater than or equal to 1"),
        ({"cents": 2**63}, "cents", "less than or equal to"),
        ({"cents": "200"}, "cents", "valid integer"),
        ({"tokens": 5}, "tokens", "no budget in tokens"),
        ({"cents": 200, "reason": " "}, "reason", "Say why"),
        ({"reason": "Because."}, "reason", "Name an amount to raise: cents"),
        ({"cents": 200, "session_id": "t"}, "session_id", "only shown"),
        ({"cents": 200, "dollars": 3}, "dollars", "Unknown field"),
    ],
)
def test_what_is_no_increase_is_refused_with_its_field(
    admin: Client, integration: CusIntegration, body: dict[str, Any], field: str, text: str
) -> None:
    make_run_limit(integration, "s")
    answer = _patch(admin, _url(integration, "s"), {"reason": "Because."} | body)
    assert text in _errors(answer)[field]


def test_an_increase_says_why(admin: Client, integration: CusIntegration) -> None:
    make_run_limit(integration, "s")
    assert "reason" in _errors(_patch(admin, _url(integration, "s"), {"cents": 200}))


@pytest.mark.parametrize("session", ["unknown", "a\0b", "x" * 101])
def test_a_session_without_a_budget_is_not_found(
    admin: Client, integration: CusIntegration, session: str
) -> None:
    assert admin.get(_url(integration, session)).status_code == 404
    assert _patch(admin, _url(integration, session), RAISED).status_code == 404
