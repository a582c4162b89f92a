"""Where each person is signed in: what Django's own sessions don't tell."""

import uuid

from django.db import models

from integrations.cus_accounts.models import CusUser


class CusSession(models.Model):
    """One sign-in of a person in one browser. The session itself names this row.

    The row outlives the session's key, which changes with each proof, and holds only its hash: a
    copy of this table opens nothing.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(CusUser, models.PROTECT, related_name="+")
    key_hash = models.CharField(max_length=64, unique=True)
    # Null: signed in before sign-ins were kept.
    signed_in_at = models.DateTimeField(null=True)
    last_seen_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    address = models.GenericIPAddressField(null=True)
    # In a few words, such as "Firefox on Windows".
    browser = models.CharField(max_length=60)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "cus_sessions"
        verbose_name = "session"

    def __str__(self) -> str:
        return f"{self.browser} at {self.address or 'an unknown address'}"
