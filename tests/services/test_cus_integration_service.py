"""Integrations as the service keeps them: made, changed by several at once, closed."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, connections, transaction

from integrations.cus_accounts.models import CusTenant
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_credentials.models import CusCredential
from integrations.cus_integrations.rules import LADDER
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_prices.service import CusPriceOverrideService
from integrations.cus_tenancy.tenant_service import CusTenantService
from integrations.cus_web.errors import (
    CredentialRefRequired,
    IntegrationChanged,
    IntegrationNotFound,
    LevelNotReachable,
    NameTaken,
    OperatorsOnly,
    TenantClosed,
    VersionMismatch,
)
from tests.cus_factories import make_integration, make_tenant, make_user, opened_credential

pytestmark = pytest.mark.django_db
KEY = {"api_key": "sk-test-0123456789abcdef"}


def test_a_new_integration_is_created_and_serves_nobody_yet(tenant: CusTenant) -> None:
    actor = make_user("admin", tenant)

    made = CusIntegrationService(tenant, actor=actor).create(
        name="Ours", provider_type="openai", credential=KEY
    )

    assert (made.status, made.config_version, made.created_by) == ("created", 1, actor)
    assert (made.enforcement_level, made.budget_limit_cents) == ("block", 0)
    assert opened_credential(made) == KEY


def test_a_name_is_free_again_once_its_integration_is_deleted(tenant: CusTenant) -> None:
    service = CusIntegrationService(tenant)
    first = make_integration(tenant, name="Ours")
    with pytest.raises(NameTaken):
        make_integration(tenant, name="Ours")
    other = make_integration(tenant)
    with pytest.raises(NameTaken):
        service.change(other.id, name="Ours")

    service.delete(first)

    assert service.change(other.id, name="Ours").name == "Ours"


def test_deleting_keeps_the_row_and_destroys_the_credential(integration: CusIntegration) -> None:
    service = CusIntegrationService(integration.tenant)

    service.delete(integration)

    assert not CusCredential.objects.exists()
    row = CusIntegration.objects.get(id=integration.id)
    assert (row.status, row.config_version) == ("disabled", 3)
    assert row.deleted_at
    with pytest.raises(IntegrationNotFound):
        service.get(integration.id)
    with pytest.raises(IntegrationNotFound):
        service.change(integration.id, name="Risen")


@pytest.mark.parametrize("pk", ["nonsense", "00000000-0000-0000-0000-000000000000"])
def test_what_is_not_there_is_not_found(tenant: CusTenant, pk: str) -> None:
    with pytest.raises(IntegrationNotFound):
        CusIntegrationService(tenant).get(pk)


def test_another_tenants_integration_is_not_there(integration: CusIntegration) -> None:
    stranger = CusIntegrationService(make_tenant())

    with pytest.raises(IntegrationNotFound):
        stranger.get(integration.id)
    with pytest.raises(IntegrationNotFound):
        stranger.change(integration.id, name="Mine now")


def test_a_change_of_nothing_is_no_change(integration: CusIntegration) -> None:
    service = CusIntegrationService(integration.tenant)

    same = service.change(integration.id, name=integration.name, config={})

    assert same.config_version == integration.config_version
    assert not CusAuditEntry.objects.filter(action="integration.changed").exists()


def test_a_new_credential_is_unknown_until_it_is_checked(integration: CusIntegration) -> None:
    CusIntegration.objects.update(credential_state="invalid")
    service, another = CusIntegrationService(integration.tenant), {"api_key": "sk-other-9876543210"}

    changed = service.change(integration.id, credential=another)

    assert (changed.credential_state, changed.config_version) == ("unknown", 3)
    assert opened_credential(changed) == another


def test_a_refused_change_leaves_everything_as_it_was(integration: CusIntegration) -> None:
    service = CusIntegrationService(integration.tenant)
    make_integration(integration.tenant, name="Taken")

    with pytest.raises(NameTaken):
        service.change(integration.id, name="Taken", credential={"api_key": "sk-new-0123456789"})

    assert service.get(integration.id).config_version == integration.config_version
    assert opened_credential(integration) == KEY


@pytest.mark.parametrize("name", ["", " Ours", "Ours ", "a\tb", "n" * 256])
def test_a_name_that_is_none_is_refused(tenant: CusTenant, name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        make_integration(tenant, name=name)

    assert list(refused.value.message_dict) == ["name"]


@pytest.mark.parametrize("start", LADDER)
@pytest.mark.parametrize("target", LADDER)
def test_the_ladder_goes_up_one_rung_and_down_freely(
    tenant: CusTenant, start: str, target: str
) -> None:
    integration = make_integration(tenant, enforcement_level=start)
    service = CusIntegrationService(tenant)

    if LADDER.index(target) - LADDER.index(start) <= 1:
        changed = service.change(integration.id, enforcement_level=target)
        assert changed.enforcement_level == target
        return
    with pytest.raises(LevelNotReachable, match=f"Next is {LADDER[LADDER.index(start) + 1]}"):
        service.change(integration.id, enforcement_level=target)


@pytest.mark.parametrize(
    ("coverage", "enters"), [(None, True), ("95.00", True), ("94.99", False), ("0", False)]
)
def test_block_is_entered_with_enough_coverage_or_with_none_known(
    tenant: CusTenant, coverage: str | None, enters: bool
) -> None:
    integration = make_integration(tenant, enforcement_level="throttle")
    known = Decimal(coverage) if coverage else None
    CusIntegration.objects.filter(id=integration.id).update(coverage_percent=known)
    service = CusIntegrationService(tenant)

    if enters:
        changed = service.change(integration.id, enforcement_level="block")
        assert changed.enforcement_level == "block"
        return
    with pytest.raises(LevelNotReachable, match=r"needs 95 %"):
        service.change(integration.id, enforcement_level="block")


def test_a_price_raises_the_version_of_the_tenants_integrations(
    integration: CusIntegration,
) -> None:
    foreign = make_integration()

    CusPriceOverrideService(integration.tenant).append(
        model="gpt-4o",
        prices={"input": "1", "output": "2"},
        valid_from=datetime(2026, 11, 1, tzinfo=UTC),
    )

    versions = {row.id: row.config_version for row in CusIntegration.objects.all()}
    assert versions == {integration.id: 3, foreign.id: 2}


def test_only_an_operator_points_to_a_credential_of_the_server(integration: CusIntegration) -> None:
    tenant, ref = integration.tenant, "env://CUS_CREDENTIAL_OURS"
    for actor in (None, make_user("admin", tenant), make_user("support")):
        with pytest.raises(OperatorsOnly):
            CusIntegrationService(tenant, actor=actor).change(integration.id, reference=ref)

    operator = CusIntegrationService(tenant, actor=make_user("operator"))
    changed = operator.change(integration.id, reference=ref)

    assert (changed.credential_ref, changed.config_version) == (ref, 3)
    assert not CusCredential.objects.exists()


def test_no_tenant_sends_a_credential_of_the_server_to_an_address_of_its_own(
    tenant: CusTenant,
) -> None:
    integration = make_integration(tenant, provider_type="custom")
    operator, admin = make_user("operator"), make_user("admin", tenant)
    ref = "env://CUS_CREDENTIAL_OURS"
    by_operator = CusIntegrationService(tenant, actor=operator)
    by_operator.change(integration.id, reference=ref)
    service = CusIntegrationService(tenant, actor=admin)
    elsewhere = {"base_url": "https://evil.example.net"}

    with pytest.raises(OperatorsOnly):
        service.change(integration.id, config=elsewhere)

    # All else is the tenant's to change, and the address too once the credential is its own.
    same = integration.config | {"timeout_seconds": 5}
    assert service.change(integration.id, config=same).config == same
    own = service.change(integration.id, config=elsewhere, credential={"api_key": "own-key-0123"})
    assert own.credential_ref.startswith("db://")
    by_operator.change(integration.id, reference=ref)
    third = {"base_url": "https://m.example.com"}
    # An operator, too, names again what goes to another address.
    with pytest.raises(CredentialRefRequired):
        by_operator.change(integration.id, config=third)
    assert by_operator.change(integration.id, config=third, reference=ref).config == third


def test_nothing_starts_in_a_closed_tenant(tenant: CusTenant) -> None:
    running, made = make_integration(tenant), make_integration(tenant)
    CusTenantService().close(tenant)

    running.refresh_from_db()
    assert running.status == "disabled"
    with pytest.raises(TenantClosed):
        CusIntegrationService(tenant).enable(made)
    with pytest.raises(TenantClosed):
        make_integration(tenant)


def _in_thread(work: Any) -> Any:
    """Runs `work` as a request of its own would: on its own connection."""
    try:
        return work()
    finally:
        connections.close_all()


def _wait_for_a_lock() -> None:
    """Wait until another session waits for a lock of this connection."""
    waiters = (
        "SELECT count(*) FROM pg_locks"
        " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute(waiters)
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    pytest.fail("no session waited for a lock")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("expected", "refusal"), [(2, VersionMismatch), (None, IntegrationChanged)]
)
def test_who_writes_second_at_the_same_moment_is_told(
    expected: int | None, refusal: type[Exception]
) -> None:
    integration = make_integration()
    service = CusIntegrationService(integration.tenant)

    def second() -> Any:
        return service.change(integration.id, expected_version=expected, budget_limit_cents=200)

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            service.change(integration.id, expected_version=expected, budget_limit_cents=100)
            waiting = pool.submit(_in_thread, second)
            _wait_for_a_lock()
        with pytest.raises(refusal):
            waiting.result(timeout=30)

    row = service.get(integration.id)
    assert (row.budget_limit_cents, row.config_version) == (100, 3)


@pytest.mark.django_db(transaction=True)
def test_of_operators_who_all_edit_at_once_nobody_is_overwritten_unseen() -> None:
    integration = make_integration()
    tenant, start = integration.tenant, threading.Barrier(4)

    def operator(number: int) -> None:
        service = CusIntegrationService(tenant)
        start.wait(30)
        for turn in range(10):
            while True:
                try:
                    service.change(integration.id, budget_limit_cents=1000 * number + turn + 1)
                    break
                except IntegrationChanged:
                    continue

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(_in_thread, lambda n=n: operator(n)) for n in range(4)]
        for job in jobs:
            job.result(timeout=90)

    steps = [
        entry.changes["budget_limit_cents"]
        for entry in CusAuditEntry.objects.filter(action="integration.changed")
    ]
    row = CusIntegrationService(tenant).get(integration.id)
    assert (len(steps), row.config_version) == (40, 42)
    # Each saw what the one before it had written: the steps make one chain.
    follows = {step["from"]: step["to"] for step in steps}
    value = 0
    for _ in steps:
        value = follows.pop(value)
    assert (value, follows) == (row.budget_limit_cents, {})


@pytest.mark.django_db(transaction=True)
def test_enabling_and_disabling_at_once_ends_as_the_last_one_said() -> None:
    integration = make_integration()
    tenant, start = integration.tenant, threading.Barrier(2)

    def switch(name: str) -> None:
        service = CusIntegrationService(tenant)
        start.wait(30)
        for _ in range(20):
            getattr(service, name)(CusIntegration.objects.get(id=integration.id))

    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(_in_thread, lambda n=n: switch(n)) for n in ("enable", "disable")]:
            job.result(timeout=90)

    entries = CusAuditEntry.objects.filter(object_id=integration.id)
    counts = {
        name: entries.filter(action=f"integration.{name}").count()
        for name in ("enabled", "disabled")
    }
    integration.refresh_from_db()
    # It was enabled before all this; every move went to the other side.
    assert 1 + sum(counts.values()) == integration.config_version
    assert integration.status == (
        "enabled" if counts["enabled"] > counts["disabled"] else "disabled"
    )


def test_only_an_operator_moves_the_bound_of_calls_held_for_at_once(tenant: CusTenant) -> None:
    row = make_integration(tenant)
    admin, operator = make_user("admin", tenant), make_user("operator")

    with pytest.raises(OperatorsOnly):
        CusIntegrationService(tenant, actor=admin).change(row.id, max_live_holds=100)
    assert CusIntegrationService(tenant, actor=admin).change(row.id, max_live_holds=10_000) == row
    changed = CusIntegrationService(tenant, actor=operator).change(row.id, max_live_holds=100)

    assert changed.max_live_holds == 100
    assert changed.config_version == row.config_version + 1
    with pytest.raises(ValidationError, match="max_live_holds"):
        CusIntegrationService(tenant, actor=operator).change(row.id, max_live_holds=0)
