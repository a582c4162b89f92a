"""Hours by tags, too; and days by all that hours are told apart by, from which most reads are summed."""

import django.contrib.postgres.fields
from django.db import migrations, models
from django.db.models.functions import Now

WHOSE = (
    *("integration_id", "provider", "model", "agent_id", "policy_result", "has_error", "tags"),
)
TOKENS = (
    *("tokens_in", "tokens_out", "tokens_cached", "tokens_cache_write", "tokens_cache_write_1h"),
    *("tokens_reasoning", "tokens_audio_in", "tokens_audio_out", "tokens_image_in"),
)
UNITS = ("cents", "microcents", "tokens")
COUNTS = (
    *("calls", "errors", "blocked", "tokens_in", "tokens_out", "cost_cents", "cost_microcents"),
)
SUMS = (
    *COUNTS,
    *("unpriced", "unpriced_unit_calls", "unmeasured", *TOKENS[2:], "counted_cents"),
    *(f"provisional_{unit}" for unit in UNITS),
    *("settled", "settled_unpriced", "settled_unpriced_unit_calls"),
    *(f"settled_{name}" for name in TOKENS),
    *("settled_cost_cents", "settled_counted_cents", "settled_cost_microcents"),
    *(f"released_{unit}" for unit in UNITS),
    *("correction_microcents", "latency_calls", "latency_sum_ms"),
)
MOST = 2**63 - 1
BUCKETS = 29


def key(*names):
    return models.CompositePrimaryKey(
        *names, blank=True, editable=False, primary_key=True, serialize=False
    )


def keyed_by(*names):
    """SQL that makes these columns the key of an hour."""
    return f"""
    SET LOCAL statement_timeout = 0;
    ALTER TABLE cus_usage_hourly DROP CONSTRAINT cus_usage_hourly_pkey,
        ADD PRIMARY KEY ({", ".join(names)})"""


HOUR_KEY = ("tenant_id", "hour", *WHOSE[:-1])
_SUMMED = ", ".join(f"greatest(least(sum({name}), {MOST}), -{MOST})::bigint" for name in SUMS)
_BUCKETS = ", ".join(f"sum(latency_buckets[{n}])::bigint" for n in range(1, BUCKETS + 1))
FILL = f"""
SET LOCAL statement_timeout = 0;
INSERT INTO cus_usage_day_groups
    (tenant_id, date, {", ".join((*WHOSE, *SUMS))}, latency_max_ms, latency_buckets)
SELECT tenant_id, (hour AT TIME ZONE 'UTC')::date, {", ".join(WHOSE)}, {_SUMMED},
    max(latency_max_ms), CASE WHEN sum(latency_calls) > 0 THEN ARRAY[{_BUCKETS}] END
FROM cus_usage_hourly GROUP BY 1, 2, {", ".join(WHOSE)};
-- Hours of the last weeks are computed anew, with their tags.
INSERT INTO cus_rollup_due (tenant_id, hour)
SELECT DISTINCT tenant_id, hour FROM cus_usage_hourly
WHERE NOT kept AND hour >= now() - interval '37 days' ON CONFLICT DO NOTHING
"""
TEXTS = {"provider": 50, "model": 100, "agent_id": 100, "policy_result": 20}


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0021_cus_retention")]

    operations = [
        migrations.AddField("cususagehourly", "tags", models.TextField(default="", db_default="")),
        migrations.SeparateDatabaseAndState(
            [migrations.RunSQL(keyed_by(*HOUR_KEY, "tags", "kept"), keyed_by(*HOUR_KEY, "kept"))],
            [migrations.AlterField("cususagehourly", "pk", key(*HOUR_KEY, "tags", "kept"))],
        ),
        migrations.CreateModel(
            "CusUsageDayGroup",
            fields=[
                *((name, models.BigIntegerField(db_default=0)) for name in SUMS),
                ("latency_max_ms", models.IntegerField(null=True)),
                (
                    "latency_buckets",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), null=True, size=None
                    ),
                ),
                ("computed_at", models.DateTimeField(db_default=Now())),
                ("pk", key("tenant_id", "date", *WHOSE)),
                ("tenant_id", models.UUIDField()),
                ("date", models.DateField()),
                ("integration_id", models.UUIDField()),
                *((name, models.CharField(max_length=size)) for name, size in TEXTS.items()),
                ("has_error", models.BooleanField()),
                ("tags", models.TextField(default="", db_default="")),
            ],
            options={"db_table": "cus_usage_day_groups"},
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
