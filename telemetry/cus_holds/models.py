"""Holds for running calls, and leases."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class CusEnforcementHold(models.Model):
    """The amounts set aside for an admitted call that is not reported yet (ruling F5).

    The statement that stores the call's row removes the hold, so at every moment the call counts
    exactly once. A hold counts until it is settled or swept (ruling F5b). A guard of the database
    refuses to remove a hold that is neither settled nor expired, and to lower its amounts.
    """

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "call_id")
    tenant_id = models.UUIDField()
    call_id = models.CharField(max_length=100)
    integration_id = models.UUIDField()
    cents = models.BigIntegerField()
    microcents = models.BigIntegerField()
    tokens = models.BigIntegerField()
    taken_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    # Ingest locks the holds that it settles, which needs the right to update a column.
    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE (expires_at), DELETE"
    decider_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"

    class Meta:
        db_table = "cus_enforcement_holds"
        indexes = [
            # For the rate alone, which counts the admissions of the last minute. Every hold fulfils
            # the condition. A statement that does not name it can't use this index: planned over
            # few rows, a look-up of holds by their key would use it and read all of an integration.
            models.Index(
                fields=["tenant_id", "integration_id", "-taken_at"],
                condition=Q(cents__gte=0),
                name="cus_holds_taken",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(cents__gte=0, microcents__gte=0, tokens__gte=0),
                name="cus_enforcement_holds_amounts",
            ),
        ]

    def __str__(self) -> str:
        return self.call_id


class CusHoldSums(models.Model):
    """The sums of an integration's holds, kept by triggers of the holds' table (ruling F5b).

    Split into shards like the totals; a single shard may be negative. Only the triggers write here,
    so at every commit the sums equal those of the holds.
    """

    SHARDS: ClassVar[int] = 8

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "shard")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    shard = models.SmallIntegerField()
    calls = models.BigIntegerField()
    # Wider than a hold's columns, so that many of the largest holds can't overflow the sum.
    cents = models.DecimalField(max_digits=40, decimal_places=0)
    microcents = models.DecimalField(max_digits=40, decimal_places=0)
    tokens = models.DecimalField(max_digits=40, decimal_places=0)

    app_privileges: ClassVar[str] = "SELECT"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_hold_sums"

    def __str__(self) -> str:
        return f"{self.calls} of {self.integration_id}, shard {self.shard}"


class CusEnforcementLease(models.Model):
    """The amounts lent to a holder that admits calls by itself for a short time (ruling F5a).

    The amounts are what remains: the statement that stores the row of a call of the lease lowers
    them by the call's share, never below 0.
    """

    pk = models.CompositePrimaryKey("tenant_id", "id")
    tenant_id = models.UUIDField()
    id = models.UUIDField()
    integration_id = models.UUIDField()
    holder_id = models.CharField(max_length=100)
    cents = models.BigIntegerField()
    microcents = models.BigIntegerField()
    tokens = models.BigIntegerField()
    calls = models.BigIntegerField()
    taken_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    decider_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE, DELETE"

    class Meta:
        db_table = "cus_enforcement_leases"
        indexes = [
            models.Index(fields=["tenant_id", "integration_id"], name="cus_leases_integration"),
            models.Index(fields=["expires_at"], name="cus_leases_expiry"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(cents__gte=0, microcents__gte=0, tokens__gte=0, calls__gte=0),
                name="cus_enforcement_leases_amounts",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)
