"""A panel on a call's record: the limits at scopes that count such calls, and the way to them."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from aos_sdk.cus_limit_scopes import CusCallNames
from integrations.cus_console.panels import table
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.service import CusLimitService, limits_in_force
from integrations.cus_limits.words import limit_text, moment_text
from telemetry.cus_clock import page_now

_MOST_SHOWN = 20


def limits_of_call(request: HttpRequest, usage: Any) -> SafeString | None:
    """The limits in force that count calls with this call's names; nothing if none does."""
    integration = CusIntegration(id=usage.integration_id, tenant_id=usage.tenant_id)
    names = CusCallNames(
        model=usage.model_requested or usage.model,
        agent_id=usage.agent_id,
        session_id=usage.session_id,
        end_user=usage.end_user,
        tags=usage.tags or (),
    )
    scope = CusLimitService(integration).scope().filter(limits_in_force(page_now(request)))
    rows = [limit for limit in scope.order_by("created_at", "id") if _counts(limit, names)]
    if not rows:
        return None
    return table(
        ["Limit", "For this call", "Ends"],
        [
            [
                _link(limit),
                names.value(limit.scope, limit.tag) or "",
                moment_text(limit.valid_until) if limit.valid_until else "",
            ]
            for limit in rows[:_MOST_SHOWN]
        ],
        empty="",
        note="There are more." if len(rows) > _MOST_SHOWN else "",
    )


def _counts(limit: CusScopedLimit, names: CusCallNames) -> bool:
    value = names.value(limit.scope, limit.tag)
    return value is not None and limit.value in (None, value)


def _link(limit: CusScopedLimit) -> SafeString:
    address = reverse("admin:integrations_cusscopedlimit_change", args=[limit.id])
    return format_html('<a href="{}" class="underline">{}</a>', address, limit_text(limit))
