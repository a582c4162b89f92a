"""Panels on integrations, and links to them."""

from collections.abc import Iterator
from typing import cast
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_console.panels import OVERVIEW, table
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
    """The viewer's integrations that are not well, and why; or when all were found well."""
    seen = _seen(request).filter(_TROUBLE).order_by("-status", "health_state", "name")
    rows = list(seen[: _MOST_SHOWN + 1])
    return table(
        ["Integration", "What is wrong"],
        [[link_to(one), "; ".join(troubles_of(one))] for one in rows[:_MOST_SHOWN]],
        empty=f"All is well, checked {timezone.now():%H:%M} UTC.",
        note="There are more." if len(rows) > _MOST_SHOWN else "",
    )


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


def troubles_of(integration: CusIntegration) -> Iterator[str]:
    """What is wrong with an integration, in words."""
    if integration.status == CusIntegration.Status.ERROR:
        yield integration.error_reason or "in error"
    if integration.credential_state == CusIntegration.CredentialState.INVALID:
        yield "the provider refuses the credential"
    if integration.health_state in ("degraded", "failing"):
        yield f"{integration.health_state}: {integration.health_message or 'see its health'}"
    coverage = integration.coverage_percent
    if coverage is not None and coverage < _LEAST_COVERAGE:
        yield f"only {coverage} % of the calls are governed"
    if integration.unproven_calls:
        yield f"{integration.unproven_calls:,} claimed calls have no record"


def integration_page(integration_id: UUID) -> str:
    """The address of an integration's page, at its first tab."""
    return reverse("admin:integrations_cusintegration_tab", args=[integration_id, OVERVIEW])


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
