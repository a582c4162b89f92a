"""What a tenant's own people choose for their tenant: the time zone in which they read usage."""

from django.db import transaction

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.time_zones import zone_named
from integrations.cus_audit.service import record_change
from integrations.cus_web.errors import TenantClosed


class CusTenantSettingsService:
    """The settings of one tenant."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    @transaction.atomic
    def change(self, *, time_zone: str) -> CusTenant:
        """Read days and months in this zone from now on, past days too. Budgets stay in UTC.

        Raises TimeZoneUnknown and TenantClosed.
        """
        zone_named(time_zone)
        current = CusTenant.objects.select_for_update(no_key=True).get(id=self.tenant.id)
        if current.closed_at:
            raise TenantClosed
        before, current.time_zone = current.time_zone, time_zone
        if before != time_zone:
            current.save(update_fields=["time_zone"])
            changes = {"time_zone": {"from": before, "to": time_zone}}
            record_change("tenant.changed", current, actor=self.actor, changes=changes)
        return current
