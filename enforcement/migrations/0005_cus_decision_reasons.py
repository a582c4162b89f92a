"""Decisions by reason, counted by the log's own trigger: whoever appends a decision counts it."""

from django.db import migrations, models

# Other codes, which only an SDK's record can bring, are counted as `other`.
CODES = (
    "integration_not_found", "integration_not_enabled", "integration_disabled",
    "integration_error", "credentials_invalid", "state_unknown", "budget_exceeded",
    "token_limit_exceeded", "rate_limit_exceeded", "estimate_exceeds_room", "model_unpriced",
    "call_recorded", "contention", "budget_warning", "token_warning", "evidence_unavailable",
    "all_checks_passed", "stopped",
)  # fmt: skip
REFUSE = """RAISE EXCEPTION 'sums of % only grow, and stay where they are', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', HINT = 'Correct a fact by adding another one.';"""
REASON = "CASE WHEN reason IN ({}) THEN reason ELSE 'other' END".format(
    ", ".join(f"'{code}'" for code in CODES)
)


def counted(source):
    """SQL that counts decisions by reason, in the order of the key."""
    return f"""
    INSERT INTO cus_decision_reasons AS total (tenant_id, integration_id, result, reason, decisions)
    SELECT tenant_id, integration_id, result, {REASON}, count(*) FROM {source}
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""


TRIGGERS = f"""
ALTER TABLE cus_decision_reasons SET (fillfactor = 30);
SET LOCAL statement_timeout = 0;
{counted("cus_enforcement_decisions")};
CREATE FUNCTION cus_count_reasons() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
BEGIN
    {counted("added")}
    ON CONFLICT (tenant_id, integration_id, result, reason) DO UPDATE SET
        decisions = total.decisions + excluded.decisions;
    RETURN NULL;
END $$;
CREATE TRIGGER cus_count_reasons AFTER INSERT ON cus_enforcement_decisions
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION cus_count_reasons();
CREATE FUNCTION cus_decision_reasons_no_fall() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.decisions < OLD.decisions OR (OLD.tenant_id, OLD.integration_id, OLD.result, OLD.reason)
        IS DISTINCT FROM (NEW.tenant_id, NEW.integration_id, NEW.result, NEW.reason)
    THEN {REFUSE} END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cus_no_fall BEFORE UPDATE ON cus_decision_reasons
    FOR EACH ROW EXECUTE FUNCTION cus_decision_reasons_no_fall();
CREATE TRIGGER cus_no_end BEFORE DELETE OR TRUNCATE ON cus_decision_reasons
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_fall();
"""
BACK = """
DROP FUNCTION cus_count_reasons() CASCADE;
DROP FUNCTION cus_decision_reasons_no_fall() CASCADE;
DROP TRIGGER cus_no_end ON cus_decision_reasons;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("enforcement", "0004_cus_what_if"),
        ("telemetry", "0011_cus_sums_do_not_fall"),
    ]

    operations = [
        migrations.CreateModel(
            name="CusDecisionReasons",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id",
                        "integration_id",
                        "result",
                        "reason",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("tenant_id", models.UUIDField()),
                ("integration_id", models.UUIDField()),
                ("result", models.CharField(max_length=20)),
                ("reason", models.CharField(max_length=50)),
                ("decisions", models.BigIntegerField()),
            ],
            options={"db_table": "cus_decision_reasons"},
        ),
        migrations.RunSQL(TRIGGERS, BACK),
    ]
