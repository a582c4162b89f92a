"""Decisions that a limit at a scope refused are counted by codes of their own."""

from django.db import migrations

BEFORE = (
    "integration_not_found", "integration_not_enabled", "integration_disabled",
    "integration_error", "credentials_invalid", "state_unknown", "budget_exceeded",
    "token_limit_exceeded", "rate_limit_exceeded", "estimate_exceeds_room", "model_unpriced",
    "call_recorded", "contention", "budget_warning", "token_warning", "evidence_unavailable",
    "all_checks_passed", "stopped",
)  # fmt: skip
CODES = (
    *BEFORE, "agent_limit_exceeded", "session_limit_exceeded", "end_user_limit_exceeded",
    "tag_limit_exceeded",
)  # fmt: skip


def counting(codes):
    """The function that counts decisions by these codes; its trigger stands."""
    known = ", ".join(f"'{code}'" for code in codes)
    return f"""
CREATE OR REPLACE FUNCTION cus_count_reasons() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO cus_decision_reasons AS total (tenant_id, integration_id, result, reason, decisions)
    SELECT tenant_id, integration_id, result,
        CASE WHEN reason IN ({known}) THEN reason ELSE 'other' END, count(*) FROM added
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (tenant_id, integration_id, result, reason) DO UPDATE SET
        decisions = total.decisions + excluded.decisions;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("enforcement", "0005_cus_decision_reasons")]

    operations = [migrations.RunSQL(counting(CODES), counting(BEFORE))]
