"""The facts that a price depends on, and what budgets count of a call whose usage is not known.

Rulings M5a, M5b, M8a and E2a. Columns are nullable and without a default: no row is rewritten.
Tables that programs use are locked for a moment each; the index for settlements is built month by
month, beside the programs.
"""

from django.db import migrations

from telemetry.migrations._patience import patiently

MOST = 2**63 - 1
COLUMNS = {
    "model_requested": "varchar(100)",
    "host": "varchar(255)",
    "region": "varchar(50)",
    "turns": "jsonb",
    "unpriced_units": "jsonb",
    "provider_cost_microcents": "bigint",
    "provisional_cents": "bigint",
    "provisional_microcents": "bigint",
    "provisional_tokens": "bigint",
    "response_id": "varchar(200)",
    "provider_request_id": "varchar(200)",
    "provider_project": "varchar(100)",
    "provider_key_hint": "varchar(4)",
    "end_user": "varchar(100)",
    "tags": "jsonb",
}
ADD_COLUMNS = "ALTER TABLE cus_llm_usage " + ", ".join(
    f"ADD COLUMN IF NOT EXISTS {name} {type_}" for name, type_ in COLUMNS.items()
)
# An unmeasured row counts something, and no other row has provisional amounts.
CHECKS = """
ALTER TABLE cus_llm_usage DROP CONSTRAINT IF EXISTS cus_llm_usage_pricing;
ALTER TABLE cus_llm_usage ADD CONSTRAINT cus_llm_usage_pricing CHECK (pricing IN
    ('table', 'override', 'genai_prices', 'provider', 'unknown', 'unmeasured')) NOT VALID;
ALTER TABLE cus_llm_usage DROP CONSTRAINT IF EXISTS cus_llm_usage_provisional;
ALTER TABLE cus_llm_usage ADD CONSTRAINT cus_llm_usage_provisional CHECK (CASE
    WHEN pricing = 'unmeasured' THEN coalesce(provisional_cents > 0 AND provisional_microcents > 0
        AND provisional_tokens > 0 AND cost_microcents = 0, false)
    ELSE coalesce(provisional_cents, provisional_microcents, provisional_tokens) IS NULL END) NOT VALID
"""
VALIDATE = (
    "ALTER TABLE cus_llm_usage VALIDATE CONSTRAINT cus_llm_usage_pricing",
    "ALTER TABLE cus_llm_usage VALIDATE CONSTRAINT cus_llm_usage_provisional",
)
OLD_CHECK = """
ALTER TABLE cus_llm_usage DROP CONSTRAINT IF EXISTS cus_llm_usage_provisional;
ALTER TABLE cus_llm_usage DROP CONSTRAINT IF EXISTS cus_llm_usage_pricing;
ALTER TABLE cus_llm_usage ADD CONSTRAINT cus_llm_usage_pricing
    CHECK (pricing IN ('table', 'override', 'genai_prices', 'unknown')) NOT VALID
"""
INDEX = "(tenant_id, integration_id, response_id) WHERE pricing = 'unmeasured'"


def change_rows(_apps, schema_editor):
    """Give rows their columns and checks; rows of before satisfy both."""
    with schema_editor.connection.cursor() as cursor:
        patiently(cursor, ADD_COLUMNS)
        patiently(cursor, CHECKS)
        cursor.execute("SET statement_timeout = 0")
        for statement in VALIDATE:
            cursor.execute(statement)
        _index_unmeasured(cursor)
        cursor.execute("RESET statement_timeout")


def _index_unmeasured(cursor):
    """A settlement finds its row by the provider's id of the answer."""
    patiently(
        cursor,
        f"CREATE INDEX IF NOT EXISTS cus_llm_usage_unmeasured ON ONLY cus_llm_usage {INDEX}",
    )
    cursor.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'cus_llm_usage'::regclass"
    )
    for (month,) in cursor.fetchall():
        name = f"{month}_unmeasured"
        # Left invalid by a migration that was stopped.
        cursor.execute(
            "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid",
            [name],
        )
        if cursor.fetchone()[0]:
            cursor.execute(f"DROP INDEX CONCURRENTLY {name}")
        cursor.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {month} {INDEX}")
        patiently(cursor, f"ALTER INDEX cus_llm_usage_unmeasured ATTACH PARTITION {name}")


def undo_rows(_apps, schema_editor):
    """Back to rows without the facts. Fails while an unmeasured row is stored."""
    with schema_editor.connection.cursor() as cursor:
        patiently(cursor, "DROP INDEX IF EXISTS cus_llm_usage_unmeasured")
        patiently(cursor, OLD_CHECK)
        cursor.execute(VALIDATE[0])
        dropped = ", ".join(f"DROP COLUMN IF EXISTS {name}" for name in COLUMNS)
        patiently(cursor, f"ALTER TABLE cus_llm_usage {dropped}")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("telemetry", "0011_cus_sums_do_not_fall")]

    operations = [migrations.RunPython(change_rows, undo_rows)]
