"""Integrations in the console: entered, changed, stopped, all by way of the service."""

from typing import Any

import pytest
from django.test import Client

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_credentials.models import CusCredential
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import (
    limit_boxes,
    make_integration,
    make_tenant,
    make_user,
    opened_credential,
    signed_in,
)

pytestmark = pytest.mark.django_db

URL = "/admin/integrations/cusintegration/"
SECRET = "sk-live-7f3a9c2e5b8d1f4a"
CREDENTIALS: dict[str, dict[str, str]] = {
    "openai": {"api_key": SECRET},
    "anthropic": {"api_key": SECRET},
    "azure_openai": {"azure_ad_token": SECRET},
    "bedrock": {"aws_access_key_id": "AKIA0123456789", "aws_secret_access_key": SECRET},
    "custom": {"api_key": SECRET},
}
CONFIGS: dict[str, dict[str, str]] = {
    "openai": {"organization": "org-1", "timeout_seconds": "30"},
    "anthropic": {},
    "azure_openai": {"base_url": "https://acme.openai.azure.com", "deployment": "gpt"},
    "bedrock": {"region": "eu-central-1"},
    "custom": {"base_url": "https://models.example.com/v1", "health_path": "/models"},
}


@pytest.fixture
def client(admin: CusUser) -> Client:
    return signed_in(admin)


def _form(provider: str = "openai", **fields: str) -> dict[str, str]:
    """What a browser sends for a new integration of this type."""
    return {
        "name": "Production",
        "provider_type": provider,
        "default_model": "",
        "enforcement_level": "block",
        **limit_boxes(budget="250.50", rate_limit_rpm="60"),
        "max_live_holds": "10000",
        **{f"config_{key}": value for key, value in CONFIGS[provider].items()},
        **{f"secret_{key}": value for key, value in CREDENTIALS[provider].items()},
    } | fields


def _changed(integration: CusIntegration, **fields: str) -> dict[str, str]:
    """What a browser sends for `integration`, opened now, with these fields changed."""
    form = _form(name=integration.name, config_organization="", config_timeout_seconds="")
    form |= {"secret_api_key": "", "seen_version": str(integration.config_version)}
    return form | fields


def _messages(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


@pytest.mark.parametrize("provider", list(CREDENTIALS))
def test_each_provider_is_entered_by_its_own_boxes(
    provider: str, client: Client, tenant: CusTenant, admin: CusUser
) -> None:
    answer = client.post(f"{URL}add/", _form(provider))

    assert answer.status_code == 302
    made = CusIntegration.objects.get()
    assert (made.tenant, made.created_by, made.status) == (tenant, admin, "created")
    assert made.budget_limit_cents == 25_050
    assert made.default_model is None
    assert {key: str(value) for key, value in made.config.items()} == CONFIGS[provider]
    assert opened_credential(made) == CREDENTIALS[provider]
    entry = CusAuditEntry.objects.get(action="integration.created")
    assert (entry.actor, entry.changes["credential"]) == (admin, "changed")


@pytest.mark.parametrize(
    ("fields", "box"),
    [
        ({"name": ""}, "name"),
        ({"name": " x"}, None),
        ({"secret_api_key": ""}, "secret_api_key"),
        ({"secret_api_key": "with a space"}, "secret_api_key"),
        ({"config_timeout_seconds": "0"}, "config_timeout_seconds"),
        ({"config_timeout_seconds": "x"}, "config_timeout_seconds"),
        ({"config_organization": "no spaces here"}, "config_organization"),
        ({"budget": "-1"}, "budget"),
        ({"budget": "0.001"}, "budget"),
        ({"budget": "99999999999"}, "budget"),
        ({"rate_limit_rpm": "-1"}, "rate_limit_rpm"),
        ({"enforcement_level": "total"}, "enforcement_level"),
        ({"provider_type": "magic"}, "provider_type"),
    ],
)
def test_what_the_service_refuses_stands_at_its_box(
    client: Client, fields: dict[str, str], box: str | None
) -> None:
    answer = client.post(f"{URL}add/", _form() | fields)

    if box is None:
        assert answer.status_code == 302  # the browser's form trims it
        return
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [box]
    assert "successfully" not in answer.content.decode()
    assert not CusIntegration.objects.exists()


@pytest.mark.parametrize(
    ("provider", "missing", "box"),
    [
        ("azure_openai", "config_base_url", "config_base_url"),
        ("custom", "config_base_url", "config_base_url"),
        ("bedrock", "config_region", "config_region"),
        ("bedrock", "secret_aws_secret_access_key", "secret_api_key"),
    ],
)
def test_what_a_provider_needs_is_asked_for_at_its_box(
    client: Client, provider: str, missing: str, box: str
) -> None:
    answer = client.post(f"{URL}add/", _form(provider) | {missing: ""})

    assert list(answer.context["adminform"].form.errors) == [box]


def test_a_refused_form_gives_no_secret_back(client: Client) -> None:
    answer = client.post(f"{URL}add/", _form(name=""))

    assert answer.status_code == 200
    assert SECRET not in answer.content.decode()


def test_no_page_gives_a_secret_back(client: Client) -> None:
    client.post(f"{URL}add/", _form())
    made = CusIntegration.objects.get()

    for url in ("", f"{made.id}/change/", "add/", "export/"):
        page = client.get(URL + url).getvalue().decode()
        assert SECRET not in page
        assert made.credential_ref not in page
    trail = client.get("/admin/integrations/cusauditentry/").content.decode()
    assert SECRET not in trail


def test_boxes_of_another_provider_do_not_count(client: Client, tenant: CusTenant) -> None:
    client.post(
        f"{URL}add/",
        _form(secret_azure_ad_token="another-one-0123", config_base_url="https://x.example.com"),
    )

    made = CusIntegration.objects.get()
    assert opened_credential(made) == {"api_key": SECRET}
    assert "base_url" not in made.config


def test_a_name_that_is_taken_is_said_at_the_name(client: Client) -> None:
    client.post(f"{URL}add/", _form())

    answer = client.post(f"{URL}add/", _form())

    assert list(answer.context["adminform"].form.errors) == ["name"]
    assert CusIntegration.objects.count() == 1


def test_a_change_keeps_what_was_not_touched(
    client: Client, tenant: CusTenant, integration: CusIntegration
) -> None:
    answer = client.post(
        f"{URL}{integration.id}/change/", _changed(integration, budget="7", default_model="gpt-4o")
    )

    assert answer.status_code == 302
    integration.refresh_from_db()
    assert (integration.budget_limit_cents, integration.default_model) == (700, "gpt-4o")
    assert opened_credential(integration) == {"api_key": "sk-test-0123456789abcdef"}


def test_a_new_credential_takes_the_place_of_the_old_and_says_who_entered_it(
    client: Client, tenant: CusTenant, integration: CusIntegration, admin: CusUser
) -> None:
    client.post(f"{URL}{integration.id}/change/", _changed(integration, secret_api_key=SECRET))

    assert opened_credential(integration) == {"api_key": SECRET}
    page = client.get(f"{URL}{integration.id}/change/").content.decode()
    assert f"…{SECRET[-4:]}, entered by {admin.email} on" in page


def test_another_address_asks_for_the_credential_at_its_box(
    client: Client, tenant: CusTenant
) -> None:
    client.post(f"{URL}add/", _form("custom"))
    made = CusIntegration.objects.get()
    moved = _form("custom", config_base_url="https://elsewhere.example.com/v1")
    moved |= {"seen_version": str(made.config_version)}

    refused = client.post(f"{URL}{made.id}/change/", moved | {"secret_api_key": ""})

    errors = refused.context["adminform"].form.errors
    assert list(errors) == ["secret_api_key"]
    assert "Enter the credential again" in errors["secret_api_key"][0]
    assert CusIntegration.objects.get().config == made.config

    assert client.post(f"{URL}{made.id}/change/", moved).status_code == 302
    assert CusIntegration.objects.get().credential_origin == "https://elsewhere.example.com:443"


def test_two_who_change_at_once_do_not_overwrite_each_other(
    client: Client, tenant: CusTenant, integration: CusIntegration
) -> None:
    opened = _changed(integration, budget="7", secret_api_key=SECRET)
    CusIntegrationService(tenant).change(integration.id, rate_limit_rpm=99)
    before = CusIntegration.objects.values().get()

    answer = client.post(f"{URL}{integration.id}/change/", opened)

    assert answer.status_code == 200
    page = answer.content.decode()
    assert page.count("Another person changed this integration while you had it open") == 1
    assert "successfully" not in page
    assert _messages(answer) == []
    assert CusIntegration.objects.values().get() == before
    assert opened_credential(integration) == {"api_key": "sk-test-0123456789abcdef"}


@pytest.mark.parametrize("version", ["", "0", "999"])
def test_a_form_without_the_version_that_was_seen_changes_nothing(
    client: Client, integration: CusIntegration, version: str
) -> None:
    answer = client.post(
        f"{URL}{integration.id}/change/",
        _changed(integration, budget="7", seen_version=version),
    )

    assert "your changes were not saved" in answer.content.decode()
    integration.refresh_from_db()
    assert integration.budget_limit_cents == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("provider_type", "anthropic"),
        ("status", "disabled"),
        ("tenant", "00000000-0000-0000-0000-000000000000"),
        ("credential_ref", "env://CUS_CREDENTIAL_X"),
        ("reference", "env://CUS_CREDENTIAL_X"),
        ("config_version", "77"),
        ("deleted_at", "2026-01-01"),
        ("credential_state", "valid"),
    ],
)
def test_a_form_sets_nothing_that_has_no_box(
    client: Client, integration: CusIntegration, field: str, value: str
) -> None:
    column = "credential_ref" if field == "reference" else field
    before = CusIntegration.objects.values(column).get()

    client.post(f"{URL}{integration.id}/change/", _changed(integration, **{field: value}))

    after = CusIntegration.objects.values(column).get()
    assert after == before or field == "config_version"
    assert str(after[column]) != value


def test_the_level_goes_up_one_rung_at_a_time_here_too(
    client: Client, integration: CusIntegration, tenant: CusTenant
) -> None:
    low = CusIntegrationService(tenant).change(integration.id, enforcement_level="visibility")

    answer = client.post(f"{URL}{low.id}/change/", _changed(low, enforcement_level="block"))

    assert list(answer.context["adminform"].form.errors) == ["enforcement_level"]


def test_a_tenant_admin_makes_integrations_of_the_own_tenant_alone(
    client: Client, tenant: CusTenant
) -> None:
    other = make_tenant()

    client.post(f"{URL}add/", _form(tenant=str(other.id)))

    assert CusIntegration.objects.get().tenant == tenant


def test_an_operator_says_for_which_tenant(tenant: CusTenant) -> None:
    operator = signed_in(make_user("operator"))

    nowhere = operator.post(f"{URL}add/", _form())
    assert list(nowhere.context["adminform"].form.errors) == ["tenant"]
    assert operator.post(f"{URL}add/", _form(tenant=str(tenant.id))).status_code == 302
    assert CusIntegration.objects.get().tenant == tenant


def test_an_integration_is_stopped_started_and_deleted_by_its_buttons(
    client: Client, integration: CusIntegration
) -> None:
    row = f"{URL}{integration.id}/"

    stopped = client.post(f"{row}disable/", follow=True)
    assert _messages(stopped) == ["The integration is disabled."]
    integration.refresh_from_db()
    assert integration.status == "disabled"
    client.post(f"{row}enable/")
    integration.refresh_from_db()
    assert integration.status == "enabled"

    deleted = client.post(f"{row}remove/")
    assert deleted["Location"] == URL
    integration.refresh_from_db()
    assert integration.deleted_at
    assert not CusCredential.objects.exists()
    assert client.get(f"{row}change/").status_code == 302


def test_a_refused_button_says_why_and_nothing_else(
    client: Client, tenant: CusTenant, integration: CusIntegration
) -> None:
    CusIntegrationService(tenant).fail(integration, "The deployment is gone.")

    answer = client.post(f"{URL}{integration.id}/enable/", follow=True)

    (message,) = _messages(answer)
    assert message.startswith("The integration is in error: The deployment is gone.")


def test_only_an_operator_clears_an_error(
    client: Client, tenant: CusTenant, integration: CusIntegration
) -> None:
    CusIntegrationService(tenant).fail(integration, "Broken.")

    assert client.post(f"{URL}{integration.id}/recover/").status_code == 403
    signed_in(make_user("operator")).post(f"{URL}{integration.id}/recover/")

    integration.refresh_from_db()
    assert (integration.status, integration.error_reason) == ("enabled", None)


@pytest.mark.parametrize("role", ["member", "support"])
def test_who_only_reads_finds_everything_but_boxes(
    role: str, tenant: CusTenant, integration: CusIntegration
) -> None:
    user = make_user(role, tenant if role == "member" else None)

    page = signed_in(user).get(f"{URL}{integration.id}/change/").content.decode()

    assert integration.name in page
    assert "secret_api_key" not in page
    assert 'name="_save"' not in page
    assert f"{integration.id}/disable/" not in page


def test_a_deleted_integration_has_no_page(tenant: CusTenant) -> None:
    integration = make_integration(tenant)
    CusIntegrationService(tenant).delete(integration)
    client = signed_in(make_user("operator"))

    assert integration.name not in client.get(URL).content.decode()
    for page in ("change/", "enable/", "history/"):
        assert client.get(f"{URL}{integration.id}/{page}").status_code in (302, 403)
