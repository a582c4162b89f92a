"""Integrations over HTTP: the right people, one tenant, versions, filters and pages."""

import uuid
from typing import Any

import pytest
from django.test import Client

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import (
    SdkClient,
    listed,
    make_integration,
    make_tenant,
    make_user,
    signed_in,
)

pytestmark = pytest.mark.django_db

URL = "/api/v1/cus/integrations"
MISSING = uuid.UUID(int=1)
SECRET = "sk-canary-77aa10b2c3"
RESPONSE = {
    "id", "tenant_id", "name", "provider_type", "status", "error_reason", "health_state",
    "health_checked_at", "health_message", "credential_state", "credential_hint", "config",
    "default_model", "budget_limit_cents", "budget_basis", "estimate_basis", "token_limit_month",
    "rate_limit_rpm", "rate_limit_tpm", "rate_limit_rpd", "enforcement_level", "allow_unpriced", "max_live_holds",
    "coverage_percent",
    "config_version", "created_at", "updated_at",
}  # fmt: skip


def _body(**fields: Any) -> dict[str, Any]:
    return {"name": "Ours", "provider_type": "openai", "credential": {"api_key": SECRET}} | fields


def _send(client: Client, method: str, url: str, body: Any = None, **headers: str) -> Any:
    sent = {"data": body, "content_type": "application/json"} if body is not None else {}
    return getattr(client, method)(url, headers=headers, **sent)


@pytest.fixture
def admin(tenant: CusTenant) -> Client:
    return signed_in(make_user("admin", tenant))


def test_an_integration_is_made_read_changed_enabled_and_deleted(admin: Client) -> None:
    made = _send(admin, "post", URL, _body(budget_limit_cents=5000))
    assert made.status_code == 201
    url = f"{URL}/{made.json()['id']}"
    assert (made.json()["status"], made["ETag"]) == ("created", '"1"')
    assert made.json()["credential_hint"] == SECRET[-4:]
    assert admin.get(url).json() == made.json()

    enabled = _send(admin, "post", f"{url}/enable")
    assert (enabled.status_code, enabled.json()["status"]) == (200, "enabled")
    assert _send(admin, "post", f"{url}/enable").json() == enabled.json()
    changed = _send(admin, "patch", url, {"name": "Renamed"})
    assert (changed.status_code, changed["ETag"]) == (200, '"3"')
    assert (changed.json()["name"], changed.json()["budget_limit_cents"]) == ("Renamed", 5000)
    assert _send(admin, "post", f"{url}/disable").json()["status"] == "disabled"

    deleted = admin.delete(url)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert admin.get(url).status_code == admin.delete(url).status_code == 404
    assert admin.get(URL).json()["results"] == []


def test_an_answer_has_the_fields_of_the_contract_and_no_secret(admin: Client) -> None:
    made = _send(admin, "post", URL, _body())

    assert made.json().keys() == RESPONSE
    for answer in (made, admin.get(URL), admin.get(f"{URL}/{made.json()['id']}")):
        assert SECRET not in answer.content.decode()
        assert "db://" not in answer.content.decode()


CREDENTIALS = [
    ("openai", {}, {"api_key": SECRET}),
    ("anthropic", {}, {"api_key": SECRET}),
    ("custom", {"base_url": "https://llm.example.com/v1"}, {"api_key": SECRET}),
    ("azure_openai", {"base_url": "https://x.example.com"}, {"api_key": SECRET}),
    ("azure_openai", {"base_url": "https://x.example.com"}, {"azure_ad_token": SECRET}),
    ("bedrock", {"region": "us-east-1"}, {"api_key": SECRET}),
    (
        "bedrock",
        {"region": "us-east-1"},
        {"aws_access_key_id": "AKIA0", "aws_secret_access_key": SECRET, "aws_session_token": "t"},
    ),
]


@pytest.mark.parametrize(("provider", "config", "credential"), CREDENTIALS)
def test_every_provider_is_taken_with_each_shape_of_its_credential(
    admin: Client, provider: str, config: dict[str, Any], credential: dict[str, str]
) -> None:
    body = _body(provider_type=provider, config=config, credential=credential)

    made = _send(admin, "post", URL, body)

    assert made.status_code == 201
    assert (made.json()["config"], made.json()["credential_hint"]) == (config, SECRET[-4:])


def test_put_replaces_what_may_be_changed_and_keeps_the_credential(admin: Client) -> None:
    body = _body(budget_limit_cents=5000, default_model="gpt-4o", config={"project": "p1"})
    made = _send(admin, "post", URL, body).json()

    replaced = _send(admin, "put", f"{URL}/{made['id']}", {"name": "New", "rate_limit_rpm": 60})

    assert replaced.status_code == 200
    now = replaced.json()
    assert (now["name"], now["rate_limit_rpm"], now["budget_limit_cents"]) == ("New", 60, 0)
    assert (now["default_model"], now["config"]) == (None, {})
    assert now["credential_hint"] == SECRET[-4:]
    assert _send(admin, "put", f"{URL}/{made['id']}", {"rate_limit_rpm": 1}).status_code == 400


@pytest.mark.parametrize(
    ("if_match", "status"),
    [('"2"', 200), ("*", 200), ('"9", "2"', 200), ('"1"', 412), ("2", 412), ('W/"2"', 412)],
)
@pytest.mark.parametrize("method", ["put", "patch"])
def test_a_change_of_what_has_changed_since_is_refused(
    integration: CusIntegration, method: str, if_match: str, status: int
) -> None:
    client = signed_in(make_user("admin", integration.tenant))

    answer = _send(
        client, method, f"{URL}/{integration.id}", {"name": "New"}, **{"If-Match": if_match}
    )

    assert answer.status_code == status
    if status == 412:
        assert answer.json()["errors"][0]["code"] == "precondition_failed"
        integration.refresh_from_db()
        assert integration.name != "New"


MOVED = {"base_url": "https://evil.example.com/v1"}


@pytest.mark.parametrize("method", ["put", "patch"])
@pytest.mark.parametrize("who", ["admin", "operator"])
def test_a_credential_is_entered_again_for_another_address(
    tenant: CusTenant, method: str, who: str
) -> None:
    made = make_integration(tenant, provider_type="custom")
    client = signed_in(make_user(who, tenant if who == "admin" else None))
    url, body = f"{URL}/{made.id}", {"name": "New", "config": MOVED}

    refused = _send(client, method, url, body)

    assert refused.status_code == 400
    (error,) = refused.json()["errors"]
    assert (error["code"], error["attr"]) == ("credential_required", "credential")
    assert "Enter the credential again" in error["detail"]
    now = client.get(url).json()
    assert (now["name"], now["config"]) == (made.name, made.config)

    taken = _send(client, method, url, body | {"credential": {"api_key": SECRET}})
    assert (taken.status_code, taken.json()["config"]) == (200, MOVED)
    assert taken.json()["credential_state"] == "unknown"


@pytest.mark.parametrize("method", ["put", "patch"])
def test_a_reference_is_named_again_for_another_address_by_an_operator(
    tenant: CusTenant, method: str
) -> None:
    made = make_integration(tenant, provider_type="custom")
    admin, operator = signed_in(make_user("admin", tenant)), signed_in(make_user("operator"))
    url, body = f"{URL}/{made.id}", {"name": "New", "config": MOVED}
    named = body | {"credential_ref": "env://CUS_CREDENTIAL_OURS"}
    first = named | {"config": made.config}
    assert _send(operator, method, url, first).status_code == 200

    by_admin = [_send(admin, method, url, one) for one in (body, named)]
    unnamed = _send(operator, method, url, body)

    assert [answer.status_code for answer in by_admin] == [403, 403]
    (error,) = unnamed.json()["errors"]
    assert (unnamed.status_code, error["code"]) == (400, "credential_required")
    assert error["attr"] == "credential_ref"
    both = _send(operator, method, url, named | {"credential": {"api_key": SECRET}})
    assert (both.status_code, both.json()["errors"][0]["attr"]) == (400, "credential_ref")
    assert admin.get(url).json()["config"] == made.config

    moved = _send(operator, method, url, named)
    assert (moved.status_code, moved.json()["config"]) == (200, MOVED)
    assert "CUS_CREDENTIAL_OURS" not in moved.content.decode()


def test_enabling_what_would_send_a_credential_elsewhere_is_refused(tenant: CusTenant) -> None:
    made = make_integration(tenant, provider_type="custom")
    CusIntegration.objects.update(status="disabled", config=MOVED)
    client = signed_in(make_user("admin", tenant))

    refused = _send(client, "post", f"{URL}/{made.id}/enable")

    assert refused.status_code == 400
    assert refused.json()["errors"][0]["code"] == "credential_required"
    assert _send(client, "post", f"{URL}/{made.id}/disable").status_code == 200


def test_what_is_in_the_way_of_enabling_is_said(integration: CusIntegration) -> None:
    CusIntegration.objects.update(status="disabled", credential_state="invalid")
    client = signed_in(make_user("admin", integration.tenant))

    refused = _send(client, "post", f"{URL}/{integration.id}/enable")

    assert refused.status_code == 409
    (error,) = refused.json()["errors"]
    assert error["code"] == "invalid_transition"
    assert "credential" in error["detail"]


def _requests(client: Client, pk: uuid.UUID) -> dict[str, Any]:
    url = f"{URL}/{pk}"
    return {
        "read": client.get(url),
        "limits": client.get(f"{url}/limits"),
        "put": _send(client, "put", url, {"name": "Mine"}),
        "patch": _send(client, "patch", url, {"name": "Mine"}),
        "enable": _send(client, "post", f"{url}/enable"),
        "disable": _send(client, "post", f"{url}/disable"),
        "delete": client.delete(url),
    }


def test_a_foreign_integration_answers_exactly_as_a_missing_one(
    integration: CusIntegration,
) -> None:
    stranger = signed_in(make_user("admin", make_tenant()))

    foreign, missing = _requests(stranger, integration.id), _requests(stranger, MISSING)

    for name, answer in foreign.items():
        assert answer.status_code == 404, name
        assert (answer.content, answer.headers) == (
            missing[name].content,
            missing[name].headers,
        )
    assert stranger.get(URL).json()["results"] == []
    integration.refresh_from_db()
    assert (integration.status, integration.config_version) == ("enabled", 2)


READS, CHANGES = ("read", "limits"), ("put", "patch", "enable", "disable", "delete")


@pytest.mark.parametrize(
    ("who", "reads", "changes"),
    [
        ("operator", {200}, {200, 204}),
        ("support", {200}, {403}),
        ("admin", {200}, {200, 204}),
        ("member", {200}, {403}),
        ("nobody", {403}, {403}),
        ("anonymous", {401}, {401}),
        ("program", {401}, {401}),
    ],
)
def test_each_role_does_what_it_may(
    integration: CusIntegration, who: str, reads: set[int], changes: set[int]
) -> None:
    tenant = integration.tenant
    client = Client()
    if who == "program":
        client = SdkClient.of(integration).client
    elif who != "anonymous":
        client.force_login(make_user(who, tenant if who in ("admin", "member") else None))

    answers = _requests(client, integration.id)

    assert {answers[name].status_code for name in READS} == reads
    assert {answers[name].status_code for name in CHANGES} <= changes
    listed = client.get(URL)
    assert {listed.status_code} == reads
    made = _send(client, "post", f"{URL}?tenant_id={tenant.id}", _body())
    assert made.status_code == (201 if changes == {200, 204} else next(iter(changes)))
    if changes == {401}:
        assert listed["WWW-Authenticate"]


def test_support_sees_nothing_of_a_credential(integration: CusIntegration) -> None:
    client = signed_in(make_user("support"))

    assert client.get(f"{URL}/{integration.id}").json()["credential_hint"] is None
    (listed,) = client.get(URL).json()["results"]
    assert listed["credential_hint"] is None


def test_an_operator_sees_all_tenants_and_makes_for_the_one_that_is_named(
    integration: CusIntegration,
) -> None:
    other = make_integration()
    operator = signed_in(make_user("operator"))

    assert len(operator.get(URL).json()["results"]) == 2
    (only,) = operator.get(f"{URL}?tenant_id={other.tenant_id}").json()["results"]
    assert only["id"] == str(other.id)
    assert operator.get(f"{URL}/{other.id}").status_code == 200
    assert _send(operator, "post", URL, _body()).status_code == 400
    missing = _send(operator, "post", f"{URL}?tenant_id={MISSING}", _body())
    assert missing.status_code == 404
    made = _send(operator, "post", f"{URL}?tenant_id={other.tenant_id}", _body())
    assert made.json()["tenant_id"] == str(other.tenant_id)


def test_a_tenants_admin_makes_nothing_for_another_tenant(admin: Client, tenant: CusTenant) -> None:
    made = _send(admin, "post", f"{URL}?tenant_id={make_tenant().id}", _body())

    assert made.json()["tenant_id"] == str(tenant.id)


def _names(client: Client, query: str) -> list[str]:
    answer = client.get(f"{URL}?{query}")
    assert answer.status_code == 200, answer.content
    return [row["name"] for row in answer.json()["results"]]


def test_a_list_is_filtered_searched_and_ordered(admin: Client, tenant: CusTenant) -> None:
    make_integration(tenant, name="Beta", provider_type="anthropic")
    make_integration(tenant, name="alpha_1", provider_type="custom")
    gamma = make_integration(tenant, name="Gamma%")
    CusIntegration.objects.filter(id=gamma.id).update(status="error", health_state="failing")

    assert _names(admin, "") == ["Beta", "Gamma%", "alpha_1"]
    assert _names(admin, "ordering=-name") == ["alpha_1", "Gamma%", "Beta"]
    assert _names(admin, "provider_type=custom") == ["alpha_1"]
    assert _names(admin, "status=error&health_state=failing") == ["Gamma%"]
    assert _names(admin, "status=error&provider_type=custom") == []
    assert _names(admin, "search=BET") == ["Beta"]
    assert _names(admin, "search=%25") == ["Gamma%"]
    assert _names(admin, "search=_") == ["alpha_1"]


@pytest.mark.parametrize(
    "query",
    [
        "status=paused",
        "provider_type=",
        "health_state=HEALTHY",
        "ordering=credential_ref",
        "ordering=-",
        "search=%00",
        "colour=red",
        "credential_ref=db",
        "status=enabled&status=error",
        "page=2",
        f"tenant_id={MISSING}",
    ],
)
def test_a_filter_that_means_nothing_is_refused_and_named(admin: Client, query: str) -> None:
    answer = admin.get(f"{URL}?{query}")

    assert answer.status_code == 400
    assert {error["attr"] for error in answer.json()["errors"]} == {query.partition("=")[0]}


def test_an_operators_filters_are_as_strict(integration: CusIntegration) -> None:
    operator = signed_in(make_user("operator"))

    assert operator.get(f"{URL}?tenant_id=nonsense").status_code == 400
    assert operator.get(f"{URL}?tenant_id={MISSING}").json()["results"] == []


@pytest.mark.parametrize("ordering", ["name", "-created_at", "-updated_at"])
def test_pages_show_each_integration_once(
    admin: Client, tenant: CusTenant, monkeypatch: pytest.MonkeyPatch, ordering: str
) -> None:
    monkeypatch.setattr("integrations.cus_web.pages.CusPages.page_size", 3)
    names = {make_integration(tenant).name for _ in range(8)}
    rows = listed(admin, f"{URL}?ordering={ordering}&status=enabled")
    seen = [row["name"] for row in rows]

    assert (len(seen), set(seen)) == (8, names)


@pytest.mark.parametrize("cursor", ["x", "cD0lMDA%3D", "bz0tMQ==", "cD1ub25zZW5zZQ==", "%00", "é"])
@pytest.mark.parametrize("ordering", ["name", "created_at"])
def test_a_cursor_that_was_made_up_is_no_page(
    admin: Client, integration: CusIntegration, cursor: str, ordering: str
) -> None:
    answer = admin.get(f"{URL}?cursor={cursor}&ordering={ordering}")

    assert answer.status_code in (200, 404)
    assert answer["Content-Type"] == "application/json"


def test_a_page_takes_as_many_queries_for_twenty_as_for_one(
    admin: Client, integration: CusIntegration, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(10) as few:
        admin.get(URL)
    for _ in range(20):
        make_integration(integration.tenant)
    with django_assert_max_num_queries(len(few)):
        assert len(admin.get(URL).json()["results"]) == 21
