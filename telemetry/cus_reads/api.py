"""Usage over HTTP: records, sums, hours and days."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from integrations.cus_accounts.api import PersonView
from integrations.cus_accounts.models import CusTenant
from integrations.cus_accounts.permissions import tenant_of
from integrations.cus_accounts.time_zones import zone_named
from integrations.cus_web.pages import filters_of
from telemetry.cus_analytics.figures import tags_in
from telemetry.cus_clock import database_now
from telemetry.cus_reads.aggregates import CusUsageAggregates, DayPlace, HourPlace, StoredFigures
from telemetry.cus_reads.anomalies import AnomalyPlace, CusUsageAnomalies
from telemetry.cus_reads.pages import Page, cursor_of, place_of
from telemetry.cus_reads.periods import IN_UTC, Period, period_of, recent_period, start_of_day
from telemetry.cus_reads.records import FILTERS, CusUsageRecords, RecordPlace, RecordsQuery
from telemetry.cus_reads.serializers import (
    AnomaliesPage,
    AnomalyFilters,
    DayFilters,
    DaysPage,
    HourFilters,
    HoursPage,
    RecordFilters,
    RecordsPage,
    SummaryFilters,
    SummaryOutput,
)
from telemetry.cus_reads.summaries import (
    LONGEST,
    LONGEST_OF_SESSION,
    CusUsageSummaries,
    Summary,
    SummaryQuery,
)

_RECENT = timedelta(days=31)
_ONE_DAY = timedelta(days=1)
_HOUR_FILTERS = ("integration_id", "provider", "model", "agent_id", "policy_result")
_ANOMALY_FILTERS = ("integration_id", "subject", "name")
_NO_CURSOR = OpenApiResponse(description="No such integration or tenant, or no such page.")


class UsageRecordsView(PersonView):
    """The usage records of a tenant."""

    @extend_schema(
        operation_id="telemetry_llm_usage_list",
        parameters=[RecordFilters],
        responses={200: RecordsPage, 404: _NO_CURSOR},
    )
    def get(self, request: Request) -> Response:
        """List usage records, the record that was received last first."""
        asked = _asked(request, RecordFilters)
        bounds = (asked.get("from"), asked.get("to"))
        # A call id names few records, which an index finds at any time.
        default = timedelta(days=36_500) if "call_id" in asked else _RECENT
        period = recent_period(*bounds, now=database_now(), default=default)
        query = RecordsQuery(period, _chosen(asked, FILTERS))
        after = _after(asked, RecordPlace)
        page = CusUsageRecords(tenant_of(request)).page(query, after=after, limit=asked["limit"])
        return _page(request, page, page.rows, RecordsPage)


class UsageSummaryView(PersonView):
    """Sums of a tenant's usage."""

    @extend_schema(
        operation_id="telemetry_llm_usage_summary",
        parameters=[SummaryFilters],
        responses={200: SummaryOutput, 404: _NO_CURSOR},
    )
    def get(self, request: Request) -> Response:
        """Sum the usage of a period, in groups by at most two things."""
        asked = filters_of(request, SummaryFilters)
        bounds = (asked.get("from"), asked.get("to"))
        now = database_now()
        tenant = tenant_of(request)
        zone = _zone(asked, tenant)
        if "session" in asked:
            period = recent_period(*bounds, now=now, default=LONGEST_OF_SESSION)
        else:
            period = period_of(*bounds, now=now, longest=LONGEST, zone=zone)
        query = SummaryQuery(
            period,
            asked.get("group_by", ()),
            asked.get("integration_id"),
            asked.get("session"),
            zone,
        )
        found = CusUsageSummaries(tenant).summary(query)
        return Response(SummaryOutput(_summary(found, zone)).data)


class UsageHourlyView(PersonView):
    """The figures of hours."""

    @extend_schema(
        operation_id="telemetry_usage_hourly",
        parameters=[HourFilters],
        responses={200: HoursPage, 404: _NO_CURSOR},
    )
    def get(self, request: Request) -> Response:
        """List hours with usage, newest first."""
        asked = _asked(request, HourFilters)
        bounds = (asked.get("from"), asked.get("to"))
        period = period_of(*bounds, now=database_now(), longest=LONGEST)
        page = CusUsageAggregates(tenant_of(request)).hours(
            period,
            _chosen(asked, _HOUR_FILTERS),
            after=_after(asked, HourPlace),
            limit=asked["limit"],
        )
        rows = [fields | {"tags": tags_in(fields["tags"])} for fields in _fields(page.rows)]
        return _page(request, page, rows, HoursPage)


class UsageAnomaliesView(PersonView):
    """The hours that cost far more than is usual."""

    @extend_schema(
        operation_id="telemetry_anomalies",
        parameters=[AnomalyFilters],
        responses={200: AnomaliesPage, 404: _NO_CURSOR},
    )
    def get(self, request: Request) -> Response:
        """List unusual hours of integrations, models and agents, newest first."""
        asked = _asked(request, AnomalyFilters)
        bounds = (asked.get("from"), asked.get("to"))
        page = CusUsageAnomalies(tenant_of(request)).page(
            recent_period(*bounds, now=database_now(), default=_RECENT),
            _chosen(asked, _ANOMALY_FILTERS),
            after=_after(asked, AnomalyPlace),
            limit=asked["limit"],
        )
        return _page(request, page, page.rows, AnomaliesPage)


class UsageDailyView(PersonView):
    """The figures of days."""

    @extend_schema(
        operation_id="telemetry_usage_daily",
        parameters=[DayFilters],
        responses={200: DaysPage, 404: _NO_CURSOR},
    )
    def get(self, request: Request) -> Response:
        """List days with usage, newest first."""
        asked = _asked(request, DayFilters)
        tenant = tenant_of(request)
        zone = _zone(asked, tenant)
        period = _days_asked(asked, zone)
        usage, after = CusUsageAggregates(tenant), _after(asked, DayPlace)
        filters, limit = _chosen(asked, ("integration_id",)), asked["limit"]
        if zone.key == IN_UTC.key:
            bounds = (period.start.date(), period.end.date())
            page = usage.days(*bounds, filters, after=after, limit=limit)
        else:
            page = usage.local_days(
                period, zone, filters.get("integration_id"), after=after, limit=limit
            )
        return _page(request, page, _fields(page.rows), DaysPage, zone=zone.key)


def _zone(asked: dict[str, Any], tenant: CusTenant) -> ZoneInfo:
    """The zone that the caller names, or the tenant's own."""
    return asked["zone"] if "zone" in asked else zone_named(tenant.time_zone)


def _days_asked(asked: dict[str, Any], zone: ZoneInfo) -> Period:
    """The period from the beginning of the first to the end of the last day that is asked for."""
    first, last = asked.get("from"), asked.get("to")
    start = start_of_day(first, zone) if first else None
    end = start_of_day(last + _ONE_DAY, zone) if last else None
    # A year of days may be an hour longer than a year where clocks change.
    longest = LONGEST + timedelta(hours=2)
    return period_of(start, end, now=database_now(), longest=longest, zone=zone)


def _asked(request: Request, filters: type[serializers.Serializer[object]]) -> dict[str, Any]:
    """The checked filters, with the cursor that `filters_of` leaves to pages."""
    asked = filters_of(request, filters)
    cursor = request.query_params.get("cursor")
    return asked | ({"cursor": cursor} if cursor is not None else {})


def _chosen(asked: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: asked[name] for name in names if name in asked}


def _after(asked: dict[str, Any], kind: Any) -> Any:
    return place_of(asked["cursor"], kind) if "cursor" in asked else None


def _fields(rows: list[StoredFigures]) -> list[dict[str, Any]]:
    return [{**row.key, **row.figures.as_fields(), "computed_at": row.computed_at} for row in rows]


def _page(
    request: Request,
    page: Page[Any],
    rows: Sequence[Any],
    output: type[serializers.Serializer[object]],
    **more: str,
) -> Response:
    link = None
    if page.next is not None:
        link = replace_query_param(request.build_absolute_uri(), "cursor", cursor_of(page.next))
    return Response(output({"next": link, "previous": None, "results": rows, **more}).data)


def _summary(found: Summary, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "from": found.period.start,
        "to": found.period.end,
        "zone": zone.key,
        "computed_to": found.computed_to,
        "waiting_hours": found.waiting_hours,
        "totals": found.totals.as_fields(),
        "groups": [
            {**{str(name): value for name, value in group.by.items()}, **group.figures.as_fields()}
            for group in found.groups
        ],
        "groups_are_cut": found.is_cut,
    }
