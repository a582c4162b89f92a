"""Health over HTTP: who may read it, who may test, and how often."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant
from integrations.cus_health.turns import turn
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import make_integration, make_tenant, make_user, signed_in
from tests.cus_raw_server import RawServer, says

pytestmark = pytest.mark.django_db


@pytest.fixture
def server(settings: Settings) -> Iterator[RawServer]:
    with RawServer(says(200, {"data": []})) as running:
        settings.CUS_ALLOW_HTTP_PROVIDERS = True
        settings.CUS_ALLOWED_PRIVATE_HOSTS = [f"127.0.0.1:{running.port}"]
        settings.CUS_HEALTH_SLOW_MS = 60_000
        yield running


def _custom(tenant: CusTenant, server: RawServer) -> CusIntegration:
    return make_integration(tenant, provider_type="custom", config={"base_url": server.url})


@pytest.fixture
def own(tenant: CusTenant, server: RawServer) -> CusIntegration:
    return _custom(tenant, server)


def _client(role: str, tenant: CusTenant) -> Client:
    return signed_in(make_user(role, tenant if role in ("admin", "member") else None))


def _health(pk: Any) -> str:
    return f"/api/v1/cus/integrations/{pk}/health"


def _test(pk: Any) -> str:
    return f"/api/v1/cus/integrations/{pk}/test"


@pytest.mark.parametrize("role", ["operator", "support", "admin", "member"])
def test_everybody_of_the_tenant_reads_the_last_result_and_asks_nobody(
    role: str, own: CusIntegration, server: RawServer
) -> None:
    at = timezone.now()
    CusIntegration.objects.update(
        health_state="failing",
        health_checked_at=at,
        health_message="It is down.",
        health_latency_ms=120,
        consecutive_failures=4,
    )

    response = _client(role, own.tenant).get(_health(own.id))

    assert response.status_code == 200
    assert response.json() == {
        "health_state": "failing",
        "health_checked_at": at.isoformat().replace("+00:00", "Z"),
        "health_message": "It is down.",
        "credential_state": "unknown",
        "latency_ms": 120,
        "consecutive_failures": 4,
    }
    assert server.connections == 0


@pytest.mark.parametrize("role", ["operator", "admin"])
def test_operators_and_tenant_admins_test(
    role: str, own: CusIntegration, server: RawServer
) -> None:
    response = _client(role, own.tenant).post(_test(own.id))

    assert response.status_code == 200
    body = response.json()
    assert body.pop("latency_ms") >= 0
    assert body == {"ok": True, "credential_state": "valid", "message": "The provider answered."}
    assert server.connections == 1
    own.refresh_from_db()
    assert own.health_state == "healthy"


def test_a_test_that_fails_is_an_answer_and_no_error(
    own: CusIntegration, settings: Settings, server: RawServer
) -> None:
    settings.CUS_ALLOWED_PRIVATE_HOSTS = []

    response = _client("admin", own.tenant).post(_test(own.id))

    assert response.status_code == 200
    assert response.json()["ok"] is False
    assert response.json()["latency_ms"] is None
    assert "CUS_ALLOWED_PRIVATE_HOSTS" in response.json()["message"]
    assert server.connections == 0


@pytest.mark.parametrize("role", ["member", "support"])
def test_members_and_support_do_not_test(role: str, own: CusIntegration, server: RawServer) -> None:
    assert _client(role, own.tenant).post(_test(own.id)).status_code == 403
    assert server.connections == 0


def test_who_is_not_signed_in_gets_nothing(own: CusIntegration) -> None:
    assert Client().get(_health(own.id)).status_code in (401, 403)
    assert Client().post(_test(own.id)).status_code in (401, 403)


def test_a_foreign_a_missing_and_a_deleted_integration_look_the_same(
    tenant: CusTenant, own: CusIntegration, server: RawServer
) -> None:
    deleted = _custom(tenant, server)
    CusIntegrationService(tenant).delete(deleted)
    client = _client("admin", tenant)

    answers = [
        answer
        for pk in (_custom(make_tenant(), server).id, deleted.id, uuid.uuid4())
        for answer in (client.get(_health(pk)), client.post(_test(pk)))
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert server.connections == 0


def test_the_seventh_test_within_a_minute_is_told_when_to_come_back(
    own: CusIntegration, server: RawServer
) -> None:
    client = _client("admin", own.tenant)
    for _ in range(6):
        assert client.post(_test(own.id)).status_code == 200

    response = client.post(_test(own.id))

    assert response.status_code == 429
    assert 1 <= int(response["Retry-After"]) <= 60
    error = response.json()["errors"][0]
    assert error["code"] == "throttled"
    assert server.connections == 6


def test_while_two_others_are_checked_a_test_is_told_to_wait(
    own: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("integrations.cus_health.turns.PLACES_OF_A_TENANT", 0)
    monkeypatch.setattr("integrations.cus_health.service._TEST_WAIT_SECONDS", 0)

    response = _client("admin", own.tenant).post(_test(own.id))

    assert response.status_code == 429
    assert response["Retry-After"] == "5"
    with pytest.MonkeyPatch.context() as places:
        places.setattr("integrations.cus_health.turns.PLACES_OF_A_TENANT", 1)
        with turn(own.tenant_id, own.id):
            pass


def test_there_is_no_other_method(own: CusIntegration) -> None:
    client = _client("admin", own.tenant)
    assert client.post(_health(own.id)).status_code == 405
    assert client.get(_test(own.id)).status_code == 405
