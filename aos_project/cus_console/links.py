"""Permanent addresses for alerts, mails and dashboards: they redirect to the console's pages.

The page at the end asks who is there and what the person may see, so a redirect reveals nothing.
"""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.http import urlencode

from integrations.cus_integrations.panels import integration_page


def call(_request: HttpRequest, call_id: str) -> HttpResponse:
    """The search by a call's id: two integrations may have a call of the same id."""
    return redirect(f"{reverse('cus-find')}?{urlencode({'q': call_id})}")


def activity(_request: HttpRequest, integration_id: UUID) -> HttpResponse:
    """An integration's page, at its last calls."""
    return redirect(f"{integration_page(integration_id)}#calls")


def integration_limits(_request: HttpRequest, integration_id: UUID) -> HttpResponse:
    """An integration's page, at the use of its limits."""
    return redirect(f"{integration_page(integration_id)}#limits")


def decision(_request: HttpRequest, decision_id: UUID) -> HttpResponse:
    """A decision's page."""
    return redirect("admin:enforcement_cusenforcementdecision_change", decision_id)


def tenant(_request: HttpRequest, tenant_id: UUID) -> HttpResponse:
    """A tenant's page."""
    return redirect("admin:integrations_custenant_change", tenant_id)


urlpatterns = [
    path("evidence/call/<str:call_id>", call),
    path("integrations/<uuid:integration_id>/activity", activity),
    path("integrations/<uuid:integration_id>/limits", integration_limits),
    path("decisions/<uuid:decision_id>", decision),
    path("tenants/<uuid:tenant_id>", tenant),
]
