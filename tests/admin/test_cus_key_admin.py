"""The console's page of SDK keys: who sees it, the one look at a key, revoking."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.service import CusSdkKeyService
from integrations.cus_keys.verifier import verify_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import make_integration, make_tenant, make_user, signed_in

pytestmark = pytest.mark.django_db

KEYS = "/admin/integrations/cussdkkey/"


@pytest.fixture
def admin(tenant: CusTenant) -> Client:
    return signed_in(make_user("admin", tenant))


def _form(integration: CusIntegration, **fields: str) -> dict[str, str]:
    values = {"integration": str(integration.id), "label": "billing"}
    return values | {"expires_at_0": "", "expires_at_1": ""} | fields


def _issued(response: Any) -> str:
    """The key that the page shows."""
    found = re.search(r'<code id="issued-secret"[^>]*>([^<]*)</code>', response.content.decode())
    return found[1] if found else ""


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
    entries = list(CusAuditEntry.objects.filter(action="sdk_key.issued").values())
    kept += [str(one) for one in entries]
    kept += [str(admin.cookies)]
    key = CusSdkKey.objects.get()
    pages = {
        url: admin.get(f"{KEYS}{url}", follow=True).getvalue().decode()
        for url in ("", f"{key.id}/change/", "add/", f"{key.id}/history/", "export/")
    }
    kept += pages.values()
    # Who issued which key is on record, in the one trail that knows tenants.
    assert [(one["object_id"], one["tenant_id"]) for one in entries] == [
        (str(key.id), integration.tenant_id)
    ]
    assert "sdk_key.issued" in pages[f"{key.id}/history/"]
    assert not any(secret[5:-4] in one for one in kept)
    assert f"aosk_…{secret[-4:]}" in pages[""]


def test_a_third_key_is_refused_with_one_message(
    admin: Client, integration: CusIntegration
) -> None:
    for _ in range(2):
        admin.post(f"{KEYS}add/", _form(integration))

    answer = admin.post(f"{KEYS}add/", _form(integration))

    assert answer.status_code == 200
    (error,) = answer.context["adminform"].form.non_field_errors()
    assert "Revoke one of them first" in error
    assert _issued(answer) == ""
    assert list(answer.context["messages"]) == []
    assert CusSdkKey.objects.count() == 2


def test_a_moment_that_is_past_is_said_at_its_box(
    admin: Client, integration: CusIntegration
) -> None:
    past = {"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}

    answer = admin.post(f"{KEYS}add/", _form(integration, **past))

    assert list(answer.context["adminform"].form.errors) == ["expires_at"]
    assert not CusSdkKey.objects.exists()


def test_a_key_is_revoked_by_a_button_and_the_dead_stay_listed(
    admin: Client, integration: CusIntegration
) -> None:
    key, _ = CusSdkKeyService(integration).issue(label="old one")
    revoke = f"{KEYS}{key.id}/revoke/"
    assert revoke in admin.get(KEYS).content.decode()
    assert revoke in admin.get(f"{KEYS}{key.id}/change/").content.decode()

    asked = admin.get(revoke).content.decode()
    assert "two seconds" in asked
    assert CusSdkKey.objects.get().revoked_at is None
    done = admin.post(revoke, follow=True).content.decode()

    assert "The key is revoked." in done
    assert revoke not in done
    assert CusSdkKey.objects.get().revoked_at
    listed = admin.get(KEYS).content.decode()
    assert "old one" in listed
    assert "Revoked" in listed


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
    assert list(refused.context["adminform"].form.errors) == ["integration"]
    assert _issued(refused) == ""
    assert admin.post(f"{KEYS}{key.id}/revoke/").status_code == 302
    assert CusSdkKey.objects.get(integration=foreign).revoked_at is None
    assert CusSdkKey.objects.count() == 1


@pytest.mark.parametrize("role", ["member", "support"])
def test_who_manages_no_keys_sees_no_page(
    role: str, tenant: CusTenant, integration: CusIntegration
) -> None:
    key, _ = CusSdkKeyService(integration).issue()
    client = signed_in(make_user(role, tenant if role == "member" else None))

    for page in (KEYS, f"{KEYS}add/", f"{KEYS}{key.id}/change/"):
        assert client.get(page).status_code == 403
    assert client.post(f"{KEYS}add/", _form(integration)).status_code == 403
    assert client.post(f"{KEYS}{key.id}/revoke/").status_code == 403
    assert CusSdkKey.objects.get().revoked_at is None


def test_an_operator_issues_for_any_tenant(integration: CusIntegration) -> None:
    operator = signed_in(make_user("operator"))

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
