"""Holds for running calls, and leases."""

from typing import Any, ClassVar, Final

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

# What a lease lends.
_LENT: Final = ("cents", "microcents", "tokens", "calls")


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
    # What the call names, by which a limit that is made later finds it, and the limits at scopes that
    # count it: `[[limit_id, value, window], …]`.
    names = models.JSONField(db_default={})
    limits = models.JSONField(db_default=[])
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


def _sum() -> "models.DecimalField[Any, Any]":
    # Wider than the columns that are summed, so that many of the largest can't overflow the sum.
    return models.DecimalField(max_digits=40, decimal_places=0, db_default=0)


class CusHoldSums(models.Model):
    """The sums of an integration's holds and leases, kept by triggers of both tables (ruling F5b).

    Split into shards like the totals; a single shard may be negative. Only the triggers write here,
    so at every commit the sums equal those of the rows. Both are in one row, so that whoever changes
    holds and leases locks the row once, and no two of them wait for each other.
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
    # The number of leases, what remains of them, and the part of it that young leases have.
    leases = models.BigIntegerField(db_default=0)
    leased_cents = _sum()
    leased_microcents = _sum()
    leased_tokens = _sum()
    leased_calls = _sum()
    young_cents = _sum()
    young_microcents = _sum()
    young_tokens = _sum()
    young_calls = _sum()

    app_privileges: ClassVar[str] = "SELECT"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_hold_sums"

    def __str__(self) -> str:
        return f"{self.calls} of {self.integration_id}, shard {self.shard}"


class CusEnforcementLease(models.Model):
    """The amounts lent to a holder that admits calls by itself for a short time (ruling F5a).

    `cents`, `microcents`, `tokens` and `calls` are what remains and counts as leased. The statement
    that stores the row of a call of the lease lowers them by what the holder set aside for the call;
    the return of the lease lowers them once, by what the holder never set aside (`lent_…` less
    `set_aside_…`). Both differences are relative, so their order does not matter. Guards of the
    database refuse to lower a lease by more than that.
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
    # What the lease began with. A trigger copies the amounts above when the row is made.
    lent_cents = models.BigIntegerField(db_default=0)
    lent_microcents = models.BigIntegerField(db_default=0)
    lent_tokens = models.BigIntegerField(db_default=0)
    lent_calls = models.BigIntegerField(db_default=0)
    # All that the holder set aside for calls, as the return of the lease names it; else null.
    set_aside_cents = models.BigIntegerField(null=True)
    set_aside_microcents = models.BigIntegerField(null=True)
    set_aside_tokens = models.BigIntegerField(null=True)
    set_aside_calls = models.BigIntegerField(null=True)
    # The limits of which the lease is a slice, each with its unit and amount (ruling F5c).
    slices = models.JSONField(db_default=[])
    # What all calls of the lease name, and the limits at scopes that count it, as those of a hold.
    names = models.JSONField(db_default={})
    limits = models.JSONField(db_default=[])
    # The first lease of a holder without a durable disk.
    is_young = models.BooleanField(db_default=False)
    taken_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    decider_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"

    class Meta:
        db_table = "cus_enforcement_leases"
        indexes = [
            # For the rate and the number of holders alone, as `cus_holds_taken`: every lease fulfils
            # the condition, which keeps the index out of the plans that look up leases by their key.
            models.Index(
                fields=["tenant_id", "integration_id", "-taken_at"],
                condition=Q(lent_cents__gte=0),
                name="cus_leases_taken",
            ),
            models.Index(fields=["expires_at"], name="cus_leases_expiry"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(cents__gte=0, microcents__gte=0, tokens__gte=0, calls__gte=0),
                name="cus_enforcement_leases_amounts",
            ),
            models.CheckConstraint(
                condition=Q(**{f"{name}__lte": F(f"lent_{name}") for name in _LENT}),
                name="cus_enforcement_leases_lent",
            ),
            models.CheckConstraint(
                condition=Q(**{f"set_aside_{name}__isnull": True for name in _LENT})
                | Q(**{f"set_aside_{name}__gte": 0 for name in _LENT}),
                name="cus_enforcement_leases_set_aside",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)
