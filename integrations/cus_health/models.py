"""The history of health: one row for each transition, never changed."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration


class CusHealthTransition(models.Model):
    """A check that changed health, credential state or status (CUS-004)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="+")
    integration = models.ForeignKey(
        CusIntegration, models.PROTECT, related_name="health_transitions"
    )
    checked_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    health_from = models.CharField(max_length=20, choices=CusIntegration.Health)
    health_to = models.CharField("health", max_length=20, choices=CusIntegration.Health)
    credential_from = models.CharField(max_length=20, choices=CusIntegration.CredentialState)
    credential_to = models.CharField(
        "credential", max_length=20, choices=CusIntegration.CredentialState
    )
    status_from = models.CharField(max_length=20, choices=CusIntegration.Status)
    status_to = models.CharField("status", max_length=20, choices=CusIntegration.Status)
    verdict = models.CharField(max_length=30)
    message = models.TextField()
    latency_ms = models.PositiveIntegerField(null=True)

    app_privileges: ClassVar[str] = "SELECT, INSERT"

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(health_from__in=CusIntegration.Health.values)
                & Q(health_to__in=CusIntegration.Health.values)
                & Q(credential_from__in=CusIntegration.CredentialState.values)
                & Q(credential_to__in=CusIntegration.CredentialState.values)
                & Q(status_from__in=CusIntegration.Status.values)
                & Q(status_to__in=CusIntegration.Status.values),
                name="cus_health_transitions_states_known",
            )
        ]
        db_table = "cus_health_transitions"
        verbose_name = "health transition"
        verbose_name_plural = "health history"
        ordering = ["-checked_at"]
        indexes = [
            models.Index(fields=["tenant", "-checked_at"], name="cus_health_transitions_tenant"),
            models.Index(fields=["integration", "-checked_at"], name="cus_health_transitions_one"),
        ]

    def __str__(self) -> str:
        return f"{self.health_from} → {self.health_to}"
