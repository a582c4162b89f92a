"""The ledger's key gets the integration (ruling E1a), while programs go on reporting.

Every step commits by itself and can be run again, so a migration that was stopped goes on where it
ended. Ingest of the release before works until `cus_call_ledger_filled` is added: from there on a
row without its integration is refused, the programs keep their records and send them again.
"""

from django.db import migrations, models

from telemetry.migrations._patience import patiently

# "Any integration": of rows whose stored call a dropped month took along.
NIL = "00000000-0000-0000-0000-000000000000"
# About 16,000 rows at a time.
BLOCKS = 200

ADD_COLUMN = """
ALTER TABLE cus_call_ledger ADD COLUMN IF NOT EXISTS integration_id uuid;
DROP TRIGGER IF EXISTS cus_append_only ON cus_call_ledger;
CREATE TRIGGER cus_append_only BEFORE DELETE OR TRUNCATE ON cus_call_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
"""
FILL = f"""
UPDATE cus_call_ledger AS ledger SET integration_id = coalesce((
    SELECT usage.integration_id FROM cus_llm_usage AS usage
    WHERE usage.tenant_id = ledger.tenant_id AND usage.created_at = ledger.usage_created_at
        AND usage.id = ledger.usage_id), '{NIL}')
WHERE ledger.integration_id IS NULL
"""
FILL_BLOCKS = f"{FILL} AND ledger.ctid >= format('(%%s,0)', %s::bigint)::tid AND ledger.ctid < format('(%%s,0)', %s::bigint)::tid"
INDEX = "cus_call_ledger_calls"
BUILD_INDEX = f"""
CREATE UNIQUE INDEX CONCURRENTLY {INDEX} ON cus_call_ledger (tenant_id, call_hash, integration_id)
"""
REFUSE_EMPTY = """
ALTER TABLE cus_call_ledger ADD CONSTRAINT cus_call_ledger_filled
    CHECK (integration_id IS NOT NULL) NOT VALID
"""
VALIDATE = "ALTER TABLE cus_call_ledger VALIDATE CONSTRAINT cus_call_ledger_filled"
SWAP_KEY = f"""
ALTER TABLE cus_call_ledger ALTER COLUMN integration_id SET NOT NULL;
ALTER TABLE cus_call_ledger DROP CONSTRAINT cus_call_ledger_pkey;
ALTER TABLE cus_call_ledger ADD CONSTRAINT cus_call_ledger_pkey PRIMARY KEY USING INDEX {INDEX};
ALTER TABLE cus_call_ledger DROP CONSTRAINT cus_call_ledger_filled;
DROP TRIGGER cus_append_only ON cus_call_ledger;
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cus_call_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
"""


def rewrite(_apps, schema_editor):
    """Add the column, fill it, and swap the key."""
    with schema_editor.connection.cursor() as cursor:
        if _key_has_integration(cursor):
            return
        # The index, and the constraint's look at all rows, take as long as the ledger is large.
        cursor.execute("SET statement_timeout = 0")
        patiently(cursor, ADD_COLUMN)
        _fill_in_batches(cursor)
        _build_index(cursor)
        if not _exists(cursor, "pg_constraint", "conname", "cus_call_ledger_filled"):
            patiently(cursor, REFUSE_EMPTY)
        # Rows that came while the batches ran; none can come any more.
        _fill_in_batches(cursor)
        cursor.execute(VALIDATE)
        patiently(cursor, SWAP_KEY)
        cursor.execute("RESET statement_timeout")


def _key_has_integration(cursor):
    cursor.execute(
        "SELECT count(*) FROM pg_index AS key JOIN pg_attribute AS part ON part.attrelid = indrelid"
        " AND part.attnum = ANY (indkey) WHERE indrelid = 'cus_call_ledger'::regclass"
        " AND indisprimary AND attname = 'integration_id'"
    )
    return cursor.fetchone()[0] > 0


def _exists(cursor, catalogue, column, name):
    cursor.execute(f"SELECT count(*) FROM {catalogue} WHERE {column} = %s", [name])
    return cursor.fetchone()[0] > 0


def _fill_in_batches(cursor):
    # Plans of a fresh connection may take a small partition's size for granted.
    cursor.execute("SET enable_seqscan = off")
    cursor.execute(
        "SELECT pg_relation_size('cus_call_ledger') / current_setting('block_size')::bigint"
    )
    blocks = cursor.fetchone()[0]
    for first in range(0, blocks + 1, BLOCKS):
        cursor.execute(FILL_BLOCKS, [first, first + BLOCKS])
    cursor.execute("RESET enable_seqscan")


def _build_index(cursor):
    cursor.execute(
        "SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE relname = %s",
        [INDEX],
    )
    found = cursor.fetchone()
    if found and found[0]:
        return
    if found:  # A build that was cut short.
        cursor.execute(f"DROP INDEX CONCURRENTLY {INDEX}")
    cursor.execute(BUILD_INDEX)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("telemetry", "0006_cus_hold_expiry")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(rewrite)],
            state_operations=[
                migrations.AddField(
                    "cuscallledger", "integration_id", models.UUIDField(default=NIL), False
                ),
                migrations.AlterField(
                    "cuscallledger",
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id",
                        "call_hash",
                        "integration_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
        ),
    ]
