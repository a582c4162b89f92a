"""The first page: the search, and the panels that the apps have registered for it."""

from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from aos_project.cus_console.system_checks import jobs
from integrations.cus_accounts.permissions import role_of
from integrations.cus_console import finders, panels
from integrations.cus_console.attention import Problem, Weight
from integrations.cus_console.own_page import Link
from integrations.cus_console.panels import Page
from telemetry.cus_clock import page_now


def home(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The context of the first page, for the theme. For support the search is what it is for."""
    searched = finders.searched(request) if role_of(request.user) == "support" else []
    shown = panels.shown(Page.HOME, request)
    return context | {"title": "Home", "panels": shown, "searched": searched}


def late_jobs(request: HttpRequest) -> Iterator[Problem]:
    """For operators: whether jobs of beat are late, as one problem: mostly all of them are."""
    late = jobs(page_now(request)).problems if role_of(request.user) == "operator" else []
    if late:
        system = reverse("cus-system")
        more = f" And {len(late) - 1:,} more jobs." if len(late) > 1 else ""
        action = Link("Look at the jobs", f"{system}#jobs").html
        yield Problem(Weight.PRODUCT, Link("System", system).html, late[0] + more, action)
