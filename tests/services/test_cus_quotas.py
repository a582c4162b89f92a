"""Whatever a tenant can make has a bound (ruling C11)."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_tenancy.member_service import CusMemberService
from integrations.cus_web.errors import QuotaExceeded
from tests.cus_factories import make_integration, make_tenant, make_user, signed_in

pytestmark = pytest.mark.django_db
API = "/api/v1/cus"
# What each creating call makes, and the setting that bounds it. A call that makes nothing that
# stays (a test, a switch, a report of an SDK key, a check) is bounded by rates instead.
BOUNDED = {
    "/integrations": "CUS_QUOTA_INTEGRATIONS",
    "/integrations/{integration_id}/keys": "CUS_QUOTA_SDK_KEYS_A_DAY",
    "/integrations/{integration_id}/stops": "CUS_QUOTA_STOPS",
    "/integrations/{integration_id}/scoped-limits": "CUS_QUOTA_SCOPED_LIMITS",
    "/increase-requests": "CUS_QUOTA_INCREASE_REQUESTS",
    "/notifications/targets": "CUS_QUOTA_NOTIFICATION_TARGETS",
    "/tokens": "CUS_QUOTA_TOKENS_A_DAY",
    "/price-overrides": "CUS_QUOTA_PRICE_OVERRIDES",
    "/display-rates": "CUS_QUOTA_DISPLAY_RATES",
    "/members": "CUS_QUOTA_INVITATIONS",
}
MAKES_NOTHING = {
    "/integrations/{integration_id}/enable",
    "/integrations/{integration_id}/disable",
    "/integrations/{integration_id}/test",
    "/increase-requests/{request_id}/refuse",
    "/increase-requests/{request_id}/withdraw",
    # As many limits as the integration's quota allows.
    "/increase-requests/{request_id}/approve",
    # Six a minute, and a secret takes another one's place.
    "/notifications/targets/{target_id}/test",
    "/notifications/targets/{target_id}/rotate",
    "/price-overrides/preview",
    "/telemetry/llm-usage",
    "/telemetry/llm-usage/batch",
    "/telemetry/bypass",
    # A month is closed once, so the months are its bound.
    "/telemetry/months/{month}/close",
    "/enforcement/check",
    "/enforcement/batch",
    # As many leases as holds, and a lease ends by itself.
    "/enforcement/lease",
    # A report is answered; what runs as a job has a bound of its own.
    "/enforcement/simulate",
}
BODIES: dict[str, dict[str, Any]] = {
    "/integrations": {
        "name": "New",
        "provider_type": "openai",
        "credential": {"api_key": "sk-test-0123456789abcdef"},
    },
    "/integrations/{integration_id}/keys": {"label": "New"},
    "/integrations/{integration_id}/stops": {
        "scope": "agent_id",
        "value": "new",
        "reason": "Loops.",
    },
    "/integrations/{integration_id}/scoped-limits": {
        "scope": "agent_id",
        "value": "new",
        "unit": "cents",
        "window": "day",
        "amount": 500,
    },
    "/increase-requests": {
        "integration_id": "{integration_id}",
        "limit": "token_limit_month",
        "amount": 500,
        "valid_until": "2099-01-01T00:00:00Z",
        "reason": "The launch.",
    },
    "/notifications/targets": {"medium": "email", "address": "new@example.com"},
    "/tokens": {"name": "New"},
    "/price-overrides": {
        "model": "new",
        "prices": {"input": "1", "output": "2"},
        "valid_from": "2030-01-01T00:00:00Z",
    },
    "/display-rates": {
        "currency": "EUR",
        "rate": "0.92",
        "valid_from": "2030-01-01T00:00:00Z",
    },
    "/members": {"email": "new@example.com", "role": "member"},
}


# What may be there only once.
_OTHER = {
    "/integrations/{integration_id}/stops": {"value": "other"},
    "/integrations/{integration_id}/scoped-limits": {"value": "other"},
    "/members": {"email": "other@example.com"},
    "/notifications/targets": {"address": "other@example.com"},
    "/price-overrides": {"model": "other"},
    "/display-rates": {"valid_from": "2031-01-01T00:00:00Z"},
}


def test_every_call_that_makes_something_has_a_bound(client: Client) -> None:
    paths = client.get("/api/schema?format=json").json()["paths"]
    creating = {path.removeprefix(API) for path, methods in paths.items() if "post" in methods}
    assert creating == BOUNDED.keys() | MAKES_NOTHING


@pytest.mark.parametrize("path", BOUNDED)
def test_beyond_its_bound_nothing_is_made_and_what_is_there_stays_usable(
    integration: CusIntegration, settings: Settings, path: str
) -> None:
    client = signed_in(make_user("admin", integration.tenant))
    CusIntegration.objects.filter(id=integration.id).update(token_limit_month=1)
    url = f"{API}{path}".replace("{integration_id}", str(integration.id))
    body = {
        name: str(integration.id) if value == "{integration_id}" else value
        for name, value in BODIES[path].items()
    }
    setattr(settings, BOUNDED[path], 1)

    answer = _make_until_refused(client, url, body)

    assert answer.status_code == 409
    (error,) = answer.json()["errors"]
    assert error["code"] == "quota_exceeded"
    assert f"raise {BOUNDED[path]}" in error["detail"]
    assert client.get(f"{API}/integrations/{integration.id}").status_code == 200
    # Any number, as with every limit.
    setattr(settings, BOUNDED[path], 0)
    other = body | _OTHER.get(path, {})
    assert client.post(url, other, content_type="application/json").status_code == 201


def _make_until_refused(client: Client, url: str, body: dict[str, Any]) -> Any:
    """The answer for what is beyond a bound of one, of which there may be one already."""
    first = client.post(url, body, content_type="application/json")
    if first.status_code == 409:
        return first
    assert first.status_code == 201
    # What is stopped already needs no second stop.
    more = {"value": "more"} if url.endswith(("/stops", "/scoped-limits")) else {}
    # What is stopped already needs no second stop, and an address is told once.
    again = {"stops": {"value": "more"}, "targets": {"address": "more@example.com"}}
    more = again.get(url.rpartition("/")[2], {})
    return client.post(url, body | more, content_type="application/json")


FORMS: dict[str, tuple[str, dict[str, str]]] = {
    "cusmembership": (
        "CUS_QUOTA_INVITATIONS",
        {"invited_email": "a@example.com", "role": "member"},
    ),
    "cusapitoken": ("CUS_QUOTA_TOKENS_A_DAY", {"name": "New"}),
    "cussdkkey": ("CUS_QUOTA_SDK_KEYS_A_DAY", {"integration": "{integration_id}", "label": "New"}),
    "cusstop": (
        "CUS_QUOTA_STOPS",
        {
            "integration": "{integration_id}",
            "scope": "agent_id",
            "value": "{unique}",
            "reason": "Loops.",
        },
    ),
    "cusscopedlimit": (
        "CUS_QUOTA_SCOPED_LIMITS",
        {
            "integration": "{integration_id}",
            "scope": "agent_id",
            "value": "{unique}",
            "unit": "cents",
            "window": "day",
            "amount": "5.00",
            "warning_percent": "80",
            "enabled": "on",
        },
    ),
    "cusincreaserequest": (
        "CUS_QUOTA_INCREASE_REQUESTS",
        {
            "which": "token_limit_month:{integration_id}",
            "amount": "500",
            "valid_until_0": "2099-01-01",
            "valid_until_1": "00:00:00",
            "reason": "The launch.",
        },
    ),
    "cusnotificationtarget": (
        "CUS_QUOTA_NOTIFICATION_TARGETS",
        {"medium": "email", "address": "{unique}@example.com"},
    ),
    "cusdisplayrate": (
        "CUS_QUOTA_DISPLAY_RATES",
        {
            "currency": "EUR",
            "rate": "0.92",
            "valid_from_0": "2030-01-01",
            "valid_from_1": "00:00:00",
        },
    ),
    "cuspriceoverride": (
        "CUS_QUOTA_PRICE_OVERRIDES",
        {
            "model": "new",
            "valid_from_0": "2030-01-01",
            "valid_from_1": "00:00:00",
            "price_input": "1",
            "price_output": "2",
        },
    ),
    "cusintegration": (
        "CUS_QUOTA_INTEGRATIONS",
        {
            "name": "New",
            "provider_type": "openai",
            "secret_api_key": "sk-test-0123456789abcdef",
            "budget": "0",
            "budget_basis": "rounded",
            "estimate_basis": "bound",
            "enforcement_level": "block",
            "token_limit_month": "0",
            "rate_limit_rpm": "0",
            "rate_limit_tpm": "0",
            "rate_limit_rpd": "0",
        },
    ),
}


def _filled(text: str, named: dict[str, str]) -> str:
    for mark, value in named.items():
        text = text.replace(mark, value)
    return text


@pytest.mark.parametrize("page", FORMS)
def test_the_consoles_forms_say_which_bound_is_reached(
    integration: CusIntegration, settings: Settings, page: str
) -> None:
    setting, fields = FORMS[page]

    def body() -> dict[str, str]:
        named = {"{integration_id}": str(integration.id), "{unique}": str(uuid.uuid4())}
        return {name: _filled(text, named) for name, text in fields.items()}

    CusIntegration.objects.filter(id=integration.id).update(token_limit_month=1)
    setattr(settings, setting, 1)
    admin = signed_in(make_user("admin", integration.tenant))

    answer = admin.post(f"/admin/integrations/{page}/add/", body())
    if f"raise {setting}" not in answer.content.decode():
        answer = admin.post(f"/admin/integrations/{page}/add/", body())

    assert answer.status_code == 200
    assert f"raise {setting}" in answer.content.decode()


def test_deleting_and_making_again_is_bounded_by_the_day(
    tenant: CusTenant, settings: Settings
) -> None:

    settings.CUS_QUOTA_INTEGRATIONS = 2
    for _ in range(2):
        CusIntegrationService(tenant).delete(make_integration(tenant))
    with pytest.raises(QuotaExceeded, match="made within a day"):
        make_integration(tenant)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_ask_at_once_for_the_last_place_one_has_it(settings: Settings) -> None:

    tenant = make_tenant()
    service = CusMemberService(tenant)
    settings.CUS_QUOTA_INVITATIONS = 1
    start = threading.Barrier(2)

    def invite(number: int) -> bool:
        start.wait(30)
        try:
            service.invite(email=f"{number}@example.com", role="member")
        except QuotaExceeded:
            return False
        else:
            return True
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(invite, range(2))) == [False, True]
