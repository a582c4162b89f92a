"""The audit trail: who changed what, when, from what to what."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class CusAuditEntry(models.Model):
    """One change, written in the transaction that made it. Entries are never changed.

    Labels are copies of the names at that time, because people and things are renamed later.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Null: the change is about no tenant, such as a change of an operator's role.
    tenant = models.ForeignKey(
        "integrations.CusTenant", models.PROTECT, null=True, related_name="+"
    )
    # Null: the system itself, such as a health check.
    actor = models.ForeignKey("integrations.CusUser", models.PROTECT, null=True, related_name="+")
    actor_label = models.CharField("who", max_length=255)
    action = models.CharField(max_length=50)
    object_type = models.CharField(max_length=50)
    object_id = models.CharField(max_length=64)
    object_label = models.CharField("what", max_length=255)
    # {field: {"from": …, "to": …}}; for a secret field, {field: "changed"}.
    changes = models.JSONField(default=dict)
    created_at = models.DateTimeField("when", db_default=Now(), editable=False)

    app_privileges: ClassVar[str] = "SELECT, INSERT"

    class Meta:
        db_table = "cus_audit_trail"
        verbose_name = "audit entry"
        verbose_name_plural = "audit trail"
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="cus_audit_tenant"),
            models.Index(
                fields=["object_type", "object_id", "-created_at"], name="cus_audit_object"
            ),
        ]
        constraints = [models.CheckConstraint(condition=~Q(action=""), name="cus_audit_action")]

    def __str__(self) -> str:
        return f"{self.action} · {self.object_label}"
