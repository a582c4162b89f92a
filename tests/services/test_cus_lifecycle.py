"""An integration's status: random lives of one, held against a plain model."""

import copy
from dataclasses import dataclass

import pytest
from django.db import transaction
from django.db.models import F
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from integrations.cus_accounts.models import CusTenant
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_credentials.models import CusCredential
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import IntegrationNotFound, InvalidTransition
from tests.cus_factories import make_integration, make_tenant

pytestmark = pytest.mark.django_db

STEPS = 5
REASONS = ["The provider refuses the base URL.", "Stopped by an operator."]
IN_THE_ROW = (
    "status",
    "error_reason",
    "status_before_error",
    "credential_state",
    "config_version",
    "deleted_at",
)
NEW_KEY = {"api_key": "sk-test-another-0123456789"}


@dataclass
class Life:
    """What the status machine should be at, kept by hand."""

    status: str = "created"
    reason: str | None = None
    before: str | None = None
    credential: str = "unknown"
    version: int = 1
    entries: int = 1
    deleted: bool = False

    def moved(self, **now: str | None) -> None:
        for name, value in now.items():
            setattr(self, name, value)
        self.version += 1
        self.entries += 1


class Lifecycle(RuleBasedStateMachine):
    """Everything that happens to an integration, in any order.

    Every life begins with the same new integration, and is taken back when it ends: making one
    for each would take longer than the lives do, and a table that grows slows the later ones.
    """

    born_as: CusIntegration
    lives: int

    @initialize()
    def born(self) -> None:
        type(self).lives += 1
        self.before = transaction.savepoint()
        self.row = copy.copy(self.born_as)
        self.service = CusIntegrationService(self.row.tenant)
        self.life = Life()

    def teardown(self) -> None:
        try:
            entries = CusAuditEntry.objects.filter(object_id=self.row.id).count()
            assert entries == self.life.entries
        finally:
            transaction.savepoint_rollback(self.before)

    @rule()
    def enable(self) -> None:
        life = self.life
        if life.deleted:
            with pytest.raises(IntegrationNotFound):
                self.service.enable(self.row)
        elif life.status == "enabled":
            self.service.enable(self.row)
        elif life.reason or life.credential == "invalid":
            with pytest.raises(InvalidTransition):
                self.service.enable(self.row)
        else:
            self.service.enable(self.row)
            life.moved(status="enabled")

    @precondition(lambda self: not self.life.deleted)
    @rule()
    def disable(self) -> None:
        self.service.disable(self.row)
        if self.life.status != "disabled":
            self.life.moved(status="disabled")

    @precondition(lambda self: not self.life.deleted)
    @rule(reason=st.sampled_from(REASONS))
    def fail(self, reason: str) -> None:
        self.service.fail(self.row, reason)
        life = self.life
        if life.reason is None:
            life.moved(status="error", reason=reason, before=life.status)
        elif life.reason != reason:
            life.moved(reason=reason)

    @precondition(lambda self: not self.life.deleted)
    @rule()
    def recover(self) -> None:
        self.service.recover(self.row)
        life = self.life
        if life.status == "error":
            life.moved(status=life.before, reason=None, before=None)
        elif life.reason:
            life.moved(reason=None, before=None)

    @precondition(lambda self: not self.life.deleted)
    @rule()
    def the_provider_refuses_the_credential(self) -> None:
        CusIntegration.objects.filter(id=self.row.id).update(
            credential_state="invalid", config_version=F("config_version") + 1
        )
        self.life.credential = "invalid"
        self.life.version += 1

    @precondition(lambda self: not self.life.deleted)
    @rule()
    def enter_a_credential(self) -> None:
        self.service.change(self.row.id, credential=NEW_KEY)
        self.life.moved(credential="unknown")

    @rule()
    def delete(self) -> None:
        if self.life.deleted:
            with pytest.raises(IntegrationNotFound):
                self.service.delete(self.row)
            return
        self.service.delete(self.row)
        self.life.moved(status="disabled", reason=None, before=None, credential="unknown")
        self.life.deleted = True

    @invariant()
    def the_row_is_as_the_model_says(self) -> None:
        life = self.life
        *row, deleted_at = CusIntegration.objects.values_list(*IN_THE_ROW).get(id=self.row.id)
        assert row == [life.status, life.reason, life.before, life.credential, life.version]
        assert bool(deleted_at) == life.deleted


@pytest.mark.timeout(600)
def test_random_lives_follow_the_model(tenant: CusTenant, request: pytest.FixtureRequest) -> None:
    lives: int = request.config.getoption("--lives")
    service = CusIntegrationService(tenant)
    Lifecycle.born_as = service.create(name="Born", provider_type="openai", credential=NEW_KEY)
    Lifecycle.lives = 0
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=lives,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

    assert Lifecycle.lives >= lives


def test_enabling_says_what_is_in_the_way(tenant: CusTenant) -> None:
    service, integration = CusIntegrationService(tenant), make_integration(tenant)
    service.disable(integration)
    CusIntegration.objects.filter(id=integration.id).update(credential_state="invalid")
    with pytest.raises(InvalidTransition, match="refuses the integration's credential"):
        service.enable(integration)

    service.change(integration.id, credential=NEW_KEY)
    service.fail(integration, "The deployment does not exist.")
    with pytest.raises(InvalidTransition, match=r"in error: The deployment does not exist\. "):
        service.enable(integration)

    service.recover(integration)
    CusCredential.objects.filter(integration=integration).delete()
    with pytest.raises(InvalidTransition, match="has no credential"):
        service.enable(integration)


@pytest.mark.parametrize("before", ["created", "enabled", "disabled"])
def test_an_error_that_lifts_gives_back_the_status_from_before(
    tenant: CusTenant, before: str
) -> None:
    service, integration = CusIntegrationService(tenant), make_integration(tenant)
    CusIntegration.objects.filter(id=integration.id).update(status=before)

    assert service.fail(integration, "It broke.").status == "error"
    assert service.recover(integration).status == before


def test_what_was_disabled_in_error_does_not_start_by_itself(tenant: CusTenant) -> None:
    service, integration = CusIntegrationService(tenant), make_integration(tenant)
    service.fail(integration, "It broke.")

    assert service.disable(integration).status == "disabled"
    with pytest.raises(InvalidTransition, match=r"in error: It broke\."):
        service.enable(integration)
    assert service.fail(integration, "Still broken.").status == "disabled"
    assert service.recover(integration).status == "disabled"
    assert service.enable(integration).status == "enabled"


@pytest.mark.parametrize(
    ("reason", "kept"),
    [("x" * 2000, "x" * 1000), ("a\0b", "ab"), ("  ", "No reason was given.")],
)
def test_a_reason_is_kept_as_far_as_it_can_be(tenant: CusTenant, reason: str, kept: str) -> None:
    failed = CusIntegrationService(tenant).fail(make_integration(tenant), reason)

    assert failed.error_reason == kept


def test_another_tenants_service_moves_nothing(tenant: CusTenant) -> None:
    integration, stranger = make_integration(tenant), CusIntegrationService(make_tenant())

    for move in (stranger.enable, stranger.disable, stranger.recover, stranger.delete):
        with pytest.raises(IntegrationNotFound):
            move(integration)
    with pytest.raises(IntegrationNotFound):
        stranger.fail(integration, "No.")
    integration.refresh_from_db()
    assert (integration.status, integration.deleted_at) == ("enabled", None)
