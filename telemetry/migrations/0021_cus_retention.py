"""Retention: the months that it dropped, and hours whose figures are kept for good."""

from django.db import migrations, models

KEY = (
    *("tenant_id", "hour", "integration_id", "provider", "model", "agent_id"),
    *("policy_result", "has_error"),
)


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


# Months whose tables somebody dropped before there was retention. Their calls' days end 37 days
# after the calls at the latest.
ADOPT = """
INSERT INTO cus_dropped_months (month, rows, dropped_at)
SELECT period, 0, now() FROM cus_period_totals
WHERE to_regclass('cus_llm_usage_' || to_char(period, 'YYYY_MM')) IS NULL
    AND period < now() - interval '3 months'
GROUP BY period HAVING sum(calls + blocked) > 0;
UPDATE cus_usage_hourly AS hours SET kept = true, computed_at = now()
FROM cus_period_totals AS total JOIN cus_dropped_months AS dropped ON dropped.month = total.period
WHERE total.tenant_id = hours.tenant_id AND total.calls + total.blocked > 0
    AND hours.hour >= (dropped.month - 37)::timestamp AT TIME ZONE 'UTC'
    AND hours.hour < (dropped.month + interval '1 month 1 day') AT TIME ZONE 'UTC'
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0020_cus_leases")]

    operations = [
        migrations.CreateModel(
            "CusDroppedMonth",
            fields=[
                ("month", models.DateField(primary_key=True, serialize=False)),
                ("rows", models.BigIntegerField()),
                ("dropped_at", models.DateTimeField(null=True)),
            ],
            options={"verbose_name": "dropped month", "db_table": "cus_dropped_months"},
        ),
        migrations.AddField(
            "cususagehourly", "kept", models.BooleanField(default=False, db_default=False)
        ),
        migrations.SeparateDatabaseAndState(
            [migrations.RunSQL(keyed_by(*KEY, "kept"), keyed_by(*KEY))],
            [migrations.AlterField("cususagehourly", "pk", key(*KEY, "kept"))],
        ),
        migrations.RunSQL(ADOPT, migrations.RunSQL.noop),
    ]
