"""The console's page on seals: that each closed day of evidence has one."""

from datetime import UTC

from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from integrations.cus_accounts.models import CusTenant
from integrations.cus_console.own_page import Layout, Link, shown
from integrations.cus_console.page_tenant import of_tenant, tenant_shown, tenant_trail
from integrations.cus_console.panels import Cell, ShownPanel, table
from telemetry.cus_clock import page_now
from telemetry.cus_seals.models import CusEvidenceSeal
from telemetry.cus_seals.service import last_closed_day

_MOST_DAYS = 62
_MOST_TENANTS = 200
_LEAD = (
    "Each tenant's day of receipt (UTC) gets a seal an hour after it closed: a keyed digest over "
    "its records, settlements and corrections, chained to the day before. "
    "`manage.py cus_evidence_verify` proves that nothing was altered, added or removed since."
)


@require_safe
def seals(request: HttpRequest) -> HttpResponse:
    """A tenant's newest seals; for the staff, each tenant's last sealed day."""
    tenant = tenant_shown(request)
    panel = _of_all(request) if tenant is None else _of_tenant(tenant)
    title = f"Seals of {tenant.name}" if tenant else "Seals"
    trail = tenant_trail(request, reverse("cus-seals"), tenant)
    return shown(request, Layout(title=title, lead=_LEAD, trail=trail, panels=[panel]))


def _of_tenant(tenant: CusTenant) -> ShownPanel:
    found = CusEvidenceSeal.objects.filter(tenant_id=tenant.id).order_by("-day")[:_MOST_DAYS]
    html = table(
        ["Day", "Records", "Settlements", "Corrections", "Seal", "Sealed at"],
        [_row(seal) for seal in found],
        empty="No day of this tenant is sealed yet: the first day with evidence is, when it is over.",
        note=f"The newest {_MOST_DAYS} days.",
    )
    return ShownPanel("days", "Sealed days", html)


def _row(seal: CusEvidenceSeal) -> list[Cell]:
    return [
        f"{seal.day:%Y-%m-%d}",
        f"{seal.rows:,}",
        f"{seal.settlements:,}",
        f"{seal.adjustments:,}",
        f"{seal.digest[:16]}…",
        f"{seal.sealed_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
    ]


def _of_all(request: HttpRequest) -> ShownPanel:
    due = last_closed_day(page_now(request))
    last = CusEvidenceSeal.objects.values("tenant_id").annotate(last=Max("day"))
    found = list(last.order_by("last", "tenant_id")[: _MOST_TENANTS + 1])
    tenants = CusTenant.objects.in_bulk([one["tenant_id"] for one in found])
    address = reverse("cus-seals")
    rows: list[list[Cell]] = [
        [
            Link(
                tenants[one["tenant_id"]].name,
                of_tenant(request, address, tenants[one["tenant_id"]]),
            ).html,
            f"{one['last']:%Y-%m-%d}",
            "up to date" if one["last"] >= due else f"due up to {due:%Y-%m-%d}",
        ]
        for one in found[:_MOST_TENANTS]
    ]
    html = table(
        ["Tenant", "Last sealed day", "State"],
        rows,
        empty="No day is sealed yet: a tenant's first day with evidence is, when it is over.",
        note=f"The {_MOST_TENANTS} that wait longest." if len(found) > _MOST_TENANTS else "",
    )
    return ShownPanel("tenants", "Tenants", html)
