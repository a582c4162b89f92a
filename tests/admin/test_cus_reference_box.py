"""Where an operator says that a credential is in a store of theirs (ruling C1)."""

import pytest

from integrations.cus_accounts.models import CusTenant
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_credentials.models import CusCredential
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import browser_of, limit_boxes, opened_credential

pytestmark = pytest.mark.django_db

URL = "/admin/integrations/cusintegration/"
REF = "env://CUS_CREDENTIAL_ACME"
SECRET = "sk-env-0123456789abcdef"


def _form(**fields: str) -> dict[str, str]:
    return {
        "name": "Production",
        "provider_type": "openai",
        "enforcement_level": "block",
        **limit_boxes(),
        "max_live_holds": "10000",
        "reference": REF,
    } | fields


def _seen(integration: CusIntegration) -> dict[str, str]:
    return {"name": integration.name, "seen_version": str(integration.config_version)}


def test_an_operator_moves_a_credential_to_a_store_and_sees_where_it_is(
    tenant: CusTenant, integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUS_CREDENTIAL_ACME", SECRET)
    client = browser_of("operator")
    change = f"{URL}{integration.id}/change/"

    assert client.post(change, _form(**_seen(integration))).status_code == 302

    integration.refresh_from_db()
    assert integration.credential_ref == REF
    assert opened_credential(integration) == {"api_key": SECRET}
    assert not CusCredential.objects.filter(integration=integration).exists()
    page = client.get(change).content.decode()
    assert f"Now {REF}" in page
    assert SECRET not in page
    entry = CusAuditEntry.objects.get(object_id=str(integration.id), action="integration.changed")
    assert entry.changes == {"credential_ref": "changed"}


def test_an_operator_enters_an_integration_that_never_had_a_credential_here(
    tenant: CusTenant,
) -> None:
    browser_of("operator").post(f"{URL}add/", _form(tenant=str(tenant.id)))

    assert CusIntegration.objects.get().credential_ref == REF
    assert not CusCredential.objects.exists()


def test_a_credential_that_is_entered_takes_the_stores_place(
    tenant: CusTenant, integration: CusIntegration
) -> None:
    client = browser_of("operator")
    client.post(f"{URL}{integration.id}/change/", _form(**_seen(integration)))
    integration.refresh_from_db()

    entered = _form(**_seen(integration), reference="", secret_api_key=SECRET)
    client.post(f"{URL}{integration.id}/change/", entered)

    integration.refresh_from_db()
    assert integration.credential_ref.startswith("db://")
    assert opened_credential(integration) == {"api_key": SECRET}


@pytest.mark.parametrize(
    "fields",
    [
        {"reference": "env://PATH"},
        {"reference": "env://CUS_CREDENTIAL_KEYS"},
        {"reference": "db://00000000-0000-0000-0000-000000000000"},
        {"reference": "vault://secret/cus/another/x#y"},
        {"reference": "nonsense"},
        {"secret_api_key": SECRET},
    ],
)
def test_what_can_not_be_is_said_at_the_box_and_changes_nothing(
    fields: dict[str, str], integration: CusIntegration
) -> None:
    client = browser_of("operator")
    before = CusIntegration.objects.values().get()

    answer = client.post(
        f"{URL}{integration.id}/change/", _form(**_seen(integration), rate_limit_rpm="9", **fields)
    )

    assert list(answer.context["adminform"].form.errors) == ["reference"]
    assert CusIntegration.objects.values().get() == before
    added = client.post(f"{URL}add/", _form(tenant=str(integration.tenant_id), **fields))
    assert list(added.context["adminform"].form.errors) == ["reference"]
    assert CusIntegration.objects.count() == 1


@pytest.mark.parametrize("role", ["admin", "member", "support"])
def test_nobody_else_has_the_box_or_reads_the_reference(
    role: str, tenant: CusTenant, integration: CusIntegration
) -> None:
    client = browser_of("operator")
    client.post(f"{URL}{integration.id}/change/", _form(**_seen(integration)))
    other = browser_of(role, None if role == "support" else tenant)

    page = other.get(f"{URL}{integration.id}/change/").content.decode()

    assert "CUS_CREDENTIAL" not in page
    assert 'name="reference"' not in page


def test_a_tenant_admin_adds_none_by_reference(tenant: CusTenant) -> None:
    answer = browser_of("admin", tenant).post(f"{URL}add/", _form())

    assert list(answer.context["adminform"].form.errors) == ["secret_api_key"]
    assert not CusIntegration.objects.exists()


def test_for_another_address_the_reference_is_asked_for_again_at_its_box(
    tenant: CusTenant,
) -> None:
    client = browser_of("operator")
    form = _form(provider_type="custom", config_base_url="https://a.example.com")
    client.post(f"{URL}add/", form | {"tenant": str(tenant.id)})
    integration = CusIntegration.objects.get()
    moved = form | _seen(integration) | {"config_base_url": "https://b.example.com"}

    refused = client.post(f"{URL}{integration.id}/change/", moved | {"reference": ""})

    errors = refused.context["adminform"].form.errors
    assert list(errors) == ["reference"]
    assert "credential_ref again" in errors["reference"][0]
    assert client.post(f"{URL}{integration.id}/change/", moved).status_code == 302
    integration.refresh_from_db()
    assert integration.credential_origin == "https://b.example.com:443"
