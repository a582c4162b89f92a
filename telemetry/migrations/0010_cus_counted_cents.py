"""What limits in cents count (ruling M3a): kept with each row, and summed with the totals.

Rows and totals are of the release before until here: their months are filled from the rows. Where
retention dropped a month, its rows are gone, and its total keeps the cents as reported.

Nobody stores a call meanwhile: 0007 has the ledger refuse what the release before sends, and this
release's statement names a column that the usage table gets after the totals were filled. So the
fill needs no lock against writers, and it may be run again. Tables are locked for a moment each.
"""

from django.db import migrations, models

from telemetry.migrations._patience import patiently

# About 300,000 rows at a time.
BLOCKS = 20_000
MOST = 2**63 - 1
TOTALS = ("cus_period_totals", "cus_lifetime_totals")

ADD_SUM = "ALTER TABLE {} ADD COLUMN IF NOT EXISTS counted_cents bigint DEFAULT 0 NOT NULL"
OWN = "(cost_microcents / 1000000 + (cost_microcents %% 1000000 > 0)::int)"
UNDERSTATED = """
DROP TABLE IF EXISTS cus_understated;
CREATE TEMPORARY TABLE cus_understated (tenant_id uuid, integration_id uuid,
    provider varchar, model varchar, period date, cents numeric)
"""
COLLECT = f"""
INSERT INTO cus_understated
SELECT tenant_id, integration_id, provider, model,
    date_trunc('month', created_at AT TIME ZONE 'UTC')::date, sum({OWN} - cost_cents)
FROM {{month}} WHERE {OWN} > cost_cents
    AND ctid >= format('(%%s,0)', %s::bigint)::tid AND ctid < format('(%%s,0)', %s::bigint)::tid
GROUP BY 1, 2, 3, 4, 5
"""
# A total is as reported; one of its shards gets what the server's own cents are above that.
FILL = """
UPDATE {table} AS total SET counted_cents = least(total.cost_cents + CASE
    WHEN total.shard = (SELECT min(shard) FROM {table} AS first WHERE {of_first})
    THEN coalesce((SELECT sum(cents) FROM cus_understated AS own WHERE {of_own}), 0)
    ELSE 0 END, {most})::bigint
WHERE total.tenant_id = %s
"""
KEYS = {
    "cus_period_totals": ("tenant_id", "integration_id", "period"),
    "cus_lifetime_totals": ("tenant_id", "integration_id", "provider", "model"),
}
ADD_COLUMN = """
ALTER TABLE cus_llm_usage ADD COLUMN IF NOT EXISTS counted_cents bigint;
ALTER TABLE cus_llm_usage DROP CONSTRAINT IF EXISTS cus_llm_usage_counted;
ALTER TABLE cus_llm_usage ADD CONSTRAINT cus_llm_usage_counted
    CHECK (counted_cents >= cost_cents) NOT VALID
"""
VALIDATE = "ALTER TABLE cus_llm_usage VALIDATE CONSTRAINT cus_llm_usage_counted"


def add(_apps, schema_editor):
    """Add the sums, fill them, and only then give rows the column that lets calls be stored."""
    with schema_editor.connection.cursor() as cursor:
        for table in TOTALS:
            patiently(cursor, ADD_SUM.format(table))
        if not _rows_have_column(cursor):
            _collect_understated(cursor)
            _fill_totals(cursor)
            patiently(cursor, ADD_COLUMN)
        # Looks at all rows, while programs go on reading and storing.
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(VALIDATE)
        cursor.execute("RESET statement_timeout")


def _rows_have_column(cursor):
    cursor.execute(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'cus_llm_usage'::regclass"
        " AND attname = 'counted_cents' AND NOT attisdropped"
    )
    return cursor.fetchone()[0] > 0


def _collect_understated(cursor):
    """What each integration's calls cost beyond what was reported, by month and model."""
    cursor.execute(UNDERSTATED)
    cursor.execute(
        "SELECT inhrelid::regclass::text,"
        " pg_relation_size(inhrelid) / current_setting('block_size')::bigint"
        " FROM pg_inherits WHERE inhparent = 'cus_llm_usage'::regclass"
    )
    for month, blocks in cursor.fetchall():
        for first in range(0, blocks + 1, BLOCKS):
            cursor.execute(COLLECT.format(month=month), [first, first + BLOCKS])
    cursor.execute("CREATE INDEX ON cus_understated (tenant_id, integration_id)")
    cursor.execute("ANALYZE cus_understated")


def _fill_totals(cursor):
    """One tenant at a time, a statement and a commit each."""
    cursor.execute("SELECT DISTINCT tenant_id FROM cus_lifetime_totals")
    tenants = [tenant for (tenant,) in cursor.fetchall()]
    for table, keys in KEYS.items():
        whole = ", ".join(f"total.{key}" for key in keys)
        of = {
            f"of_{part}": f"({', '.join(f'{part}.{key}' for key in keys)}) = ({whole})"
            for part in ("first", "own")
        }
        fill = FILL.format(table=table, most=MOST, **of)
        for tenant in tenants:
            cursor.execute(fill, [tenant])


def undo(_apps, schema_editor):
    """Back to cents as reported."""
    with schema_editor.connection.cursor() as cursor:
        for table in ("cus_llm_usage", *TOTALS):
            patiently(cursor, f"ALTER TABLE {table} DROP COLUMN IF EXISTS counted_cents")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("telemetry", "0009_cus_coverage")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(add, undo)],
            state_operations=[
                migrations.AddField(name, "counted_cents", models.BigIntegerField(db_default=0))
                for name in ("cuslifetimetotals", "cusperiodtotals")
            ],
        ),
    ]
