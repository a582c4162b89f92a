"""Holds belong to their integration, and their sums are kept (rulings E1a, F5b).

In one transaction, which waits for the table's lock at most two seconds at a time: whoever
checks meanwhile is told to come back.
"""

from django.db import migrations, models

from telemetry.migrations._patience import patiently

REKEY = """
LOCK TABLE cus_enforcement_holds IN ACCESS EXCLUSIVE MODE;
ALTER TABLE cus_enforcement_holds DROP CONSTRAINT cus_enforcement_holds_pkey,
    ADD CONSTRAINT cus_enforcement_holds_pkey PRIMARY KEY (tenant_id, integration_id, call_id);
DROP INDEX cus_holds_integration;
CREATE INDEX cus_holds_taken ON cus_enforcement_holds (tenant_id, integration_id, taken_at DESC);
CREATE TABLE cus_hold_sums (
    tenant_id uuid NOT NULL,
    integration_id uuid NOT NULL,
    shard smallint NOT NULL,
    calls bigint NOT NULL,
    cents numeric(40) NOT NULL,
    microcents numeric(40) NOT NULL,
    tokens numeric(40) NOT NULL,
    PRIMARY KEY (tenant_id, integration_id, shard)
) WITH (fillfactor = 30);
INSERT INTO cus_hold_sums
SELECT tenant_id, integration_id, 0, count(*), sum(cents), sum(microcents), sum(tokens)
FROM cus_enforcement_holds GROUP BY tenant_id, integration_id;
"""
# The functions are the owner's and run as the owner: nobody else may write to the sums.
# `enable_seqscan` as in the sessions that fire them, and `OFFSET 0` so that the ledger is asked hold
# by hold: a plan made for a small ledger must not stay.
_HEAD = (
    "RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
    " SET search_path = public, pg_temp SET enable_seqscan = off AS $$"
)
_ADD = """
    INSERT INTO cus_hold_sums AS sums
        (tenant_id, integration_id, shard, calls, cents, microcents, tokens)
    SELECT tenant_id, integration_id, pg_backend_pid() % 8, sum(sign), sum(sign * cents),
        sum(sign * microcents), sum(sign * tokens)
    FROM ({changes}) AS change
    GROUP BY tenant_id, integration_id ORDER BY tenant_id, integration_id
    ON CONFLICT (tenant_id, integration_id, shard) DO UPDATE SET
        calls = sums.calls + excluded.calls, cents = sums.cents + excluded.cents,
        microcents = sums.microcents + excluded.microcents,
        tokens = sums.tokens + excluded.tokens;
    RETURN NULL;
"""
_TAKEN = "SELECT 1::bigint AS sign, * FROM taken"
_GONE = "SELECT -1::bigint AS sign, * FROM gone"
SUMS = f"""
CREATE FUNCTION cus_add_taken_holds() {_HEAD}
BEGIN {_ADD.format(changes=_TAKEN)} END $$;
CREATE FUNCTION cus_add_changed_holds() {_HEAD}
BEGIN {_ADD.format(changes=f"{_TAKEN} UNION ALL {_GONE}")} END $$;
CREATE FUNCTION cus_take_off_holds() {_HEAD}
DECLARE live record;
BEGIN
    IF NOT EXISTS (SELECT FROM gone) THEN
        RETURN NULL;
    END IF;
    SELECT call_id INTO live FROM gone WHERE expires_at > clock_timestamp() AND NOT EXISTS (
        SELECT FROM cus_call_ledger AS ledger WHERE ledger.tenant_id = gone.tenant_id
            AND ledger.call_hash = cus_call_hash(gone.call_id)
            AND ledger.integration_id IN (gone.integration_id,
                '00000000-0000-0000-0000-000000000000') OFFSET 0) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the hold of call % is neither settled nor over', live.call_id
            USING ERRCODE = 'restrict_violation', HINT = 'It ends when its call is stored.';
    END IF;
    {_ADD.format(changes=_GONE)}
END $$;
CREATE TRIGGER cus_add_taken AFTER INSERT ON cus_enforcement_holds
    REFERENCING NEW TABLE AS taken FOR EACH STATEMENT EXECUTE FUNCTION cus_add_taken_holds();
CREATE TRIGGER cus_add_changed AFTER UPDATE ON cus_enforcement_holds
    REFERENCING NEW TABLE AS taken OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION cus_add_changed_holds();
CREATE TRIGGER cus_take_off AFTER DELETE ON cus_enforcement_holds
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION cus_take_off_holds();
"""
CALL_HASH = """
CREATE FUNCTION cus_call_hash(call_id text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT encode(substr(sha256(convert_to(call_id, 'UTF8')), 1, 16), 'hex')::uuid
$$;
CREATE FUNCTION cus_expect_holds(wanted bigint, changed bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF changed <> wanted THEN
        RAISE EXCEPTION '% of % holds could be taken or renewed', changed, wanted
            USING ERRCODE = 'AO001';
    END IF;
    RETURN changed;
END $$;
"""
ONLY_GROW = """
CREATE FUNCTION cus_refuse_lowering() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what % sets aside is never lowered or moved by hand', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation',
            HINT = 'It ends with its call, with its return, or with its time.';
END $$;
CREATE TRIGGER cus_only_grow BEFORE UPDATE ON cus_enforcement_holds FOR EACH ROW WHEN (
    (OLD.tenant_id, OLD.integration_id, OLD.call_id, OLD.taken_at)
        IS DISTINCT FROM (NEW.tenant_id, NEW.integration_id, NEW.call_id, NEW.taken_at)
    OR NEW.cents < OLD.cents OR NEW.microcents < OLD.microcents OR NEW.tokens < OLD.tokens
    OR NEW.expires_at < OLD.expires_at) EXECUTE FUNCTION cus_refuse_lowering();
"""
# A lease is lowered by what its calls set aside, in the statement that stores them: their rows
# are of this transaction, which `created_at` tells.
LEASES = f"""
CREATE TRIGGER cus_same_lease BEFORE UPDATE ON cus_enforcement_leases FOR EACH ROW WHEN (
    (OLD.tenant_id, OLD.id, OLD.integration_id, OLD.holder_id, OLD.taken_at)
        IS DISTINCT FROM (NEW.tenant_id, NEW.id, NEW.integration_id, NEW.holder_id, NEW.taken_at)
    OR NEW.expires_at < OLD.expires_at) EXECUTE FUNCTION cus_refuse_lowering();
CREATE FUNCTION cus_check_lowered_leases() {_HEAD}
DECLARE wrong record;
BEGIN
    SELECT lease.id INTO wrong FROM was AS lease JOIN becomes USING (tenant_id, id),
    LATERAL (
        SELECT count(*) AS calls, coalesce(sum(estimate_cents), 0) AS cents,
            coalesce(sum(estimate_microcents), 0) AS microcents,
            coalesce(sum(estimate_tokens), 0) AS tokens
        FROM cus_llm_usage AS usage WHERE usage.tenant_id = lease.tenant_id
            AND usage.integration_id = lease.integration_id AND usage.created_at = now()
            AND usage.lease_id = lease.id
    ) AS landed
    WHERE lease.calls - becomes.calls > landed.calls
        OR lease.cents - becomes.cents > landed.cents
        OR lease.microcents - becomes.microcents > landed.microcents
        OR lease.tokens - becomes.tokens > landed.tokens LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'lease % is lowered by more than its stored calls set aside', wrong.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER cus_lowered_by_calls AFTER UPDATE ON cus_enforcement_leases
    REFERENCING OLD TABLE AS was NEW TABLE AS becomes
    FOR EACH STATEMENT EXECUTE FUNCTION cus_check_lowered_leases();
CREATE FUNCTION cus_refuse_ending_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'lease % is not over yet', OLD.id USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER cus_ends_by_time BEFORE DELETE ON cus_enforcement_leases FOR EACH ROW
    WHEN (OLD.expires_at > clock_timestamp()) EXECUTE FUNCTION cus_refuse_ending_lease();
"""
BACK = """
DROP FUNCTION cus_add_taken_holds() CASCADE;
DROP FUNCTION cus_add_changed_holds() CASCADE;
DROP FUNCTION cus_take_off_holds() CASCADE;
DROP FUNCTION cus_refuse_lowering() CASCADE;
DROP FUNCTION cus_check_lowered_leases() CASCADE;
DROP FUNCTION cus_refuse_ending_lease() CASCADE;
DROP FUNCTION cus_call_hash(text);
DROP FUNCTION cus_expect_holds(bigint, bigint);
DROP TABLE cus_hold_sums;
DROP INDEX cus_holds_taken;
CREATE INDEX cus_holds_integration ON cus_enforcement_holds (tenant_id, integration_id);
ALTER TABLE cus_enforcement_holds DROP CONSTRAINT cus_enforcement_holds_pkey,
    ADD CONSTRAINT cus_enforcement_holds_pkey PRIMARY KEY (tenant_id, call_id);
"""


def rewrite(_apps, schema_editor):
    """Do all of it, or nothing; try again while somebody holds the table for longer."""
    with schema_editor.connection.cursor() as cursor:
        patiently(cursor, "".join((CALL_HASH, REKEY, SUMS, ONLY_GROW, LEASES)))


def undo(_apps, schema_editor):
    """Back to one key a tenant; refused where two integrations hold under one call id."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(f"BEGIN; {BACK} COMMIT")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("telemetry", "0007_cus_ledger_by_integration")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(rewrite, undo)],
            state_operations=[
                migrations.AlterField(
                    "cusenforcementhold",
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id",
                        "integration_id",
                        "call_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                migrations.RemoveIndex("cusenforcementhold", "cus_holds_integration"),
                migrations.AddIndex(
                    "cusenforcementhold",
                    models.Index(
                        fields=["tenant_id", "integration_id", "-taken_at"], name="cus_holds_taken"
                    ),
                ),
                migrations.CreateModel(
                    name="CusHoldSums",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "tenant_id",
                                "integration_id",
                                "shard",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("tenant_id", models.UUIDField()),
                        ("integration_id", models.UUIDField()),
                        ("shard", models.SmallIntegerField()),
                        ("calls", models.BigIntegerField()),
                        ("cents", models.DecimalField(decimal_places=0, max_digits=40)),
                        ("microcents", models.DecimalField(decimal_places=0, max_digits=40)),
                        ("tokens", models.DecimalField(decimal_places=0, max_digits=40)),
                    ],
                    options={"db_table": "cus_hold_sums"},
                ),
            ],
        ),
    ]
