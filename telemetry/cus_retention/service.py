"""Drop old months of usage rows, once nothing more can come of them (ruling E5).

A month is dropped when it is older than `CUS_RETENTION_MONTHS`, each day of its calls is final, each
day of its receipt is sealed and still as it was sealed, and each tenant's statement of it is closed.
Totals, hours, days, statements, seals, settlements, corrections and the ledger of call ids stay.

First, in one transaction, the figures of the month's hours are kept and the month is noted as
dropped. Then its table is detached and dropped. A run that is killed in between is finished by the
next.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection, connections, transaction
from django.db.models import Q, Sum

from telemetry.cus_analytics.days import final_at
from telemetry.cus_analytics.kept_hours import HoursInMotion, keep_hours
from telemetry.cus_evidence.models import CusDroppedMonth, CusPeriodTotals
from telemetry.cus_evidence.partitions import (
    LEAST_KEPT_MONTHS,
    Month,
    drop_partition,
    months_with_evidence,
)
from telemetry.cus_seals.models import CusEvidenceSeal
from telemetry.cus_seals.verification import CusSealVerifier
from telemetry.cus_statements.models import CusMonthStatement

log = structlog.get_logger(__name__)

_OWNER = "owner"
_ONE_DAY = timedelta(days=1)
# Two runs at once would both try to detach a month.
_LOCK_KEY = 0x6375735F7265  # "cus_re"


@dataclass(frozen=True)
class OldMonth:
    """A month that retention may drop: the number of its rows, and what stands against it.

    `obstacle` is None if the month was dropped, or in a dry run would be.
    """

    month: Month
    rows: int
    obstacle: str | None = None


class _Kept(Exception):
    """The month can't be dropped; the message says why."""


def drop_old_months(now: datetime, *, is_dry_run: bool = False) -> Iterator[OldMonth]:
    """Drop each month that is old enough at `now`, the database's time; the earliest first.

    A month that can't be dropped yet holds up no other. Nothing happens while another run works.
    """
    with _alone() as is_alone:
        if not is_alone:
            return
        if not is_dry_run:
            _finish_begun(now)
        for month in old_months(now):
            rows, earliest = _content_of(month)
            try:
                _refuse_unless_done(month, rows, now)
                if not is_dry_run:
                    _drop(month, rows, earliest, now)
            except _Kept as reason:
                yield OldMonth(month, rows, obstacle=str(reason))
            else:
                yield OldMonth(month, rows)


def old_months(now: datetime) -> list[Month]:
    """The months with rows that ended `CUS_RETENTION_MONTHS` ago or earlier; none if that is 0."""
    if not settings.CUS_RETENTION_MONTHS:
        return []
    kept = max(settings.CUS_RETENTION_MONTHS, LEAST_KEPT_MONTHS)
    last = Month.of(now.astimezone(UTC)).shifted(-kept - 1)
    return sorted(month for month in months_with_evidence() if month <= last)


@contextmanager
def _alone() -> Iterator[bool]:
    """Whether no other run works, until the end of the block."""
    with connections[_OWNER].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK_KEY])
        is_alone = bool(cursor.fetchone()[0])
        try:
            yield is_alone
        finally:
            if is_alone:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK_KEY])


# Bounded, because whoever changes a row past the guards may give it a moment that Python has not.
_CONTENT = """
SELECT count(*), greatest(min(occurred_at), '2000-01-01Z') FROM cus_llm_usage
WHERE created_at >= %s AND created_at < %s
"""


def _content_of(month: Month) -> tuple[int, datetime]:
    """The number of a month's rows, and when the first of their calls occurred."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '1h'")
        cursor.execute(_CONTENT, [month.start, month.shifted(1).start])
        found: tuple[int, datetime] = cursor.fetchone()
    return found


def _refuse_unless_done(month: Month, rows: int, now: datetime) -> None:
    """Raises _Kept if something may still come of the month, or its rows are not as sealed."""
    # A sender's clock may have been ahead: calls of the next day, at most.
    if now < final_at(month.shifted(1).start.date()):
        raise _Kept("its days are not final yet (CUS_TELEMETRY_MAX_AGE_DAYS)")
    tenant_ids = _tenants_of(month)
    _refuse_unsealed(month, rows, tenant_ids)
    _refuse_open(month, tenant_ids)
    for tenant_id in tenant_ids:
        _refuse_altered(month, tenant_id, now)


def _tenants_of(month: Month) -> list[uuid.UUID]:
    totals = CusPeriodTotals.objects.filter(Q(calls__gt=0) | Q(blocked__gt=0))
    received = totals.filter(period=month.start.date())
    return sorted(received.order_by().values_list("tenant_id", flat=True).distinct())


def _refuse_unsealed(month: Month, rows: int, tenant_ids: list[uuid.UUID]) -> None:
    first, last = month.start.date(), month.shifted(1).start.date() - _ONE_DAY
    seals = CusEvidenceSeal.objects.filter(day__gte=first, day__lte=last)
    ended = set(seals.filter(day=last).values_list("tenant_id", flat=True))
    for tenant_id in tenant_ids:
        if tenant_id not in ended:
            raise _Kept(f"its days are not sealed for the tenant {tenant_id}: cus_evidence_seal")
    in_seals = seals.aggregate(rows=Sum("rows"))["rows"] or 0
    if rows != in_seals:
        raise _Kept(f"it has {rows:,} rows, and its seals {in_seals:,}: cus_evidence_verify")


def _refuse_open(month: Month, tenant_ids: list[uuid.UUID]) -> None:
    statements = CusMonthStatement.objects.filter(month=month.start.date())
    closed = set(statements.values_list("tenant_id", flat=True))
    for tenant_id in tenant_ids:
        if tenant_id not in closed:
            raise _Kept(f"it is not closed for the tenant {tenant_id}: cus_close_months")


def _refuse_altered(month: Month, tenant_id: uuid.UUID, now: datetime) -> None:
    first, last = month.start.date(), month.shifted(1).start.date() - _ONE_DAY
    for day in CusSealVerifier(tenant_id, now).days(first, last):
        if day.faults:
            raise _Kept(
                f"the tenant {tenant_id} on {day.day}: {day.faults[0]}. Rows are the only proof of "
                "what was changed: see cus_evidence_verify"
            )


def _drop(month: Month, rows: int, earliest: datetime, now: datetime) -> None:
    try:
        with transaction.atomic(using=_OWNER), connections[_OWNER].cursor() as cursor:
            keep_hours(cursor, month, earliest, now)
            CusDroppedMonth.objects.using(_OWNER).create(month=month.start.date(), rows=rows)
    except HoursInMotion:
        raise _Kept("its hours are being recomputed: try again in some minutes") from None
    _finish(month, rows, now)


def _finish_begun(now: datetime) -> None:
    """Drop the tables of months that a killed run has noted as dropped."""
    for begun in CusDroppedMonth.objects.filter(dropped_at=None).order_by("month"):
        _finish(Month.of(begun.month), begun.rows, now)


def _finish(month: Month, rows: int, now: datetime) -> None:
    drop_partition(month, _OWNER)
    CusDroppedMonth.objects.using(_OWNER).filter(month=month.start.date()).update(dropped_at=now)
    log.warning("a month of usage rows was dropped by retention", month=str(month), rows=rows)
