"""Flag claims of governed calls that have no record a day later (ruling F8a).

Claims until a day ago are compared with the calls that occurred by then, whenever their records
came. Calls that a process announced as dropped, and its missing sequences, explain some of the
difference. This finds mistakes, not fraud: a holder of a key can invent records without tokens.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

import structlog
from django.db.models import Sum

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.models import CusRollupDue, CusRollupRun, CusUsageDaily
from telemetry.cus_coverage.models import CusBypassHour
from telemetry.cus_coverage.service import COVERAGE_WINDOW
from telemetry.cus_delivery.gaps_service import CusGapsService, GapsFilter

log = structlog.get_logger(__name__)

# How long a record may take to arrive before its absence counts.
_PATIENCE = timedelta(days=1)
_HOUR = timedelta(hours=1)
_AT_ONCE = 1_000

Whose = tuple[uuid.UUID, uuid.UUID]


@dataclass(frozen=True)
class Days:
    """Seven whole days in UTC that ended at least a day ago."""

    start: datetime
    end: datetime

    @classmethod
    def until_a_day_before(cls, now: datetime) -> "Days":
        last = (now - _PATIENCE).astimezone(UTC).date()
        end = datetime.combine(last, time.min, UTC)
        return cls(end - COVERAGE_WINDOW, end)


def flag_unproven_claims(now: datetime) -> int:
    """Store in each integration the number of claimed calls without a record.

    Returns the number of integrations with such calls. Does nothing while the daily sums do not
    include the records of the day after; a tenant whose days wait to be recomputed is left alone.
    """
    days = Days.until_a_day_before(now)
    last = CusRollupRun.objects.order_by("-covered_to").first()
    if last is None or last.covered_to < days.end + _PATIENCE:
        log.warning("claims were not compared with records: the daily sums are behind")
        return 0
    claimed, stored, behind = _claimed(days), _stored(days), _behind(days)
    flagged = CusIntegration.objects.filter(unproven_calls__isnull=False)
    found = 0
    for whose in sorted({*claimed, *flagged.values_list("tenant_id", "id")}):
        if whose[0] in behind:
            continue
        unproven = _unproven(whose, claimed.get(whose, 0) - stored.get(whose, 0), days)
        found += unproven > 0
        row = CusIntegration.objects.filter(tenant_id=whose[0], id=whose[1])
        row.exclude(unproven_calls=unproven).update(unproven_calls=unproven)
    return found


def _claimed(days: Days) -> dict[Whose, int]:
    """Claimed calls by integration, without the first hour: its windows may have begun before."""
    hours = CusBypassHour.objects.filter(hour__gte=days.start + _HOUR, hour__lt=days.end)
    sums = hours.values_list("tenant_id", "integration_id").annotate(calls=Sum("governed_calls"))
    return {(tenant_id, integration_id): calls for tenant_id, integration_id, calls in sums}


def _stored(days: Days) -> dict[Whose, int]:
    rows = CusUsageDaily.objects.filter(date__gte=days.start.date(), date__lt=days.end.date())
    sums = rows.values_list("tenant_id", "integration_id").annotate(calls=Sum("total_calls"))
    return {(tenant_id, integration_id): calls for tenant_id, integration_id, calls in sums}


def _behind(days: Days) -> set[uuid.UUID]:
    """Tenants with hours in these days that wait to be recomputed."""
    due = CusRollupDue.objects.filter(hour__gte=days.start, hour__lt=days.end)
    return set(due.values_list("tenant_id", flat=True))


def _unproven(whose: Whose, excess: int, days: Days) -> int:
    # Search for missing sequences only if there is a difference to explain.
    return max(excess - _explained(whose, days), 0) if excess > 0 else 0


def _explained(whose: Whose, days: Days) -> int:
    """Calls of the integration's processes that are missing or were announced as dropped."""
    tenant_id, integration_id = whose
    service = CusGapsService(CusTenant.objects.get(id=tenant_id))
    processes = GapsFilter(integration_id=integration_id, seen_from=days.start)
    explained, after = 0, None
    while True:
        page = service.gaps(processes, after=after, limit=_AT_ONCE)
        explained += sum(max(gaps.missing_count, sum(gaps.dropped.values())) for gaps in page)
        if len(page) < _AT_ONCE:
            return explained
        after = page[-1].place
