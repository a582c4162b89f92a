"""Panels on integrations, and links to them."""

from collections.abc import Iterator
from datetime import UTC
from typing import cast
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_console import attention
from integrations.cus_console.attention import MOST_OF_A_SOURCE, Problem, Weight
from integrations.cus_console.own_page import Link
from integrations.cus_console.panels import NOTHING, OVERVIEW, table
from integrations.cus_console.tabs import FORM
from integrations.cus_health.models import CusHealthTransition
from integrations.cus_lifecycle.models import CusIntegration

_MOST_SHOWN = 20
# The share of a program's calls that the integration should see (ruling F7).
_LEAST_COVERAGE = 95
_TROUBLE = (
    Q(status=CusIntegration.Status.ERROR)
    | Q(credential_state=CusIntegration.CredentialState.INVALID)
    | Q(health_state__in=("degraded", "failing"))
    | Q(coverage_percent__lt=_LEAST_COVERAGE)
    | Q(unproven_calls__gt=0)
)


def needs_attention(request: HttpRequest, _subject: None) -> SafeString:
    """What is not well for the viewer, the worst first, as all planes see it; or that all is well."""
    found = attention.problems(request)
    return table(
        ["Where", "What is wrong", "Since (UTC)", "Next"],
        [[one.where, one.what, _since(one), one.action] for one in found[:_MOST_SHOWN]],
        empty=f"All is well, checked {timezone.now():%H:%M} UTC.",
        note=f"There are {len(found) - _MOST_SHOWN:,} more." if len(found) > _MOST_SHOWN else "",
    )


def _since(problem: Problem) -> str:
    return f"{problem.since.astimezone(UTC):%Y-%m-%d %H:%M}" if problem.since else NOTHING


def troubles(request: HttpRequest) -> Iterator[Problem]:
    """The viewer's integrations whose own state is not well."""
    seen = _seen(request).filter(_TROUBLE).order_by("-status", "health_state", "name")
    rows = list(seen[:MOST_OF_A_SOURCE])
    # The state of health is as its last change made it.
    changes = CusHealthTransition.objects.filter(integration__in=[one.id for one in rows])
    newest = changes.order_by("integration", "-checked_at").distinct("integration")
    since = dict(newest.values_list("integration", "checked_at")) if rows else {}
    for one in rows:
        for weight, what, tab, action in _troubles_of(one):
            at = since.get(one.id) if weight is not Weight.EVIDENCE else None
            yield Problem(weight, link_to(one), what, tab_link(one, tab, action), at)


def of_tenant(_request: HttpRequest, tenant: CusTenant) -> SafeString:
    """The integrations of a tenant, on the tenant's page."""
    rows = CusIntegration.objects.filter(tenant=tenant, deleted_at__isnull=True)
    found = list(rows.select_related("tenant").order_by("name", "id")[: _MOST_SHOWN + 1])
    return table(
        ["Integration", "Provider", "Status", "Health"],
        [
            [
                link_to(one),
                one.get_provider_type_display(),
                one.get_status_display(),
                one.get_health_state_display(),
            ]
            for one in found[:_MOST_SHOWN]
        ],
        empty="The tenant has no integration yet.",
        note="There are more." if len(found) > _MOST_SHOWN else "",
    )


def _troubles_of(one: CusIntegration) -> Iterator[tuple[Weight, str, str, str]]:
    """What is wrong with an integration: how bad, the words, and the tab and text of what is next."""
    if one.status == CusIntegration.Status.ERROR:
        text = one.error_reason or "in error"
        yield Weight.STOPPED, f"every call is refused: {text}", "health", "Look at its health"
    if one.credential_state == CusIntegration.CredentialState.INVALID:
        text = "the provider refuses the credential"
        yield Weight.STOPPED, text, FORM, "Look at its credential"
    if one.health_state == CusIntegration.Health.FAILING:
        text = f"failing: {one.health_message or 'see its health'}"
        yield Weight.REFUSING, text, "health", "Look at its health"
    if one.health_state == CusIntegration.Health.DEGRADED:
        yield Weight.UNSTEADY, f"degraded: {_slowness(one)}", "health", "Look at its health"
    coverage = one.coverage_percent
    if coverage is not None and coverage < _LEAST_COVERAGE:
        text = f"only {coverage} % of the calls of 7 days are governed"
        yield Weight.EVIDENCE, text, "ladder", "Look at its ladder"
    if one.unproven_calls:
        text = f"{one.unproven_calls:,} claimed calls have no record"
        yield Weight.EVIDENCE, text, FORM, "Look at its state"


def _slowness(one: CusIntegration) -> str:
    if one.health_latency_ms and one.health_latency_ms > settings.CUS_HEALTH_SLOW_MS:
        return f"the provider took {one.health_latency_ms:,} ms to answer"
    if one.consecutive_passes:
        return "the last check passed, and a second one makes it healthy"
    return one.health_message or "see its health"


def integration_page(integration_id: UUID) -> str:
    """The address of an integration's page, at its first tab."""
    return reverse("admin:integrations_cusintegration_tab", args=[integration_id, OVERVIEW])


def tab_link(integration: CusIntegration, tab: str, text: str) -> SafeString:
    """A link to a tab of the integration's page."""
    name = "change" if tab == FORM else "tab"
    parts = [integration.id] if tab == FORM else [integration.id, tab]
    return Link(text, reverse(f"admin:integrations_cusintegration_{name}", args=parts)).html


def link_to(integration: CusIntegration, panel: str = "") -> SafeString:
    """A link with the integration's and its tenant's name; `panel` is the key of one on the page."""
    return format_html(
        '<span><a href="{}{}" class="underline">{}</a>, {}</span>',
        integration_page(integration.id),
        f"#{panel}" if panel else "",
        integration.name,
        integration.tenant,
    )


def _seen(request: HttpRequest) -> QuerySet[CusIntegration]:
    existing = CusIntegration.objects.filter(deleted_at__isnull=True).select_related("tenant")
    return visible_to(existing, cast("CusUser", request.user))
