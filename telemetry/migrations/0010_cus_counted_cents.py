"""What limits in cents count (ruling M3a): kept with each row, and summed with the totals.

Rows and totals are of the release before until here: their months are filled from the rows. Where
retention dropped a month, its rows are gone, and its total keeps the cents as reported.
"""

from django.db import migrations, models

COLUMN = """
ALTER TABLE cus_llm_usage ADD COLUMN counted_cents bigint;
ALTER TABLE cus_llm_usage ADD CONSTRAINT cus_llm_usage_counted
    CHECK (counted_cents >= cost_cents);
"""
OWN = "(cost_microcents / 1000000 + (cost_microcents % 1000000 > 0)::int)"
# A total begins as reported; then one of its shards gets what the server's own cents are above that.
FILL = f"""
UPDATE cus_period_totals SET counted_cents = cost_cents WHERE cost_cents > 0;
UPDATE cus_lifetime_totals SET counted_cents = cost_cents WHERE cost_cents > 0;
CREATE TEMPORARY TABLE cus_understated ON COMMIT DROP AS
SELECT tenant_id, integration_id, provider, model,
    date_trunc('month', created_at AT TIME ZONE 'UTC')::date AS period,
    sum({OWN} - cost_cents) AS cents
FROM cus_llm_usage WHERE {OWN} > cost_cents
GROUP BY 1, 2, 3, 4, 5;
UPDATE cus_period_totals AS total
SET counted_cents = least(total.counted_cents::numeric + own.cents, 9223372036854775807)::bigint
FROM (SELECT tenant_id, integration_id, period, sum(cents) AS cents FROM cus_understated
    GROUP BY 1, 2, 3) AS own
WHERE (total.tenant_id, total.integration_id, total.period)
        = (own.tenant_id, own.integration_id, own.period)
    AND total.shard = (SELECT min(shard) FROM cus_period_totals AS first
        WHERE (first.tenant_id, first.integration_id, first.period)
            = (own.tenant_id, own.integration_id, own.period));
UPDATE cus_lifetime_totals AS total
SET counted_cents = least(total.counted_cents::numeric + own.cents, 9223372036854775807)::bigint
FROM (SELECT tenant_id, integration_id, provider, model, sum(cents) AS cents FROM cus_understated
    GROUP BY 1, 2, 3, 4) AS own
WHERE (total.tenant_id, total.integration_id, total.provider, total.model)
        = (own.tenant_id, own.integration_id, own.provider, own.model)
    AND total.shard = (SELECT min(shard) FROM cus_lifetime_totals AS first
        WHERE (first.tenant_id, first.integration_id, first.provider, first.model)
            = (own.tenant_id, own.integration_id, own.provider, own.model));
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0009_cus_coverage")]

    operations = [
        migrations.RunSQL(COLUMN, "ALTER TABLE cus_llm_usage DROP COLUMN counted_cents"),
        migrations.AddField(
            "cuslifetimetotals", "counted_cents", models.BigIntegerField(db_default=0)
        ),
        migrations.AddField(
            "cusperiodtotals", "counted_cents", models.BigIntegerField(db_default=0)
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
