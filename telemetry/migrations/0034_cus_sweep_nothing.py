"""What came to nothing is removed after a flood of made-up names too.

A blocked call names values and uses nothing of their limits. Its rows of zeros would stay as long as
the window, which may have no end. And the sweep of 0029 compared each idle row with each other one,
where it was planned for few: of 100,000 it did not come to an end within the time that a statement has.
"""

from importlib import import_module
from typing import Any

from django.db import migrations

before: Any = import_module("telemetry.migrations.0028_cus_limits_at_scopes")
KEY = before.KEY
NOTHING = " AND ".join(f"{name} = 0" for name in before.AMOUNTS)
# A row of zeros says nothing, whatever the other shards of its value have. Rows that somebody writes
# are passed over, so no call waits for the sweep, and the sweep for no call.
SWEEP = f"""
CREATE FUNCTION cus_sweep_nothing(most bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET enable_nestloop = off AS $$
DECLARE swept bigint;
BEGIN
    WITH nothing AS MATERIALIZED (
        SELECT {KEY} FROM cus_limit_totals WHERE {NOTHING} LIMIT most FOR UPDATE SKIP LOCKED
    )
    DELETE FROM cus_limit_totals AS total USING nothing
    WHERE ({", ".join(f"total.{name}" for name in KEY.split(", "))})
        = ({", ".join(f"nothing.{name}" for name in KEY.split(", "))});
    GET DIAGNOSTICS swept = ROW_COUNT;
    RETURN swept;
END $$;
ALTER FUNCTION cus_sweep_limits(bigint) SET enable_nestloop = off;
"""
BACK = """
ALTER FUNCTION cus_sweep_limits(bigint) RESET enable_nestloop;
DROP FUNCTION cus_sweep_nothing(bigint);
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0033_cus_count_by_names")]

    operations = [migrations.RunSQL(SWEEP, BACK)]
