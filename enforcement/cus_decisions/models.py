"""Decisions on calls, with their facts and their decider (ruling F9)."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from aos_sdk.cus_wire import CusEnforcementResult


class CusEnforcementDecision(models.Model):
    """Every decision but a plain `allowed`, with all that it depended on.

    A table partitioned by month of `created_at`, made in SQL: its real key is
    (tenant_id, created_at, id). The pure decision function, run again on `facts`, gives the
    same verdict.
    """

    class By(models.TextChoices):
        SERVER = "server", "Server"
        SDK = "sdk", "SDK"

    id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    call_id = models.CharField(max_length=100)
    result = models.CharField(
        max_length=20, choices=[(word.value, word.value) for word in CusEnforcementResult]
    )
    # The code of the first reason, which decided.
    reason = models.CharField(max_length=50)
    # The number of the check that decided (§15.1), where that is known.
    step = models.SmallIntegerField(null=True)
    degraded = models.BooleanField(default=False)
    decided_by = models.CharField(max_length=10, choices=By)
    facts = models.JSONField()
    reasons = models.JSONField()
    evaluated_at = models.DateTimeField()
    created_at = models.DateTimeField()

    app_privileges: ClassVar[str] = "SELECT, INSERT"
    decider_privileges: ClassVar[str] = "SELECT, INSERT"

    class Meta:
        managed = False
        db_table = "cus_enforcement_decisions"
        verbose_name = "decision"

    def __str__(self) -> str:
        return f"{self.call_id}: {self.result}"


class CusDecisionTotals(models.Model):
    """Counts of an integration's decisions by result. Plain decisions are counted here alone.

    The decision's transaction counts the decision. A decision that was made while the database
    was away is counted when the decision comes with the call's record.
    """

    pk = models.CompositePrimaryKey("tenant_id", "integration_id")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    allowed = models.BigIntegerField(db_default=0)
    warned = models.BigIntegerField(db_default=0)
    throttled = models.BigIntegerField(db_default=0)
    blocked = models.BigIntegerField(db_default=0)
    hard_blocked = models.BigIntegerField(db_default=0)
    # How many of the decisions above were made without evidence.
    degraded = models.BigIntegerField(db_default=0)
    # How many were made because the database, this server or the integration itself was busy.
    contention = models.BigIntegerField(db_default=0)
    updated_at = models.DateTimeField(db_default=Now())

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"
    decider_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"

    class Meta:
        db_table = "cus_decision_totals"

    def __str__(self) -> str:
        return str(self.integration_id)


class CusCountsByReason(models.Model):
    """Counts of an integration's decisions by result and first reason."""

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "result", "reason")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    result = models.CharField(max_length=20)
    reason = models.CharField(max_length=50)
    decisions = models.BigIntegerField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.result}, {self.reason} of {self.integration_id}"


class CusDecisionReasons(CusCountsByReason):
    """Counts of an integration's logged decisions by result and first reason, for life.

    A trigger of the log alone writes here, so the counts are those of the log at every commit. A
    reason that is no `CusReasonCode`, as an SDK's record may name it, counts as `other`.
    """

    app_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_decision_reasons"


class CusSeenRefusals(CusCountsByReason):
    """The counts of refusals by reason up to which people were told of them."""

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"

    class Meta:
        db_table = "cus_seen_refusals"
