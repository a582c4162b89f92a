"""Stop calls of an agent, a session, an end user or a model, and let them run again."""

import uuid

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from integrations.cus_accounts.models import CusUser
from integrations.cus_audit.service import SYSTEM, differences, record_change, values_of
from integrations.cus_lifecycle.end_users import PREFIX, CusEndUsers
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_lifecycle.service import locked_integration, raise_versions_of
from integrations.cus_notifications.announcing import Notice, announce
from integrations.cus_notifications.kinds import Kind
from integrations.cus_stops.models import CusStop
from integrations.cus_web.errors import CusError
from integrations.cus_web.quotas import STOPS

_AUDITED = ("scope", "value", "reason")


class StopNotFound(CusError):
    """There is no such stop."""

    code, status = "not_found", 404


class CusStopService:
    """The stops of one integration. The caller must have checked the person's rights."""

    def __init__(self, integration: CusIntegration, *, actor: CusUser | None = None) -> None:
        self.integration = integration
        self.actor = actor

    def scope(self) -> QuerySet[CusStop]:
        """All stops of the integration, lifted ones too, the newest first."""
        return CusStop.objects.filter(
            tenant_id=self.integration.tenant_id, integration=self.integration
        )

    def in_force(self) -> QuerySet[CusStop]:
        """The stops that are not lifted."""
        return self.scope().filter(lifted_at__isnull=True)

    @transaction.atomic
    def stop(self, *, scope: str, value: str, reason: str) -> CusStop:
        """Refuse calls from now on. What is stopped already stays so, with the first reason.

        Checks refuse at once; programs with a lease within its life, five seconds at most. Raises
        ValidationError, by field, IntegrationNotFound, TenantClosed and QuotaExceeded.
        """
        integration = locked_integration(self.integration.id)
        # A pseudonym, as usage records show it, names its person already.
        if scope == CusStop.Scope.END_USER and not value.startswith(PREFIX):
            value = CusEndUsers(integration.tenant_id).stored(value) or ""
        known = self.in_force().filter(scope=scope, value=value).first()
        if known:
            return known
        STOPS.require_room(self.in_force())
        stop = CusStop(
            tenant_id=integration.tenant_id,
            integration=integration,
            scope=scope,
            value=value,
            reason=reason,
            stopped_by=self.actor.email if self.actor else SYSTEM,
            created_by=self.actor,
        )
        stop.full_clean()
        if not reason.strip():
            raise ValidationError({"reason": "Say why, for those whose calls are refused."})
        stop.save(force_insert=True)
        stop.refresh_from_db()
        raise_versions_of([self.integration.id])
        changes = differences({}, values_of(stop, _AUDITED))
        record_change("stop.made", stop, actor=self.actor, changes=changes)
        announce(_notice(stop, integration))
        return stop

    @transaction.atomic
    def lift(self, stop_id: uuid.UUID) -> CusStop:
        """Let calls run again. Lifting a lifted stop changes nothing. Raises StopNotFound."""
        stop = self.scope().filter(id=stop_id).first()
        if stop is None:
            raise StopNotFound
        locked_integration(self.integration.id, open_only=False)
        lifted = {"lifted_at": timezone.now(), "lifted_by": self.actor}
        if self.in_force().filter(id=stop_id).update(**lifted):
            raise_versions_of([self.integration.id])
            changes = differences({"lifted_at": None}, {"lifted_at": lifted["lifted_at"]})
            record_change("stop.lifted", stop, actor=self.actor, changes=changes)
        stop.refresh_from_db()
        return stop


def _notice(stop: CusStop, integration: CusIntegration) -> Notice:
    """What people are told of a stop that was made."""
    what = f"The {stop.get_scope_display().lower()} {stop.value}"
    return Notice(
        tenant_id=stop.tenant_id,
        integration_id=integration.id,
        kind=Kind.STOP_MADE,
        subject=str(stop.id),
        window_start=stop.created_at,
        summary=f"{what} of {integration.name} was stopped by {stop.stopped_by}: {stop.reason}",
        path=f"/console/stops/{stop.id}",
        details={
            "stop_id": str(stop.id),
            "scope": stop.scope,
            "value": stop.value,
            "stopped_by": stop.stopped_by,
            "reason": stop.reason,
        },
    )
