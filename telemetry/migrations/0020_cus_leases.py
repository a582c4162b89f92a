"""Leases that lend amounts to holders: what was lent, what was set aside, and their sums (F5a, F5b).

In one transaction, which waits for the tables' locks at most two seconds at a time. A row that
is there already counts as lent with what it has.
"""

from django.db import migrations, models

from telemetry.migrations._patience import patiently

AMOUNTS = ("cents", "microcents", "tokens", "calls")
SUMS = tuple(f"{kind}_{name}" for kind in ("leased", "young") for name in AMOUNTS)


def _each(text, separator=", "):
    return separator.join(text.format(name=name) for name in AMOUNTS)


COLUMNS = f"""
LOCK TABLE cus_enforcement_leases, cus_hold_sums IN ACCESS EXCLUSIVE MODE;
ALTER TABLE cus_enforcement_leases
    {_each("ADD COLUMN lent_{name} bigint NOT NULL DEFAULT 0")},
    {_each("ADD COLUMN set_aside_{name} bigint")},
    ADD COLUMN slices jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN is_young boolean NOT NULL DEFAULT false;
UPDATE cus_enforcement_leases SET {_each("lent_{name} = {name}")};
ALTER TABLE cus_enforcement_leases
    ADD CONSTRAINT cus_enforcement_leases_lent
        CHECK ({_each("{name} <= lent_{name}", " AND ")}),
    ADD CONSTRAINT cus_enforcement_leases_set_aside
        CHECK (({_each("set_aside_{name} IS NULL", " AND ")})
            OR ({_each("set_aside_{name} >= 0", " AND ")}));
DROP INDEX cus_leases_integration;
CREATE INDEX cus_leases_taken ON cus_enforcement_leases
    (tenant_id, integration_id, taken_at DESC) WHERE lent_cents >= 0;
ALTER TABLE cus_hold_sums ADD COLUMN leases bigint NOT NULL DEFAULT 0,
    {", ".join(f"ADD COLUMN {name} numeric(40) NOT NULL DEFAULT 0" for name in SUMS)};
"""
# The functions are the owner's and run as the owner: nobody else may write to the sums.
_HEAD = (
    "RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
    " SET search_path = public, pg_temp SET enable_seqscan = off AS $$"
)
_ADD = f"""
    INSERT INTO cus_hold_sums AS sums (tenant_id, integration_id, shard, calls, cents, microcents,
        tokens, leases, {", ".join(SUMS)})
    SELECT tenant_id, integration_id, {{shard}}, 0, 0, 0, 0, sum(sign),
        {_each("sum(sign * {name}::numeric)")},
        {_each("coalesce(sum(sign * {name}::numeric) FILTER (WHERE is_young), 0)")}
    FROM ({{changes}}) AS change
    GROUP BY tenant_id, integration_id ORDER BY tenant_id, integration_id
    ON CONFLICT (tenant_id, integration_id, shard) DO UPDATE SET
        leases = sums.leases + excluded.leases,
        {", ".join(f"{name} = sums.{name} + excluded.{name}" for name in SUMS)};
"""
_TAKEN = "SELECT 1::bigint AS sign, * FROM taken"
_GONE = "SELECT -1::bigint AS sign, * FROM gone"
# Leases that are there already.
SUM_UP = _ADD.format(shard="0", changes="SELECT 1::bigint AS sign, * FROM cus_enforcement_leases")


def _adds(name, changes):
    add = _ADD.format(shard="pg_backend_pid() % 8", changes=changes)
    return f"CREATE FUNCTION {name}() {_HEAD} BEGIN {add} RETURN NULL; END $$;"


KEEP_SUMS = f"""
{_adds("cus_add_taken_leases", _TAKEN)}
{_adds("cus_add_changed_leases", f"{_TAKEN} UNION ALL {_GONE}")}
{_adds("cus_take_off_leases", _GONE)}
CREATE TRIGGER cus_add_taken AFTER INSERT ON cus_enforcement_leases
    REFERENCING NEW TABLE AS taken FOR EACH STATEMENT EXECUTE FUNCTION cus_add_taken_leases();
CREATE TRIGGER cus_add_changed AFTER UPDATE ON cus_enforcement_leases
    REFERENCING NEW TABLE AS taken OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION cus_add_changed_leases();
CREATE TRIGGER cus_take_off AFTER DELETE ON cus_enforcement_leases
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION cus_take_off_leases();
"""
_SAME = (
    "tenant_id", "id", "integration_id", "holder_id", "taken_at", "is_young", "slices",
    *(f"lent_{name}" for name in AMOUNTS),
)  # fmt: skip
# A row begins with what it lends; what was lent, to whom and of what never changes; what was set
# aside is named once; and a lease ends by its time, or once it is returned and all its calls landed.
# Conditions stand in functions and not in WHEN, which PostgreSQL would read anew for each statement.
GUARDS = f"""
CREATE FUNCTION cus_begin_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {_each("NEW.lent_{name} := NEW.{name}; NEW.set_aside_{name} := NULL;", " ")}
    RETURN NEW;
END $$;
CREATE TRIGGER cus_begin_lease BEFORE INSERT ON cus_enforcement_leases
    FOR EACH ROW EXECUTE FUNCTION cus_begin_lease();
CREATE FUNCTION cus_keep_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF ({", ".join(f"OLD.{name}" for name in _SAME)})
        IS DISTINCT FROM ({", ".join(f"NEW.{name}" for name in _SAME)})
        OR NEW.expires_at < OLD.expires_at
        OR {_each("OLD.set_aside_{name} <> coalesce(NEW.set_aside_{name}, -1)", " OR ")} THEN
        RAISE EXCEPTION 'what lease % lends, and what was set aside of it, never changes', OLD.id
            USING ERRCODE = 'restrict_violation',
                HINT = 'It ends with its calls, with its return, or with its time.';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER cus_same_lease ON cus_enforcement_leases;
CREATE TRIGGER cus_keep_lease BEFORE UPDATE ON cus_enforcement_leases
    FOR EACH ROW EXECUTE FUNCTION cus_keep_lease();
CREATE OR REPLACE FUNCTION cus_refuse_ending_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.expires_at > clock_timestamp() AND (OLD.set_aside_calls IS NULL
        OR {_each("OLD.{name} > 0", " OR ")}) THEN
        RAISE EXCEPTION 'lease % is not over yet', OLD.id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END $$;
DROP TRIGGER cus_ends_by_time ON cus_enforcement_leases;
CREATE TRIGGER cus_ends_by_time BEFORE DELETE ON cus_enforcement_leases
    FOR EACH ROW EXECUTE FUNCTION cus_refuse_ending_lease();
"""
_OF_THIS_TRANSACTION = """{table} AS call WHERE call.tenant_id = lease.tenant_id
            AND call.integration_id = lease.integration_id AND call.created_at = now()
            AND call.lease_id = lease.id"""
_ESTIMATE = "estimate_cents, estimate_microcents, estimate_tokens"
_CALLS = " UNION ALL ".join(
    f"SELECT {_ESTIMATE} FROM {_OF_THIS_TRANSACTION.format(table=table)}"
    for table in ("cus_llm_usage", "cus_call_aliases")
)
# `greatest` passes over the null of a lease that is not returned by this statement.
_RETURNED = """ + CASE WHEN lease.set_aside_{name} IS NULL
            THEN greatest(lease.lent_{name} - becomes.set_aside_{name}, 0) ELSE 0 END"""
# A lease is lowered by what its calls of this transaction set aside, and by its return.
LOWERED = f"""
CREATE OR REPLACE FUNCTION cus_check_lowered_leases() {_HEAD}
DECLARE wrong record;
BEGIN
    SELECT lease.id INTO wrong FROM was AS lease JOIN becomes USING (tenant_id, id),
    LATERAL (
        SELECT count(*) AS calls, coalesce(sum(estimate_cents), 0) AS cents,
            coalesce(sum(estimate_microcents), 0) AS microcents,
            coalesce(sum(estimate_tokens), 0) AS tokens
        FROM ({_CALLS}) AS calls
    ) AS landed
    WHERE {{conditions}} LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'lease % is lowered by more than its stored calls set aside{{or_else}}', wrong.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
"""
_LESS = "lease.{name} - becomes.{name} > landed.{name}"
CHECK = LOWERED.format(
    conditions=_each(_LESS + _RETURNED, " OR "), or_else=" or its holder did not"
)
BACK = f"""
LOCK TABLE cus_enforcement_leases, cus_hold_sums IN ACCESS EXCLUSIVE MODE;
{
    " ".join(
        f"DROP FUNCTION {name}() CASCADE;"
        for name in (
            "cus_add_taken_leases",
            "cus_add_changed_leases",
            "cus_take_off_leases",
            "cus_begin_lease",
            "cus_keep_lease",
        )
    )
}
{LOWERED.format(conditions=_each(_LESS, " OR "), or_else="")}
CREATE TRIGGER cus_same_lease BEFORE UPDATE ON cus_enforcement_leases FOR EACH ROW WHEN (
    (OLD.tenant_id, OLD.id, OLD.integration_id, OLD.holder_id, OLD.taken_at)
        IS DISTINCT FROM (NEW.tenant_id, NEW.id, NEW.integration_id, NEW.holder_id, NEW.taken_at)
    OR NEW.expires_at < OLD.expires_at) EXECUTE FUNCTION cus_refuse_lowering();
CREATE OR REPLACE FUNCTION cus_refuse_ending_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'lease % is not over yet', OLD.id USING ERRCODE = 'restrict_violation';
END $$;
DROP TRIGGER cus_ends_by_time ON cus_enforcement_leases;
CREATE TRIGGER cus_ends_by_time BEFORE DELETE ON cus_enforcement_leases FOR EACH ROW
    WHEN (OLD.expires_at > clock_timestamp()) EXECUTE FUNCTION cus_refuse_ending_lease();
ALTER TABLE cus_hold_sums DROP COLUMN leases, {", ".join(f"DROP COLUMN {name}" for name in SUMS)};
DROP INDEX cus_leases_taken;
CREATE INDEX cus_leases_integration ON cus_enforcement_leases (tenant_id, integration_id);
ALTER TABLE cus_enforcement_leases DROP COLUMN slices, DROP COLUMN is_young,
    {_each("DROP COLUMN lent_{name} CASCADE")}, {_each("DROP COLUMN set_aside_{name} CASCADE")};
"""


def forwards(_apps, schema_editor):
    _run(schema_editor, "".join((COLUMNS, SUM_UP, KEEP_SUMS, GUARDS, CHECK)))


def backwards(_apps, schema_editor):
    _run(schema_editor, BACK)


def _run(schema_editor, statements):
    with schema_editor.connection.cursor() as cursor:
        patiently(cursor, statements.rstrip().removesuffix(";"))


class Migration(migrations.Migration):
    # `patiently` runs transactions of its own.
    atomic = False
    dependencies = [("telemetry", "0019_cus_holds_taken")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(forwards, backwards)],
            state_operations=[
                migrations.RemoveIndex(
                    model_name="cusenforcementlease",
                    name="cus_leases_integration",
                ),
                migrations.AddField(
                    model_name="cusenforcementlease",
                    name="is_young",
                    field=models.BooleanField(db_default=False),
                ),
                migrations.AddField(
                    model_name="cusenforcementlease",
                    name="lent_calls",
                    field=models.BigIntegerField(db_default=0),
                ),
                migrations.AddField(
                    model_name="cusenforcementlease",
                    name="lent_cents",
                    field=models.BigIntegerField(db_default=0),
                ),
                migrations.AddField(
                    model_name="cusenforcementlease",
                    name="lent_microcents",
                    field=models.BigIntegerField(db_default=0),
                ),
                migrations.AddField(
                    model_name="cusenforcementlease",
                    name="lent_tokens",
                    field=models.BigIntegerField(db_default=0),
                ),
                migrations.AddField(
                    model_name="cusenforcementlease",
                    name="set_aside_calls",
                    field=models.BigIntegerField(null=True),
                ),
                migrations.AddField(
                    model_name="cusenforcementlease",
                    name="set_aside_cents",
                    field=models.BigIntegerField(null=True),
                ),
                migrations.AddField(
                    model_name="cusenforcementlease",
                    name="set_aside_microcents",
                    field=models.BigIntegerField(null=True),
                ),
                migrations.AddField(
                    model_name="cusenforcementlease",
                    name="set_aside_tokens",
                    field=models.BigIntegerField(null=True),
                ),
                migrations.AddField(
                    model_name="cusenforcementlease",
                    name="slices",
                    field=models.JSONField(db_default=[]),
                ),
                migrations.AddField(
                    model_name="cusholdsums",
                    name="leased_calls",
                    field=models.DecimalField(db_default=0, decimal_places=0, max_digits=40),
                ),
                migrations.AddField(
                    model_name="cusholdsums",
                    name="leased_cents",
                    field=models.DecimalField(db_default=0, decimal_places=0, max_digits=40),
                ),
                migrations.AddField(
                    model_name="cusholdsums",
                    name="leased_microcents",
                    field=models.DecimalField(db_default=0, decimal_places=0, max_digits=40),
                ),
                migrations.AddField(
                    model_name="cusholdsums",
                    name="leased_tokens",
                    field=models.DecimalField(db_default=0, decimal_places=0, max_digits=40),
                ),
                migrations.AddField(
                    model_name="cusholdsums",
                    name="leases",
                    field=models.BigIntegerField(db_default=0),
                ),
                migrations.AddField(
                    model_name="cusholdsums",
                    name="young_calls",
                    field=models.DecimalField(db_default=0, decimal_places=0, max_digits=40),
                ),
                migrations.AddField(
                    model_name="cusholdsums",
                    name="young_cents",
                    field=models.DecimalField(db_default=0, decimal_places=0, max_digits=40),
                ),
                migrations.AddField(
                    model_name="cusholdsums",
                    name="young_microcents",
                    field=models.DecimalField(db_default=0, decimal_places=0, max_digits=40),
                ),
                migrations.AddField(
                    model_name="cusholdsums",
                    name="young_tokens",
                    field=models.DecimalField(db_default=0, decimal_places=0, max_digits=40),
                ),
                migrations.AddIndex(
                    model_name="cusenforcementlease",
                    index=models.Index(
                        condition=models.Q(("lent_cents__gte", 0)),
                        fields=["tenant_id", "integration_id", "-taken_at"],
                        name="cus_leases_taken",
                    ),
                ),
                migrations.AddConstraint(
                    model_name="cusenforcementlease",
                    constraint=models.CheckConstraint(
                        condition=models.Q(
                            ("calls__lte", models.F("lent_calls")),
                            ("cents__lte", models.F("lent_cents")),
                            ("microcents__lte", models.F("lent_microcents")),
                            ("tokens__lte", models.F("lent_tokens")),
                        ),
                        name="cus_enforcement_leases_lent",
                    ),
                ),
                migrations.AddConstraint(
                    model_name="cusenforcementlease",
                    constraint=models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("set_aside_calls__isnull", True),
                                ("set_aside_cents__isnull", True),
                                ("set_aside_microcents__isnull", True),
                                ("set_aside_tokens__isnull", True),
                            ),
                            models.Q(
                                ("set_aside_calls__gte", 0),
                                ("set_aside_cents__gte", 0),
                                ("set_aside_microcents__gte", 0),
                                ("set_aside_tokens__gte", 0),
                            ),
                            _connector="OR",
                        ),
                        name="cus_enforcement_leases_set_aside",
                    ),
                ),
            ],
        ),
    ]
