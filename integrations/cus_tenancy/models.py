"""Tenants and the roles of their people."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now

from integrations.cus_accounts.models import CusUser


class CusTenant(models.Model):
    """A customer. Closed, never deleted: evidence refers to it (ruling E5)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=255, unique=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    closed_at = models.DateTimeField(null=True, blank=True)

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_tenants"
        verbose_name = "tenant"
        constraints = [models.CheckConstraint(condition=~Q(name=""), name="cus_tenants_named")]

    def __str__(self) -> str:
        return self.name


class CusMembership(models.Model):
    """A person's role in the one tenant that they belong to (ruling C9)."""

    class Role(models.TextChoices):
        ADMIN = "admin", "Tenant admin"
        MEMBER = "member", "Tenant member"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="memberships")
    # Nobody yet while the invitation is open: until then it gives no rights to anyone.
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
        constraints = [
            models.CheckConstraint(
                condition=Q(role__in=["admin", "member"]), name="cus_memberships_role"
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
        """The person's address, or the one that was invited."""
        return self.user.email if self.user else self.invited_email or ""
