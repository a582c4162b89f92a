"""An integration's state: what it is, whether it serves, and how its provider answers."""

from collections.abc import Iterator
from datetime import UTC, datetime

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from integrations.cus_accounts.permissions import role_of
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_console.panels import Cell, name_values
from integrations.cus_lifecycle.models import CusIntegration

# Support and finance see nothing of credentials (ruling C9).
_SEE_NO_CREDENTIALS = ("support", "finance")


def state(request: HttpRequest, integration: CusIntegration) -> SafeString:
    """The integration's state."""
    role = role_of(request.user)
    tenant = integration.tenant
    whose: Cell = tenant.name
    if role == "operator":
        page = reverse("admin:integrations_custenant_change", args=[tenant.id])
        whose = format_html('<a href="{}" class="underline">{}</a>', page, tenant.name)
    sees_credential = role not in _SEE_NO_CREDENTIALS
    return name_values([("Tenant", whose), *_rows(integration, sees_credential=sees_credential)])


def _rows(integration: CusIntegration, *, sees_credential: bool) -> Iterator[tuple[str, Cell]]:
    yield "Provider", integration.get_provider_type_display()
    error = f": {integration.error_reason}" if integration.error_reason else ""
    yield "Status", f"{integration.get_status_display()}{error}"
    known = integration.get_credential_state_display()
    yield (
        "Credential",
        f"{known}, {credential_shown(integration)}" if sees_credential else known,
    )
    health = integration.get_health_state_display()
    message = f": {integration.health_message}" if integration.health_message else ""
    yield "Health", f"{health}{message}"
    yield "Last checked", _at(integration.health_checked_at)
    yield "Enforcement", integration.get_enforcement_level_display()
    coverage = integration.coverage_percent
    yield "Coverage of 7 days", "no call seen" if coverage is None else f"{coverage} %"
    if integration.unproven_calls:
        yield "Claimed calls without a record", f"{integration.unproven_calls:,}"
    yield "Made", _at(integration.created_at)


def credential_shown(integration: CusIntegration) -> str:
    """The end of the stored credential, and who entered it when."""
    stored = getattr(integration, "stored_credential", None)
    if stored is None:
        is_here = integration.credential_ref.startswith("db://")
        return "none stored" if is_here else "in a store of the operator's"
    entered = CusAuditEntry.objects.filter(
        object_type="integration", object_id=str(integration.id), changes__has_key="credential"
    )
    last = entered.order_by("-created_at").first()
    by = f", entered by {last.actor_label} on {last.created_at:%Y-%m-%d %H:%M} UTC" if last else ""
    return f"…{stored.hint}{by}"


def _at(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else "never"
