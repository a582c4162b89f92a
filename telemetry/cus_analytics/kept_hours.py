"""Keep the figures of hours for good, before retention drops the rows that they were computed of."""

from datetime import UTC, datetime, timedelta
from typing import Any

from telemetry.cus_analytics.days import final_at, start_of
from telemetry.cus_analytics.figures import FIGURES, KEY, SUMS
from telemetry.cus_analytics.usage_aggregator import OVERLAP
from telemetry.cus_evidence.partitions import Month

_ONE_DAY = timedelta(days=1)


class HoursInMotion(Exception):
    """Something of these hours is not computed yet. The next run of the rollup does."""


def keep_hours(cursor: Any, month: Month, earliest: datetime, now: datetime) -> None:
    """Keep the figures of all hours in which calls occurred that were received in a month.

    `earliest` is when the first of them occurred: longer ago than calls may be late now, if
    `CUS_TELEMETRY_MAX_AGE_DAYS` was more then.
    `computed_at` of what is kept says from when on settlements and corrections are added to it. Needs
    a transaction of the owner's, which goes on to note the month as dropped. Raises HoursInMotion.
    """
    cursor.execute("SET LOCAL statement_timeout = '10min'; SET LOCAL lock_timeout = '1min'")
    # No recomputation works while the figures are kept, and none begins before the commit.
    cursor.execute("LOCK TABLE cus_usage_hourly IN SHARE ROW EXCLUSIVE MODE")
    until = now - OVERLAP
    values = {
        "month": month.start.date(),
        # The days of which `TenantDay.months` names the month: a clock ahead adds the day after.
        "start": min(
            month.start - (final_at(now.date()) - start_of(now.date())),
            start_of(earliest.astimezone(UTC).date()),
        ),
        "end": month.shifted(1).start + _ONE_DAY,
        "until": until,
        # An ingest transaction lasts thirty seconds at most.
        "read_to": until + timedelta(minutes=1),
    }
    cursor.execute(_IN_MOTION, values)
    if cursor.fetchone()[0]:
        raise HoursInMotion
    cursor.execute(_KEEP, values)


def _of_the_month(moment: str) -> str:
    return f"""tenant_id IN (SELECT tenant_id FROM cus_period_totals
        WHERE period = %(month)s AND (calls > 0 OR blocked > 0))
    AND {moment} >= %(start)s AND {moment} < %(end)s"""  # noqa: S608  (the names are our own)


# What came in the last minutes may be in the hours or not: so nothing must have come.
_IN_MOTION = f"""
SELECT NOT EXISTS (SELECT FROM cus_rollup_runs WHERE has_hours AND covered_to >= %(read_to)s)
    OR EXISTS (SELECT FROM cus_rollup_due WHERE {_of_the_month("hour")})
    OR EXISTS (SELECT FROM cus_usage_settlements
        WHERE {_of_the_month("occurred_at")} AND created_at >= %(until)s)
    OR EXISTS (SELECT FROM cus_cost_adjustments
        WHERE {_of_the_month("occurred_at")} AND created_at >= %(until)s)
"""  # noqa: S608  (the names are our own)
_COLUMNS = ", ".join(("tenant_id", *KEY))
# An hour that is kept already was kept with another month: what was added since is kept, too. It
# has no latencies, because they are of rows.
_KEEP = f"""
WITH taken AS (
    DELETE FROM cus_usage_hourly WHERE NOT kept AND {_of_the_month("hour")} RETURNING *
)
INSERT INTO cus_usage_hourly AS hours ({_COLUMNS}, kept, {", ".join(FIGURES)}, computed_at)
SELECT {_COLUMNS}, true, {", ".join(FIGURES)}, %(until)s FROM taken
ON CONFLICT ({_COLUMNS}, kept) DO UPDATE
    SET {", ".join(f"{name} = hours.{name} + excluded.{name}" for name in SUMS)},
        computed_at = excluded.computed_at
"""  # noqa: S608  (the names are our own)
