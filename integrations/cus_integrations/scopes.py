"""What a page of figures is about: whose usage, over which days, in which zone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast
from zoneinfo import ZoneInfo

from django.http import HttpRequest

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.permissions import shown_tenant, visible_to
from integrations.cus_console.finders import as_id
from integrations.cus_lifecycle.models import CusIntegration

DAYS: Final[Mapping[str, str]] = {"7": "7 days", "30": "30 days", "90": "90 days"}
USUAL_DAYS: Final = 30
# By what costs are told apart.
SPLITS: Final[Mapping[str, str]] = {
    "integration": "integration",
    "model": "model",
    "agent": "agent",
}
_UTC: Final = ZoneInfo("UTC")


@dataclass(frozen=True)
class UsageScope:
    """Usage of an integration, else of a tenant, else of all tenants, over the last days.

    Days are those of the tenant's time zone; those of UTC for all tenants.
    """

    now: datetime
    tenant: CusTenant | None = None
    integration: CusIntegration | None = None
    days: int = USUAL_DAYS
    split: str = "integration"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.tenant.time_zone) if self.tenant else _UTC


def scope_of_integration(integration: CusIntegration, now: datetime) -> UsageScope:
    """The last days of an integration, by model."""
    return UsageScope(now, integration.tenant, integration, split="model")


def home_scope(request: HttpRequest, now: datetime) -> UsageScope:
    """The last days of the person's tenant, or of all tenants for the staff."""
    return UsageScope(now, _own(request))


def scope_of(request: HttpRequest, now: datetime) -> UsageScope:
    """The scope that the address names, within what the person may see.

    A tenant's people always get their own tenant. What the address can't name is left out.
    """
    seen = visible_to(
        CusIntegration.objects.select_related("tenant"), cast("CusUser", request.user)
    )
    integration_id = as_id(request.GET.get("integration", ""))
    integration = seen.filter(id=integration_id).first() if integration_id is not None else None
    tenant = integration.tenant if integration else _own(request) or _named(request)
    days, split = request.GET.get("days", ""), request.GET.get("by", "")
    # Models and agents are told apart for a tenant alone, because all tenants have too many hours.
    splits = SPLITS if tenant else {"integration": ""}
    return UsageScope(
        now,
        tenant,
        integration,
        int(days) if days in DAYS else USUAL_DAYS,
        split if split in splits else "model" if integration else "integration",
    )


def _own(request: HttpRequest) -> CusTenant | None:
    tenant_id = shown_tenant(cast("CusUser", request.user))
    return CusTenant.objects.get(id=tenant_id) if tenant_id else None


def _named(request: HttpRequest) -> CusTenant | None:
    tenant_id = as_id(request.GET.get("tenant", ""))
    return CusTenant.objects.filter(id=tenant_id).first() if tenant_id else None
