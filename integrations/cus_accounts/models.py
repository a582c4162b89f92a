"""People, their tenants, and their second factors and API tokens.

A model says what the database roles may do with its table (see `cus_database_roles`):
`app_privileges` for the product, `decider_privileges` for the role that enforcement decides as.
"""

import hashlib
import hmac
import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser, UserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now
from django_otp.plugins.otp_totp.models import TOTPDevice
from knox.models import AbstractAuthToken


class CusUserManager(UserManager["CusUser"]):
    """Makes users who sign in with their e-mail address."""

    def get_by_natural_key(self, username: str | None) -> "CusUser":
        return self.get(email__iexact=username)

    def _make(self, email: str, password: str | None, **fields: Any) -> "CusUser":
        user = CusUser(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_user(  # type: ignore[override]  # we have no username
        self, email: str, password: str | None = None, **fields: Any
    ) -> "CusUser":
        return self._make(email, password, **fields)

    def create_superuser(  # type: ignore[override]  # likewise
        self, email: str, password: str | None = None, **fields: Any
    ) -> "CusUser":
        return self._make(email, password, is_staff=True, is_superuser=True, **fields)


class CusUser(AbstractUser):
    """A person who signs in. Superusers are operators; others get their role below."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    username = None  # type: ignore[assignment]  # we have none
    email = models.EmailField("e-mail address", unique=True)
    is_support = models.BooleanField(
        "support staff",
        default=False,
        help_text="May read usage, decisions and health of all tenants; may change nothing.",
    )
    is_finance = models.BooleanField(
        "finance staff",
        default=False,
        db_default=False,
        help_text="May read usage and money of all tenants, and close their months.",
    )

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[CusUserManager] = CusUserManager()

    # People are deactivated, never erased: audit trails and evidence name them.
    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"

    class Meta:
        db_table = "cus_users"
        verbose_name = "user"
        verbose_name_plural = "people"
        constraints = [
            models.UniqueConstraint(Lower("email"), name="cus_users_email_any_case"),
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def is_operator(self) -> bool:
        """Whether this person runs the service and so may do everything for all tenants (C9)."""
        return self.is_active and self.is_superuser


class CusTenant(models.Model):
    """A customer. Closed, never deleted: evidence refers to it (ruling E5)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=255, unique=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    closed_at = models.DateTimeField(null=True, blank=True)
    time_zone = models.CharField(
        "time zone",
        max_length=64,
        default="UTC",
        db_default="UTC",
        blank=True,
        help_text="Usage is read by days and months of this zone, such as Europe/Berlin. Budgets "
        "go by UTC.",
    )

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_tenants"
        verbose_name = "tenant"
        constraints = [models.CheckConstraint(condition=~Q(name=""), name="cus_tenants_named")]

    def __str__(self) -> str:
        return self.name

    @property
    def tenant_id(self) -> uuid.UUID:
        """The id, by the name that all rows of a tenant's have for it."""
        return self.pk


class CusMembership(models.Model):
    """A person's role in the one tenant that they belong to (ruling C9)."""

    class Role(models.TextChoices):
        ADMIN = "admin", "Tenant admin"
        MEMBER = "member", "Tenant member"
        FINANCE = "finance", "Tenant finance"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="memberships")
    # Null while the invitation is open: an open invitation gives no rights.
    user = models.OneToOneField(
        CusUser, models.PROTECT, null=True, blank=True, related_name="membership"
    )
    # null: joined without an invitation
    invited_email = models.EmailField("invited address", null=True, blank=True)
    role = models.CharField(max_length=20, choices=Role, default=Role.MEMBER)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "cus_memberships"
        verbose_name = "membership"
        verbose_name_plural = "members"
        constraints = [
            models.CheckConstraint(
                condition=Q(role__in=["admin", "member", "finance"]), name="cus_memberships_role"
            ),
            models.CheckConstraint(
                condition=Q(user__isnull=False) | Q(invited_email__isnull=False),
                name="cus_memberships_somebody",
            ),
            models.UniqueConstraint(
                "tenant", Lower("invited_email"), name="cus_memberships_invited_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} · {self.get_role_display()} of {self.tenant}"

    @property
    def email(self) -> str:
        """The person's address, or the invited address."""
        return self.user.email if self.user else self.invited_email or ""


class CusTotpDevice(TOTPDevice):  # type: ignore[misc]  # django-otp has no types
    """An authenticator app. Its seed is derived, not stored.

    The column holds a random salt; the seed is its keyed hash, so that a stolen table alone
    makes no codes.
    """

    class Meta:
        proxy = True
        verbose_name = "authenticator"

    @classmethod
    def is_set_up_for(cls, person: CusUser) -> bool:
        """Whether the person has confirmed an authenticator by a code."""
        return bool(cls.objects.filter(user=person, confirmed=True).exists())

    @property
    def bin_key(self) -> bytes:
        """The seed: 20 bytes, as authenticator apps expect for SHA-1."""
        return hmac.digest(
            settings.CUS_KEY_HASH_SECRET.encode(), b"totp:" + bytes.fromhex(self.key), hashlib.sha1
        )


class CusApiToken(AbstractAuthToken):  # type: ignore[misc]  # knox has no types
    """A person's token for programs, with the rights of its person. Only its hash is kept.

    A token may change access (credentials, keys, tokens, members, roles) only if
    `may_change_access` is set. A token may be limited to reading, and to the addresses of some
    ranges (ruling C10). knox identifies a token by its hash; ours have an id that may be shown.
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
    # Ranges in their shortest form, as `network_of` returns them. None: any address.
    address_ranges = ArrayField(
        models.CharField(max_length=43), default=list, db_default=[], blank=True
    )
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The last use from an address outside the ranges: a sign that the token was stolen.
    last_refused_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_refused_address = models.GenericIPAddressField(null=True, blank=True, editable=False)

    objects: ClassVar[models.Manager["CusApiToken"]] = models.Manager()

    # Tokens are revoked, never erased, so that an audit can tell which rights existed until when.
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


class CusTokenChange(models.Model):
    """A change of access by an API token, for the daily mail to one person."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # No constraint: rows of the trail are never deleted, and the trail's own guard must be the rule
    # that refuses to empty the table.
    entry = models.ForeignKey(
        "integrations.CusAuditEntry", models.PROTECT, related_name="+", db_constraint=False
    )
    person = models.ForeignKey(CusUser, models.PROTECT, related_name="+")
    token = models.ForeignKey(CusApiToken, models.PROTECT, related_name="+")
    # Set in the transaction that queues the mail, so no other mail lists the change again.
    told_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "cus_token_changes"
        verbose_name = "change by token"

    def __str__(self) -> str:
        return f"{self.entry} by {self.token}"
