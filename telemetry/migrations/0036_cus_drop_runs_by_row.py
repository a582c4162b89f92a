"""Idle budgets in code are dropped row by row, however many the planner believes that there are.

After a flood of sessions, before the table's statistics know of it, the function of 0035 compared each
budget that it dropped with each one of the integration: of 100,000 longer than a statement may take, so
no session got a place any more.
"""

from importlib import import_module
from typing import Any

from django.db import migrations

before: Any = import_module("telemetry.migrations.0035_cus_run_limits_bound")
_REPLACED = {
    "CREATE FUNCTION": "CREATE OR REPLACE FUNCTION",
    "SELECT run.session_id, run.limit_id FROM": "SELECT run.ctid AS place FROM",
    # In the order of `cus_run_limits_last` from its end: so budgets of others are never read.
    "ORDER BY run.used_at, run.session_id\n": "ORDER BY run.used_at, run.session_id DESC\n",
    """DELETE FROM cus_run_limits AS run USING idle WHERE run.tenant_id = of_tenant
            AND run.integration_id = of_integration AND run.session_id = idle.session_id
        RETURNING run.session_id""": """DELETE FROM cus_run_limits AS run
        WHERE run.ctid = ANY (ARRAY(SELECT place FROM idle)) RETURNING run.limit_id""",
    """DELETE FROM cus_limit_totals AS total USING idle WHERE total.tenant_id = of_tenant
            AND total.limit_id = idle.limit_id AND total.value = idle.session_id""": """\
DELETE FROM cus_limit_totals AS total WHERE total.tenant_id = of_tenant
            AND total.limit_id = ANY (ARRAY(SELECT limit_id FROM gone))""",
}


def _by_row(function: str) -> str:
    for was, now in _REPLACED.items():
        assert function.count(was) == 1
        function = function.replace(was, now)
    return function


BEFORE = before.DROP.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0035_cus_run_limits_bound")]

    operations = [migrations.RunSQL(_by_row(before.DROP), BEFORE)]
