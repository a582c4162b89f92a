"""Recompute whole hours and days of usage from evidence (ruling E8a).

A run notes each hour in which a call occurred whose row, settlement or correction was received
since the last run, and then recomputes the noted hours, a tenant's day in each transaction. A run
looks back ten minutes further than the last run reached, and an ingest transaction lasts thirty
seconds at most. So no run misses a row that arrives late or commits while a run is reading. A
recomputation that fails or is killed leaves its hours noted, and the next run tries again.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import Error, connection, transaction
from django.db.models import F

from telemetry.cus_analytics.days import (
    CLOCK_AHEAD,
    EVER,
    TenantDay,
    final_at,
    first_open_day,
    have_all_evidence,
    start_of,
)
from telemetry.cus_analytics.figures import FIGURES, HOURS, KEY, all_of, daily_name
from telemetry.cus_analytics.models import CusRollupDue, CusRollupRun
from telemetry.cus_sums import execute_sums

log = structlog.get_logger(__name__)

OVERLAP = timedelta(minutes=10)
_HOUR = timedelta(hours=1)
_KEPT = timedelta(days=7)
# A day of a large tenant takes longer than the 30 seconds of a request on a slow disk. The planner
# expects as many groups as rows, and would sort all rows; hashing takes a third of the time.
SETTINGS = """
SET LOCAL statement_timeout = '10min'; SET LOCAL jit = off; SET LOCAL work_mem = '64MB';
SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off
"""
# Two runs that note hours at once would both read the same rows.
_LOCK_KEY = 0x6375735F726F  # "cus_ro"
_KEY = ", ".join(KEY)


@dataclass
class RollupResult:
    """What a run recomputed, what failed, and how many days it had no time for.

    `has_noted` is False if another run was noting hours at that moment, which this run left to it.
    """

    days: list[TenantDay] = field(default_factory=list)
    failed: list[TenantDay] = field(default_factory=list)
    waiting: int = 0
    has_noted: bool = True


def rollup_usage(now: datetime, *, within: timedelta | None = None) -> RollupResult:
    """Bring hours and days up to `now`.

    After `within`, the run begins no other day; the remaining days are the next run's.
    """
    run = note_received(now)
    result = recompute_due(within=within)
    result.has_noted = run is not None
    if run:
        CusRollupRun.objects.filter(id=run.id).update(
            days=len(result.days), failed_days=len(result.failed), finished_at=now
        )
    return result


# A time before 1970 or after 9998 is damage that no row of ours has, and no date of Python's.
_NOTE_RECEIVED = """
INSERT INTO cus_rollup_due (tenant_id, hour)
SELECT tenant_id, hour FROM (
    SELECT tenant_id, date_trunc('hour', occurred_at, 'UTC') AS hour FROM cus_llm_usage
    WHERE created_at >= coalesce(%(since)s::timestamptz, '-infinity') AND created_at < %(until)s
        AND (%(since)s::timestamptz IS NULL OR occurred_at >= %(open_from)s)
    UNION ALL
    SELECT tenant_id, date_trunc('hour', occurred_at, 'UTC') FROM cus_usage_settlements
    WHERE created_at >= coalesce(%(since)s::timestamptz, '-infinity') AND created_at < %(until)s
    UNION ALL
    SELECT tenant_id, date_trunc('hour', occurred_at, 'UTC') FROM cus_cost_adjustments
    WHERE created_at >= coalesce(%(since)s::timestamptz, '-infinity') AND created_at < %(until)s
) AS received
WHERE hour >= '1970-01-01Z' AND hour < '9999-01-01Z'
GROUP BY tenant_id, hour ORDER BY tenant_id, hour
ON CONFLICT (tenant_id, hour) DO NOTHING
"""


def note_received(now: datetime) -> CusRollupRun | None:
    """Note the hours of what was received since the last run; with no run yet, of everything.

    Returns the run that began; None, and notes nothing, while another run notes hours. Hours of final days are noted for settlements and corrections,
    which may come at any age (rulings M5b and M9), not for rows.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK_KEY])
        # Not waited for: the first run reads all evidence, while beat starts others.
        if not cursor.fetchone()[0]:
            return None
        cursor.execute(SETTINGS)
        values = {"since": _since(), "until": now, "open_from": start_of(first_open_day(now))}
        cursor.execute(_NOTE_RECEIVED, values)
        # Only the last run is needed; earlier runs are kept a week for operators.
        CusRollupRun.objects.filter(covered_to__lt=now - _KEPT).delete()
        return CusRollupRun.objects.create(covered_to=now, has_hours=True)


def _since() -> datetime | None:
    last = CusRollupRun.objects.filter(has_hours=True).order_by("-covered_to").first()
    return last.covered_to - OVERLAP if last else None


def recompute_due(
    *,
    within: timedelta | None = None,
    only: Callable[[TenantDay], bool] = lambda _day: True,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> RollupResult:
    """Recompute the noted hours of the days that `only` chooses, each day in its own transaction.

    A day that fails is logged, counted and left for the next run; the other days go on. `tell` is
    told the number of days done, and of all days.
    """
    result = RollupResult()
    end_at = time.monotonic() + within.total_seconds() if within else None
    days = [day for day in _due_days() if only(day)]
    for number, day in enumerate(days):
        if end_at is not None and time.monotonic() > end_at:
            result.waiting = len(days) - number
            break
        try:
            if recompute_day(day):
                result.days.append(day)
        except Error as error:
            _note_failure(day, error)
            result.failed.append(day)
        tell(number + 1, len(days))
    return result


# Days that failed come last, so that they hold up nobody; the newest day comes first.
_DUE_DAYS = """
SELECT (hour AT TIME ZONE 'UTC')::date AS day, tenant_id FROM cus_rollup_due
GROUP BY day, tenant_id ORDER BY max(failures), day DESC, tenant_id
"""


def _due_days() -> list[TenantDay]:
    with connection.cursor() as cursor:
        cursor.execute(_DUE_DAYS)
        return [TenantDay(*row) for row in cursor.fetchall()]


def _note_failure(day: TenantDay, error: Error) -> None:
    log.error(
        "a day of usage could not be recomputed; the next run tries again",
        tenant_id=str(day.tenant_id),
        day=day.day.isoformat(),
        error=type(error).__name__,
        reason=str(error).partition("\n")[0],
    )
    noted = CusRollupDue.objects.filter(tenant_id=day.tenant_id)
    noted.filter(hour__gte=day.start, hour__lt=day.end).update(failures=F("failures") + 1)


_TAKE_DUE = """
DELETE FROM cus_rollup_due WHERE tenant_id = %s AND hour >= %s AND hour < %s RETURNING hour
"""


def recompute_day(day: TenantDay) -> bool:
    """Recompute a day's noted hours and the day; False if none is noted or another run has the day.

    A row that arrives during the transaction is noted again, because its note waits for the
    commit: the notes are taken before the evidence is read.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SETTINGS)
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [lock_key(day)])
        if not cursor.fetchone()[0]:
            return False
        cursor.execute(_TAKE_DUE, [day.tenant_id, day.start, day.end])
        hours = [hour for (hour,) in cursor.fetchall()]
        if not hours:
            return False
        replace_hours(cursor, day, hours)
    return True


def lock_key(day: TenantDay) -> int:
    """The number of a tenant's and a day's advisory lock."""
    digest = hashlib.sha256(day.tenant_id.bytes + str(day.day).encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def replace_hours(cursor: Any, day: TenantDay, hours: Iterable[datetime]) -> None:
    """Replace these hours and the day by what evidence says, under the day's lock.

    If retention dropped rows of the day, its figures are kept, and what was added to them later is
    computed anew. If a table is missing that retention did not drop, all figures stay.
    """
    # Retention can't begin to drop a month before the commit.
    cursor.execute("LOCK TABLE cus_usage_hourly IN ROW EXCLUSIVE MODE")
    kept_until = day.kept_until()
    if kept_until is None and not have_all_evidence(day.tenant_id, [day]):
        return
    for start, end in stretches(hours):
        values = figure_values(day, start, end, kept_until=kept_until)
        cursor.execute(_DELETE_HOURS, values)
        execute_sums(cursor, _INSERT_HOURS, values)
    values = figure_values(day, day.start, day.end)
    cursor.execute(_DELETE_GROUPS, values)
    execute_sums(cursor, _INSERT_GROUPS, values)
    cursor.execute(_DELETE_DAY, values)
    execute_sums(cursor, _INSERT_DAY, values)


def figure_values(
    day: TenantDay, start: datetime, end: datetime, *, kept_until: datetime | None = None
) -> dict[str, Any]:
    """The values of the statement `HOURS` for a part of a day: for all of its figures, or for those
    that were added to what is kept.
    """
    return {
        "tenant": day.tenant_id,
        "integration": None,
        "session": None,
        "day": day.day,
        "day_start": day.start,
        "day_end": day.end,
        "start": start,
        "end": end,
        "received_from": start - CLOCK_AHEAD,
        # No row came before that: those of a day that is kept are in what is kept.
        "received_to": start - CLOCK_AHEAD if kept_until else final_at(day.day),
        "added_from": kept_until or EVER,
    }


def stretches(hours: Iterable[datetime]) -> Iterator[tuple[datetime, datetime]]:
    """The first and last moments of stretches of hours that follow each other."""
    start = end = None
    for hour in sorted(hours):
        if start is not None and end is not None and hour != end:
            yield start, end
            start = None
        start, end = start or hour, hour + _HOUR
    if start is not None and end is not None:
        yield start, end


_DELETE_HOURS = """
DELETE FROM cus_usage_hourly WHERE tenant_id = %(tenant)s AND hour >= %(start)s AND hour < %(end)s
    AND NOT kept
"""
_INSERT_HOURS = f"""
INSERT INTO cus_usage_hourly (tenant_id, {_KEY}, {", ".join(FIGURES)}, computed_at)
SELECT %(tenant)s, {_KEY}, {", ".join(FIGURES)}, now() FROM ({HOURS}) AS figures
"""  # noqa: S608  (the names are the models' own)
_DELETE_DAY = "DELETE FROM cus_usage_daily WHERE tenant_id = %(tenant)s AND date = %(day)s"
_DELETE_GROUPS = "DELETE FROM cus_usage_day_groups WHERE tenant_id = %(tenant)s AND date = %(day)s"
_GROUP = ", ".join(KEY[1:])
_INSERT_GROUPS = f"""
INSERT INTO cus_usage_day_groups (tenant_id, date, {_GROUP}, {", ".join(FIGURES)}, computed_at)
SELECT %(tenant)s, %(day)s, {_GROUP}, {all_of()}, now() FROM cus_usage_hourly AS figures
WHERE tenant_id = %(tenant)s AND hour >= %(day_start)s AND hour < %(day_end)s GROUP BY {_GROUP}
"""  # noqa: S608  (the names are this module's own)
_DELETE_DAY = "DELETE FROM cus_usage_daily WHERE tenant_id = %(tenant)s AND date = %(day)s"
_INSERT_DAY = f"""
INSERT INTO cus_usage_daily (tenant_id, date, integration_id, {", ".join(map(daily_name, FIGURES))},
    avg_latency_ms, computed_at)
SELECT %(tenant)s, %(day)s, integration_id, {all_of()},
    round(sum(latency_sum_ms) / nullif(sum(latency_calls), 0))::integer, now()
FROM cus_usage_day_groups AS figures WHERE tenant_id = %(tenant)s AND date = %(day)s
GROUP BY integration_id
"""  # noqa: S608  (the names are this module's own)
