"""What was held for a call, what it cost beyond that, and what its SDK decided (F3, F9).

Nullable columns without a default: no row is rewritten, and a row without them is no larger.
"""

from django.db import migrations, models

USAGE = """
ALTER TABLE cus_llm_usage ADD COLUMN estimate_cents bigint, ADD COLUMN estimate_microcents bigint,
    ADD COLUMN estimate_tokens bigint, ADD COLUMN decision jsonb;
CREATE INDEX cus_llm_usage_decisions ON cus_llm_usage (created_at) WHERE decision IS NOT NULL;
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0004_cus_reporting_processes")]

    operations = [
        migrations.RunSQL(
            USAGE,
            "ALTER TABLE cus_llm_usage DROP COLUMN estimate_cents, DROP COLUMN estimate_microcents,"
            " DROP COLUMN estimate_tokens, DROP COLUMN decision",
        ),
        migrations.AddField(
            model_name="cuslifetimetotals",
            name="overrun_cents",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="cuslifetimetotals",
            name="overrun_microcents",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="cuslifetimetotals",
            name="overrun_tokens",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="cusperiodtotals",
            name="overrun_cents",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="cusperiodtotals",
            name="overrun_microcents",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="cusperiodtotals",
            name="overrun_tokens",
            field=models.BigIntegerField(db_default=0),
        ),
    ]
