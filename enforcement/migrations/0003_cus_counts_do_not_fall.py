"""Counts of decisions refuse to fall, as totals do."""

from django.db import migrations

COUNTS = ("allowed", "warned", "throttled", "blocked", "hard_blocked", "degraded", "contention")
FALLS = " OR ".join(f"NEW.{name} < OLD.{name}" for name in COUNTS)
STARTS_BELOW = " OR ".join(f"NEW.{name} < 0" for name in COUNTS)
GUARDS = f"""
CREATE TRIGGER cus_no_fall BEFORE UPDATE ON cus_decision_totals FOR EACH ROW
    WHEN ((OLD.tenant_id, OLD.integration_id) IS DISTINCT FROM (NEW.tenant_id, NEW.integration_id)
        OR {FALLS}) EXECUTE FUNCTION cus_refuse_fall();
CREATE TRIGGER cus_no_start_below BEFORE INSERT ON cus_decision_totals FOR EACH ROW
    WHEN ({STARTS_BELOW}) EXECUTE FUNCTION cus_refuse_fall();
CREATE TRIGGER cus_no_end BEFORE DELETE OR TRUNCATE ON cus_decision_totals
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_fall();
"""
BACK = """
DROP TRIGGER cus_no_fall ON cus_decision_totals;
DROP TRIGGER cus_no_start_below ON cus_decision_totals;
DROP TRIGGER cus_no_end ON cus_decision_totals;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("enforcement", "0002_cus_contention"),
        ("telemetry", "0011_cus_sums_do_not_fall"),
    ]

    operations = [migrations.RunSQL(GUARDS, BACK)]
