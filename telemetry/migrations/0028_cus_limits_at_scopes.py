"""Limits at scopes: what they count of landed calls, of holds and of leases, kept by triggers.

In one transaction, which waits for the tables' locks at most two seconds at a time. A limit that is
there already starts from evidence.
"""

import django.db.models.functions.datetime
from django.db import migrations, models

from telemetry.migrations._patience import patiently

AMOUNTS = ("calls", "cents", "microcents", "tokens")
KEY = "tenant_id, limit_id, value, start, integration_id, shard"
_SHARD = "pg_backend_pid() % 8"


def _each(text, separator=", "):
    return separator.join(text.format(name=name) for name in AMOUNTS)


def _table(name, columns):
    return f"""
CREATE TABLE {name} (
    tenant_id uuid NOT NULL,
    integration_id uuid NOT NULL,
    limit_id uuid NOT NULL,
    value varchar(200) NOT NULL,
    start timestamp with time zone NOT NULL,
    shard smallint NOT NULL,
    {", ".join(f"{column} numeric(40) NOT NULL DEFAULT 0" for column in columns)},
    PRIMARY KEY ({KEY})
) WITH (fillfactor = 50);
"""


HELD = tuple(f"{kind}_{name}" for kind in ("held", "leased") for name in AMOUNTS)
TABLES = f"""
LOCK TABLE cus_enforcement_holds, cus_enforcement_leases IN ACCESS EXCLUSIVE MODE;
{_table("cus_limit_totals", AMOUNTS)}
{_table("cus_limit_holds", HELD)}
CREATE TABLE cus_run_limits (
    tenant_id uuid NOT NULL,
    integration_id uuid NOT NULL,
    session_id varchar(100) NOT NULL,
    limit_id uuid NOT NULL,
    {_each("{name} bigint")},
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    used_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, integration_id, session_id),
    CONSTRAINT cus_run_limits_amounts CHECK ({_each("{name} >= 0", " AND ")}),
    CONSTRAINT cus_run_limits_named CHECK (session_id <> '')
);
CREATE INDEX cus_run_limits_used ON cus_run_limits (used_at);
ALTER TABLE cus_enforcement_holds
    ADD COLUMN names jsonb NOT NULL DEFAULT '{{}}', ADD COLUMN limits jsonb NOT NULL DEFAULT '[]';
ALTER TABLE cus_enforcement_leases
    ADD COLUMN names jsonb NOT NULL DEFAULT '{{}}', ADD COLUMN limits jsonb NOT NULL DEFAULT '[]';
"""
# The functions are the owner's and run as the owner: nobody else may write to these sums.
_AS_OWNER = (
    "LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off"
)
_TRIGGER = f"RETURNS trigger {_AS_OWNER} AS $$"
# The counting lock: who counts landed calls shares it, who starts a limit has it alone. The lock of
# checks is that of `telemetry.cus_ids.lock_key`.
KEYS = """
CREATE FUNCTION cus_counting_key(integration uuid) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended('cus_counting:' || integration::text, 0)
$$;
CREATE FUNCTION cus_check_key(integration uuid) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (('x' || right(replace(integration::text, '-', ''), 16))::bit(64)::bigint >> 1)
        & 9223372036854775807
$$;
"""


def value_of(names):
    """SQL for what a call names of the scope of a limit `scoped`; null if the call names none."""
    return f"""CASE scoped.scope
            WHEN 'model' THEN nullif({names["model"]}, '')
            WHEN 'agent_id' THEN nullif({names["agent_id"]}, '')
            WHEN 'session_id' THEN nullif({names["session_id"]}, '')
            WHEN 'end_user' THEN nullif({names["end_user"]}, '')
            WHEN 'tag' THEN (SELECT substr(named.tag, length(scoped.tag) + 2)
                FROM jsonb_array_elements_text({names["tags"]}) WITH ORDINALITY AS named(tag, place)
                WHERE starts_with(named.tag, scoped.tag || '=') ORDER BY place LIMIT 1)
            ELSE '' END"""


_NAMES = ("model", "agent_id", "session_id", "end_user", "tags")
# A fact has the names of its call, when it was received and admitted, and what it adds.
_FACT = {name: f"fact.{name}" for name in _NAMES}
_OF_ROW = {
    "model": "coalesce(usage.model_requested, usage.model)",
    **{name: f"usage.{name}" for name in _NAMES[1:]},
}
_NAMED = ", ".join(f"{expression} AS {name}" for name, expression in _OF_ROW.items())
# A call is admitted with its hold or lease; without that, by receipt, if that was within a minute of
# the call (ruling F4). Blocked calls were not admitted, and count in no window of a minute.
_ADMITTED = """CASE WHEN usage.policy_result = 'blocked' THEN NULL WHEN usage.admitted_at IS NULL
            THEN CASE WHEN usage.created_at - usage.occurred_at <= interval '60 seconds'
                THEN usage.created_at END
            ELSE usage.admitted_at END"""


def rows_of(source):
    """SQL for the facts of stored calls: as recorded, and the provisional amounts of unmeasured."""
    return f"""SELECT {_NAMED}, usage.created_at AS received, {_ADMITTED} AS admitted,
            (usage.policy_result <> 'blocked')::int AS calls,
            usage.counted_cents + coalesce(usage.provisional_cents, 0) AS cents,
            usage.cost_microcents + coalesce(usage.provisional_microcents, 0) AS microcents,
            usage.tokens_in::bigint + usage.tokens_out + coalesce(usage.provisional_tokens, 0) AS tokens
        FROM {source} AS usage"""


_THE_ROW = """ AS added JOIN cus_llm_usage AS usage ON usage.tenant_id = added.tenant_id
        AND usage.created_at = added.usage_created_at AND usage.id = added.usage_id"""


def settlements_of(source):
    """SQL for the facts of settlements: out of the window of the row, into that of the settlement."""
    return f"""SELECT {_NAMED}, usage.created_at, NULL::timestamptz, 0,
            -usage.provisional_cents, -usage.provisional_microcents, -usage.provisional_tokens
        FROM {source}
        UNION ALL
        SELECT {_NAMED}, added.created_at, NULL::timestamptz, 0, added.counted_cents,
            added.cost_microcents, added.tokens_in::bigint + added.tokens_out
        FROM {source}"""


def corrections_of(source):
    """SQL for the facts of corrections, in the window of the row."""
    return f"""SELECT {_NAMED}, usage.created_at, NULL::timestamptz, 0, 0::bigint,
            added.difference_microcents, 0::bigint
        FROM {source}"""


_START = """CASE scoped."window" WHEN 'life' THEN 'epoch'::timestamptz
            WHEN 'minute' THEN fact.admitted
            ELSE date_trunc(scoped."window", fact.received, 'UTC') END"""
# The columns of facts, where the first of a union does not name them.
_COLUMNS = f"{', '.join(_NAMES)}, received, admitted, {', '.join(AMOUNTS)}"


def _together(facts):
    """SQL for facts summed up by what limits tell apart: names, day, and second of admission.

    What was admitted long ago is in no window of a minute. `OFFSET 0` keeps the planner from
    working out each expression again and again.
    """
    return f"""SELECT {", ".join(f"fact.{name}" for name in _NAMES)},
            date_trunc('day', fact.received, 'UTC') AS received,
            CASE WHEN fact.admitted > now() - interval '2 minutes'
                THEN date_trunc('second', fact.admitted, 'UTC') END AS admitted,
            {_each("sum(fact.{name}) AS {name}")}
        FROM ({facts}) AS fact({_COLUMNS}) GROUP BY 1, 2, 3, 4, 5, 6, 7 OFFSET 0"""


def count(facts, limits, shard):
    """SQL that adds facts of one integration to the totals of the limits that count them.

    `limits` may look at a `fact`.
    """
    return f"""
    INSERT INTO cus_limit_totals AS total ({KEY}, {_each("{name}")})
    SELECT tenant, id, value, start, integration, {shard}, {_each("sum({name})")}
    FROM (
        SELECT scoped.tenant, scoped.integration, scoped.id, scoped.wanted, {_START} AS start,
            {value_of(_FACT)} AS value, {_each("fact.{name}")}
        FROM ({_together(facts)}) AS fact CROSS JOIN LATERAL ({limits}) AS scoped OFFSET 0
    ) AS counted
    WHERE value IS NOT NULL AND start IS NOT NULL AND (wanted IS NULL OR wanted = value)
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT ({KEY}) DO UPDATE SET {_each("{name} = total.{name} + excluded.{name}")};"""


_IN_FORCE = """tenant_id = whose.tenant_id AND {of}
        AND deleted_at IS NULL AND (valid_until IS NULL OR valid_until > now())"""
_LIMIT = """SELECT whose.tenant_id AS tenant, whose.integration_id AS integration, id, scope, tag,
            value AS wanted, "window" FROM cus_scoped_limits WHERE """
_OF_INTEGRATION = _LIMIT + _IN_FORCE.format(of="integration_id = whose.integration_id")
_OF_TENANT = _LIMIT + _IN_FORCE.format(of="integration_id IS NULL")
_LIMITS = f"{_OF_INTEGRATION} UNION ALL {_OF_TENANT}"
_RUNS = """SELECT tenant_id AS tenant, integration_id AS integration, limit_id AS id,
            'session_id' AS scope, '' AS tag, session_id AS wanted, 'life' AS "window"
        FROM cus_run_limits
        WHERE tenant_id = whose.tenant_id AND integration_id = whose.integration_id"""


def _counts(function, table, facts, shard):
    """A trigger's function: count what was added of each integration, under the counting lock.

    Each statement of the function sees what was committed before the statement began: a limit that
    somebody starts is either seen here, or started after these facts were committed.
    """
    return f"""
CREATE FUNCTION {function}() {_TRIGGER}
DECLARE whose record;
BEGIN
    FOR whose IN SELECT DISTINCT tenant_id, integration_id FROM {table} ORDER BY 1, 2 LOOP
        PERFORM pg_advisory_xact_lock_shared(cus_counting_key(whose.integration_id));
        IF EXISTS ({_LIMITS}) THEN
            {count(facts, _LIMITS, shard)}
        END IF;
        IF EXISTS ({_RUNS}) THEN
            {count(facts, f"{_RUNS} AND session_id = fact.session_id OFFSET 0", shard)}
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
"""


def _mine(table):
    return f"(SELECT * FROM {table} WHERE integration_id = whose.integration_id)"


COUNTING = (
    _counts("cus_count_landed", "landed", rows_of(_mine("landed")), _SHARD)
    + _counts("cus_count_settled", "added", settlements_of(_mine("added") + _THE_ROW), "0")
    + _counts("cus_count_corrected", "added", corrections_of(_mine("added") + _THE_ROW), "0")
    + """
CREATE TRIGGER cus_then_count_limits AFTER INSERT ON cus_llm_usage
    REFERENCING NEW TABLE AS landed FOR EACH STATEMENT EXECUTE FUNCTION cus_count_landed();
CREATE TRIGGER cus_then_count_limits AFTER INSERT ON cus_usage_settlements
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION cus_count_settled();
CREATE TRIGGER cus_then_count_limits AFTER INSERT ON cus_cost_adjustments
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION cus_count_corrected();
"""
)

# --- Holds and leases ---------------------------------------------------------------------------

_KINDS = {
    "cus_enforcement_holds": ("held", {"calls": "1"}),
    "cus_enforcement_leases": ("leased", {"calls": "change.calls"}),
}


def _running(table, changes):
    kind, expressions = _KINDS[table]
    amounts = {name: expressions.get(name, f"change.{name}") for name in AMOUNTS}
    sums = [f"sum(sign * {amount}::numeric)" for amount in amounts.values()]
    columns = [f"{kind}_{name}" for name in AMOUNTS]
    return f"""
    INSERT INTO cus_limit_holds AS total ({KEY}, {", ".join(columns)})
    SELECT change.tenant_id, (entry->>0)::uuid, entry->>1,
        CASE entry->>2 WHEN 'minute' THEN date_trunc('second', change.taken_at, 'UTC')
            ELSE 'epoch'::timestamptz END, change.integration_id, {_SHARD}, {", ".join(sums)}
    FROM ({changes}) AS change, jsonb_array_elements(change.limits) AS entry
    WHERE entry->>2 <> 'minute' OR change.taken_at > now() - interval '2 minutes'
    GROUP BY 1, 2, 3, 4, 5 HAVING ({", ".join(sums)}) <> (0, 0, 0, 0) ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT ({KEY}) DO UPDATE SET
        {", ".join(f"{name} = total.{name} + excluded.{name}" for name in columns)};"""


_TAKEN = "SELECT 1 AS sign, * FROM taken WHERE limits <> '[]'"
_GONE = "SELECT -1 AS sign, * FROM gone WHERE limits <> '[]'"
_EVENTS = {
    "taken": ("INSERT", "NEW TABLE AS taken", _TAKEN),
    "changed": ("UPDATE", "NEW TABLE AS taken OLD TABLE AS gone", f"{_TAKEN} UNION ALL {_GONE}"),
    "gone": ("DELETE", "OLD TABLE AS gone", _GONE),
}


def _keeps(table):
    """Triggers that fire after those that keep `cus_hold_sums`, by their names, and are serialized
    by its rows."""
    kind = table.removeprefix("cus_enforcement_")
    return "".join(
        f"""
CREATE FUNCTION cus_limit_{name}_{kind}() {_TRIGGER}
BEGIN
    IF EXISTS ({changes}) THEN {_running(table, changes)} END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER cus_then_limit_{name} AFTER {event} ON {table} REFERENCING {tables}
    FOR EACH STATEMENT EXECUTE FUNCTION cus_limit_{name}_{kind}();
"""
        for name, (event, tables, changes) in _EVENTS.items()
    )


# --- The start of a limit -----------------------------------------------------------------------

_OF_NAMES = {name: f"held.names->>'{name}'" for name in _NAMES} | {"tags": "held.names->'tags'"}
_SINCE = """CASE counted_over WHEN 'life' THEN '-infinity'::timestamptz
            WHEN 'minute' THEN now() - interval '2 minutes'
            ELSE date_trunc(counted_over, now(), 'UTC') END"""


def _since(table):
    return f"""(SELECT * FROM {table} WHERE tenant_id = whose.tenant_id
            AND integration_id = whose.integration_id AND created_at >= since)"""


_MADE = """SELECT of_tenant AS tenant, of_integration AS integration, made AS id, scope_of AS scope,
            tag_of AS tag, value_of AS wanted, counted_over AS "window\""""


def _joined(table, key):
    return f"""
    UPDATE {table} AS held
    SET limits = held.limits || jsonb_build_array(jsonb_build_array(made, found.value, counted_over))
    FROM (
        SELECT held.{key}, {value_of(_OF_NAMES)} AS value FROM {table} AS held, ({_MADE}) AS scoped
        WHERE held.tenant_id = whose.tenant_id AND held.integration_id = whose.integration_id
    ) AS found
    WHERE held.tenant_id = whose.tenant_id AND held.{key} = found.{key}
        AND held.integration_id = whose.integration_id
        AND found.value IS NOT NULL AND (value_of IS NULL OR value_of = found.value)
        AND NOT held.limits @> jsonb_build_array(jsonb_build_array(made, found.value, counted_over));"""


_ALL_FACTS = " UNION ALL ".join(
    (
        rows_of(_since("cus_llm_usage")),
        settlements_of(_since("cus_usage_settlements") + _THE_ROW),
        corrections_of(_since("cus_cost_adjustments") + _THE_ROW),
    )
)
# All that a session ever did, by its rows: a check waits for it.
_OF_SESSION = """(SELECT * FROM cus_llm_usage WHERE tenant_id = whose.tenant_id
            AND integration_id = whose.integration_id AND session_id = value_of OFFSET 0)"""


def _beside(table):
    return f"""{_OF_SESSION} AS usage CROSS JOIN LATERAL (SELECT * FROM {table} AS one
            WHERE one.tenant_id = usage.tenant_id AND one.usage_id = usage.id OFFSET 0) AS added"""


_SESSION_FACTS = " UNION ALL ".join(
    (
        rows_of(_OF_SESSION),
        settlements_of(_beside("cus_usage_settlements")),
        corrections_of(_beside("cus_cost_adjustments")),
    )
)
# A correction or a settlement of a row before the present window adds to a window that is over.
_ARGUMENTS = "uuid, uuid, uuid, text, text, text, text"


_SIGNATURE = """(of_tenant uuid, of_integration uuid, made uuid, scope_of text, tag_of text,
    value_of text, counted_over text) RETURNS void"""
# A limit that counts the same, and knows also what retention has dropped since.
_ALIKE = """SELECT id FROM cus_scoped_limits AS other WHERE other.tenant_id = of_tenant
        AND other.id <> made AND other.scope = scope_of AND other.tag = tag_of
        AND other."window" = counted_over AND (other.value IS NULL OR other.value = value_of)
        AND (other.integration_id = of_integration OR scope_of = 'tenant')
        AND other.deleted_at IS NULL AND (other.valid_until IS NULL OR other.valid_until > now())
    ORDER BY other.created_at LIMIT 1"""


def _start_of(function, facts):
    return f"""
CREATE FUNCTION {function}{_SIGNATURE} {_AS_OWNER} SET enable_bitmapscan = on AS $$
DECLARE
    since timestamptz := {_SINCE};
    whose record;
    alike uuid;
BEGIN
    SELECT of_tenant AS tenant_id, of_integration AS integration_id INTO whose;
    -- Whoever counts has committed, or will see the limit.
    PERFORM pg_advisory_xact_lock(cus_counting_key(of_integration));
    -- What a budget counted that was swept and is made again.
    DELETE FROM cus_limit_totals WHERE tenant_id = of_tenant AND limit_id = made
        AND integration_id = of_integration AND (value_of IS NULL OR value = value_of);
    alike := ({_ALIKE});
    IF alike IS NULL THEN
        {count(facts, _MADE, "0")}
    ELSE
        INSERT INTO cus_limit_totals ({KEY}, {_each("{name}")})
        SELECT tenant_id, made, value, start, integration_id, shard, {_each("{name}")}
        FROM cus_limit_totals WHERE tenant_id = of_tenant AND limit_id = alike
            AND integration_id = of_integration AND (value_of IS NULL OR value = value_of);
    END IF;
END $$;
"""


# Who lands a call, or sweeps, locks a hold or a lease before it writes sums. So the rows are all
# locked here before the first of them changes.
_JOIN = f"""
CREATE FUNCTION cus_join_running{_SIGNATURE} {_AS_OWNER} SET enable_bitmapscan = on AS $$
DECLARE whose record;
BEGIN
    SELECT of_tenant AS tenant_id, of_integration AS integration_id INTO whose;
    -- Whoever holds or lends has committed, or will see the limit.
    PERFORM pg_advisory_xact_lock(cus_check_key(of_integration));
    PERFORM FROM cus_enforcement_holds WHERE tenant_id = of_tenant
        AND integration_id = of_integration ORDER BY call_id FOR UPDATE;
    PERFORM FROM cus_enforcement_leases WHERE tenant_id = of_tenant
        AND integration_id = of_integration ORDER BY id FOR UPDATE;
    {_joined("cus_enforcement_holds", "call_id")}
    {_joined("cus_enforcement_leases", "id")}
END $$;
"""
_OF_NEW = 'NEW.id, NEW.scope, NEW.tag, NEW.value, NEW."window"'
_INTEGRATIONS = """SELECT id FROM cus_integrations WHERE tenant_id = NEW.tenant_id
        AND (NEW.integration_id IS NULL OR id = NEW.integration_id) ORDER BY id"""
_OF_RUN = """NEW.tenant_id, NEW.integration_id, NEW.limit_id, 'session_id', '', NEW.session_id,
        'life'"""
STARTING = f"""
{_start_of("cus_start_counting", _ALL_FACTS)}
{_start_of("cus_start_session", _SESSION_FACTS)}
{_JOIN}
CREATE FUNCTION cus_start_limit() {_TRIGGER}
DECLARE one uuid;
BEGIN
    -- Checks go on while it is counted what landed.
    FOR one IN {_INTEGRATIONS} LOOP
        PERFORM cus_start_counting(NEW.tenant_id, one, {_OF_NEW});
    END LOOP;
    FOR one IN {_INTEGRATIONS} LOOP
        PERFORM cus_join_running(NEW.tenant_id, one, {_OF_NEW});
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER cus_start_limit AFTER INSERT ON cus_scoped_limits
    FOR EACH ROW EXECUTE FUNCTION cus_start_limit();
CREATE FUNCTION cus_start_run_limit() {_TRIGGER}
BEGIN
    IF EXISTS (SELECT FROM cus_scoped_limits WHERE id = NEW.limit_id) THEN
        RAISE EXCEPTION 'a budget in code has the id of the limit %', NEW.limit_id
            USING ERRCODE = 'restrict_violation';
    END IF;
    PERFORM cus_start_session({_OF_RUN});
    PERFORM cus_join_running({_OF_RUN});
    RETURN NULL;
END $$;
CREATE TRIGGER cus_start_run_limit AFTER INSERT ON cus_run_limits
    FOR EACH ROW EXECUTE FUNCTION cus_start_run_limit();
SELECT cus_start_counting(tenant_id, integration.id, scoped.id, scope, tag, value, "window"),
    cus_join_running(tenant_id, integration.id, scoped.id, scope, tag, value, "window")
FROM cus_scoped_limits AS scoped JOIN cus_integrations AS integration USING (tenant_id)
WHERE scoped.deleted_at IS NULL AND (valid_until IS NULL OR valid_until > now())
    AND (integration_id IS NULL OR integration_id = integration.id)
ORDER BY integration.id;
"""
# What a limit counts is kept while it is in force: one that is over, or deleted, never comes back.
GUARD = """
CREATE FUNCTION cus_keep_limit_over() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.deleted_at IS NOT NULL AND NEW.deleted_at IS NULL
        OR OLD.valid_until <= now() AND (NEW.valid_until IS NULL OR NEW.valid_until > now()) THEN
        RAISE EXCEPTION 'the limit % is over, and nothing counts for it any more', OLD.id
            USING ERRCODE = 'restrict_violation', HINT = 'Make another limit.';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cus_keep_limit_over BEFORE UPDATE ON cus_scoped_limits
    FOR EACH ROW EXECUTE FUNCTION cus_keep_limit_over();
CREATE FUNCTION cus_keep_run_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.tenant_id, OLD.integration_id, OLD.session_id, OLD.limit_id)
        IS DISTINCT FROM (NEW.tenant_id, NEW.integration_id, NEW.session_id, NEW.limit_id)
        OR coalesce(NEW.cents > OLD.cents, OLD.cents IS NOT NULL AND NEW.cents IS NULL)
        OR coalesce(NEW.microcents > OLD.microcents,
            OLD.microcents IS NOT NULL AND NEW.microcents IS NULL)
        OR coalesce(NEW.tokens > OLD.tokens, OLD.tokens IS NOT NULL AND NEW.tokens IS NULL)
        OR coalesce(NEW.calls > OLD.calls, OLD.calls IS NOT NULL AND NEW.calls IS NULL) THEN
        RAISE EXCEPTION 'code never raises the budget of session %', OLD.session_id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cus_only_less BEFORE UPDATE ON cus_run_limits
    FOR EACH ROW EXECUTE FUNCTION cus_keep_run_limit();
"""
# These take what a limit counts from whoever calls them, so only the owner's triggers may.
RIGHTS = "".join(
    f"REVOKE ALL ON FUNCTION {name}({_ARGUMENTS}) FROM PUBLIC;\n"
    for name in ("cus_start_counting", "cus_start_session", "cus_join_running")
)
FUNCTIONS = (
    "cus_counting_key(uuid)", "cus_check_key(uuid)",
    "cus_count_landed()", "cus_count_settled()", "cus_count_corrected()",
    *(f"cus_limit_{name}_{kind}()" for kind in ("holds", "leases") for name in _EVENTS),
    "cus_start_limit()", "cus_start_run_limit()", f"cus_start_counting({_ARGUMENTS})",
    f"cus_start_session({_ARGUMENTS})", f"cus_join_running({_ARGUMENTS})",
    "cus_keep_limit_over()", "cus_keep_run_limit()",
)  # fmt: skip
BACK = f"""
LOCK TABLE cus_enforcement_holds, cus_enforcement_leases IN ACCESS EXCLUSIVE MODE;
{" ".join(f"DROP FUNCTION {name} CASCADE;" for name in FUNCTIONS)}
DROP TABLE cus_limit_totals; DROP TABLE cus_limit_holds; DROP TABLE cus_run_limits;
ALTER TABLE cus_enforcement_holds DROP COLUMN names, DROP COLUMN limits;
ALTER TABLE cus_enforcement_leases DROP COLUMN names, DROP COLUMN limits
"""


def forwards(_apps, schema_editor):
    triggers = "".join(map(_keeps, _KINDS))
    _run(schema_editor, "".join((TABLES, KEYS, COUNTING, triggers, STARTING, GUARD, RIGHTS)))


def backwards(_apps, schema_editor):
    _run(schema_editor, BACK)


def _run(schema_editor, statements):
    with schema_editor.connection.cursor() as cursor:
        patiently(cursor, statements.rstrip().removesuffix(";"))


def _sums(names):
    sums = models.DecimalField(db_default=0, decimal_places=0, max_digits=40)
    return [(name, sums.clone()) for name in names]


def _model(name, table, sums):
    keys = KEY.split(", ")
    return migrations.CreateModel(
        name=name,
        fields=[
            (
                "pk",
                models.CompositePrimaryKey(
                    *keys, blank=True, editable=False, primary_key=True, serialize=False
                ),
            ),
            ("tenant_id", models.UUIDField()),
            ("integration_id", models.UUIDField()),
            ("limit_id", models.UUIDField()),
            ("value", models.CharField(max_length=200)),
            ("start", models.DateTimeField()),
            ("shard", models.SmallIntegerField()),
            *_sums(sums),
        ],
        options={"db_table": table},
    )


_RUN_LIMITS = migrations.CreateModel(
    name="CusRunLimit",
    fields=[
        (
            "pk",
            models.CompositePrimaryKey(
                "tenant_id",
                "integration_id",
                "session_id",
                blank=True,
                editable=False,
                primary_key=True,
                serialize=False,
            ),
        ),
        ("tenant_id", models.UUIDField()),
        ("integration_id", models.UUIDField()),
        ("session_id", models.CharField(max_length=100)),
        ("limit_id", models.UUIDField()),
        ("cents", models.BigIntegerField(null=True)),
        ("microcents", models.BigIntegerField(null=True)),
        ("tokens", models.BigIntegerField(null=True)),
        ("calls", models.BigIntegerField(null=True)),
        (
            "created_at",
            models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
        ),
        ("used_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
    ],
    options={
        "db_table": "cus_run_limits",
        "constraints": [
            models.CheckConstraint(
                condition=models.Q(
                    ("calls__gte", 0),
                    ("cents__gte", 0),
                    ("microcents__gte", 0),
                    ("tokens__gte", 0),
                ),
                name="cus_run_limits_amounts",
            ),
            models.CheckConstraint(
                condition=models.Q(("session_id", ""), _negated=True), name="cus_run_limits_named"
            ),
        ],
        "indexes": [models.Index(fields=["used_at"], name="cus_run_limits_used")],
    },
)


class Migration(migrations.Migration):
    # `patiently` runs transactions of its own.
    atomic = False
    dependencies = [
        ("integrations", "0024_cus_scoped_limits"),
        ("telemetry", "0027_cus_admissions"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(forwards, backwards)],
            state_operations=[
                _model("CusLimitTotals", "cus_limit_totals", AMOUNTS),
                _model("CusLimitHolds", "cus_limit_holds", HELD),
                _RUN_LIMITS,
                *(
                    migrations.AddField(model, name, models.JSONField(db_default=empty))
                    for model in ("cusenforcementhold", "cusenforcementlease")
                    for name, empty in (("names", {}), ("limits", []))
                ),
            ],
        ),
    ]
