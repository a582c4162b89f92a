"""What limits at scopes count: what landed, what is held and lent, and budgets of runs."""

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


def _sum() -> "models.DecimalField[Any, Any]":
    # Wider than the columns that are summed, so that many of the largest can't overflow the sum.
    return models.DecimalField(max_digits=40, decimal_places=0, db_default=0)


def _raised() -> Q:
    """No person lowers a budget: an amount that code did not give can't be raised."""
    raised = Q()
    for name in ("calls", "cents", "microcents", "tokens"):
        above = Q((f"{name}__isnull", False), (f"raised_{name}__gt", F(name)))
        raised &= Q((f"raised_{name}__isnull", True)) | above
    return raised


class CusLimitSums(models.Model):
    """Sums that a limit counts together, split into shards. Only triggers write here."""

    pk = models.CompositePrimaryKey(
        "tenant_id", "limit_id", "value", "start", "integration_id", "shard"
    )
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    limit_id = models.UUIDField()
    # Of the limit's scope, as calls name it; "" for scopes of all calls.
    value = models.CharField(max_length=200)
    start = models.DateTimeField()
    shard = models.SmallIntegerField()

    app_privileges: ClassVar[str] = "SELECT"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        abstract = True


class CusLimitTotals(CusLimitSums):
    """What landed of the calls that a limit counts together, by the start of its window.

    `start` is in UTC: of the second for minute windows, which count by admission (ruling F4); of
    the day, week or month of receipt (ruling E3); 1970 for all time. Corrections may make a
    shard negative.
    """

    SHARDS: ClassVar[int] = 8
    # The sweeper's.
    app_functions: ClassVar[tuple[str, ...]] = (
        "cus_sweep_limits(bigint)",
        "cus_sweep_nothing(bigint)",
    )

    calls = _sum()
    cents = _sum()
    microcents = _sum()
    tokens = _sum()

    class Meta:
        db_table = "cus_limit_totals"

    def __str__(self) -> str:
        return f"{self.calls} calls of {self.value!r} since {self.start}"


class CusLimitHolds(CusLimitSums):
    """The sums of holds and leases that a limit counts, kept by triggers of both tables.

    `start` is the second of admission for minute windows, else 1970. A single shard may be
    negative.
    """

    held_calls = _sum()
    held_cents = _sum()
    held_microcents = _sum()
    held_tokens = _sum()
    leased_calls = _sum()
    leased_cents = _sum()
    leased_microcents = _sum()
    leased_tokens = _sum()

    class Meta:
        db_table = "cus_limit_holds"

    def __str__(self) -> str:
        return f"{self.held_calls} held and {self.leased_calls} leased of {self.value!r}"


class CusLimitAllotment(models.Model):
    """What a limit of the tenant allots to one of its integrations (ruling F5c).

    `amount` is what the integration's calls may have taken of the limit at any moment: used, held
    and lent together, in the amount of calls that `binds` names. It has no window: as calls leave
    the window, their room is the integration's again. Changes only under the integration's lock.
    """

    pk = models.CompositePrimaryKey("tenant_id", "limit_id", "integration_id")
    tenant_id = models.UUIDField()
    limit_id = models.UUIDField()
    integration_id = models.UUIDField()
    # "cents", "microcents", "tokens" or "calls".
    binds = models.CharField(max_length=10)
    amount = models.BigIntegerField()

    # The sweeper deletes; only the decider allots.
    app_privileges: ClassVar[str] = "SELECT, DELETE"
    decider_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"

    class Meta:
        db_table = "cus_limit_allotments"
        constraints = [
            models.CheckConstraint(condition=Q(amount__gte=0), name="cus_limit_allotments_amount"),
        ]

    def __str__(self) -> str:
        return f"{self.amount} {self.binds}"


class CusRunLimit(models.Model):
    """A session's budget that its programs gave in code, for all that the session ever does.

    Where several programs name one session, the least of each amount counts; code never raises a
    budget. A person may: what an amount was raised to replaces the amount, whatever code says later.
    A trigger starts what the session used from evidence when the row is made.
    """

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "session_id")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    session_id = models.CharField(max_length=100)
    # `run_limit_id` makes it of the integration and the session; totals are kept by it.
    limit_id = models.UUIDField()
    # Null: no such budget. Cents are each call's, rounded up (ruling M3).
    cents = models.BigIntegerField(null=True)
    microcents = models.BigIntegerField(null=True)
    tokens = models.BigIntegerField(null=True)
    calls = models.BigIntegerField(null=True)
    # Null: as code has it.
    raised_cents = models.BigIntegerField(null=True)
    raised_microcents = models.BigIntegerField(null=True)
    raised_tokens = models.BigIntegerField(null=True)
    raised_calls = models.BigIntegerField(null=True)
    raised_at = models.DateTimeField(null=True)
    # The person's address at that time.
    raised_by = models.CharField(max_length=255, db_default="")
    raised_reason = models.CharField(max_length=500, db_default="")
    # Rises with each change that a person makes.
    version = models.BigIntegerField(db_default=1)
    created_at = models.DateTimeField(db_default=Now())
    # When a process last told the budget, which it does at least every six hours of use.
    used_at = models.DateTimeField(db_default=Now())

    # What people raised is beyond the reach of those who decide.
    app_privileges: ClassVar[str] = (
        "SELECT, DELETE, UPDATE (raised_cents, raised_microcents, raised_tokens, raised_calls, "
        "raised_at, raised_by, raised_reason, version)"
    )
    decider_privileges: ClassVar[str] = (
        "SELECT, INSERT (tenant_id, integration_id, session_id, limit_id, cents, microcents, "
        "tokens, calls), UPDATE (cents, microcents, tokens, calls, used_at)"
    )
    app_functions: ClassVar[tuple[str, ...]] = ("cus_recount_runs(uuid, uuid)",)
    decider_functions: ClassVar[tuple[str, ...]] = ("cus_bound_runs(uuid, uuid, text, bigint)",)

    class Meta:
        db_table = "cus_run_limits"
        verbose_name = "budget in code"
        verbose_name_plural = "budgets in code"
        constraints = [
            models.CheckConstraint(
                condition=Q(cents__gte=0, microcents__gte=0, tokens__gte=0, calls__gte=0),
                name="cus_run_limits_amounts",
            ),
            models.CheckConstraint(condition=~Q(session_id=""), name="cus_run_limits_named"),
            models.CheckConstraint(condition=_raised(), name="cus_run_limits_raised"),
        ]
        indexes = [
            models.Index(fields=["used_at"], name="cus_run_limits_used"),
            models.Index(
                fields=["tenant_id", "integration_id", "-used_at", "session_id"],
                name="cus_run_limits_last",
            ),
        ]

    def __str__(self) -> str:
        return self.session_id

    @property
    def audit_id(self) -> uuid.UUID:
        """By this the audit trail knows it."""
        return self.limit_id


class CusRunLimitCount(models.Model):
    """How many budgets in code an integration has at most. Triggers and the sweeper write here.

    Never too small; budgets that were swept count until somebody counts again.
    """

    pk = models.CompositePrimaryKey("tenant_id", "integration_id")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    live = models.BigIntegerField()

    app_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_run_limit_counts"

    def __str__(self) -> str:
        return f"{self.live} budgets in code"
