"""Analytics: rebuilt from evidence at any time, read by people, never by enforcement."""

import uuid
from datetime import UTC
from typing import ClassVar, Final

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from telemetry.cus_evidence.totals_models import CusSummedUsage

# What tells the groups of an hour or a day apart within a tenant; `CusUsageGroup` says what each is.
GROUP: Final = (
    "integration_id",
    "provider",
    "model",
    "agent_id",
    "policy_result",
    "has_error",
    "tags",
)


class CusUsageFigures(CusSummedUsage):
    """The figures that hours and days have in common.

    Figures of the rows as recorded, of the settlements of these rows, and of their corrections are
    columns of their own. All belong to the time at which the calls occurred.
    """

    # What unmeasured calls used, once that was settled.
    settled_unpriced = models.BigIntegerField(db_default=0)
    settled_unpriced_unit_calls = models.BigIntegerField(db_default=0)
    settled_tokens_in = models.BigIntegerField(db_default=0)
    settled_tokens_out = models.BigIntegerField(db_default=0)
    settled_tokens_cached = models.BigIntegerField(db_default=0)
    settled_tokens_cache_write = models.BigIntegerField(db_default=0)
    settled_tokens_cache_write_1h = models.BigIntegerField(db_default=0)
    settled_tokens_reasoning = models.BigIntegerField(db_default=0)
    settled_tokens_audio_in = models.BigIntegerField(db_default=0)
    settled_tokens_audio_out = models.BigIntegerField(db_default=0)
    settled_tokens_image_in = models.BigIntegerField(db_default=0)
    settled_cost_cents = models.BigIntegerField(db_default=0)
    settled_counted_cents = models.BigIntegerField(db_default=0)
    settled_cost_microcents = models.BigIntegerField(db_default=0)
    # Of the calls that ran and reported a latency. The number of calls in each bucket is by
    # `cus_analytics.latency.BOUNDS_MS`; null means no such call.
    latency_calls = models.BigIntegerField(db_default=0)
    latency_sum_ms = models.BigIntegerField(db_default=0)
    latency_max_ms = models.IntegerField(null=True)
    latency_buckets = ArrayField(models.BigIntegerField(), null=True)
    computed_at = models.DateTimeField(db_default=Now())

    class Meta:
        abstract = True


class CusUsageGroup(CusUsageFigures):
    """Figures of an integration, provider, model, agent, outcome and set of tags.

    An agent of "" stands for calls that named no agent. The outcome of a call is its policy result,
    and whether it names an error. Tags are a JSON array of texts `key=value`, and "" stands for none;
    `cus_analytics.figures.OTHER_TAGS` for sets beyond those that an hour tells apart.
    """

    integration_id = models.UUIDField()
    provider = models.CharField(max_length=50)
    model = models.CharField(max_length=100)
    agent_id = models.CharField(max_length=100)
    policy_result = models.CharField(max_length=20)
    has_error = models.BooleanField()
    tags = models.TextField(default="", db_default="")
    # Calls that ran, those of them that failed, and blocked calls, which did not run.
    calls = models.BigIntegerField(db_default=0)
    errors = models.BigIntegerField(db_default=0)
    blocked = models.BigIntegerField(db_default=0)
    tokens_in = models.BigIntegerField(db_default=0)
    tokens_out = models.BigIntegerField(db_default=0)
    # As reported, each call rounded up to a cent; and exact.
    cost_cents = models.BigIntegerField(db_default=0)
    cost_microcents = models.BigIntegerField(db_default=0)

    class Meta:
        abstract = True


class CusUsageHourly(CusUsageGroup):
    """An hour of a group, by when calls occurred (ruling E8).

    `hour` is the first moment of an hour in UTC.

    `kept`: retention dropped records of the hour, so these figures are never computed again.
    Settlements and corrections that came later are in rows that are not kept.
    """

    pk = models.CompositePrimaryKey("tenant_id", "hour", *GROUP, "kept")
    tenant_id = models.UUIDField()
    hour = models.DateTimeField()
    kept = models.BooleanField(default=False, db_default=False)

    class Meta:
        db_table = "cus_usage_hourly"
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    calls__gte=0, errors__gte=0, blocked__gte=0, tokens_in__gte=0,
                    tokens_out__gte=0, cost_cents__gte=0, cost_microcents__gte=0,
                ),
                name="cus_usage_hourly_counts",
            ),
        ]  # fmt: skip
        indexes = [
            models.Index(
                fields=["tenant_id", "integration_id", "hour"],
                # Forecasts and unusual hours are of nothing else: rows are wide.
                include=["cost_microcents", "settled_cost_microcents", "correction_microcents"],
                name="cus_usage_hourly_costs",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} of {self.integration_id}"


class CusUsageDayGroup(CusUsageGroup):
    """A day (UTC) of a group: the sum of the day's hours, computed with them in one transaction."""

    pk = models.CompositePrimaryKey("tenant_id", "date", *GROUP)
    tenant_id = models.UUIDField()
    date = models.DateField()

    class Meta:
        db_table = "cus_usage_day_groups"

    def __str__(self) -> str:
        return f"{self.date:%Y-%m-%d} of {self.integration_id}"


class CusUsageDaily(CusUsageFigures):
    """One integration's day, in UTC, by when calls occurred (§3.3, ruling E8).

    The sum of the day's hours, computed with them in one transaction.
    """

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "date")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    date = models.DateField()
    # Calls that ran; blocked calls have a column of their own.
    total_calls = models.BigIntegerField(db_default=0)
    total_tokens_in = models.BigIntegerField(db_default=0)
    total_tokens_out = models.BigIntegerField(db_default=0)
    total_cost_cents = models.BigIntegerField(db_default=0)
    total_cost_microcents = models.BigIntegerField(db_default=0)
    avg_latency_ms = models.IntegerField(null=True)
    error_count = models.BigIntegerField(db_default=0)
    blocked_count = models.BigIntegerField(db_default=0)

    class Meta:
        db_table = "cus_usage_daily"
        constraints = [
            models.CheckConstraint(
                condition=Q(
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
        indexes = [models.Index(fields=["tenant_id", "date"], name="cus_usage_daily_tenant")]

    def __str__(self) -> str:
        return f"{self.date:%Y-%m-%d} of {self.integration_id}"


class CusRollupDue(models.Model):
    """An hour of a tenant that has to be recomputed.

    A run notes the hours of all rows received since the run before, and then recomputes them, day
    by day. An hour whose recomputation fails or is killed stays here for the next run.
    """

    pk = models.CompositePrimaryKey("tenant_id", "hour")
    tenant_id = models.UUIDField()
    hour = models.DateTimeField()
    noted_at = models.DateTimeField(db_default=Now())
    # How many runs failed to recompute the hour.
    failures = models.IntegerField(db_default=0)

    class Meta:
        db_table = "cus_rollup_due"

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} of {self.tenant_id}"


class CusRollupRun(models.Model):
    """One run of the rollup.

    The analytics include the rows received before `covered_to`, except in the hours that
    `cus_rollup_due` lists. `days` is the number of a tenant's days that the run recomputed.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    covered_to = models.DateTimeField(db_index=True)
    days = models.IntegerField(db_default=0)
    failed_days = models.IntegerField(db_default=0)
    # Null while the run works, and for good if the run was killed.
    finished_at = models.DateTimeField(null=True)
    # False for the runs of a release that computed days alone.
    has_hours = models.BooleanField(db_default=False)

    class Meta:
        db_table = "cus_rollup_runs"

    def __str__(self) -> str:
        return f"up to {self.covered_to:%Y-%m-%d %H:%M}"


class CusReconcileRun(models.Model):
    """One comparison of analytics and totals with the evidence; finished if `finished_at` is set."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    started_at = models.DateTimeField(db_index=True)
    finished_at = models.DateTimeField(null=True)
    failed_tenants = models.IntegerField(db_default=0)

    class Meta:
        db_table = "cus_reconcile_runs"

    def __str__(self) -> str:
        return f"at {self.started_at:%Y-%m-%d %H:%M}"


class CusReconcileDifference(models.Model):
    """A figure that differed from the evidence when a reconcile run compared them.

    The run repaired hours and days. A total is evidence itself and is never changed by a program:
    a difference there needs a person.
    """

    class Kind(models.TextChoices):
        HOUR = "hour", "Hour and evidence"
        DAY = "day", "Day and its hours"
        MONTH_TOTAL = "month_total", "Total of a month and evidence"
        LIFETIME_TOTAL = "lifetime_total", "Total for life and totals of months"
        ALL_TIME = "all_time", "Total for life and all hours"

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(CusReconcileRun, models.CASCADE, related_name="differences")
    kind = models.CharField(max_length=20, choices=Kind)
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    # The hour, day or month that differs; null for sums over all time.
    starts_at = models.DateTimeField(null=True)
    figure = models.CharField(max_length=50)
    stored = models.DecimalField(max_digits=30, decimal_places=0)
    expected = models.DecimalField(max_digits=30, decimal_places=0)

    class Meta:
        db_table = "cus_reconcile_differences"

    def __str__(self) -> str:
        return f"{self.figure} of {self.integration_id}: {self.stored}, not {self.expected}"


class CusUsageAnomaly(models.Model):
    """An hour that cost more than five times what its weekday and hour usually cost.

    The subject is an integration, or a model or agent of an integration, named by `name`. Amounts
    are exact, in microcents of US dollars; `cost_microcents` grows while the hour's cost grows.
    `weeks` is the number of weeks whose median `usual_microcents` is. Events are never removed.
    """

    class Subject(models.TextChoices):
        INTEGRATION = "integration", "Integration"
        MODEL = "model", "Model"
        AGENT = "agent", "Agent"

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "subject", "name", "hour")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    subject = models.CharField(max_length=20, choices=Subject)
    name = models.CharField(max_length=100, blank=True)
    hour = models.DateTimeField()
    cost_microcents = models.BigIntegerField()
    usual_microcents = models.BigIntegerField()
    weeks = models.SmallIntegerField()
    found_at = models.DateTimeField(db_default=Now())

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"

    class Meta:
        db_table = "cus_usage_anomalies"
        indexes = [models.Index(fields=["hour"], name="cus_usage_anomalies_hour")]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} of {self.integration_id}: {self.text}"

    @property
    def text(self) -> str:
        """How far the hour is from what is usual, such as "14 times its usual Tuesday"."""
        hour = self.hour.astimezone(UTC)
        if self.usual_microcents == 0:
            return f"usually nothing on a {hour:%A} at {hour:%H:00}"
        return f"{self.cost_microcents // self.usual_microcents:,} times its usual {hour:%A}"


class CusCostForecast(models.Model):
    """The exact cost of a month that is expected at its end, as metrics show it.

    In microcents of US dollars, computed hourly: the month so far, and the forecast of its rest.
    """

    pk = models.CompositePrimaryKey("tenant_id", "integration_id")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    # The first day of the month, in UTC.
    period = models.DateField()
    microcents = models.BigIntegerField()
    computed_at = models.DateTimeField()

    class Meta:
        db_table = "cus_cost_forecasts"

    def __str__(self) -> str:
        return f"{self.period:%Y-%m} of {self.integration_id}"
