"""Tenants: made, renamed and closed by operators."""

from django.db import transaction
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.service import record_change
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_lifecycle.service import CusIntegrationLifecycle
from integrations.cus_web.conflicts import refused_by
from integrations.cus_web.errors import OperatorsOnly, TenantClosed, TenantNameTaken

_NAME = "cus_tenants_name_key"


class CusTenantService:
    """The operations of operators on tenants. Without an actor, the system is the actor."""

    def __init__(self, *, actor: CusUser | None = None) -> None:
        if actor and not actor.is_operator:
            raise OperatorsOnly
        self.actor = actor

    @transaction.atomic
    def create(self, name: str) -> CusTenant:
        """A new tenant. Raises ValidationError, TenantNameTaken."""
        tenant = CusTenant(name=name.strip())
        tenant.clean_fields()
        with refused_by(**{_NAME: TenantNameTaken}):
            tenant.save(force_insert=True)
        changes = {"name": {"from": None, "to": tenant.name}}
        record_change("tenant.created", tenant, actor=self.actor, changes=changes)
        return tenant

    @transaction.atomic
    def rename(self, tenant: CusTenant, name: str) -> CusTenant:
        """Give the tenant another name. Raises ValidationError, TenantNameTaken, TenantClosed."""
        current = self._open(tenant)
        before, current.name = current.name, name.strip()
        current.clean_fields()
        if current.name == before:
            return current
        with refused_by(**{_NAME: TenantNameTaken}):
            current.save(update_fields=["name"])
        changes = {"name": {"from": before, "to": current.name}}
        record_change("tenant.renamed", current, actor=self.actor, changes=changes)
        return current

    @transaction.atomic
    def close(self, tenant: CusTenant) -> CusTenant:
        """Close the tenant for good: its people see nothing, its integrations stop.

        The tenant's keys work for ingest alone, like keys of deleted integrations. Closing a closed
        tenant changes nothing.
        """
        current = self._locked(tenant)
        if current.closed_at:
            return current
        service = CusIntegrationLifecycle(current, actor=self.actor)
        for integration in service.scope().exclude(status=CusIntegration.Status.DISABLED):
            service.disable(integration)
        current.closed_at = timezone.now()
        current.save(update_fields=["closed_at"])
        changes = {"closed_at": {"from": None, "to": current.closed_at}}
        record_change("tenant.closed", current, actor=self.actor, changes=changes)
        return current

    def _open(self, tenant: CusTenant) -> CusTenant:
        current = self._locked(tenant)
        if current.closed_at:
            raise TenantClosed
        return current

    def _locked(self, tenant: CusTenant) -> CusTenant:
        return CusTenant.objects.select_for_update(no_key=True).get(id=tenant.id)
