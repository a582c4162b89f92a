"""The sessions of each person, with facts that Django's own sessions do not keep."""

import uuid

from django.db import models

from integrations.cus_accounts.models import CusUser


class CusSession(models.Model):
    """One sign-in of a person in one browser. Django's session holds this row's id.

    The session's key changes with each proof; the row stays. The row keeps only the key's hash, so
    a copy of this table opens no session.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(CusUser, models.PROTECT, related_name="+")
    key_hash = models.CharField(max_length=64, unique=True)
    # Null: the person signed in before this table existed.
    signed_in_at = models.DateTimeField(null=True)
    last_seen_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    address = models.GenericIPAddressField(null=True)
    # The browser's name, such as "Firefox on Windows".
    browser = models.CharField(max_length=60)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "cus_sessions"
        verbose_name = "session"

    def __str__(self) -> str:
        return f"{self.browser} at {self.address or 'an unknown address'}"
