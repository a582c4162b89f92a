"""Calls whose answer was reported before them have their id in a table of their own (ruling M5b).

Such a call has no usage row, so the guard of leases asks this table too.
"""

import django.db.models.functions.datetime
from django.db import migrations, models

GUARD = """
CREATE OR REPLACE FUNCTION cus_check_lowered_leases() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE wrong record;
BEGIN
    SELECT lease.id INTO wrong FROM was AS lease JOIN becomes USING (tenant_id, id),
    LATERAL (
        SELECT count(*) AS calls, coalesce(sum(estimate_cents), 0) AS cents,
            coalesce(sum(estimate_microcents), 0) AS microcents,
            coalesce(sum(estimate_tokens), 0) AS tokens
        FROM {calls}
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
"""
OF_THIS_TRANSACTION = """{table} AS call WHERE call.tenant_id = lease.tenant_id
            AND call.integration_id = lease.integration_id AND call.created_at = now()
            AND call.lease_id = lease.id"""
ROWS = OF_THIS_TRANSACTION.format(table="cus_llm_usage")
ALIASES = OF_THIS_TRANSACTION.format(table="cus_call_aliases")
AMOUNTS = "estimate_cents, estimate_microcents, estimate_tokens"
BOTH = f"""(
            SELECT {AMOUNTS} FROM {ROWS} UNION ALL SELECT {AMOUNTS} FROM {ALIASES}
        ) AS calls"""
APPEND_ONLY = """
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cus_call_aliases
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0014_cus_hourly_usage")]

    operations = [
        migrations.CreateModel(
            name="CusCallAlias",
            fields=[
                (
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
                ("tenant_id", models.UUIDField()),
                ("integration_id", models.UUIDField()),
                ("call_id", models.CharField(max_length=100)),
                ("usage_id", models.UUIDField()),
                ("usage_created_at", models.DateTimeField()),
                ("lease_id", models.UUIDField(null=True)),
                ("estimate_cents", models.BigIntegerField(null=True)),
                ("estimate_microcents", models.BigIntegerField(null=True)),
                ("estimate_tokens", models.BigIntegerField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "cus_call_aliases",
                "indexes": [
                    models.Index(
                        fields=["tenant_id", "lease_id"],
                        condition=models.Q(("lease_id__isnull", False)),
                        name="cus_call_aliases_lease",
                    ),
                    models.Index(fields=["call_id"], name="cus_call_aliases_call"),
                ],
            },
        ),
        migrations.RunSQL(APPEND_ONLY, migrations.RunSQL.noop),
        migrations.RunSQL(GUARD.format(calls=BOTH), GUARD.format(calls=ROWS)),
    ]
