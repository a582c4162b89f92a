"""Analytics: rebuilt from evidence at any time, read by people, never by enforcement."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class CusUsageDaily(models.Model):
    """One integration's day, in UTC, by when calls occurred (§3.3, ruling E8)."""

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "date")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    date = models.DateField()
    # Calls that ran; blocked calls have a column of their own. BIGINT, so no row can overflow it.
    total_calls = models.BigIntegerField(db_default=0)
    total_tokens_in = models.BigIntegerField(db_default=0)
    total_tokens_out = models.BigIntegerField(db_default=0)
    total_cost_cents = models.BigIntegerField(db_default=0)
    total_cost_microcents = models.BigIntegerField(db_default=0)
    # Negative if a price was too high (ruling M9).
    correction_microcents = models.BigIntegerField(db_default=0)
    avg_latency_ms = models.IntegerField(null=True)
    error_count = models.BigIntegerField(db_default=0)
    blocked_count = models.BigIntegerField(db_default=0)
    computed_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "cus_usage_daily"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    total_calls__gte=0,
                    total_tokens_in__gte=0,
                    total_tokens_out__gte=0,
                    total_cost_cents__gte=0,
                    total_cost_microcents__gte=0,
                    error_count__gte=0,
                    blocked_count__gte=0,
                ),
                name="cus_usage_daily_counts",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.date:%Y-%m-%d} of {self.integration_id}"


class CusRollupRun(models.Model):
    """One run of the rollup. The daily sums include the rows received before `covered_to`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    covered_to = models.DateTimeField(db_index=True)
    days = models.IntegerField()
    finished_at = models.DateTimeField(db_default=Now())

    app_privileges: ClassVar[str] = "SELECT, INSERT, DELETE"

    class Meta:
        db_table = "cus_rollup_runs"

    def __str__(self) -> str:
        return f"up to {self.covered_to:%Y-%m-%d %H:%M}"
