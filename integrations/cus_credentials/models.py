"""Provider credentials, and secrets that sign what we send, sealed."""

import uuid

from django.db import models
from django.db.models.functions import Now

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration


class CusCredential(models.Model):
    """A provider credential, sealed (ruling C2). Its plain value is in no column."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="+")
    integration = models.OneToOneField(
        CusIntegration, models.PROTECT, related_name="stored_credential"
    )
    sealed = models.BinaryField()
    # The key of the ring that wrapped the credential; rotation searches by this column.
    key_id = models.CharField(max_length=32, db_index=True)
    hint = models.CharField(max_length=4, help_text="The credential's last four characters.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "cus_credentials"
        verbose_name = "credential"

    def __str__(self) -> str:
        return f"credential {self.id}"


class CusSigningSecret(models.Model):
    """A secret by which receivers know that a message is ours, sealed as credentials are.

    A secret is never changed: another one is issued in its place.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="+")
    sealed = models.BinaryField()
    # As of a credential: the key that wrapped it.
    key_id = models.CharField(max_length=32, db_index=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "cus_signing_secrets"
        verbose_name = "signing secret"

    def __str__(self) -> str:
        return f"signing secret {self.id}"
