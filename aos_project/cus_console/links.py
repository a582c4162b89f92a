"""Permanent addresses for alerts, mails and dashboards: they redirect to the console's pages.

The page at the end asks who is there and what the person may see, so a redirect reveals nothing.
"""

from uuid import UUID

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.http import urlencode

from aos_project.cus_console.find import GO
from integrations.cus_accounts.permissions import role_of, visible_to
from integrations.cus_console.finders import WITHIN
from integrations.cus_integrations.panels import integration_page
from integrations.cus_limits.models import CusScopedLimit
from telemetry.cus_evidence.names import name_as_stored
from telemetry.cus_evidence.panels import calls_page
from telemetry.cus_holds.limit_sums import run_limit_id


def call(request: HttpRequest, call_id: str) -> HttpResponse:
    """A call's record, or the decision on a call without one, by the search.

    Two integrations may have a call of the same id: `?integration=` names the one that is meant.
    """
    query = {"q": call_id, GO: "1"}
    if integration := request.GET.get(WITHIN):
        query[WITHIN] = integration
    return redirect(f"{reverse('cus-find')}?{urlencode(query)}")


def activity(_request: HttpRequest, integration_id: UUID) -> HttpResponse:
    """An integration's page, at its last calls."""
    return redirect(f"{integration_page(integration_id)}#calls")


def integration_limits(_request: HttpRequest, integration_id: UUID) -> HttpResponse:
    """An integration's page, at the use of its limits."""
    return redirect(f"{integration_page(integration_id)}#limits")


def limits(request: HttpRequest, some_id: UUID) -> HttpResponse:
    """A limit's page, or that of the integration of this id, at the use of its limits.

    Whether there is such a limit is told to those alone who may see it, so others sign in first.
    """
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    seen = visible_to(CusScopedLimit.objects.all(), request.user)
    if seen.filter(id=some_id).exists():
        return redirect("admin:integrations_cusscopedlimit_change", some_id)
    return integration_limits(request, some_id)


def integration(_request: HttpRequest, integration_id: UUID) -> HttpResponse:
    """An integration's page."""
    return redirect(integration_page(integration_id))


def stop(_request: HttpRequest, stop_id: UUID) -> HttpResponse:
    """A stop's page."""
    return redirect("admin:integrations_cusstop_change", stop_id)


def notifications(_request: HttpRequest) -> HttpResponse:
    """What the person is told of."""
    return redirect("cus-notifications")


def decision(_request: HttpRequest, decision_id: UUID) -> HttpResponse:
    """A decision's page."""
    return redirect("admin:enforcement_cusenforcementdecision_change", decision_id)


def tenant(request: HttpRequest, tenant_id: UUID) -> HttpResponse:
    """A tenant's page; the first page for people who are signed in and have no page of tenants."""
    if role_of(request.user) not in (None, "operator"):
        return redirect("admin:index")
    return redirect("admin:integrations_custenant_change", tenant_id)


def session(_request: HttpRequest, integration_id: UUID, session_id: str) -> HttpResponse:
    """The calls of a session."""
    return redirect(calls_page(integration=str(integration_id), session_id=session_id))


def run_limit(_request: HttpRequest, integration_id: UUID, session_id: str) -> HttpResponse:
    """The page on which a session's budget in code is raised."""
    stored = name_as_stored("session_id", session_id)
    return redirect("cus-run-limit", integration_id, run_limit_id(integration_id, stored))


urlpatterns = [
    path("evidence/call/<path:call_id>", call),
    path("integrations/<uuid:integration_id>", integration),
    path("integrations/<uuid:integration_id>/activity", activity),
    path("integrations/<uuid:integration_id>/limits", integration_limits),
    path("limits/<uuid:some_id>", limits),
    path("run-limits/<uuid:integration_id>/<path:session_id>", run_limit),
    path("decisions/<uuid:decision_id>", decision),
    path("stops/<uuid:stop_id>", stop),
    path("notifications", notifications),
    path("tenants/<uuid:tenant_id>", tenant),
    path("sessions/<uuid:integration_id>/<path:session_id>", session),
]
