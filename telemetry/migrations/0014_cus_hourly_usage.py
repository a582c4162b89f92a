"""Usage by hour, more figures of a day, and what finds evidence by when calls occurred.

The indexes of the usage table are built month by month, beside the programs. They are BRIN indexes,
which cost ingest next to nothing: calls and sessions come in nearly the order of time.
"""

import uuid

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions.datetime import Now

from telemetry.migrations._patience import patiently

TOKENS = (
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_cache_write",
    "tokens_cache_write_1h",
    "tokens_reasoning",
    "tokens_audio_in",
    "tokens_audio_out",
    "tokens_image_in",
)
UNITS = ("cents", "microcents", "tokens")
SUMS = (
    *("unpriced", "unpriced_unit_calls", "unmeasured"),
    *TOKENS[2:],
    "counted_cents",
    *(f"provisional_{unit}" for unit in UNITS),
    *("settled", "settled_unpriced", "settled_unpriced_unit_calls"),
    *(f"settled_{name}" for name in TOKENS),
    *("settled_cost_cents", "settled_counted_cents", "settled_cost_microcents"),
    *(f"released_{unit}" for unit in UNITS),
    "correction_microcents",
    *("latency_calls", "latency_sum_ms"),
)
HOURS_OWN = (
    *("calls", "errors", "blocked", "tokens_in", "tokens_out", "cost_cents", "cost_microcents"),
)
OTHER_FIGURES = {
    "latency_max_ms": models.IntegerField(null=True),
    "latency_buckets": django.contrib.postgres.fields.ArrayField(
        base_field=models.BigIntegerField(), null=True, size=None
    ),
}
HOURS_KEY = (
    *("tenant_id", "hour", "integration_id", "provider", "model", "agent_id"),
    *("policy_result", "has_error"),
)


def total():
    return models.BigIntegerField(db_default=0)


def key(*names):
    return models.CompositePrimaryKey(
        *names, blank=True, editable=False, primary_key=True, serialize=False
    )


# A call's time lies near the time of its receipt, but late calls are spread far from it: several
# ranges a block keep these from hiding the others. A session's calls lie together.
INDEXES = {
    "occurred": "USING brin (occurred_at timestamptz_minmax_multi_ops)"
    " WITH (pages_per_range = 32, autosummarize = on)",
    "session": "USING brin (session_id text_bloom_ops)"
    " WITH (pages_per_range = 32, autosummarize = on)",
}


def index_usage(_apps, schema_editor):
    """Index the usage table, each month by itself; begun again, go on."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        for suffix, definition in INDEXES.items():
            _index(cursor, suffix, definition)
        cursor.execute("RESET statement_timeout")


def _index(cursor, suffix, definition):
    parent = f"cus_llm_usage_{suffix}"
    patiently(cursor, f"CREATE INDEX IF NOT EXISTS {parent} ON ONLY cus_llm_usage {definition}")
    cursor.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'cus_llm_usage'::regclass"
    )
    for (month,) in cursor.fetchall():
        name = f"{month}_{suffix}"
        # Left invalid by a migration that was stopped.
        cursor.execute(
            "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid",
            [name],
        )
        if cursor.fetchone()[0]:
            cursor.execute(f"DROP INDEX CONCURRENTLY {name}")
        cursor.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {month} {definition}")
        patiently(cursor, f"ALTER INDEX {parent} ATTACH PARTITION {name}")


def unindex_usage(_apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        for suffix in INDEXES:
            patiently(cursor, f"DROP INDEX IF EXISTS cus_llm_usage_{suffix}")


class Together(migrations.SeparateDatabaseAndState):
    """Operations in one transaction, within a migration that as a whole is in none."""

    atomic = True


TABLES = [
    migrations.CreateModel(
        "CusUsageHourly",
        fields=[
            *((name, total()) for name in SUMS),
            *OTHER_FIGURES.items(),
            ("computed_at", models.DateTimeField(db_default=Now())),
            ("pk", key(*HOURS_KEY)),
            ("tenant_id", models.UUIDField()),
            ("hour", models.DateTimeField()),
            ("integration_id", models.UUIDField()),
            ("provider", models.CharField(max_length=50)),
            ("model", models.CharField(max_length=100)),
            ("agent_id", models.CharField(max_length=100)),
            ("policy_result", models.CharField(max_length=20)),
            ("has_error", models.BooleanField()),
            *((name, total()) for name in HOURS_OWN),
        ],
        options={
            "db_table": "cus_usage_hourly",
            "indexes": [
                models.Index(
                    fields=["tenant_id", "integration_id", "hour"],
                    name="cus_usage_hourly_integration",
                )
            ],
            "constraints": [
                models.CheckConstraint(
                    condition=models.Q(*((f"{name}__gte", 0) for name in sorted(HOURS_OWN))),
                    name="cus_usage_hourly_counts",
                )
            ],
        },
    ),
    migrations.CreateModel(
        "CusRollupDue",
        fields=[
            ("pk", key("tenant_id", "hour")),
            ("tenant_id", models.UUIDField()),
            ("hour", models.DateTimeField()),
            ("noted_at", models.DateTimeField(db_default=Now())),
            ("failures", models.IntegerField(db_default=0)),
        ],
        options={"db_table": "cus_rollup_due"},
    ),
    migrations.CreateModel(
        "CusReconcileRun",
        fields=[
            ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
            ("started_at", models.DateTimeField(db_index=True)),
            ("finished_at", models.DateTimeField(null=True)),
            ("failed_tenants", models.IntegerField(db_default=0)),
        ],
        options={"db_table": "cus_reconcile_runs"},
    ),
    migrations.CreateModel(
        "CusReconcileDifference",
        fields=[
            ("id", models.BigAutoField(primary_key=True, serialize=False)),
            (
                "run",
                models.ForeignKey(
                    on_delete=django.db.models.deletion.CASCADE,
                    related_name="differences",
                    to="telemetry.cusreconcilerun",
                ),
            ),
            (
                "kind",
                models.CharField(
                    choices=[
                        ("hour", "Hour and evidence"),
                        ("day", "Day and its hours"),
                        ("month_total", "Total of a month and evidence"),
                        ("lifetime_total", "Total for life and totals of months"),
                        ("all_time", "Total for life and all hours"),
                    ],
                    max_length=20,
                ),
            ),
            ("tenant_id", models.UUIDField()),
            ("integration_id", models.UUIDField()),
            ("starts_at", models.DateTimeField(null=True)),
            ("figure", models.CharField(max_length=50)),
            ("stored", models.DecimalField(decimal_places=0, max_digits=30)),
            ("expected", models.DecimalField(decimal_places=0, max_digits=30)),
        ],
        options={"db_table": "cus_reconcile_differences"},
    ),
    *(
        migrations.AddField("cususagedaily", name, total())
        for name in SUMS
        if "correction" not in name
    ),
    *(migrations.AddField("cususagedaily", *figure) for figure in OTHER_FIGURES.items()),
    migrations.AddIndex(
        "cususagedaily", models.Index(fields=["tenant_id", "date"], name="cus_usage_daily_tenant")
    ),
    migrations.AlterField("cusrolluprun", "days", models.IntegerField(db_default=0)),
    migrations.AddField("cusrolluprun", "failed_days", models.IntegerField(db_default=0)),
    migrations.AddField("cusrolluprun", "has_hours", models.BooleanField(db_default=False)),
    migrations.AlterField("cusrolluprun", "finished_at", models.DateTimeField(null=True)),
]
# Settlements and corrections by when their calls occurred, and by when they came.
INDEXES_OF_ADDITIONS = [
    migrations.AddIndex(model, index)
    for model, table in (
        ("cususagesettlement", "cus_usage_settlements"),
        ("cuscostadjustment", "cus_cost_adjustments"),
    )
    for index in (
        models.Index(fields=["tenant_id", "occurred_at"], name=f"{table}_occurred"),
        django.contrib.postgres.indexes.BrinIndex(fields=["created_at"], name=f"{table}_received"),
    )
]


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("telemetry", "0013_cus_settlements")]

    operations = [
        migrations.RunPython(index_usage, unindex_usage),
        Together([*TABLES, *INDEXES_OF_ADDITIONS], [*TABLES, *INDEXES_OF_ADDITIONS]),
    ]
