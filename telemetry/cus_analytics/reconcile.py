"""Compare hours, days and totals with the evidence; repair hours and days (rulings E8, E8a).

A run brings the rollup up to now, and then compares each tenant's open days, all days with their
hours, and the totals. Hours of which something came within the last minutes are left to the
rollup. Each difference is stored, and shown as a metric; a total that is wrong is an alarm, since
no program may change it.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import structlog
from django.db import Error, connection, transaction

from telemetry.cus_analytics.days import TenantDay, first_open_day, start_of
from telemetry.cus_analytics.differences import Difference, Kind, Sums, differences_of, read_sums
from telemetry.cus_analytics.figures import FIGURES, HOURS, KEY, SUMS, daily_name, sums_of
from telemetry.cus_analytics.models import (
    CusReconcileDifference,
    CusReconcileRun,
    CusRollupRun,
)
from telemetry.cus_analytics.totals import lifetime_differences, month_differences
from telemetry.cus_analytics.usage_aggregator import (
    OVERLAP,
    SETTINGS,
    figure_values,
    lock_key,
    replace_hours,
    rollup_usage,
)
from telemetry.cus_evidence.partitions import Month, months_with_evidence
from telemetry.cus_sums import execute_sums

log = structlog.get_logger(__name__)

_KEPT = timedelta(days=90)
_HOUR = timedelta(hours=1)
# What the differences of a tenant may fill; the log has their number.
_MOST_STORED = 1_000


def reconcile(now: datetime, *, all_months: bool = False) -> CusReconcileRun:
    """Compare and repair; the run has the differences.

    Totals of this month and the month before are compared with their evidence, with `all_months`
    those of all months whose rows are there. A tenant whose comparison fails is logged and
    counted, and holds up no other.
    """
    rollup_usage(now)
    CusReconcileRun.objects.filter(started_at__lt=now - _KEPT).delete()
    run = CusReconcileRun.objects.create(started_at=now)
    months = _months(now, all_months=all_months)
    for tenant_id in _tenants():
        try:
            found = list(_compared(tenant_id, months, now))
        except Error as error:
            run.failed_tenants += 1
            log.error(
                "a tenant's usage could not be compared with its evidence",
                tenant_id=str(tenant_id),
                reason=str(error).partition("\n")[0],
            )
            continue
        _report(run, tenant_id, found)
    run.finished_at = now
    run.save()
    return run


def _compared(tenant_id: uuid.UUID, months: list[Month], now: datetime) -> Iterator[Difference]:
    """All differences of a tenant; hours and days are repaired."""
    yield from _hours(tenant_id, since=first_open_day(now))
    yield from _days(tenant_id)
    totals = list(_totals(tenant_id, months))
    yield from totals
    if any(one.kind == Kind.ALL_TIME for one in totals):
        # Something is wrong in a day that is final: compare all days whose evidence is there.
        yield from _hours(tenant_id, since=min(months_with_evidence()).start.date())
        yield from _days(tenant_id)


def _months(now: datetime, *, all_months: bool) -> list[Month]:
    current = Month.of(now.astimezone(UTC))
    present = months_with_evidence()
    wanted = present if all_months else {current, current.shifted(-1)}
    return sorted(month for month in wanted & present if month <= current)


_TENANTS = "SELECT DISTINCT tenant_id FROM cus_lifetime_totals ORDER BY tenant_id"


def _tenants() -> list[uuid.UUID]:
    with connection.cursor() as cursor:
        cursor.execute(_TENANTS)
        return [tenant_id for (tenant_id,) in cursor.fetchall()]


_MOVING = """
SELECT hour FROM cus_rollup_due WHERE tenant_id = %(tenant)s
UNION SELECT date_trunc('hour', occurred_at, 'UTC') FROM cus_llm_usage
    WHERE tenant_id = %(tenant)s AND created_at >= %(since)s
UNION SELECT date_trunc('hour', occurred_at, 'UTC') FROM cus_usage_settlements
    WHERE tenant_id = %(tenant)s AND created_at >= %(since)s
UNION SELECT date_trunc('hour', occurred_at, 'UTC') FROM cus_cost_adjustments
    WHERE tenant_id = %(tenant)s AND created_at >= %(since)s
"""


def _in_motion(cursor: Any, tenant_id: uuid.UUID) -> set[datetime]:
    """The hours that the stored analytics may lack something of, because no run read it yet."""
    last = CusRollupRun.objects.filter(has_hours=True).order_by("-covered_to").first()
    since = last.covered_to - OVERLAP if last else datetime.min.replace(tzinfo=UTC)
    cursor.execute(_MOVING, {"tenant": tenant_id, "since": since})
    return {hour for (hour,) in cursor.fetchall()}


_DAYS_WITH_HOURS = """
SELECT DISTINCT (hour AT TIME ZONE 'UTC')::date FROM cus_usage_hourly
WHERE tenant_id = %(tenant)s AND hour >= %(start)s
UNION SELECT DISTINCT (occurred_at AT TIME ZONE 'UTC')::date FROM cus_llm_usage
WHERE tenant_id = %(tenant)s AND occurred_at >= %(start)s AND created_at >= %(start)s
"""


def _hours(tenant_id: uuid.UUID, *, since: date) -> Iterator[Difference]:
    """Compare the hours of the days whose evidence is there, and repair those that differ."""
    values: dict[str, Any] = {"tenant": tenant_id, "start": start_of(since)}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SETTINGS)
        cursor.execute(_DAYS_WITH_HOURS, values)
        days = sorted(TenantDay(day, tenant_id) for (day,) in cursor.fetchall())
    for day in filter(TenantDay.has_all_evidence, days):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(SETTINGS)
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(day)])
            found = list(_hours_that_differ(cursor, day))
            if found:
                replace_hours(cursor, day, _hours_of(day))
        yield from found


_ROW = ", ".join(FIGURES)
_KEY = ", ".join(KEY)
_COMPARED = f"""
SELECT hour, integration_id, {sums_of(SUMS, table="stored")}, {sums_of(SUMS, table="expected")}
FROM (SELECT {_KEY}, {_ROW} FROM cus_usage_hourly
    WHERE tenant_id = %(tenant)s AND hour >= %(start)s AND hour < %(end)s
        AND NOT kept) AS stored
FULL JOIN ({HOURS}) AS expected USING ({_KEY})
GROUP BY hour, integration_id
HAVING bool_or(ROW({", ".join(f"stored.{name}" for name in FIGURES)})
    IS DISTINCT FROM ROW({", ".join(f"expected.{name}" for name in FIGURES)}))
"""  # noqa: S608  (the names are this module's own)


def _hours_that_differ(cursor: Any, day: TenantDay) -> Iterator[Difference]:
    execute_sums(cursor, _COMPARED, figure_values(day, day.start, day.end))
    rows = cursor.fetchall()
    # Asked after the comparison: what came in between counts as in motion.
    moving = _in_motion(cursor, day.tenant_id) if rows else set()
    for hour, integration_id, *values in rows:
        if hour in moving:
            continue
        stored = read_sums([(integration_id, *values[: len(SUMS)])])
        expected = read_sums([(integration_id, *values[len(SUMS) :])])
        found = list(differences_of(Kind.HOUR, hour, SUMS, stored=stored, expected=expected))
        # The sums agree, and models, agents, outcomes or latencies do not.
        yield from found or [Difference(Kind.HOUR, integration_id, hour, "rows", 0, 0)]


def _hours_of(day: TenantDay) -> list[datetime]:
    return [day.start + number * _HOUR for number in range(24)]


_DAY_SUMS = f"""
SELECT date, integration_id, {sums_of(SUMS)} FROM (
    SELECT date, integration_id, {", ".join(f"{daily_name(name)} AS {name}" for name in SUMS)}
    FROM cus_usage_daily WHERE tenant_id = %(tenant)s
) AS figures GROUP BY date, integration_id
"""  # noqa: S608  (the names are this module's own)
_HOUR_SUMS = f"""
SELECT (hour AT TIME ZONE 'UTC')::date AS date, integration_id, {sums_of(SUMS)}
FROM cus_usage_hourly AS figures WHERE tenant_id = %(tenant)s GROUP BY date, integration_id
"""  # noqa: S608  (the names are this module's own)
_GROUP_SUMS = f"""
SELECT date, integration_id, {sums_of(SUMS)}
FROM cus_usage_day_groups AS figures WHERE tenant_id = %(tenant)s GROUP BY date, integration_id
"""  # noqa: S608  (the names are this module's own)


def _differing_days(stored: str) -> str:
    return f"""
    SELECT date FROM ({stored}) AS day FULL JOIN ({_HOUR_SUMS}) AS hours USING (date, integration_id)
    WHERE ROW({", ".join(f"day.{name}" for name in SUMS)})
        IS DISTINCT FROM ROW({", ".join(f"hours.{name}" for name in SUMS)})"""  # noqa: S608  (ours)


_DIFFERING_DAYS = f"{_differing_days(_DAY_SUMS)} UNION {_differing_days(_GROUP_SUMS)} ORDER BY date"


def _days(tenant_id: uuid.UUID) -> Iterator[Difference]:
    """Compare all days with their hours, and compute anew those that differ."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SETTINGS)
        execute_sums(cursor, _DIFFERING_DAYS, {"tenant": tenant_id})
        days = [TenantDay(day, tenant_id) for (day,) in cursor.fetchall()]
    for day in days:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(SETTINGS)
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(day)])
            expected = _day_sums(cursor, _HOUR_SUMS, day)
            found = [
                one
                for statement in (_DAY_SUMS, _GROUP_SUMS)
                for one in differences_of(
                    Kind.DAY,
                    day.start,
                    SUMS,
                    stored=_day_sums(cursor, statement, day),
                    expected=expected,
                )
            ]
            if found:
                replace_hours(cursor, day, _hours_of(day))
        yield from found


def _day_sums(cursor: Any, statement: str, day: TenantDay) -> Sums:
    execute_sums(
        cursor,
        f"SELECT * FROM ({statement}) AS found WHERE date = %(day)s",  # noqa: S608  (ours)
        {"tenant": day.tenant_id, "day": day.day},
    )
    rows: list[tuple[date, Any]] = cursor.fetchall()
    return read_sums(row[1:] for row in rows)


@contextmanager
def _snapshot() -> Iterator[Any]:
    """A cursor whose statements all see the database at one moment."""
    with transaction.atomic(), connection.cursor() as cursor:
        if not connection.savepoint_ids:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute(SETTINGS)
        yield cursor


def _totals(tenant_id: uuid.UUID, months: list[Month]) -> Iterator[Difference]:
    with _snapshot() as cursor:
        for month in months:
            yield from month_differences(cursor, tenant_id, month)
        yield from lifetime_differences(cursor, tenant_id, _in_motion(cursor, tenant_id))


# The kinds of differences that no program may repair.
ALARMING = (Kind.MONTH_TOTAL, Kind.LIFETIME_TOTAL)


def _report(run: CusReconcileRun, tenant_id: uuid.UUID, found: list[Difference]) -> None:
    if not found:
        return
    CusReconcileDifference.objects.bulk_create(
        CusReconcileDifference(run=run, tenant_id=tenant_id, **vars(one))
        for one in found[:_MOST_STORED]
    )
    wrong = [one for one in found if one.kind in ALARMING]
    if wrong:
        first = wrong[0]
        log.error(
            "a total is not the sum of its evidence: restore the database from a backup, or find "
            "out who changed it",
            tenant_id=str(tenant_id),
            integration_id=str(first.integration_id),
            figure=first.figure,
            stored=first.stored,
            expected=first.expected,
            differences=len(wrong),
        )
    others = len(found) - len(wrong)
    if others:
        log.warning(
            "usage by hour or day was not what evidence says, and is recomputed",
            tenant_id=str(tenant_id),
            differences=others,
        )
