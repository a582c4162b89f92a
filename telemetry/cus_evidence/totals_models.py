"""Sums of evidence, kept in the transaction that stores its rows (ruling E8)."""

from typing import ClassVar

from django.db import models
from django.db.models import Q


def may_add(totals: type[models.Model], *, without: frozenset[str] = frozenset()) -> str:
    """Privileges to add to a table's sums, `without` some columns, and not to change its keys.

    The guards of the table refuse a sum that would fall.
    """
    columns = [field.attname for field in totals._meta.concrete_fields if field.column]
    given = [name for name in columns if name not in without]
    keys = {field.attname for field in totals._meta.pk_fields}
    sums = [name for name in given if name not in keys]
    return f"SELECT, INSERT ({', '.join(given)}), UPDATE ({', '.join(sums)})"


class CusSummedUsage(models.Model):
    """What totals, hours and days all sum of calls (rulings M3, M3a, M4, M5b, M9).

    Sums are BIGINT, so that no row can overflow a sum.
    """

    # Calls without a known price, calls with a billed unit that has no price, and calls whose usage
    # was unknown when they were recorded.
    unpriced = models.BigIntegerField(db_default=0)
    unpriced_unit_calls = models.BigIntegerField(db_default=0)
    unmeasured = models.BigIntegerField(db_default=0)
    # Parts of the tokens in and out.
    tokens_cached = models.BigIntegerField(db_default=0)
    tokens_cache_write = models.BigIntegerField(db_default=0)
    tokens_cache_write_1h = models.BigIntegerField(db_default=0)
    tokens_reasoning = models.BigIntegerField(db_default=0)
    tokens_audio_in = models.BigIntegerField(db_default=0)
    tokens_audio_out = models.BigIntegerField(db_default=0)
    tokens_image_in = models.BigIntegerField(db_default=0)
    # What limits in cents bind: the greater of reported and own, call by call.
    counted_cents = models.BigIntegerField(db_default=0)
    # What budgets count of unmeasured calls, the number of those that are settled, and what
    # settlements have taken out of the provisional amounts again.
    provisional_cents = models.BigIntegerField(db_default=0)
    provisional_microcents = models.BigIntegerField(db_default=0)
    provisional_tokens = models.BigIntegerField(db_default=0)
    settled = models.BigIntegerField(db_default=0)
    released_cents = models.BigIntegerField(db_default=0)
    released_microcents = models.BigIntegerField(db_default=0)
    released_tokens = models.BigIntegerField(db_default=0)
    # What later adjustments add to the exact cost, which stays as recorded; negative if prices were
    # too high.
    correction_microcents = models.BigIntegerField(db_default=0)

    class Meta:
        abstract = True


class CusUsageSums(CusSummedUsage):
    """What a total sums over usage rows, kept in the transaction that stores them (ruling E8).

    Split into shards so that writers to one integration do not queue behind one row; a total
    is the sum over its shards. `calls` ran; `blocked` did not. Tokens and costs of settlements are
    in the sums of the month in which they came.
    """

    SHARDS: ClassVar[int] = 8

    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    shard = models.SmallIntegerField()
    calls = models.BigIntegerField(db_default=0)
    errors = models.BigIntegerField(db_default=0)
    blocked = models.BigIntegerField(db_default=0)
    cost_mismatches = models.BigIntegerField(db_default=0)
    tokens_mismatches = models.BigIntegerField(db_default=0)
    tokens_in = models.BigIntegerField(db_default=0)
    tokens_out = models.BigIntegerField(db_default=0)
    cost_cents = models.BigIntegerField(db_default=0)
    cost_microcents = models.BigIntegerField(db_default=0)
    # What calls cost and took beyond what had been held for them (ruling F3).
    overrun_cents = models.BigIntegerField(db_default=0)
    overrun_microcents = models.BigIntegerField(db_default=0)
    overrun_tokens = models.BigIntegerField(db_default=0)

    # Written by triggers alone, as settlements and adjustments are appended.
    DERIVED: ClassVar[frozenset[str]] = frozenset(
        {
            *("settled", "released_cents", "released_microcents", "released_tokens"),
            "correction_microcents",
        }
    )

    class Meta:
        abstract = True

    @classmethod
    def app_privileges(cls) -> str:
        """Sums may be added to; derived ones follow what is appended elsewhere."""
        return may_add(cls, without=cls.DERIVED)


class CusLifetimeTotals(CusUsageSums):
    """An integration's sums for life, by provider and model: what metrics show."""

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "provider", "model", "shard")
    provider = models.CharField(max_length=50)
    model = models.CharField(max_length=100)

    class Meta:
        db_table = "cus_lifetime_totals"
        constraints = [
            models.CheckConstraint(
                condition=Q(shard__gte=0, shard__lt=8), name="cus_lifetime_totals_shard"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} of {self.integration_id}, shard {self.shard}"


class CusPeriodTotals(CusUsageSums):
    """An integration's sums of a month, by when its calls were received: what limits bind."""

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "period", "shard")
    # The first day of the month, in UTC.
    period = models.DateField()

    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_period_totals"
        constraints = [
            models.CheckConstraint(
                condition=Q(shard__gte=0, shard__lt=8), name="cus_period_totals_shard"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.period:%Y-%m} of {self.integration_id}, shard {self.shard}"


class CusOutcomeTotals(models.Model):
    """How an integration's calls ended, summed for life in the transaction that stores them.

    `error_code` is one of `cus_evidence.outcomes.ERROR_CODES`, `other`, or empty for a call without an
    error. Latencies are those of calls that ran and reported one; `le_300` counts the latencies of
    at most 300 ms, so each such column includes those before.
    """

    pk = models.CompositePrimaryKey(
        "tenant_id", "integration_id", "policy_result", "error_code", "shard"
    )
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    policy_result = models.CharField(max_length=20)
    error_code = models.CharField(max_length=50)
    shard = models.SmallIntegerField()
    calls = models.BigIntegerField(db_default=0)
    latency_calls = models.BigIntegerField(db_default=0)
    latency_sum_ms = models.BigIntegerField(db_default=0)
    le_100 = models.BigIntegerField(db_default=0)
    le_300 = models.BigIntegerField(db_default=0)
    le_500 = models.BigIntegerField(db_default=0)
    le_1000 = models.BigIntegerField(db_default=0)
    le_2000 = models.BigIntegerField(db_default=0)
    le_3000 = models.BigIntegerField(db_default=0)
    le_5000 = models.BigIntegerField(db_default=0)
    le_10000 = models.BigIntegerField(db_default=0)
    le_20000 = models.BigIntegerField(db_default=0)
    le_30000 = models.BigIntegerField(db_default=0)
    le_60000 = models.BigIntegerField(db_default=0)
    le_120000 = models.BigIntegerField(db_default=0)

    class Meta:
        db_table = "cus_outcome_totals"
        constraints = [
            models.CheckConstraint(
                condition=Q(shard__gte=0, shard__lt=8), name="cus_outcome_totals_shard"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.policy_result} {self.error_code} of {self.integration_id}"

    @classmethod
    def app_privileges(cls) -> str:
        """Sums may be added to."""
        return may_add(cls)
