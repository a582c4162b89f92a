"""Buckets of what was admitted: tokens a minute, calls a day (ruling F4a).

In one transaction, which waits for the tables' locks at most two seconds at a time. Holds and leases
that are there are summed up; stored calls count from here on, because no limit has counted them yet.
"""

from django.db import migrations, models

from telemetry.migrations._patience import patiently


def _table(name):
    return f"""
CREATE TABLE {name} (
    tenant_id uuid NOT NULL,
    integration_id uuid NOT NULL,
    span varchar(6) NOT NULL,
    start timestamp with time zone NOT NULL,
    shard smallint NOT NULL,
    calls numeric(40) NOT NULL DEFAULT 0,
    tokens numeric(40) NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, integration_id, span, start, shard)
) WITH (fillfactor = 50);
"""


COLUMNS = f"""
LOCK TABLE cus_enforcement_holds, cus_enforcement_leases IN ACCESS EXCLUSIVE MODE;
{_table("cus_landed_admissions")}
{_table("cus_running_admissions")}
ALTER TABLE cus_landed_admissions ADD CONSTRAINT cus_landed_admissions_sums
    CHECK (calls >= 0 AND tokens >= 0);
"""
# The functions are the owner's and run as the owner: nobody else may write to these sums. They fire
# after those that keep `cus_hold_sums`, by their names, and so are serialized by its rows.
_HEAD = (
    "RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
    " SET search_path = public, pg_temp SET enable_seqscan = off AS $$"
)
# A change of what was admitted long ago is in no bucket that a limit counts.
_ADD = """
    INSERT INTO cus_running_admissions AS total
        (tenant_id, integration_id, span, start, shard, calls, tokens)
    SELECT tenant_id, integration_id, span, date_trunc(span, taken_at, 'UTC'), {shard},
        sum(sign * calls::numeric), sum(sign * tokens::numeric)
    FROM ({changes}) AS change,
        (VALUES ('second', interval '2 minutes'), ('day', interval '2 days')) AS bucket(span, kept)
    WHERE taken_at > now() - kept
    GROUP BY 1, 2, 3, 4
    HAVING sum(sign * calls::numeric) <> 0 OR sum(sign * tokens::numeric) <> 0
    ORDER BY 1, 2, 3, 4
    ON CONFLICT (tenant_id, integration_id, span, start, shard) DO UPDATE SET
        calls = total.calls + excluded.calls, tokens = total.tokens + excluded.tokens;
"""
# A hold is of one call.
CALLS = {"cus_enforcement_holds": "1", "cus_enforcement_leases": "calls"}


def _rows(sign, table, rows):
    return f"SELECT {sign} AS sign, tenant_id, integration_id, taken_at, {CALLS[table]} AS calls, tokens FROM {rows}"


def _triggers(table, kind):
    events = {
        "taken": ("INSERT", "NEW TABLE AS taken", _rows(1, table, "taken")),
        "changed": (
            "UPDATE",
            "NEW TABLE AS taken OLD TABLE AS gone",
            f"{_rows(1, table, 'taken')} UNION ALL {_rows(-1, table, 'gone')}",
        ),
        "gone": ("DELETE", "OLD TABLE AS gone", _rows(-1, table, "gone")),
    }
    return "".join(
        f"""
CREATE FUNCTION cus_admit_{name}_{kind}() {_HEAD}
BEGIN {_ADD.format(changes=changes, shard="pg_backend_pid() % 8")} RETURN NULL; END $$;
CREATE TRIGGER cus_then_admit_{name} AFTER {event} ON {table} REFERENCING {tables}
    FOR EACH STATEMENT EXECUTE FUNCTION cus_admit_{name}_{kind}();
"""
        for name, (event, tables, changes) in events.items()
    )


SUM_UP = "".join(_ADD.format(changes=_rows(1, table, table), shard="0") for table in CALLS)
REFUSE = """RAISE EXCEPTION 'what % counts as admitted only grows, until no limit counts it', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';"""
# Conditions stand in functions and not in WHEN, which PostgreSQL would read anew for each statement.
GUARDS = f"""
CREATE FUNCTION cus_keep_landed_admissions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.calls < OLD.calls OR NEW.tokens < OLD.tokens THEN {REFUSE} END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cus_no_fall BEFORE UPDATE ON cus_landed_admissions
    FOR EACH ROW EXECUTE FUNCTION cus_keep_landed_admissions();
CREATE FUNCTION cus_keep_counted_admissions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.start > now() - CASE OLD.span WHEN 'second' THEN interval '4 minutes'
        ELSE interval '3 days' END) THEN {REFUSE} END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER cus_ends_by_time BEFORE DELETE ON cus_landed_admissions
    FOR EACH ROW EXECUTE FUNCTION cus_keep_counted_admissions();
CREATE TRIGGER cus_ends_by_time BEFORE DELETE ON cus_running_admissions
    FOR EACH ROW EXECUTE FUNCTION cus_keep_counted_admissions();
"""
TRIGGERS = _triggers("cus_enforcement_holds", "holds") + _triggers(
    "cus_enforcement_leases", "leases"
)
_NAMES = [
    *(f"cus_admit_{name}_{kind}" for kind in ("holds", "leases") for name in ("taken", "changed", "gone")),
    "cus_keep_landed_admissions",
    "cus_keep_counted_admissions",
]  # fmt: skip
BACK = f"""
LOCK TABLE cus_enforcement_holds, cus_enforcement_leases IN ACCESS EXCLUSIVE MODE;
{" ".join(f"DROP FUNCTION {name}() CASCADE;" for name in _NAMES)}
DROP TABLE cus_landed_admissions;
DROP TABLE cus_running_admissions
"""


def forwards(_apps, schema_editor):
    _run(schema_editor, "".join((COLUMNS, SUM_UP, TRIGGERS, GUARDS)))


def backwards(_apps, schema_editor):
    _run(schema_editor, BACK)


def _run(schema_editor, statements):
    with schema_editor.connection.cursor() as cursor:
        patiently(cursor, statements.rstrip().removesuffix(";"))


def _model(name, table, constraints):
    return migrations.CreateModel(
        name=name,
        fields=[
            (
                "pk",
                models.CompositePrimaryKey(
                    "tenant_id",
                    "integration_id",
                    "span",
                    "start",
                    "shard",
                    blank=True,
                    editable=False,
                    primary_key=True,
                    serialize=False,
                ),
            ),
            ("tenant_id", models.UUIDField()),
            ("integration_id", models.UUIDField()),
            (
                "span",
                models.CharField(choices=[("second", "Second"), ("day", "Day")], max_length=6),
            ),
            ("start", models.DateTimeField()),
            ("shard", models.SmallIntegerField()),
            ("calls", models.DecimalField(db_default=0, decimal_places=0, max_digits=40)),
            ("tokens", models.DecimalField(db_default=0, decimal_places=0, max_digits=40)),
        ],
        options={"db_table": table, "constraints": constraints},
    )


class Migration(migrations.Migration):
    # `patiently` runs transactions of its own.
    atomic = False
    dependencies = [("telemetry", "0026_cus_words")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(forwards, backwards)],
            state_operations=[
                _model(
                    "CusLandedAdmissions",
                    "cus_landed_admissions",
                    [
                        models.CheckConstraint(
                            condition=models.Q(("calls__gte", 0), ("tokens__gte", 0)),
                            name="cus_landed_admissions_sums",
                        )
                    ],
                ),
                _model("CusRunningAdmissions", "cus_running_admissions", []),
            ],
        ),
    ]
