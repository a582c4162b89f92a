"""Evidence: one row for each call as it was reported, and what makes it count once.

No table here has a foreign key (they cost ingest over a third): the SDK key vouches for
tenant and integration, which can be closed but not deleted. The database itself refuses
UPDATE, DELETE and TRUNCATE on usage and ledger (ruling E5).
"""

import uuid
from typing import ClassVar

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from aos_sdk.cus_wire import CusOperation, CusPolicyResult
from telemetry.cus_evidence.totals_models import CusLifetimeTotals as CusLifetimeTotals
from telemetry.cus_evidence.totals_models import CusOutcomeTotals as CusOutcomeTotals
from telemetry.cus_evidence.totals_models import CusPeriodTotals as CusPeriodTotals
from telemetry.cus_evidence.totals_models import CusUsageSums as CusUsageSums
from telemetry.cus_money.models import PriceSource


class CusLLMUsage(models.Model):
    """One LLM call as its program reported it (§3.2, rulings M3, M4, E3).

    A table partitioned by month of `created_at`, made in SQL: its real key is
    (tenant_id, created_at, id). `created_at` is our clock at receipt; `occurred_at` is the
    sender's clock at the start of the call. Token kinds other than `tokens_in` and
    `tokens_out` are parts of those two.
    """

    Pricing = PriceSource

    id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    session_id = models.CharField(max_length=100, null=True)
    agent_id = models.CharField(max_length=100, null=True)
    call_id = models.CharField(max_length=100)
    provider = models.CharField(max_length=50)
    # The name that answered; `model_requested` where another one was asked for (ruling M5a).
    model = models.CharField(max_length=100)
    model_requested = models.CharField(max_length=100, null=True)
    host = models.CharField(max_length=255, null=True)
    region = models.CharField(max_length=50, null=True)
    operation = models.CharField(
        max_length=20, choices=[(word.value, word.value) for word in CusOperation]
    )
    stream = models.BooleanField(default=False)
    tokens_in = models.PositiveIntegerField()
    tokens_out = models.PositiveIntegerField()
    tokens_cached = models.PositiveIntegerField(default=0)
    tokens_cache_write = models.PositiveIntegerField(default=0)
    tokens_cache_write_1h = models.PositiveIntegerField(default=0)
    tokens_reasoning = models.PositiveIntegerField(default=0)
    tokens_audio_in = models.PositiveIntegerField(default=0)
    tokens_audio_out = models.PositiveIntegerField(default=0)
    tokens_image_in = models.PositiveIntegerField(default=0)
    tokens_total = models.PositiveIntegerField(null=True)
    service_tier = models.CharField(max_length=50, null=True)
    billed_units = models.JSONField(null=True)
    # The model turns of a call, where the answer tells them apart (ruling M8a).
    turns = models.JSONField(null=True)
    cost_cents = models.PositiveIntegerField()
    cost_microcents = models.PositiveBigIntegerField()
    # The greater of the cents as reported and the server's own, rounded up (ruling M3a). Null in
    # rows of a release that did not keep it: `counted_cents` of `cus_evidence.lookup` works it out.
    counted_cents = models.PositiveBigIntegerField(null=True)
    pricing = models.CharField(max_length=20, choices=Pricing)
    pricing_version = models.CharField(max_length=100, null=True)
    # Names the kept price that `cost_microcents` was computed from (ruling M6).
    price_id = models.UUIDField(null=True)
    # Billed units that have no price: the cost leaves them out (ruling M5b).
    unpriced_units = models.JSONField(null=True)
    reported_pricing_version = models.CharField(max_length=100, null=True)
    provider_cost_microcents = models.BigIntegerField(null=True)
    latency_ms = models.PositiveIntegerField(null=True)
    policy_result = models.CharField(
        max_length=20,
        default=CusPolicyResult.ALLOWED.value,
        choices=[(word.value, word.value) for word in CusPolicyResult],
    )
    error_code = models.CharField(max_length=50, null=True)
    error_message = models.TextField(null=True)
    metadata = models.JSONField(default=dict)
    # The provider's names of answer, request and project, and the end of its key: to reconcile.
    response_id = models.CharField(max_length=200, null=True)
    provider_request_id = models.CharField(max_length=200, null=True)
    provider_project = models.CharField(max_length=100, null=True)
    provider_key_hint = models.CharField(max_length=4, null=True)
    end_user = models.CharField(max_length=100, null=True)
    tags = models.JSONField(null=True)
    # What we noticed when it came in: `clock_skew`, `cost_mismatch`, `cut:<field>`, …
    flags = models.JSONField(default=list)
    # As sent; only where `occurred_at` could not be taken from it (ruling E3).
    sent_timestamp = models.TextField(null=True)
    process_id = models.CharField(max_length=100, null=True)
    sequence = models.PositiveBigIntegerField(null=True)
    lease_id = models.UUIDField(null=True)
    degraded = models.BooleanField(default=False)
    # What was held for the call, or set aside from a lease, when it was let in (ruling F3).
    estimate_cents = models.BigIntegerField(null=True)
    estimate_microcents = models.BigIntegerField(null=True)
    estimate_tokens = models.BigIntegerField(null=True)
    # What budgets count of an unmeasured call until a settlement says what it used (ruling M5b).
    provisional_cents = models.BigIntegerField(null=True)
    provisional_microcents = models.BigIntegerField(null=True)
    provisional_tokens = models.BigIntegerField(null=True)
    # What the SDK decided by itself, for the decision log (ruling F9).
    decision = models.JSONField(null=True)
    admitted_at = models.DateTimeField(null=True)
    occurred_at = models.DateTimeField()
    created_at = models.DateTimeField()

    app_privileges: ClassVar[str] = "SELECT, INSERT"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        managed = False
        db_table = "cus_llm_usage"
        verbose_name = "usage record"

    def __str__(self) -> str:
        return self.call_id


class CusCallLedger(models.Model):
    """Which call ids an integration has used, for ever and across partitions (rulings E1a, E2).

    Keyed by 128 bits of the call id's SHA-256. Says where the row is and what its content
    hashed to, which tells a duplicate from a conflict.
    """

    # In rows older than this column whose stored call was dropped: any integration of the tenant.
    ANY_INTEGRATION: ClassVar[uuid.UUID] = uuid.UUID(int=0)

    pk = models.CompositePrimaryKey("tenant_id", "call_hash", "integration_id")
    tenant_id = models.UUIDField()
    call_hash = models.UUIDField()
    integration_id = models.UUIDField()
    usage_id = models.UUIDField()
    usage_created_at = models.DateTimeField()
    # Its first byte is the version of the hash.
    content_hash = models.UUIDField()

    app_privileges: ClassVar[str] = "SELECT, INSERT"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_call_ledger"

    def __str__(self) -> str:
        return str(self.call_hash)


class CusCallAlias(models.Model):
    """A call id whose usage stands in the row of another call id (ruling M5b).

    That of a call whose answer was reported before the call, or that of a report which settled the
    calls of its answer. The ledger leads from it to the row, so later reports under it are compared
    with the row. `estimate_…` is what was held for the call, or set aside from its lease.
    """

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "call_id")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    call_id = models.CharField(max_length=100)
    usage_id = models.UUIDField()
    usage_created_at = models.DateTimeField()
    lease_id = models.UUIDField(null=True)
    estimate_cents = models.BigIntegerField(null=True)
    estimate_microcents = models.BigIntegerField(null=True)
    estimate_tokens = models.BigIntegerField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    app_privileges: ClassVar[str] = "SELECT, INSERT"

    class Meta:
        db_table = "cus_call_aliases"
        indexes = [
            # For the guard of leases, which asks for the calls of a lease.
            models.Index(
                fields=["tenant_id", "lease_id"],
                condition=Q(lease_id__isnull=False),
                name="cus_call_aliases_lease",
            ),
            models.Index(fields=["call_id"], name="cus_call_aliases_call"),
        ]

    def __str__(self) -> str:
        return self.call_id


class CusUsageSettlement(models.Model):
    """What an unmeasured call used, once that is known; one for each such row (ruling M5b).

    The statement that appends a settlement takes the row's provisional amounts out of the row's
    month and adds the settlement's to the month that is open. The row stays as recorded. Priced by
    the call's own start, `occurred_at`.
    """

    id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    usage_id = models.UUIDField()
    usage_created_at = models.DateTimeField()
    # The call id of the report that brought it: the row's own, or that of another process' report.
    call_id = models.CharField(max_length=100)
    response_id = models.CharField(max_length=200, null=True)
    model = models.CharField(max_length=100)
    tokens_in = models.PositiveIntegerField()
    tokens_out = models.PositiveIntegerField()
    tokens_cached = models.PositiveIntegerField(db_default=0)
    tokens_cache_write = models.PositiveIntegerField(db_default=0)
    tokens_cache_write_1h = models.PositiveIntegerField(db_default=0)
    tokens_reasoning = models.PositiveIntegerField(db_default=0)
    tokens_audio_in = models.PositiveIntegerField(db_default=0)
    tokens_audio_out = models.PositiveIntegerField(db_default=0)
    tokens_image_in = models.PositiveIntegerField(db_default=0)
    tokens_total = models.PositiveIntegerField(null=True)
    service_tier = models.CharField(max_length=50, null=True)
    billed_units = models.JSONField(null=True)
    turns = models.JSONField(null=True)
    cost_cents = models.PositiveIntegerField()
    cost_microcents = models.PositiveBigIntegerField()
    counted_cents = models.PositiveBigIntegerField()
    pricing = models.CharField(max_length=20, choices=PriceSource)
    pricing_version = models.CharField(max_length=100, null=True)
    price_id = models.UUIDField(null=True)
    unpriced_units = models.JSONField(null=True)
    reported_pricing_version = models.CharField(max_length=100, null=True)
    provider_cost_microcents = models.BigIntegerField(null=True)
    flags = models.JSONField(default=list)
    process_id = models.CharField(max_length=100, null=True)
    sequence = models.PositiveBigIntegerField(null=True)
    occurred_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())

    app_privileges: ClassVar[str] = "SELECT, INSERT"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_usage_settlements"
        verbose_name = "usage settlement"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "usage_id"], name="cus_usage_settlements_usage"
            ),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "-created_at"], name="cus_usage_settlements_tenant"),
            models.Index(
                fields=["tenant_id", "occurred_at"], name="cus_usage_settlements_occurred"
            ),
            BrinIndex(fields=["created_at"], name="cus_usage_settlements_received"),
        ]

    def __str__(self) -> str:
        return self.call_id


class CusDroppedMonth(models.Model):
    """A month whose usage rows retention dropped (ruling E5).

    Written by the owner before the rows go.
    """

    # The first day of the month, in UTC.
    month = models.DateField(primary_key=True)
    rows = models.BigIntegerField()
    # Null while the table is still there.
    dropped_at = models.DateTimeField(null=True)

    app_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_dropped_months"
        verbose_name = "dropped month"

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"
