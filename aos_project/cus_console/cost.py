"""The page on cost: charts and rankings of a tenant's or an integration's usage."""

from typing import cast

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.permissions import role_of, sees_all_tenants, visible_to
from integrations.cus_console import panels
from integrations.cus_console.filters import offered_rows
from integrations.cus_console.panels import Page
from integrations.cus_integrations.scopes import DAYS, SPLITS, UsageScope, scope_of
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_clock import page_now


@require_GET
def cost(request: HttpRequest) -> HttpResponse:
    """Cost and usage over some days, of what the address names."""
    if role_of(request.user) is None:
        raise PermissionDenied
    scope = scope_of(request, page_now(request))
    context = {
        **admin.site.each_context(request),
        "title": "Cost",
        "scope": scope,
        "days": DAYS,
        "splits": SPLITS,
        # No index has the models and agents of all tenants.
        "needs_tenant": scope.tenant is None,
        "tenants": _tenants(request, scope),
        "integrations": _integrations(request, scope),
        "panels": panels.shown(Page.COST, request, scope),
    }
    return render(request, "admin/cus_cost.html", context)


def _tenants(request: HttpRequest, scope: UsageScope) -> list[tuple[str, str]]:
    """The tenants to choose from, for who sees several."""
    if not sees_all_tenants(request.user):
        return []
    chosen = str(scope.tenant.id) if scope.tenant else None
    return offered_rows(CusTenant.objects.order_by("name"), chosen)


def _integrations(request: HttpRequest, scope: UsageScope) -> list[tuple[str, str]]:
    seen = visible_to(CusIntegration.objects.all(), cast("CusUser", request.user))
    if scope.tenant:
        seen = seen.filter(tenant=scope.tenant)
    chosen = str(scope.integration.id) if scope.integration else None
    return offered_rows(seen.order_by("name", "id"), chosen)
