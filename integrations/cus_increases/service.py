"""Ask for an increase of a limit, and decide: approve or refuse, never one's own request.

The person who asked may withdraw the request while it is open.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.service import SYSTEM, differences, record_change, values_of
from integrations.cus_increases.mails import tell_admins, tell_asker
from integrations.cus_increases.models import CusIncreaseRequest
from integrations.cus_lifecycle.limits import LIMITS, Limit
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.rules import check_amount, check_times, usual_result, whose
from integrations.cus_limits.service import CusLimitService, LimitNotFound
from integrations.cus_limits.words import amount_text
from integrations.cus_web.errors import CusError, IntegrationNotFound, TenantClosed
from integrations.cus_web.quotas import INCREASE_REQUESTS

_State = CusIncreaseRequest.State
_OWN: Final = {limit.column: limit for limit in LIMITS}
_LONGEST_ANSWER: Final = 500
_AUDITED: Final = ("present_amount", "amount", "valid_until", "reason")


class RequestNotFound(CusError):
    """There is no such request."""

    code, status = "not_found", 404


class RequestDecided(CusError):
    """This request is decided already, and stays so. Ask again for another decision."""

    code, status = "request_decided", 409


class RequestLapsed(CusError):
    """The time for which this request asked is over. Ask again for a later time."""

    code, status = "request_lapsed", 409


class LimitGone(CusError):
    """The limit that this request would raise was deleted, or has ended. Refuse the request."""

    code, status = "limit_gone", 409


class OwnRequest(CusError):
    """You asked for this increase, so another person decides. Ask another admin."""

    code, status = "own_request", 403


class NotOwnRequest(CusError):
    """Another person asked for this increase, so you can't withdraw it. Refuse it, or let it lapse."""

    code, status = "not_own_request", 403


@dataclass(frozen=True)
class Which:
    """Which limit a request is about: one at a scope, or the integration's own of that name.

    `value` narrows a limit of each value to one.
    """

    limit: CusScopedLimit | None = None
    own_limit: str = ""
    value: str | None = None


class CusIncreaseService:
    """The requests of one tenant. The caller must have checked the person's rights."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    def scope(self) -> QuerySet[CusIncreaseRequest]:
        """All requests, the newest first."""
        return CusIncreaseRequest.objects.filter(tenant=self.tenant)

    def get(self, request_id: uuid.UUID) -> CusIncreaseRequest:
        """The request of this id. Raises RequestNotFound."""
        found = self.scope().select_related("integration", "limit").filter(id=request_id).first()
        if found is None:
            raise RequestNotFound
        return found

    @transaction.atomic
    def ask(
        self,
        integration: CusIntegration,
        which: Which,
        *,
        now: datetime,
        amount: int,
        valid_until: datetime,
        reason: str,
    ) -> CusIncreaseRequest:
        """Ask that a limit be `amount` (in its unit) until then; admins get a mail.

        Raises ValidationError, by field, LimitNotFound, TenantClosed and QuotaExceeded.
        """
        self._lock_tenant()
        raised = self._raised(integration, which)
        _check_asked(raised, amount, reason)
        check_times(now, valid_until, now=now)
        INCREASE_REQUESTS.require_room(self.scope().filter(state=_State.OPEN, valid_until__gt=now))
        request = CusIncreaseRequest(
            tenant=self.tenant,
            integration=integration,
            limit=which.limit,
            own_limit=which.own_limit,
            scope=raised.scope,
            tag=raised.tag,
            value=raised.value,
            unit=raised.unit,
            window=raised.window,
            present_amount=raised.amount,
            amount=amount,
            valid_until=valid_until,
            reason=reason,
            asked_by=self.actor.email if self.actor else SYSTEM,
            created_by=self.actor,
        )
        request.clean_fields()
        request.save(force_insert=True)
        request.refresh_from_db()
        self._record("increase.asked", request, differences({}, values_of(request, _AUDITED)))
        tell_admins(request)
        return request

    @transaction.atomic
    def approve(self, request_id: uuid.UUID, *, now: datetime) -> CusIncreaseRequest:
        """Make the limit that was asked for; it ends by itself. The person who asked gets a mail.

        Raises RequestNotFound, OwnRequest, RequestDecided, RequestLapsed, LimitGone,
        ValidationError where the limit is as high by now, and what making a limit raises.
        """
        request = self._to_decide(request_id)
        if request.has_lapsed(now):
            raise RequestLapsed
        raised = self._still_raised(request, now)
        limit = CusLimitService(request.integration, actor=self.actor).create(
            now=now,
            scope=raised.scope,
            tag=raised.tag,
            value=raised.value,
            unit=raised.unit,
            window=raised.window,
            amount=request.amount,
            basis=raised.basis,
            result=raised.result,
            warning_percent=raised.warning_percent,
            valid_until=request.valid_until,
            reason=f"Asked for by {request.asked_by}: {request.reason}"[:500],
        )
        return self._decide(request, now, state=_State.APPROVED, made_limit=limit)

    def _still_raised(self, request: CusIncreaseRequest, now: datetime) -> CusScopedLimit:
        ends = request.limit.valid_until if request.limit else None
        if ends is not None and ends <= now:
            raise LimitGone
        which = Which(request.limit, request.own_limit, request.value or None)
        try:
            raised = self._raised(request.integration, which)
        except (LimitNotFound, IntegrationNotFound):
            raise LimitGone from None
        _check_asked(raised, request.amount, request.reason)
        return raised

    @transaction.atomic
    def refuse(self, request_id: uuid.UUID, *, now: datetime, answer: str) -> CusIncreaseRequest:
        """Refuse, and say why; the person who asked gets a mail.

        Raises RequestNotFound, OwnRequest, RequestDecided and ValidationError.
        """
        request = self._to_decide(request_id)
        if not answer.strip() or len(answer) > _LONGEST_ANSWER:
            text = f"Say why, for the person who asked, in up to {_LONGEST_ANSWER} characters."
            raise ValidationError({"reason": text})
        return self._decide(request, now, state=_State.REFUSED, answer=answer)

    @transaction.atomic
    def withdraw(self, request_id: uuid.UUID, *, now: datetime) -> CusIncreaseRequest:
        """Take one's own request back. Nobody gets a mail.

        Raises RequestNotFound, NotOwnRequest, RequestDecided and TenantClosed.
        """
        request = self._locked(request_id)
        if self.actor is None or request.created_by_id != self.actor.pk:
            raise NotOwnRequest
        return self._end(request, now, state=_State.WITHDRAWN)

    def _to_decide(self, request_id: uuid.UUID) -> CusIncreaseRequest:
        request = self._locked(request_id)
        if self.actor is not None and request.created_by_id == self.actor.pk:
            raise OwnRequest
        if request.state != _State.OPEN:
            raise RequestDecided
        return request

    def _locked(self, request_id: uuid.UUID) -> CusIncreaseRequest:
        # The tenant's row first: two decisions at once never make two limits.
        self._lock_tenant()
        return self.get(request_id)

    def _decide(
        self, request: CusIncreaseRequest, now: datetime, **decision: Any
    ) -> CusIncreaseRequest:
        decided = self._end(request, now, **decision)
        tell_asker(decided, by=self.actor.email if self.actor else SYSTEM)
        return decided

    def _end(
        self, request: CusIncreaseRequest, now: datetime, **decision: Any
    ) -> CusIncreaseRequest:
        """Close an open request. Raises RequestDecided."""
        values = {"decided_at": now, "decided_by": self.actor} | decision
        if not self.scope().filter(id=request.id, state=_State.OPEN).update(**values):
            raise RequestDecided
        decided = self.get(request.id)
        names = ("state", "answer", "made_limit_id")
        changes = differences(values_of(request, names), values_of(decided, names))
        self._record(f"increase.{decided.state}", decided, changes)
        return decided

    def _record(self, action: str, request: CusIncreaseRequest, changes: dict[str, Any]) -> None:
        if request.unit == CusScopedLimit.Unit.CENTS:
            # By their unit, so that the trail writes dollars.
            for name in changes.keys() & {"present_amount", "amount"}:
                changes[f"{name}_cents"] = changes.pop(name)
        record_change(action, request, actor=self.actor, changes=changes)

    def _lock_tenant(self) -> None:
        tenants = CusTenant.objects.select_for_update(no_key=True)
        if tenants.get(id=self.tenant.id).closed_at:
            raise TenantClosed

    def _raised(self, integration: CusIntegration, which: Which) -> CusScopedLimit:
        """What an increase stands in for, and how it counts and refuses."""
        integration = self._living(integration)
        if which.limit is None:
            return _of_own(integration, which.own_limit)
        # Read anew: its amount may have changed.
        return _of_scoped(CusLimitService(integration).get(which.limit.id), which.value)

    def _living(self, integration: CusIntegration) -> CusIntegration:
        rows = CusIntegration.objects.filter(tenant=self.tenant, deleted_at__isnull=True)
        found = rows.select_related("tenant").filter(id=integration.id).first()
        if found is None:
            raise IntegrationNotFound
        return found


def _of_own(integration: CusIntegration, name: str) -> CusScopedLimit:
    """An integration's own limit as a limit at a scope would say it; not to be saved."""
    own: Limit | None = _OWN.get(name)
    if own is None:
        raise ValidationError({"limit": f"One of the integration's own: {', '.join(_OWN)}."})
    amount = getattr(integration, own.column)
    if not amount:
        text = "The integration has no such limit, so there is nothing to raise."
        raise ValidationError({"limit": text})
    return CusScopedLimit(
        scope=CusScopedLimit.Scope.INTEGRATION,
        tag="",
        value="",
        unit=own.unit,
        window=own.window,
        amount=amount,
        basis=integration.budget_basis,
        result=usual_result(own.unit, own.window),
        warning_percent=80,
    )


def _of_scoped(limit: CusScopedLimit, value: str | None) -> CusScopedLimit:
    """A limit, or what the limit of each value says of one value; not to be saved."""
    if not limit.enabled:
        text = "This limit is disabled and refuses nothing, so there is nothing to raise."
        raise ValidationError({"limit": text})
    if value:
        value = whose(limit.scope, limit.tag, value, tenant_id=limit.tenant_id).value
    if value and limit.value not in (None, value):
        text = "This limit is not one of each value, so its increase is for the same calls."
        raise ValidationError({"value": text})
    limit.value = value or limit.value
    return limit


def _check_asked(raised: CusScopedLimit, amount: int, reason: str) -> None:
    if amount <= raised.amount:
        present = amount_text(raised.unit, raised.amount)
        text = f"The limit is {present} now, so this is no increase. Ask for more than that."
        raise ValidationError({"amount": text})
    check_amount(raised.unit, amount)
    if not reason.strip():
        raise ValidationError({"reason": "Say why, for those who decide."})
