"""Counts of decisions refuse to fall, as totals do."""

from django.db import migrations

COUNTS = ("allowed", "warned", "throttled", "blocked", "hard_blocked", "degraded", "contention")
FALLS = " OR ".join(f"NEW.{name} < OLD.{name}" for name in COUNTS)
LOWEST = ", ".join(f"NEW.{name}" for name in COUNTS)
REFUSE = """RAISE EXCEPTION 'sums of % only grow, and stay where they are', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', HINT = 'Correct a fact by adding another one.';"""
# Functions and not WHEN, whose text PostgreSQL reads anew for each statement.
GUARDS = f"""
CREATE FUNCTION cus_decision_totals_no_fall() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {FALLS}
        OR (OLD.tenant_id, OLD.integration_id) IS DISTINCT FROM (NEW.tenant_id, NEW.integration_id)
    THEN {REFUSE} END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION cus_decision_totals_no_start_below() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF LEAST({LOWEST}) < 0 THEN {REFUSE} END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cus_no_fall BEFORE UPDATE ON cus_decision_totals
    FOR EACH ROW EXECUTE FUNCTION cus_decision_totals_no_fall();
CREATE TRIGGER cus_no_start_below BEFORE INSERT ON cus_decision_totals
    FOR EACH ROW EXECUTE FUNCTION cus_decision_totals_no_start_below();
CREATE TRIGGER cus_no_end BEFORE DELETE OR TRUNCATE ON cus_decision_totals
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_fall();
"""
BACK = """
DROP FUNCTION cus_decision_totals_no_fall() CASCADE;
DROP FUNCTION cus_decision_totals_no_start_below() CASCADE;
DROP TRIGGER cus_no_end ON cus_decision_totals;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("enforcement", "0002_cus_contention"),
        ("telemetry", "0011_cus_sums_do_not_fall"),
    ]

    operations = [migrations.RunSQL(GUARDS, BACK)]
