"""Health in the console: history within one's role, and a test by POST alone."""

from collections.abc import Iterator

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant
from integrations.cus_health.models import CusHealthTransition
from integrations.cus_health.service import CusHealthService
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import make_integration, make_tenant, make_user, signed_in
from tests.cus_raw_server import RawServer, says

pytestmark = pytest.mark.django_db

HISTORY = "/admin/integrations/cushealthtransition/"


@pytest.fixture
def server(settings: Settings) -> Iterator[RawServer]:
    with RawServer(says(503)) as running:
        settings.CUS_ALLOW_HTTP_PROVIDERS = True
        settings.CUS_ALLOWED_PRIVATE_HOSTS = [f"127.0.0.1:{running.port}"]
        yield running


def _checked(tenant: CusTenant, server: RawServer, name: str) -> CusIntegration:
    integration = make_integration(
        tenant, name=name, provider_type="custom", config={"base_url": server.url}
    )
    CusHealthService(tenant).check(integration, now=timezone.now())
    return integration


def _client(role: str, tenant: CusTenant | None = None, *, csrf: bool = False) -> Client:
    return signed_in(make_user(role, tenant), enforce_csrf_checks=csrf)


def _test(integration: CusIntegration) -> str:
    return f"/admin/integrations/cusintegration/{integration.id}/test_now/"


@pytest.mark.parametrize("role", ["admin", "member"])
def test_people_see_the_history_of_their_own_tenant(
    role: str, tenant: CusTenant, server: RawServer
) -> None:
    _checked(tenant, server, "Own one")
    foreign = _checked(make_tenant(), server, "Foreign one")
    client = _client(role, tenant)

    page = client.get(HISTORY).content.decode()

    assert "Own one" in page
    assert "Foreign one" not in page
    row = CusHealthTransition.objects.get(integration=foreign)
    assert client.get(f"{HISTORY}{row.id}/change/").status_code == 302
    assert "Own one" in client.get(f"{HISTORY}?from=2026-11-01").content.decode()
    for hidden in ("integration__credential_ref__startswith=d", "message__startswith=x"):
        assert client.get(f"{HISTORY}?{hidden}").status_code in (302, 400)


@pytest.mark.parametrize("role", ["operator", "support"])
def test_operator_and_support_see_every_history(
    role: str, tenant: CusTenant, server: RawServer
) -> None:
    _checked(tenant, server, "One")
    _checked(make_tenant(), server, "Another")

    page = _client(role).get(f"{HISTORY}?health_to=degraded").content.decode()

    assert "One" in page
    assert "Another" in page
    assert "health unknown → degraded" in page


@pytest.mark.parametrize("role", ["operator", "admin"])
def test_history_is_changed_by_nobody(role: str, tenant: CusTenant, server: RawServer) -> None:
    _checked(tenant, server, "One")
    row = CusHealthTransition.objects.get()
    client = _client(role, tenant if role == "admin" else None)

    assert client.get(f"{HISTORY}add/").status_code == 403
    assert client.post(f"{HISTORY}{row.id}/change/", {"message": "x"}).status_code == 403
    assert client.post(f"{HISTORY}{row.id}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("role", ["operator", "admin"])
def test_the_button_asks_first_and_tests_by_post(
    role: str, tenant: CusTenant, server: RawServer
) -> None:
    integration = _checked(tenant, server, "One")
    client = _client(role, tenant if role == "admin" else None)
    page = f"/admin/integrations/cusintegration/{integration.id}/tab/overview/"
    assert _test(integration) in client.get(page).content.decode()

    asked = client.get(_test(integration)).content.decode()
    assert "which costs nothing" in asked
    assert server.connections == 1

    response = client.post(_test(integration))
    assert response["Location"] == page
    assert server.connections == 2
    (message,) = client.get(page).context["messages"]
    assert "has a failure of its own" in message.message
    assert message.level_tag == "error"


def test_a_provider_that_answers_is_good_news(
    tenant: CusTenant, server: RawServer, settings: Settings
) -> None:
    with RawServer(says(200, {"data": []})) as good:
        settings.CUS_ALLOWED_PRIVATE_HOSTS = [f"127.0.0.1:{good.port}"]
        integration = make_integration(
            tenant, provider_type="custom", config={"base_url": good.url}
        )
        answer = _client("admin", tenant).post(_test(integration), follow=True)

    (message,) = answer.context["messages"]
    assert message.level_tag == "success"
    integration.refresh_from_db()
    assert integration.health_state == "healthy"


def test_another_site_can_not_press_the_button(tenant: CusTenant, server: RawServer) -> None:
    integration = _checked(tenant, server, "One")

    assert _client("admin", tenant, csrf=True).post(_test(integration)).status_code == 403
    assert server.connections == 1


@pytest.mark.parametrize("role", ["member", "support"])
def test_who_only_reads_has_no_button(role: str, tenant: CusTenant, server: RawServer) -> None:
    integration = _checked(tenant, server, "One")
    client = _client(role, tenant if role == "member" else None)
    page = client.get(f"/admin/integrations/cusintegration/{integration.id}/change/")

    assert _test(integration) not in page.content.decode()
    assert client.get(_test(integration)).status_code == 403
    assert client.post(_test(integration)).status_code == 403
    assert server.connections == 1


def test_a_foreign_integration_can_not_be_tested(tenant: CusTenant, server: RawServer) -> None:
    foreign = _checked(make_tenant(), server, "Foreign one")

    assert _client("admin", tenant).post(_test(foreign)).status_code == 302
    assert server.connections == 1


def test_the_seventh_test_within_a_minute_says_so(tenant: CusTenant, server: RawServer) -> None:
    integration = _checked(tenant, server, "One")
    client = _client("admin", tenant)
    for _ in range(7):
        client.post(_test(integration))

    page = client.get(f"/admin/integrations/cusintegration/{integration.id}/change/")
    assert "six times within a minute" in page.content.decode()
    assert server.connections == 7
