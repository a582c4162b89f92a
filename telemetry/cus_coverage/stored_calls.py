"""Find the number of an integration's calls stored since a moment, without counting rows (F8a).

The lifetime totals hold the number of all calls that ran. A mark keeps that number as it was at the
start of an hour. So the number of calls since then is a subtraction, which is quick enough for the
receipt of a report.
"""

import uuid
from datetime import datetime
from typing import Any

from django.db import connection, transaction

_TOTAL = """
SELECT coalesce(sum(calls), 0)::bigint FROM cus_lifetime_totals
WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s
"""

# Without a mark that old, all calls count: the integration is younger than the window.
_STORED = f"""
SELECT ({_TOTAL}) - coalesce((
    SELECT calls FROM cus_call_marks
    WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s AND hour <= %(since)s
    ORDER BY hour DESC LIMIT 1), 0)
"""  # noqa: S608  (the statement is this module's own)

_MARK = f"""
INSERT INTO cus_call_marks (tenant_id, integration_id, hour, calls)
VALUES (%(tenant)s, %(integration)s, %(hour)s, ({_TOTAL}))
ON CONFLICT DO NOTHING
"""  # noqa: S608  (the statement is this module's own)

# Runs once for each integration, for the calls stored before its first mark. Reads a range of the
# index on integration and receipt.
_FIRST_MARKS = f"""
WITH received AS (
    SELECT date_trunc('hour', created_at, 'UTC') AS hour, count(*) AS calls FROM cus_llm_usage
    WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s
        AND created_at >= %(since)s AND policy_result <> 'blocked'
    GROUP BY 1
)
INSERT INTO cus_call_marks (tenant_id, integration_id, hour, calls)
SELECT %(tenant)s, %(integration)s, hour, ({_TOTAL})
    - coalesce(sum(received.calls) OVER (ORDER BY hour DESC), 0)
FROM generate_series(%(since)s::timestamptz, %(hour)s, '1 hour') AS hour
LEFT JOIN received USING (hour)
ON CONFLICT DO NOTHING
"""  # noqa: S608  (the statement is this module's own)

# Keeps the newest mark before the window, from which the window's calls are counted.
_FORGET = """
DELETE FROM cus_call_marks
WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s AND hour < (
    SELECT max(hour) FROM cus_call_marks
    WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s AND hour <= %(since)s)
"""


def stored_calls(tenant_id: uuid.UUID, integration_id: uuid.UUID, since: datetime) -> int:
    """The number of calls that ran and were received since the hour of `since` began."""
    values: dict[str, Any] = {"tenant": tenant_id, "integration": integration_id, "since": since}
    with connection.cursor() as cursor:
        cursor.execute(_STORED, values)
        count: int = cursor.fetchone()[0]
    return max(count, 0)


def mark_calls(
    tenant_id: uuid.UUID, integration_id: uuid.UUID, *, since: datetime, now: datetime
) -> None:
    """Store this hour's mark of the total, and delete marks that no window from `since` needs.

    A second mark of the same hour changes nothing.
    """
    values: dict[str, Any] = {
        "tenant": tenant_id,
        "integration": integration_id,
        "since": start_of_hour(since),
        "hour": start_of_hour(now),
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM cus_call_marks"
            " WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s)",
            values,
        )
        (has_marks,) = cursor.fetchone()
        cursor.execute(_MARK if has_marks else _FIRST_MARKS, values)
        cursor.execute(_FORGET, values)


def start_of_hour(moment: datetime) -> datetime:
    """The start of the hour of a moment."""
    return moment.replace(minute=0, second=0, microsecond=0)
