"""Where a guided creation stands: its steps, and the next one of an integration."""

from dataclasses import dataclass
from enum import StrEnum

from django.db.models import Exists, OuterRef, QuerySet
from django.urls import reverse

from integrations.cus_keys.models import CusSdkKey
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage, CusPeriodTotals


class Step(StrEnum):
    """The steps, in their order. The value is the last part of the name of the step's page."""

    PROVIDER = "provider"
    CREDENTIAL = "credential"
    TEST = "test"
    LIMITS = "limits"
    KEY = "key"


TITLES = {
    Step.PROVIDER: "Provider",
    Step.CREDENTIAL: "Credential",
    Step.TEST: "Test",
    Step.LIMITS: "Limits",
    Step.KEY: "Key and first call",
}


@dataclass(frozen=True)
class ShownStep:
    """A step in the line above a page."""

    title: str
    is_here: bool
    is_done: bool


def line_of_steps(here: Step) -> list[ShownStep]:
    """All steps; those before `here` are done."""
    place = list(TITLES).index(here)
    return [
        ShownStep(title, is_here=step is here, is_done=number < place)
        for number, (step, title) in enumerate(TITLES.items())
    ]


def address_of(step: Step, integration: CusIntegration) -> str:
    """The page of an integration's step."""
    return reverse(f"cus-start-{step}", args=[integration.id])


def next_step(integration: CusIntegration) -> Step:
    """The step at which an integration waits that has had no call yet."""
    if integration.health_checked_at is None or is_refused(integration):
        return Step.TEST
    if integration.status == CusIntegration.Status.CREATED:
        return Step.LIMITS
    return Step.KEY


def is_refused(integration: CusIntegration) -> bool:
    """Whether the provider refused the credential in the last check. One refusal is not yet enough
    for the state `invalid`, and is enough to look at what was typed.
    """
    is_invalid = integration.credential_state == CusIntegration.CredentialState.INVALID
    return is_invalid or integration.consecutive_bad_keys > 0


def outcome_of(integration: CusIntegration) -> str:
    """What the last check says of the credential. Health itself takes several checks."""
    if is_refused(integration):
        return "The provider refuses the credential"
    if integration.credential_state == CusIntegration.CredentialState.VALID:
        return "The provider accepts the credential"
    return "The provider has not said whether it accepts the credential"


def without_calls(integrations: QuerySet[CusIntegration]) -> QuerySet[CusIntegration]:
    """Those of which no call was ever recorded, newest first."""
    calls = CusPeriodTotals.objects.filter(
        tenant_id=OuterRef("tenant_id"), integration_id=OuterRef("id")
    )
    return integrations.filter(~Exists(calls)).order_by("-created_at")


def first_call_of(integration: CusIntegration) -> CusLLMUsage | None:
    """The record that came first; None before the first call."""
    records = CusLLMUsage.objects.filter(
        tenant_id=integration.tenant_id, integration_id=integration.id
    )
    return records.order_by("created_at", "id").first()


def has_key(integration: CusIntegration) -> bool:
    """Whether a key was issued that is not revoked."""
    return CusSdkKey.objects.filter(integration=integration, revoked_at=None).exists()
