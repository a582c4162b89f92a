"""Stops: whose calls are refused, by whom and why."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_lifecycle.models import CusIntegration


class CusStop(models.Model):
    """Refuses an integration's calls of one agent, session, end user or model, until it is lifted.

    A stop that was lifted stays, as the history of who stopped what.
    """

    class Scope(models.TextChoices):
        """What a call names that is stopped."""

        AGENT = "agent_id", "Agent"
        SESSION = "session_id", "Session"
        END_USER = "end_user", "End user"
        MODEL = "model", "Model"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="+")
    integration = models.ForeignKey(CusIntegration, models.PROTECT, related_name="+")
    scope = models.CharField("what is stopped", max_length=20, choices=Scope)
    # As calls name it; of an end user the pseudonym, where names must not be stored.
    value = models.CharField("its name", max_length=100)
    reason = models.CharField("why", max_length=500)
    # The person's address at that time, which refused calls are told.
    stopped_by = models.CharField(max_length=255, editable=False)
    created_at = models.DateTimeField("stopped at", db_default=Now(), editable=False)
    created_by = models.ForeignKey(
        CusUser, models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )
    lifted_at = models.DateTimeField(null=True, blank=True, editable=False)
    lifted_by = models.ForeignKey(
        CusUser, models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE (lifted_at, lifted_by_id)"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_stops"
        verbose_name = "stop"
        ordering = ["-created_at", "-id"]
        constraints = [
            # Also the index by which checks find the stops that are in force.
            models.UniqueConstraint(
                fields=["integration", "scope", "value"],
                condition=Q(lifted_at__isnull=True),
                name="cus_stops_in_force",
            ),
            models.CheckConstraint(
                condition=Q(scope__in=["agent_id", "session_id", "end_user", "model"]),
                name="cus_stops_scope_known",
            ),
            models.CheckConstraint(condition=~Q(value=""), name="cus_stops_named"),
        ]

    def __str__(self) -> str:
        return f"{self.get_scope_display()} {self.value}"
