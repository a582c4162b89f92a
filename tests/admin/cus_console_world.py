"""What each role gets of each console page (rulings C8 and C9), and two tenants to ask it of."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.db import models
from django.utils import timezone

from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_currency.service import CusDisplayRateService
from integrations.cus_increases.models import CusIncreaseRequest
from integrations.cus_increases.service import CusIncreaseService, Which
from integrations.cus_keys.service import CusSdkKeyService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.service import CusLimitService
from integrations.cus_notifications.models import CusNotificationDelivery
from integrations.cus_notifications.service import CusNotificationService
from integrations.cus_prices.service import CusPriceOverrideService
from integrations.cus_stops.service import CusStopService
from tests.cus_factories import make_integration, make_tenant, make_user, turn_health

ROLES = ("operator", "support", "finance", "admin", "member", "nobody")

# What each role gets: the list, a row of its own tenant, a foreign row, the form to add one, and
# whether a row's form can be posted. "-" is 403, "gone" the way back that Django gives for a row
# that is not there, "read" a page without a form.
PAGES: dict[str, dict[str, tuple[str, str, str, str]]] = {
    "cusintegration": {
        "operator": ("list", "edit", "edit", "add"),
        "support": ("list", "read", "read", "-"),
        "finance": ("list", "read", "read", "-"),
        "admin": ("list", "edit", "gone", "add"),
        "member": ("list", "read", "gone", "-"),
        "nobody": ("-", "-", "-", "-"),
    },
    "cuspriceoverride": {
        "operator": ("list", "read", "read", "add"),
        "support": ("list", "read", "read", "-"),
        "finance": ("list", "read", "read", "-"),
        "admin": ("list", "read", "gone", "add"),
        "member": ("list", "read", "gone", "-"),
        "nobody": ("-", "-", "-", "-"),
    },
    "cusdisplayrate": {
        "operator": ("list", "read", "read", "add"),
        "support": ("list", "read", "read", "-"),
        "finance": ("list", "read", "read", "-"),
        "admin": ("list", "read", "gone", "add"),
        "member": ("list", "read", "gone", "-"),
        "nobody": ("-", "-", "-", "-"),
    },
    "cusstop": {
        "operator": ("list", "read", "read", "add"),
        "support": ("list", "read", "read", "-"),
        "finance": ("list", "read", "read", "-"),
        "admin": ("list", "read", "gone", "add"),
        "member": ("list", "read", "gone", "-"),
        "nobody": ("-", "-", "-", "-"),
    },
    "cusscopedlimit": {
        "operator": ("list", "edit", "edit", "add"),
        "support": ("list", "read", "read", "-"),
        "finance": ("list", "read", "read", "-"),
        "admin": ("list", "edit", "gone", "add"),
        "member": ("list", "read", "gone", "-"),
        "nobody": ("-", "-", "-", "-"),
    },
    "cusincreaserequest": {
        "operator": ("list", "read", "read", "add"),
        "support": ("list", "read", "read", "-"),
        "finance": ("list", "read", "read", "-"),
        "admin": ("list", "read", "gone", "add"),
        "member": ("list", "read", "gone", "add"),
        "nobody": ("-", "-", "-", "-"),
    },
    "cusmembership": {
        "operator": ("list", "edit", "edit", "add"),
        "support": ("-", "-", "-", "-"),
        "finance": ("-", "-", "-", "-"),
        "admin": ("list", "edit", "gone", "add"),
        "member": ("list", "read", "gone", "-"),
        "nobody": ("-", "-", "-", "-"),
    },
    "custenant": {
        "operator": ("list", "edit", "edit", "add"),
        "support": ("-", "-", "-", "-"),
        "finance": ("-", "-", "-", "-"),
        "admin": ("-", "-", "-", "-"),
        "member": ("-", "-", "-", "-"),
        "nobody": ("-", "-", "-", "-"),
    },
    "cususer": {
        "operator": ("list", "read", "read", "-"),
        "support": ("-", "-", "-", "-"),
        "finance": ("-", "-", "-", "-"),
        "admin": ("-", "-", "-", "-"),
        "member": ("-", "-", "-", "-"),
        "nobody": ("-", "-", "-", "-"),
    },
    "cusapitoken": {
        "operator": ("list", "read", "read", "add"),
        "support": ("list", "gone", "gone", "add"),
        "finance": ("list", "gone", "gone", "add"),
        "admin": ("list", "gone", "gone", "add"),
        "member": ("list", "gone", "gone", "add"),
        "nobody": ("-", "-", "-", "-"),
    },
    "cussdkkey": {
        "operator": ("list", "read", "read", "add"),
        "support": ("-", "-", "-", "-"),
        "finance": ("-", "-", "-", "-"),
        "admin": ("list", "read", "gone", "add"),
        "member": ("-", "-", "-", "-"),
        "nobody": ("-", "-", "-", "-"),
    },
    "cusnotificationtarget": {
        "operator": ("list", "edit", "edit", "add"),
        "support": ("-", "-", "-", "-"),
        "finance": ("-", "-", "-", "-"),
        "admin": ("list", "edit", "gone", "add"),
        "member": ("-", "-", "-", "-"),
        "nobody": ("-", "-", "-", "-"),
    },
    "cusnotificationdelivery": {
        "operator": ("list", "read", "read", "-"),
        "support": ("-", "-", "-", "-"),
        "finance": ("-", "-", "-", "-"),
        "admin": ("list", "read", "gone", "-"),
        "member": ("-", "-", "-", "-"),
        "nobody": ("-", "-", "-", "-"),
    },
    "cushealthtransition": {
        "operator": ("list", "read", "read", "-"),
        "support": ("list", "read", "read", "-"),
        "finance": ("list", "read", "read", "-"),
        "admin": ("list", "read", "gone", "-"),
        "member": ("list", "read", "gone", "-"),
        "nobody": ("-", "-", "-", "-"),
    },
    "cusauditentry": {
        "operator": ("list", "read", "read", "-"),
        "support": ("-", "-", "-", "-"),
        "finance": ("-", "-", "-", "-"),
        "admin": ("list", "read", "gone", "-"),
        "member": ("list", "read", "gone", "-"),
        "nobody": ("-", "-", "-", "-"),
    },
}

# Who may press each button.
BUTTONS: dict[str, dict[str, tuple[str, ...]]] = {
    "cusintegration": {
        "enable": ("operator", "admin"),
        "disable": ("operator", "admin"),
        "recover": ("operator",),
        "raise_level": ("operator", "admin"),
        "lower_level": ("operator", "admin"),
        "test_now": ("operator", "admin"),
        "remove": ("operator", "admin"),
    },
    "cusmembership": {
        "end_sessions": ("operator", "admin"),
        "remove": ("operator", "admin"),
    },
    "custenant": {"close": ("operator",)},
    "cususer": {
        "deactivate": ("operator",),
        "reactivate": ("operator",),
        "reset_second_factor": ("operator",),
        "make_support": ("operator",),
        "make_finance": ("operator",),
        "make_operator": ("operator",),
        "revoke_role": ("operator",),
        "end_sessions": ("operator",),
    },
    "cusapitoken": {"revoke": ("operator",)},
    "cussdkkey": {"revoke": ("operator", "admin")},
    "cusstop": {"lift": ("operator", "admin")},
    "cusscopedlimit": {"remove": ("operator", "admin")},
    # Only who asked withdraws, and none of those who walk did.
    "cusincreaserequest": {
        "approve": ("operator", "admin"),
        "refuse": ("operator", "admin"),
        "withdraw": (),
    },
    "cusnotificationtarget": {
        "try_out": ("operator", "admin"),
        "rotate": ("operator", "admin"),
        "remove": ("operator", "admin"),
    },
}


@dataclass(frozen=True)
class World:
    """Two tenants, and a row of each page's kind in both."""

    tenant: CusTenant
    own: dict[str, models.Model]
    foreign: dict[str, models.Model]
    # Keys of sessions by role, if a file's tests share them.
    sessions: dict[str, str] = field(default_factory=dict)


def _rows(tenant: CusTenant, name: str) -> dict[str, models.Model]:
    member = make_user("member", tenant)
    integration = make_integration(tenant, name=f"{name} integration")
    return (
        {
            "cusintegration": integration,
            "cusmembership": CusMembership.objects.get(user=member),
            "custenant": tenant,
            "cususer": member,
        }
        | _prices(tenant, name)
        | _keys(member, integration, name)
        | _limits_and_notifications(member, integration, name)
        | _records(integration, name)
    )


def _prices(tenant: CusTenant, name: str) -> dict[str, models.Model]:
    valid_from = datetime(2026, 11, 1, tzinfo=UTC)
    return {
        "cuspriceoverride": CusPriceOverrideService(tenant).append(
            model=f"{name}-model", prices={"input": "1", "output": "2"}, valid_from=valid_from
        ),
        "cusdisplayrate": CusDisplayRateService(tenant).append(
            currency="EUR", rate="0.92", valid_from=valid_from
        ),
    }


def _keys(member: CusUser, integration: CusIntegration, name: str) -> dict[str, models.Model]:
    token, _ = CusTokenService(member).issue(name=f"{name} token", now=timezone.now())
    key, _ = CusSdkKeyService(integration).issue(label=f"{name} key")
    return {"cusapitoken": token, "cussdkkey": key}


def _limits_and_notifications(
    member: CusUser, integration: CusIntegration, name: str
) -> dict[str, models.Model]:
    target, _ = CusNotificationService(integration.tenant).add(
        # Refused before a connection is made, so that its test ends at once.
        medium="webhook",
        address=f"https://localhost:1/{name}",
    )
    stop = CusStopService(integration).stop(
        scope="agent_id", value=f"{name}-agent", reason=f"{name} agent loops"
    )
    limit = CusLimitService(integration).create(
        now=timezone.now(),
        scope="agent_id",
        value=f"{name}-agent",
        unit="cents",
        window="day",
        amount=500,
    )
    return {
        "cusstop": stop,
        "cusscopedlimit": limit,
        "cusincreaserequest": _increase(member, integration, limit, name),
        "cusnotificationtarget": target,
        # Of the stop.
        "cusnotificationdelivery": CusNotificationDelivery.objects.get(target=target),
    }


def _increase(
    member: CusUser, integration: CusIntegration, limit: CusScopedLimit, name: str
) -> CusIncreaseRequest:
    return CusIncreaseService(integration.tenant, actor=member).ask(
        integration,
        Which(limit=limit),
        now=timezone.now(),
        amount=900,
        valid_until=datetime(2099, 1, 1, tzinfo=UTC),
        reason=f"{name} launch",
    )


def _records(integration: CusIntegration, name: str) -> dict[str, models.Model]:
    message = f"{name} provider was slow"
    transition = turn_health(integration, "unknown", "degraded", message=message)
    trail = CusAuditEntry.objects.filter(tenant=integration.tenant, object_id=str(integration.id))
    return {"cushealthtransition": transition, "cusauditentry": trail.latest("created_at")}


def make_world() -> World:
    """The two tenants, "Own tenant" being the one that the viewer belongs to."""
    tenant, other = make_tenant("Own tenant"), make_tenant("Foreign tenant")
    return World(tenant, _rows(tenant, "own"), _rows(other, "foreign"))
