"""The panel on an integration's limits at scopes."""

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from integrations.cus_accounts.permissions import role_of
from integrations.cus_console.panels import table, with_link
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.rights import DECIDERS
from integrations.cus_limits.service import CusLimitService, limits_in_force
from integrations.cus_limits.uses import Uses, uses_of, uses_shown
from integrations.cus_limits.words import limit_text, moment_text

_MOST_SHOWN = 10


def limits_of_integration(request: HttpRequest, integration: CusIntegration) -> SafeString:
    """The limits in force at the integration, with the fullest value of each, the newest first."""
    now = timezone.now()
    scope = CusLimitService(integration).scope().filter(limits_in_force(now))
    rows = list(scope.order_by("-created_at", "-id")[: _MOST_SHOWN + 1])
    shown = rows[:_MOST_SHOWN]
    uses = uses_of(shown)
    panel = table(
        ["Limit", "Used", "Ends"],
        [
            [
                _link(limit),
                uses_shown(limit, uses.get(limit.id, Uses())) if uses else "",
                _end(limit),
            ]
            for limit in shown
        ],
        empty="There is no limit of an agent, a session, a person, a tag or a model.",
        note="There are more." if len(rows) > _MOST_SHOWN else "",
    )
    listed = reverse("admin:integrations_cusscopedlimit_changelist")
    panel = with_link(panel, f"{listed}?integration={integration.id}", "All limits")
    if role_of(request.user) not in DECIDERS:
        return panel
    add = reverse("admin:integrations_cusscopedlimit_add")
    return with_link(panel, f"{add}?integration={integration.id}", "Add a limit")


def _link(limit: CusScopedLimit) -> SafeString:
    address = reverse("admin:integrations_cusscopedlimit_change", args=[limit.id])
    return format_html('<a href="{}" class="underline">{}</a>', address, limit_text(limit))


def _end(limit: CusScopedLimit) -> str:
    return moment_text(limit.valid_until) if limit.valid_until else ""
