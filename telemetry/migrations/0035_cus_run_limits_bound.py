"""Budgets in code: what people raised them to, and how many of them an integration has at most.

A budget that is dropped to make room for another starts from evidence when its session names it
again. What is held or lent for, and what a person has raised, is never dropped.
"""

from django.db import migrations, models

from telemetry.migrations._patience import patiently

AMOUNTS = ("calls", "cents", "microcents", "tokens")
RAISED = " AND ".join(
    f"(raised_{name} IS NULL OR ({name} IS NOT NULL AND raised_{name} > {name}))"
    for name in AMOUNTS
)
_COLUMNS = ", ".join(f"ADD COLUMN raised_{name} bigint" for name in AMOUNTS)
_AS_OWNER = (
    "LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET enable_seqscan = off"
)
TABLES = f"""
LOCK TABLE cus_run_limits IN ACCESS EXCLUSIVE MODE;
ALTER TABLE cus_run_limits {_COLUMNS},
    ADD COLUMN raised_at timestamp with time zone,
    ADD COLUMN raised_by varchar(255) NOT NULL DEFAULT '',
    ADD COLUMN raised_reason varchar(500) NOT NULL DEFAULT '',
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD CONSTRAINT cus_run_limits_raised CHECK ({RAISED});
CREATE INDEX cus_run_limits_last ON cus_run_limits
    (tenant_id, integration_id, used_at DESC, session_id);
CREATE TABLE cus_run_limit_counts (
    tenant_id uuid NOT NULL,
    integration_id uuid NOT NULL,
    live bigint NOT NULL,
    PRIMARY KEY (tenant_id, integration_id)
);
INSERT INTO cus_run_limit_counts
SELECT tenant_id, integration_id, count(*) FROM cus_run_limits GROUP BY 1, 2;
"""
# Fires after `cus_start_run_limit`, by its name, which has taken the integration's locks. So no two
# transactions wait for a row of these counts.
COUNT = f"""
CREATE FUNCTION cus_then_count_run() RETURNS trigger {_AS_OWNER} AS $$
BEGIN
    INSERT INTO cus_run_limit_counts AS counted VALUES (NEW.tenant_id, NEW.integration_id, 1)
    ON CONFLICT (tenant_id, integration_id) DO UPDATE SET live = counted.live + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER cus_then_count_run AFTER INSERT ON cus_run_limits
    FOR EACH ROW EXECUTE FUNCTION cus_then_count_run();
CREATE FUNCTION cus_recount_runs(of_tenant uuid, of_integration uuid) RETURNS bigint {_AS_OWNER} AS $$
DECLARE found bigint;
BEGIN
    -- Nobody starts a budget meanwhile.
    PERFORM pg_advisory_xact_lock(cus_counting_key(of_integration));
    PERFORM pg_advisory_xact_lock(cus_check_key(of_integration));
    SELECT count(*) INTO found FROM cus_run_limits
    WHERE tenant_id = of_tenant AND integration_id = of_integration;
    UPDATE cus_run_limit_counts SET live = found
    WHERE tenant_id = of_tenant AND integration_id = of_integration;
    RETURN found;
END $$;
"""
# The count is never too small: it rises with each start, and falls when somebody counts. So most
# starts read one row. Many are dropped at once, so that the next starts need not count.
DROP = f"""
CREATE FUNCTION cus_bound_runs(of_tenant uuid, of_integration uuid, of_session text, most bigint)
    RETURNS void {_AS_OWNER} AS $$
DECLARE found bigint; dropped bigint;
BEGIN
    SELECT live INTO found FROM cus_run_limit_counts
    WHERE tenant_id = of_tenant AND integration_id = of_integration;
    IF most = 0 OR found IS NULL OR found <= most THEN
        RETURN;
    END IF;
    found := cus_recount_runs(of_tenant, of_integration);
    IF found <= most THEN
        RETURN;
    END IF;
    WITH idle AS MATERIALIZED (
        SELECT run.session_id, run.limit_id FROM cus_run_limits AS run
        WHERE run.tenant_id = of_tenant AND run.integration_id = of_integration
            AND run.session_id <> of_session AND run.raised_at IS NULL
            AND coalesce((
                SELECT sum(held_calls + leased_calls) FROM cus_limit_holds AS hold
                WHERE hold.tenant_id = of_tenant AND hold.limit_id = run.limit_id
                    AND hold.value = run.session_id AND hold.integration_id = of_integration
            ), 0) = 0
        ORDER BY run.used_at, run.session_id
        LIMIT least(found - most + most / 200, 500) FOR UPDATE OF run SKIP LOCKED
    ), gone AS (
        DELETE FROM cus_run_limits AS run USING idle WHERE run.tenant_id = of_tenant
            AND run.integration_id = of_integration AND run.session_id = idle.session_id
        RETURNING run.session_id
    ), forgotten AS (
        DELETE FROM cus_limit_totals AS total USING idle WHERE total.tenant_id = of_tenant
            AND total.limit_id = idle.limit_id AND total.value = idle.session_id
    )
    SELECT count(*) INTO dropped FROM gone;
    IF dropped = 0 THEN
        RAISE EXCEPTION 'this integration has % budgets in code, and none of them is idle', most
            USING ERRCODE = 'configuration_limit_exceeded';
    END IF;
    UPDATE cus_run_limit_counts SET live = found - dropped
    WHERE tenant_id = of_tenant AND integration_id = of_integration;
END $$;
"""
BACK = """
LOCK TABLE cus_run_limits IN ACCESS EXCLUSIVE MODE;
DROP FUNCTION cus_bound_runs(uuid, uuid, text, bigint);
DROP FUNCTION cus_recount_runs(uuid, uuid);
DROP FUNCTION cus_then_count_run() CASCADE;
DROP TABLE cus_run_limit_counts;
DROP INDEX cus_run_limits_last;
ALTER TABLE cus_run_limits DROP COLUMN raised_calls, DROP COLUMN raised_cents,
    DROP COLUMN raised_microcents, DROP COLUMN raised_tokens, DROP COLUMN raised_at,
    DROP COLUMN raised_by, DROP COLUMN raised_reason, DROP COLUMN version
"""


_Q = models.Q
_NUMBER, _TEXT = models.BigIntegerField, models.CharField
_RAISED = _Q()
for _name in AMOUNTS:
    _RAISED &= _Q((f"raised_{_name}__isnull", True)) | _Q(
        (f"{_name}__isnull", False), (f"raised_{_name}__gt", models.F(_name))
    )
_COUNTS = migrations.CreateModel(
    name="CusRunLimitCount",
    fields=[
        (
            "pk",
            models.CompositePrimaryKey(
                "tenant_id",
                "integration_id",
                blank=True,
                editable=False,
                primary_key=True,
                serialize=False,
            ),
        ),
        ("tenant_id", models.UUIDField()),
        ("integration_id", models.UUIDField()),
        ("live", _NUMBER()),
    ],
    options={"db_table": "cus_run_limit_counts"},
)


def forwards(_apps, schema_editor):
    _run(schema_editor, TABLES + COUNT + DROP)


def backwards(_apps, schema_editor):
    _run(schema_editor, BACK)


def _run(schema_editor, statements):
    with schema_editor.connection.cursor() as cursor:
        patiently(cursor, statements.rstrip().removesuffix(";"))


class Migration(migrations.Migration):
    # `patiently` runs transactions of its own.
    atomic = False
    dependencies = [("telemetry", "0034_cus_sweep_nothing")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(forwards, backwards)],
            state_operations=[
                _COUNTS,
                *(
                    migrations.AddField("cusrunlimit", name, field)
                    for name, field in (
                        *((f"raised_{name}", _NUMBER(null=True)) for name in AMOUNTS),
                        ("raised_at", models.DateTimeField(null=True)),
                        ("raised_by", _TEXT(db_default="", max_length=255)),
                        ("raised_reason", _TEXT(db_default="", max_length=500)),
                        ("version", _NUMBER(db_default=1)),
                    )
                ),
                migrations.AlterModelOptions(
                    "cusrunlimit",
                    {"verbose_name": "budget in code", "verbose_name_plural": "budgets in code"},
                ),
                migrations.AddIndex(
                    "cusrunlimit",
                    models.Index(
                        fields=["tenant_id", "integration_id", "-used_at", "session_id"],
                        name="cus_run_limits_last",
                    ),
                ),
                migrations.AddConstraint(
                    "cusrunlimit",
                    models.CheckConstraint(condition=_RAISED, name="cus_run_limits_raised"),
                ),
            ],
        )
    ]
