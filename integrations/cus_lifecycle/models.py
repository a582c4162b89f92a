"""An integration: one provider account of one tenant, with the limits that govern it."""

import uuid
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_lifecycle.limits import BUDGET, DAY_RATE, RATE, TOKEN_RATE, TOKENS
from integrations.cus_providers.registry import ProviderType

# More holds would make the month's evidence slow to read for the integration's own checks.
MAX_LIVE_HOLDS = 100_000
# What the last checks of a provider account found, as pages and answers tell it.
HEALTH_COLUMNS = ("health_state", "health_checked_at", "health_message", "credential_state")
# What each estimate basis promises (ruling F3b).
ESTIMATE_PROMISES = (
    "Bound is exact: no call passes a limit, but a call without max_tokens is held for with its "
    "model's maximum output. Clamp is exact, too: the SDK lowers a call's output maximum to what "
    "the room pays for, so an answer may end early. Learned is not exact: a call is held for with "
    "1.25 times the 99.9th percentile of the last 1,000 outputs, never more than bound; what a call "
    "uses beyond that passes the limit, and is counted as overrun."
)


class CusIntegration(models.Model):
    """One provider account of one tenant, with the limits that govern it (§3.1)."""

    Provider = ProviderType

    class Status(models.TextChoices):
        CREATED = "created", "Created"
        ENABLED = "enabled", "Enabled"
        DISABLED = "disabled", "Disabled"
        ERROR = "error", "Error"

    class Health(models.TextChoices):
        UNKNOWN = "unknown", "Unknown"
        HEALTHY = "healthy", "Healthy"
        DEGRADED = "degraded", "Degraded"
        FAILING = "failing", "Failing"

    class CredentialState(models.TextChoices):
        UNKNOWN = "unknown", "Not checked yet"
        VALID = "valid", "Valid"
        INVALID = "invalid", "Invalid"

    class BudgetBasis(models.TextChoices):
        ROUNDED = "rounded", "As reported, each call rounded up to a cent"
        EXACT = "exact", "Exact, to the microcent"

    class EstimateBasis(models.TextChoices):
        BOUND = "bound", "Bound: the most that a call can use"
        CLAMP = "clamp", "Clamp: outputs are shortened to what the room pays for"
        LEARNED = "learned", "Learned: by the output of the last calls"

    class EnforcementLevel(models.TextChoices):
        VISIBILITY = "visibility", "Visibility: observe only"
        CONTROL_PLANE = "control_plane", "Control plane: define limits"
        WARN = "warn", "Warn"
        THROTTLE = "throttle", "Throttle"
        BLOCK = "block", "Block"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="integrations")
    name = models.CharField(max_length=255)
    provider_type = models.CharField("provider", max_length=50, choices=ProviderType)
    credential_ref = models.TextField(editable=False)
    # Scheme, host and port that the credential was entered for; it is sent nowhere else (C4a).
    # Empty: there is no origin, so the credential is not sent.
    credential_origin = models.TextField(db_default="", blank=True, editable=False)
    credential_state = models.CharField(
        max_length=20, choices=CredentialState, db_default=CredentialState.UNKNOWN
    )
    config = models.JSONField(default=dict, db_default={}, blank=True)
    status = models.CharField(max_length=20, choices=Status, db_default=Status.CREATED)
    # The reason of an open error, and the status to return to when a check passes.
    error_reason = models.TextField(null=True, blank=True, editable=False)
    status_before_error = models.CharField(
        max_length=20, choices=Status, null=True, blank=True, editable=False
    )
    health_state = models.CharField(
        "health", max_length=20, choices=Health, db_default=Health.UNKNOWN
    )
    health_checked_at = models.DateTimeField(null=True, blank=True)
    health_message = models.TextField(null=True, blank=True)
    health_latency_ms = models.PositiveIntegerField(null=True, blank=True, editable=False)
    # Counts of results in a row (`cus_health.rules`).
    consecutive_failures = models.PositiveIntegerField(db_default=0, editable=False)
    consecutive_passes = models.PositiveIntegerField(db_default=0, editable=False)
    consecutive_bad_keys = models.PositiveIntegerField(db_default=0, editable=False)
    consecutive_refusals = models.PositiveIntegerField(db_default=0, editable=False)
    # The times of the last checks that people asked for; they limit further ones.
    health_tests = ArrayField(
        models.DateTimeField(), default=list, db_default=[], editable=False, blank=True
    )
    default_model = models.CharField(max_length=100, null=True, blank=True)
    # 0 means unlimited (ruling F3).
    budget_limit_cents = models.PositiveIntegerField(BUDGET.label, db_default=0)
    budget_basis = models.CharField(
        max_length=20, choices=BudgetBasis, db_default=BudgetBasis.ROUNDED
    )
    # What is held for a call before it runs (ruling F3b).
    estimate_basis = models.CharField(
        max_length=20,
        choices=EstimateBasis,
        db_default=EstimateBasis.BOUND,
        help_text=ESTIMATE_PROMISES,
    )
    token_limit_month = models.PositiveBigIntegerField(TOKENS.label, db_default=0)
    rate_limit_rpm = models.PositiveIntegerField(RATE.label, db_default=0)
    rate_limit_tpm = models.PositiveBigIntegerField(TOKEN_RATE.label, db_default=0)
    rate_limit_rpd = models.PositiveIntegerField(DAY_RATE.label, db_default=0)
    enforcement_level = models.CharField(
        max_length=20, choices=EnforcementLevel, db_default=EnforcementLevel.BLOCK
    )
    allow_unpriced = models.BooleanField(db_default=False)
    # The most calls that may be held for at once (ruling F5b). Only operators may set it.
    max_live_holds = models.PositiveIntegerField(
        "calls held for at once",
        default=10_000,
        db_default=10_000,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_LIVE_HOLDS)],
        help_text="Further checks are told to come back until calls are reported.",
    )
    # The percentage of governed calls among recent calls (ruling F8); null: no call was seen.
    coverage_percent = models.DecimalField(
        "coverage (%)", max_digits=5, decimal_places=2, null=True, blank=True, editable=False
    )
    # Calls until a day ago that programs claimed as governed and never reported; null: not counted
    # yet (ruling F8a).
    unproven_calls = models.BigIntegerField(
        "claimed calls without a record", null=True, blank=True, editable=False
    )
    # Rises with every change that a decision reads; also the ETag (ruling F10).
    config_version = models.PositiveBigIntegerField(db_default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.ForeignKey(
        CusUser, models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_integrations"
        verbose_name = "integration"
        ordering = ["name"]
        indexes = [
            models.Index(fields=["tenant", "status"], name="cus_integrations_status"),
            models.Index(fields=["tenant", "provider_type"], name="cus_integrations_provider"),
        ]
        constraints = [
            # A deleted integration frees its name (ruling C3).
            models.UniqueConstraint(
                fields=["tenant", "name"],
                condition=Q(deleted_at__isnull=True),
                name="cus_integrations_name",
                violation_error_message="Another integration of this tenant has that name.",
            ),
            models.CheckConstraint(condition=~Q(name=""), name="cus_integrations_named"),
            models.CheckConstraint(
                condition=Q(provider_type__in=ProviderType.values),
                name="cus_integrations_provider_known",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["created", "enabled", "disabled", "error"]),
                name="cus_integrations_status_known",
            ),
            models.CheckConstraint(
                condition=Q(health_state__in=["unknown", "healthy", "degraded", "failing"]),
                name="cus_integrations_health_known",
            ),
            models.CheckConstraint(
                condition=Q(credential_state__in=["unknown", "valid", "invalid"]),
                name="cus_integrations_credential_state_known",
            ),
            models.CheckConstraint(
                condition=Q(credential_ref__regex=r"^(db|vault|env)://"),
                name="cus_integrations_credential_is_a_reference",
            ),
            models.CheckConstraint(
                condition=Q(budget_basis__in=["rounded", "exact"]),
                name="cus_integrations_budget_basis_known",
            ),
            models.CheckConstraint(
                condition=Q(estimate_basis__in=["bound", "clamp", "learned"]),
                name="cus_integrations_estimate_basis_known",
            ),
            models.CheckConstraint(
                condition=Q(
                    enforcement_level__in=[
                        "visibility",
                        "control_plane",
                        "warn",
                        "throttle",
                        "block",
                    ]
                ),
                name="cus_integrations_level_known",
            ),
            models.CheckConstraint(
                condition=Q(config_version__gte=1), name="cus_integrations_version_positive"
            ),
            models.CheckConstraint(
                condition=Q(coverage_percent__range=(0, 100)), name="cus_integrations_coverage"
            ),
        ]

    def __str__(self) -> str:
        return self.name
