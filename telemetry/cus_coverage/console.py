"""The console's page on completeness: which calls went past the SDK, and which records are missing."""

from datetime import UTC
from typing import Any, cast

from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_console.own_page import Layout, Link, shown
from integrations.cus_console.page_tenant import of_tenant, tenant_shown, tenant_trail
from integrations.cus_console.panels import Cell, ShownPanel, table
from integrations.cus_integrations.panels import link_to
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_delivery.gaps_service import CusGapsService, GapsFilter, ProcessGaps

_MOST = 100
_LEAD = (
    "Coverage is the share of a program's calls to its provider that the SDK governed, over the "
    "last 7 days. A gap is a record that a program numbered and the server does not have: it is on "
    "its way, waits in the spool of a host, or is lost."
)


@require_safe
def coverage(request: HttpRequest) -> HttpResponse:
    """Each integration's coverage, worst first; of one tenant also the gaps of its processes."""
    tenant = tenant_shown(request)
    panels = [_integrations(request, tenant)]
    if tenant:
        panels.append(_gaps(tenant))
    title = f"Coverage and gaps of {tenant.name}" if tenant else "Coverage and gaps"
    trail = tenant_trail(request, reverse("cus-coverage"), tenant)
    reports = Link("Bypass reports", reverse("admin:telemetry_cusbypassreport_changelist"))
    layout = Layout(title=title, lead=_LEAD, trail=trail, buttons=[reports], panels=panels)
    return shown(request, layout)


def _integrations(request: HttpRequest, tenant: CusTenant | None) -> ShownPanel:
    rows: QuerySet[CusIntegration] = visible_to(
        CusIntegration.objects.filter(deleted_at__isnull=True), cast("CusUser", request.user)
    )
    if tenant:
        rows = rows.filter(tenant=tenant)
    worst = F("coverage_percent").asc(nulls_last=True)
    found = list(rows.select_related("tenant").order_by(worst, "name", "id")[: _MOST + 1])
    address = reverse("cus-coverage")
    html = table(
        ["Integration", "Coverage", "Claimed calls without a record", "Missing records"],
        [
            [
                link_to(one),
                "no calls seen" if one.coverage_percent is None else f"{one.coverage_percent} %",
                f"{one.unproven_calls:,}" if one.unproven_calls else "none",
                Link("Gaps of the tenant", of_tenant(request, address, one.tenant)).html
                if tenant is None
                else Link("See below", "#gaps").html,
            ]
            for one in found[:_MOST]
        ],
        empty="There is no integration yet.",
        note=f"The {_MOST} with the lowest coverage." if len(found) > _MOST else "",
    )
    return ShownPanel("coverage", "Coverage", html)


def _gaps(tenant: CusTenant) -> ShownPanel:
    found = CusGapsService(tenant).gaps(GapsFilter(), limit=_MOST + 1)
    ids = {one.integration_id for one in found}
    names: dict[Any, CusIntegration] = CusIntegration.objects.select_related("tenant").in_bulk(ids)
    html = table(
        ["Process", "Integration", "Last report", "Missing", "Of these given up", "Which"],
        [_gap(one, names[one.integration_id]) for one in found[:_MOST]],
        empty="No record is missing: all that programs numbered arrived.",
        note=f"The {_MOST} processes that reported last." if len(found) > _MOST else "",
    )
    return ShownPanel("gaps", "Missing records by process", html)


def _gap(gaps: ProcessGaps, integration: CusIntegration) -> list[Cell]:
    ranges = [f"{first}" if first == last else f"{first}-{last}" for first, last in gaps.missing]
    return [
        gaps.process_id,
        integration.name,
        f"{gaps.last_seen_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        f"{gaps.missing_count:,}",
        f"{sum(gaps.dropped.values()):,}",
        ", ".join(ranges[:5]) + (" …" if len(ranges) > 5 or gaps.missing_is_cut else ""),
    ]
