"""The audit trail: every change with its person and values; no entry changes or has a secret."""

from datetime import UTC, datetime

import pytest
from django.db import DatabaseError, connection, connections, transaction

from integrations.cus_accounts.models import CusTenant
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_audit.service import AuditOutsideTransaction, record_change
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_prices.service import CusPriceOverrideService
from integrations.cus_tenancy.tenant_service import CusTenantService
from tests.cus_factories import make_integration, make_user

pytestmark = pytest.mark.django_db
SECRET = "sk-canary-51f0a9d3c7"


def test_a_change_says_who_when_and_from_what_to_what(integration: CusIntegration) -> None:
    actor = make_user("admin", integration.tenant)

    CusIntegrationService(integration.tenant, actor=actor).change(
        integration.id, name="Renamed", budget_limit_cents=500
    )

    # Entries of one transaction share their time, so no order finds the last of them.
    entry = CusAuditEntry.objects.get(action="integration.changed")
    assert (entry.tenant, entry.actor, entry.actor_label) == (
        integration.tenant,
        actor,
        actor.email,
    )
    assert (entry.object_type, entry.object_id) == ("integration", str(integration.id))
    assert entry.object_label == "Renamed"
    assert entry.changes == {
        "name": {"from": integration.name, "to": "Renamed"},
        "budget_limit_cents": {"from": 0, "to": 500},
    }


def test_what_the_system_does_is_said_to_be_the_systems(integration: CusIntegration) -> None:
    CusIntegrationService(integration.tenant).fail(integration, "It broke.")

    entry = CusAuditEntry.objects.get(action="integration.failed")
    assert (entry.actor, entry.actor_label) == (None, "system")
    assert entry.changes["status"] == {"from": "enabled", "to": "error"}


def test_no_secret_is_in_the_trail(tenant: CusTenant) -> None:
    service = CusIntegrationService(tenant, actor=make_user("operator"))
    made = service.create(name="Ours", provider_type="openai", credential={"api_key": SECRET})
    service.change(made.id, credential={"api_key": f"{SECRET}-2"}, name="Still ours")
    service.change(made.id, reference="env://CUS_CREDENTIAL_CANARY")
    service.delete(made)

    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(cus_audit_trail::text, ' ') FROM cus_audit_trail")
        (trail,) = cursor.fetchone()
    assert SECRET not in trail
    assert "CUS_CREDENTIAL_CANARY" not in trail
    entries = CusAuditEntry.objects.filter(changes__credential="changed")
    assert {entry.action for entry in entries} == {
        "integration.created",
        "integration.changed",
        "integration.deleted",
    }


def test_tenants_prices_and_moments_are_recorded_too(tenant: CusTenant) -> None:
    operator = make_user("operator")
    CusTenantService(actor=operator).rename(tenant, "Renamed")
    CusPriceOverrideService(tenant, actor=operator).append(
        model="gpt-4o",
        prices={"input": "1", "output": "2"},
        valid_from=datetime(2026, 11, 1, tzinfo=UTC),
    )

    entry = CusAuditEntry.objects.get(action="price_override.appended")
    assert entry.changes["valid_from"] == {"from": None, "to": "2026-11-01 00:00:00+00:00"}
    assert CusAuditEntry.objects.filter(action="tenant.renamed", actor=operator).exists()


def test_a_change_that_is_rolled_back_leaves_no_entry(integration: CusIntegration) -> None:
    before = CusAuditEntry.objects.count()
    with pytest.raises(RuntimeError, match="no"), transaction.atomic():
        CusIntegrationService(integration.tenant).disable(integration)
        raise RuntimeError("no")

    assert CusAuditEntry.objects.count() == before


@pytest.mark.django_db(transaction=True)
def test_an_entry_is_written_with_its_change_or_not_at_all() -> None:
    tenant = make_integration().tenant

    with pytest.raises(AuditOutsideTransaction):
        record_change("tenant.renamed", tenant, actor=None)


CHANGES = [
    "UPDATE cus_audit_trail SET action = 'x'",
    "UPDATE cus_audit_trail SET action = 'x' WHERE false",
    "DELETE FROM cus_audit_trail",
    "TRUNCATE cus_audit_trail",
]


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
@pytest.mark.parametrize("login", ["default", "owner"])
@pytest.mark.parametrize("change", CHANGES)
def test_nobody_changes_the_trail(login: str, change: str) -> None:
    make_integration()
    before = CusAuditEntry.objects.count()
    refusal = r"permission denied" if login == "default" else r"is evidence"
    with (
        pytest.raises(DatabaseError, match=refusal),
        transaction.atomic(using=login),
        connections[login].cursor() as cursor,
    ):
        cursor.execute(change)

    assert CusAuditEntry.objects.count() == before > 0
