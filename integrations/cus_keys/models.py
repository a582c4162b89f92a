"""SDK keys."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_lifecycle.models import CusIntegration


class CusSdkKey(models.Model):
    """A key by which a program reports for one integration. Only the key's hash is stored."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="+")
    integration = models.ForeignKey(CusIntegration, models.PROTECT, related_name="sdk_keys")
    label = models.CharField(max_length=100, blank=True)
    secret_hash = models.BinaryField(max_length=32, unique=True)
    hint = models.CharField(max_length=4)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.ForeignKey(CusUser, models.PROTECT, null=True, blank=True, related_name="+")
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    # Keys are revoked, never erased or moved, so that a record's key can always be found.
    app_privileges: ClassVar[str] = (
        "SELECT, INSERT, UPDATE (label, expires_at, revoked_at, last_used_at)"
    )
    # A check looks up its key under a deadline, which only the decider's connections keep.
    decider_privileges: ClassVar[str] = (
        "SELECT (id, tenant_id, integration_id, secret_hash, expires_at, revoked_at)"
    )

    class Meta:
        db_table = "cus_sdk_keys"
        verbose_name = "SDK key"

    def __str__(self) -> str:
        return f"…{self.hint}"
