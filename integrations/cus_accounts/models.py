"""How people prove who they are: a second factor, and API tokens for their programs."""

import hashlib
import hmac
import uuid
from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django_otp.plugins.otp_totp.models import TOTPDevice
from knox.models import AbstractAuthToken

from integrations.cus_models import CusUser


class CusTotpDevice(TOTPDevice):  # type: ignore[misc]  # django-otp has no types
    """A phone that shows codes. What it shares with us is derived, not stored.

    The column holds a random salt; the seed is its keyed hash, so that a stolen table alone
    makes no codes.
    """

    class Meta:
        proxy = True
        verbose_name = "authenticator"

    @classmethod
    def is_set_up_for(cls, person: CusUser) -> bool:
        """Whether the person has proved to hold an authenticator."""
        return bool(cls.objects.filter(user=person, confirmed=True).exists())

    @property
    def bin_key(self) -> bytes:
        """The seed: 20 bytes, as authenticator apps expect for SHA-1."""
        return hmac.digest(
            settings.CUS_KEY_HASH_SECRET.encode(), b"totp:" + bytes.fromhex(self.key), hashlib.sha1
        )


class CusApiToken(AbstractAuthToken):  # type: ignore[misc]  # knox has no types
    """A person's token for programs: it may what its person may. Only its hash is kept.

    It changes access (credentials, keys, tokens, members, roles) only if it was made for that. It
    may be limited to reading, and to the addresses of some ranges (ruling C10).
    knox would name a token by its hash; ours have an id that may be shown.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    digest = models.CharField(max_length=128, unique=True, editable=False)
    user = models.ForeignKey(CusUser, models.PROTECT, related_name="+")
    name = models.CharField(max_length=100)
    hint = models.CharField(max_length=4, editable=False)
    expiry = models.DateTimeField("expires at")
    may_change_access = models.BooleanField(
        "may change access",
        default=False,
        db_default=False,
        help_text="Also change credentials, SDK keys, API tokens, members and roles.",
    )
    read_only = models.BooleanField(
        "read only", default=False, db_default=False, help_text="Only GET requests; no change."
    )
    # In their shortest form, as `network_of` gives them. None: any address.
    address_ranges = ArrayField(
        models.CharField(max_length=43), default=list, db_default=[], blank=True
    )
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The last use from an address outside its ranges: a sign that somebody stole it.
    last_refused_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_refused_address = models.GenericIPAddressField(null=True, blank=True, editable=False)

    objects: ClassVar[models.Manager["CusApiToken"]] = models.Manager()

    # Revoked, never erased: who could do what, and until when, stays answerable.
    app_privileges: ClassVar[str] = (
        "SELECT, INSERT, UPDATE (revoked_at, last_used_at, last_refused_at, last_refused_address)"
    )

    class Meta:
        db_table = "cus_api_tokens"
        verbose_name = "API token"
        constraints = [
            models.CheckConstraint(
                condition=~Q(read_only=True, may_change_access=True),
                name="cus_api_tokens_rights",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} (…{self.hint})"
