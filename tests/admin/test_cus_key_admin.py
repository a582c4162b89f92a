"""The console's page of SDK keys: who sees it, the one look at a key, revoking."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from integrations.cus_models import CusIntegration, CusSdkKey, CusTenant, CusUser
from integrations.cus_sdk_key_service import CusSdkKeyService
from integrations.cus_sdk_keys import verify_sdk_key
from tests.cus_factories import make_integration, make_tenant, make_user

pytestmark = pytest.mark.django_db

KEYS = "/admin/integrations/cussdkkey/"


def _client(user: CusUser) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def admin(tenant: CusTenant) -> Client:
    return _client(make_user("admin", tenant))


def _form(integration: CusIntegration, **fields: str) -> dict[str, str]:
    values = {"integration": str(integration.id), "label": "billing"}
    return values | {"expires_at_0": "", "expires_at_1": ""} | fields


def _issued(response: Any) -> str:
    """The key that the page shows."""
    text: str = response.content.decode()
    return text.partition("<code>")[2].partition("</code>")[0]


def test_a_key_is_shown_in_the_answer_and_nowhere_again(
    admin: Client, integration: CusIntegration
) -> None:
    response = admin.post(f"{KEYS}add/", _form(integration))

    assert response.status_code == 200
    text = _issued(response)
    principal = verify_sdk_key(text, now=timezone.now())
    assert principal is not None
    assert principal.integration_id == integration.id
    assert "no-store" in response["Cache-Control"]
    secret = text.split(":")[2]
    kept = [str(one.get_decoded()) for one in Session.objects.all()]
    kept += [str(one) for one in LogEntry.objects.values()]
    kept += [str(admin.cookies)]
    key = CusSdkKey.objects.get()
    for page in (KEYS, f"{KEYS}{key.id}/change/", f"{KEYS}add/", f"{KEYS}{key.id}/history/"):
        kept.append(admin.get(page, follow=True).content.decode())
    assert len(LogEntry.objects.all()) == 1
    assert not any(secret[5:-4] in one for one in kept)
    assert f"aosk_…{secret[-4:]}" in kept[3]


def test_a_third_key_is_refused_with_one_message(
    admin: Client, integration: CusIntegration
) -> None:
    for _ in range(2):
        admin.post(f"{KEYS}add/", _form(integration))

    page = admin.post(f"{KEYS}add/", _form(integration), follow=True).content.decode()

    assert "Revoke one of them first" in page.replace("\n", " ")
    assert "added successfully" not in page
    assert CusSdkKey.objects.count() == 2


def test_keys_are_revoked_and_the_dead_stay_listed(
    admin: Client, integration: CusIntegration
) -> None:
    key, _ = CusSdkKeyService(integration).issue(label="old one")
    chosen = {"action": "revoke_keys", "_selected_action": [str(key.id)]}

    page = admin.post(KEYS, chosen, follow=True).content.decode()

    assert "1 revoked" in page
    assert "old one" in page
    assert CusSdkKey.objects.get().revoked_at


def test_a_tenant_admin_neither_sees_nor_names_anothers(
    admin: Client, integration: CusIntegration
) -> None:
    foreign = make_integration(make_tenant(), name="Foreign one")
    key, _ = CusSdkKeyService(foreign).issue(label="foreign label")

    assert "foreign label" not in admin.get(KEYS).content.decode()
    assert "Foreign one" not in admin.get(f"{KEYS}add/").content.decode()
    assert admin.get(f"{KEYS}{key.id}/change/").status_code == 302
    refused = admin.post(f"{KEYS}add/", _form(foreign))
    assert refused.status_code == 200
    assert not _issued(refused).startswith(str(foreign.tenant_id))
    admin.post(KEYS, {"action": "revoke_keys", "_selected_action": [str(key.id)]})
    assert CusSdkKey.objects.get(integration=foreign).revoked_at is None
    assert CusSdkKey.objects.count() == 1


@pytest.mark.parametrize("role", ["member", "support"])
def test_who_manages_no_keys_sees_no_page(
    role: str, tenant: CusTenant, integration: CusIntegration
) -> None:
    key, _ = CusSdkKeyService(integration).issue()
    client = _client(make_user(role, tenant if role == "member" else None))

    for page in (KEYS, f"{KEYS}add/", f"{KEYS}{key.id}/change/"):
        assert client.get(page).status_code == 403
    assert client.post(f"{KEYS}add/", _form(integration)).status_code == 403
    chosen = {"action": "revoke_keys", "_selected_action": [str(key.id)]}
    assert client.post(KEYS, chosen).status_code == 403
    assert CusSdkKey.objects.get().revoked_at is None


def test_an_operator_issues_for_any_tenant(integration: CusIntegration) -> None:
    operator = _client(make_user("operator"))

    text = _issued(operator.post(f"{KEYS}add/", _form(integration)))

    assert verify_sdk_key(text, now=timezone.now())


@pytest.mark.parametrize(
    "query", ["secret_hash__startswith=a", "secret_hash=a", "integration__credential_ref=db"]
)
def test_hidden_columns_can_not_be_asked_about(
    admin: Client, integration: CusIntegration, query: str
) -> None:
    CusSdkKeyService(integration).issue()

    assert admin.get(f"{KEYS}?{query}").status_code in (302, 400)


def test_a_key_is_never_changed_or_deleted_here(admin: Client, integration: CusIntegration) -> None:
    key, _ = CusSdkKeyService(integration).issue(label="before")

    for action in ("change", "delete"):
        response = admin.post(f"{KEYS}{key.id}/{action}/", {"label": "after", "post": "yes"})
        assert response.status_code == 403
    assert CusSdkKey.objects.get().label == "before"
