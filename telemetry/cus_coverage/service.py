"""Bypass reports of one integration, and the coverage that follows from them (rulings F8, F8a).

Coverage is governed ÷ (governed + bypassed) over the trailing 7 days. Both counts come from the
same reports: the SDK watches the provider clients' transports, so both count requests. Claimed
governed calls count up to the number of stored calls that ran.
"""

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Sum
from msgspec import Meta

from aos_sdk import cus_wire as wire
from integrations.cus_keys.verifier import SdkPrincipal
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import CusError
from telemetry.cus_coverage.models import CusBypassHour, CusBypassReport
from telemetry.cus_coverage.stored_calls import mark_calls, stored_calls
from telemetry.cus_ids import uuid7

COVERAGE_WINDOW = timedelta(days=7)
# How far a sender's clock may be ahead of ours (ruling E3).
_CLOCK_AHEAD = timedelta(minutes=5)
_HOUR = timedelta(hours=1)
_LONGEST_SDK = 100

_Count = Annotated[int, Meta(ge=0, le=wire.INT32_MAX)]
_Moment = Annotated[datetime, Meta(tz=True)]
_Name = Annotated[str, Meta(pattern=r"^[!-~]{1,100}\Z")]
_Host = Annotated[str, Meta(pattern=r"^[!-~]{1,255}\Z")]


class BypassReport(msgspec.Struct):
    """The report of one process' window: strictly typed and bounded; unknown fields are ignored."""

    window_start: _Moment
    window_end: _Moment
    governed_calls: _Count
    bypassed_calls: _Count
    process_id: _Name
    hosts: Annotated[dict[_Host, _Count], Meta(max_length=wire.MAX_BYPASS_HOSTS)] = {}
    sdk: Annotated[str, Meta(pattern=rf"^[ -~]{{0,{_LONGEST_SDK}}}\Z")] = ""


class ReportRefused(CusError):
    """This is not a report that this endpoint accepts. Send the form that /api/docs describes."""

    code = "invalid"

    def __init__(self, attr: str | None, detail: str) -> None:
        super().__init__(detail)
        self.attr = attr


class WindowConflict(CusError):
    """This process reported the same window before, with other counts. The first report is kept;
    report further calls in a window with a later window_start.
    """

    code, status = "window_conflict", 409

    def __init__(self, fields: list[str]) -> None:
        super().__init__()
        self.fields = fields


_decoder = msgspec.json.Decoder(BypassReport)
_COMPARED = ("window_end", "governed_calls", "bypassed_calls", "hosts")
_PATH = re.compile(r"`\$\.(\w+)|field `(\w+)`")
_COUNTS = """
INSERT INTO cus_bypass_hours AS hours
    (tenant_id, integration_id, hour, governed_calls, bypassed_calls)
VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (tenant_id, integration_id, hour) DO UPDATE SET
    governed_calls = hours.governed_calls + excluded.governed_calls,
    bypassed_calls = hours.bypassed_calls + excluded.bypassed_calls
"""


def decode_report(body: bytes) -> BypassReport:
    """A report from its JSON, its times in UTC. Raises ReportRefused."""
    try:
        report = _decoder.decode(body)
        report.window_start = report.window_start.astimezone(UTC)
        report.window_end = report.window_end.astimezone(UTC)
    except msgspec.ValidationError as error:
        path = _PATH.search(str(error))
        raise ReportRefused(path and (path[1] or path[2]), f"{error}.") from None
    except OverflowError:
        detail = "window_start and window_end must be moments of the years 1 to 9999 in UTC."
        raise ReportRefused("window_start", detail) from None
    except (ValueError, RecursionError):
        raise ReportRefused(None, "The body is not valid JSON.") from None
    # A host may contain a key, and hosts are stored and shown, so mask keys (ruling E9).
    report.hosts = wire.mask_json(report.hosts)
    report.sdk = wire.mask_secrets(report.sdk)[:_LONGEST_SDK]
    return report


class CusBypassService:
    """Stores the reports of an SDK key's programs on bypassed calls."""

    def __init__(self, principal: SdkPrincipal, *, now: datetime) -> None:
        self.principal = principal
        self.now = now

    def record(self, report: BypassReport) -> tuple[CusBypassReport, bool]:
        """Store a report once; return the stored report and whether it is new.

        Updates the integration's coverage in the same transaction. Raises WindowConflict.
        """
        with transaction.atomic():
            stored, is_new = self._store(report)
            if is_new:
                self._count(stored)
                self._refresh(stored)
        differ = [name for name in _COMPARED if getattr(report, name) != getattr(stored, name)]
        if differ:
            raise WindowConflict(differ)
        return stored, is_new

    def _refresh(self, stored: CusBypassReport) -> None:
        """Update coverage, unless records of the reported calls are still on their way.

        A report may arrive before the records. Beat updates coverage again within five minutes, and
        then claims without records do not count.
        """
        whose = (stored.tenant_id, stored.integration_id)
        seen = seen_calls(*whose, self.now)
        if seen.stored >= seen.claimed:
            refresh_coverage(*whose, self.now)

    def _store(self, report: BypassReport) -> tuple[CusBypassReport, bool]:
        occurred_at = self._occurred_at(report)
        return CusBypassReport.objects.get_or_create(
            tenant_id=self.principal.tenant_id,
            integration_id=self.principal.integration_id,
            process_id=report.process_id,
            window_start=report.window_start,
            defaults={
                "id": uuid7(),
                "window_end": report.window_end,
                "governed_calls": report.governed_calls,
                "bypassed_calls": report.bypassed_calls,
                "hosts": report.hosts,
                "sdk": report.sdk,
                "occurred_at": occurred_at or self.now,
                "clock_skew": occurred_at is None,
            },
        )

    def _occurred_at(self, report: BypassReport) -> datetime | None:
        """The end of the window; None if impossible, so a wrong clock can't hide bypassed calls."""
        oldest = self.now - timedelta(days=settings.CUS_TELEMETRY_MAX_AGE_DAYS)
        end = report.window_end
        is_sound = oldest <= end <= self.now + _CLOCK_AHEAD and report.window_start <= end
        return end if is_sound else None

    def _count(self, stored: CusBypassReport) -> None:
        hour = stored.occurred_at.replace(minute=0, second=0, microsecond=0)
        whose = (stored.tenant_id, stored.integration_id)
        with connection.cursor() as cursor:
            cursor.execute(_COUNTS, [*whose, hour, stored.governed_calls, stored.bypassed_calls])


@dataclass(frozen=True)
class SeenCalls:
    """Calls of an integration's trailing 7 days: claimed by programs, bypassed, and stored."""

    claimed: int
    bypassed: int
    stored: int

    @property
    def governed(self) -> int:
        """The claimed calls, at most the stored calls that ran (ruling F8a)."""
        return min(self.claimed, self.stored)


def seen_calls(tenant_id: uuid.UUID, integration_id: uuid.UUID, now: datetime) -> SeenCalls:
    """The calls by whole hours, including the hour in which the 7 days began."""
    whose = {"tenant_id": tenant_id, "integration_id": integration_id}
    since = now - COVERAGE_WINDOW - _HOUR
    hours = CusBypassHour.objects.filter(**whose, hour__gt=since)
    sums = hours.aggregate(claimed=Sum("governed_calls"), bypassed=Sum("bypassed_calls"))
    return SeenCalls(
        claimed=int(sums["claimed"] or 0),
        bypassed=int(sums["bypassed"] or 0),
        stored=stored_calls(**whose, since=since),
    )


def coverage_percent(
    tenant_id: uuid.UUID, integration_id: uuid.UUID, now: datetime
) -> Decimal | None:
    """The percentage of governed calls in the trailing 7 days; None if no call was seen.

    Rounded down: 94.999 % must not pass a gate at 95 %. The result is 0 if calls were claimed and
    none was stored.
    """
    calls = seen_calls(tenant_id, integration_id, now)
    if not calls.claimed + calls.bypassed:
        return None
    seen = calls.governed + calls.bypassed
    return Decimal(calls.governed * 10_000 // seen) / 100 if seen else Decimal(0)


def refresh_coverage(tenant_id: uuid.UUID, integration_id: uuid.UUID, now: datetime) -> None:
    """Update an integration's `coverage_percent`."""
    scope = CusIntegration.objects.filter(tenant_id=tenant_id, id=integration_id)
    with transaction.atomic():
        # Locked in a statement of its own: after the wait, the next statement sees the other
        # transaction's reports.
        current = scope.select_for_update(no_key=True).values_list("coverage_percent", flat=True)
        shown = current.get()
        percent = coverage_percent(tenant_id, integration_id, now)
        if percent != shown:
            scope.update(coverage_percent=percent)


def refresh_all_coverage(now: datetime) -> int:
    """Update every integration's coverage: add late calls, and drop calls older than 7 days.

    Returns the number of integrations. Also stores the marks by which stored calls are counted.
    """
    since = now - COVERAGE_WINDOW - _HOUR
    shown = CusIntegration.objects.filter(coverage_percent__isnull=False)
    whose = {*shown.values_list("tenant_id", "id"), *reporting_since(since)}
    for tenant_id, integration_id in sorted(whose):
        mark_calls(tenant_id, integration_id, since=since, now=now)
        refresh_coverage(tenant_id, integration_id, now)
    return len(whose)


def reporting_since(moment: datetime) -> set[tuple[uuid.UUID, uuid.UUID]]:
    """Tenant and integration of all reports whose windows ended after a moment."""
    hours = CusBypassHour.objects.filter(hour__gt=moment)
    return set(hours.values_list("tenant_id", "integration_id").distinct())
