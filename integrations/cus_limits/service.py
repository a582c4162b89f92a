"""Make, change and delete limits at scopes; each raises the versions that programs compare."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from psycopg.errors import RestrictViolation

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.service import differences, record_change, values_of
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_lifecycle.service import (
    locked_integration,
    raise_config_versions,
    raise_versions_of,
)
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.rules import (
    check_kind,
    check_values,
    next_change,
    usual_result,
    whose,
)
from integrations.cus_web.conflicts import refused_by
from integrations.cus_web.errors import (
    CusError,
    IntegrationNotFound,
    VersionMismatch,
)
from integrations.cus_web.quotas import SCOPED_LIMITS

# What a limit counts is its identity, and never changes.
COUNTED: Final = ("scope", "tag", "value", "unit", "window")
# What may be changed.
MUTABLE: Final = (
    "amount",
    "basis",
    "result",
    "warning_percent",
    "enabled",
    "valid_from",
    "valid_until",
    "reason",
)
_AUDITED: Final = (*COUNTED, *MUTABLE)


class LimitNotFound(CusError):
    """There is no such limit."""

    code, status = "not_found", 404


class LimitExists(CusError):
    """There is a permanent limit of this scope, name, unit and window already. Change that limit,
    or give the new limit an end, so that it stands in until then.
    """

    code, status = "limit_exists", 409


class LimitOver(CusError):
    """This limit has ended, and what was used since was not counted. Make another limit."""

    code, status = "limit_over", 409


class LimitChanged(VersionMismatch):
    """The limit has changed since you read it. Read it again, and send its new ETag."""


def limits_in_force(now: datetime) -> Q:
    """The limits that are neither deleted nor over, of integrations that are not deleted."""
    is_not_over = Q(valid_until__isnull=True) | Q(valid_until__gt=now)
    is_of_living = Q(integration__isnull=True) | Q(integration__deleted_at__isnull=True)
    return Q(deleted_at__isnull=True) & is_not_over & is_of_living


def limits_holding(now: datetime) -> Q:
    """The limits in force that refuse calls now: they are enabled, and have begun."""
    return limits_in_force(now) & Q(enabled=True, valid_from__lte=now)


class CusLimitService:
    """The limits of one integration, and those over all integrations of its tenant.

    The caller must have checked the person's rights.
    """

    def __init__(self, integration: CusIntegration, *, actor: CusUser | None = None) -> None:
        self.integration = integration
        self.actor = actor

    @classmethod
    def of(cls, limit: CusScopedLimit, *, actor: CusUser | None = None) -> "CusLimitService":
        """The service of a limit's integration. Raises IntegrationNotFound."""
        return cls(integration_of(limit), actor=actor)

    def scope(self) -> QuerySet[CusScopedLimit]:
        """The limits that are not deleted, those that are over too."""
        of_both = Q(integration=self.integration) | Q(integration__isnull=True)
        return CusScopedLimit.objects.filter(
            of_both, tenant_id=self.integration.tenant_id, deleted_at__isnull=True
        )

    def get(self, limit_id: uuid.UUID) -> CusScopedLimit:
        """The limit of this id. Raises LimitNotFound."""
        limit = self.scope().filter(id=limit_id).first()
        if limit is None:
            raise LimitNotFound
        return limit

    @transaction.atomic
    def create(self, *, scope: str, now: datetime, **fields: Any) -> CusScopedLimit:
        """A new limit: `unit`, `window`, `amount` (in that unit) and any other column of it.

        What was used in the present window counts from the start. Missing are: the basis, then the
        integration's `budget_basis`; the result, then `rules.usual_result`. Raises ValidationError,
        by field, IntegrationNotFound, TenantClosed, LimitExists and QuotaExceeded.
        """
        is_of_tenant = scope == CusScopedLimit.Scope.TENANT
        limit = self._draft(self._lock(of_tenant=is_of_tenant), scope, fields, now=now)
        owned = self.scope().filter(limits_in_force(now), integration=limit.integration)
        SCOPED_LIMITS.require_room(owned)
        limit.next_change_at = next_change(fields, now=now)
        with refused_by(cus_scoped_limits_one_of_a_kind=LimitExists):
            limit.save(force_insert=True)
        limit.refresh_from_db()
        self._raise_versions(limit)
        self._record("limit.made", limit, differences({}, values_of(limit, _AUDITED)))
        return limit

    def draft(self, *, scope: str, now: datetime, **fields: Any) -> CusScopedLimit:
        """The limit that `create` would make of these fields, without making it.

        Raises ValidationError, by field.
        """
        return self._draft(self.integration, scope, fields, now=now)

    def holding(self, *, now: datetime) -> QuerySet[CusScopedLimit]:
        """The limits that refuse calls now, in the order in which they were made."""
        return self.scope().filter(limits_holding(now)).order_by("created_at", "id")

    def _draft(
        self, integration: CusIntegration, scope: str, given: Mapping[str, Any], *, now: datetime
    ) -> CusScopedLimit:
        fields = {name: value for name, value in given.items() if value is not None}
        of = whose(
            scope,
            fields.pop("tag", ""),
            fields.pop("value", None),
            tenant_id=integration.tenant_id,
        )
        defaults = {
            "basis": integration.budget_basis,
            "result": usual_result(fields["unit"], fields["window"]),
        }
        limit = CusScopedLimit(
            tenant_id=integration.tenant_id,
            integration=None if scope == CusScopedLimit.Scope.TENANT else integration,
            scope=of.scope,
            tag=of.tag,
            value=of.value,
            created_by=self.actor,
            **defaults | fields,
        )
        check_values(limit, now=now)
        check_kind(limit)
        return limit

    @transaction.atomic
    def change(
        self,
        limit_id: uuid.UUID,
        *,
        now: datetime,
        expected_version: int | None = None,
        **fields: Any,
    ) -> CusScopedLimit:
        """Set the named fields (of `MUTABLE`). If no value differs, nothing changes.

        A lower amount binds at once where checks decide, and leased calls within a lease's life.
        Raises LimitNotFound, LimitChanged if the version is not `expected_version` any more,
        LimitOver, LimitExists and ValidationError, by field.
        """
        _refuse_unknown(fields)
        limit = self._locked(limit_id, expected_version)
        if limit.valid_until is not None and limit.valid_until <= now:
            raise LimitOver
        before = values_of(limit, MUTABLE)
        for name, value in fields.items():
            setattr(limit, name, value)
        changed = {name: value for name, value in fields.items() if value != before[name]}
        if not changed:
            return limit
        check_values(limit, now=now)
        times = values_of(limit, ("valid_from", "valid_until"))
        with refused_by(cus_scoped_limits_one_of_a_kind=LimitExists), _refused_if_over():
            self._write(limit, changed | {"next_change_at": next_change(times, now=now)}, now)
        self._raise_versions(limit)
        limit.refresh_from_db()
        self._record("limit.changed", limit, differences(before, changed))
        return limit

    @transaction.atomic
    def delete(
        self, limit_id: uuid.UUID, *, now: datetime, expected_version: int | None = None
    ) -> None:
        """End the limit for good. Its row stays, because decisions name it.

        Raises LimitNotFound and LimitChanged.
        """
        limit = self._locked(limit_id, expected_version)
        self._write(limit, {"deleted_at": now, "next_change_at": None}, now)
        self._raise_versions(limit)
        limit.refresh_from_db()
        self._record("limit.deleted", limit, differences({"deleted_at": None}, {"deleted_at": now}))

    def _locked(self, limit_id: uuid.UUID, expected_version: int | None) -> CusScopedLimit:
        """The limit, with its owner's row locked, so that its version can't rise meanwhile."""
        self._lock(of_tenant=self.get(limit_id).integration_id is None, open_only=False)
        limit = self.get(limit_id)
        if expected_version not in (None, limit.version):
            raise LimitChanged
        return limit

    def _write(self, limit: CusScopedLimit, values: Mapping[str, Any], now: datetime) -> None:
        self.scope().filter(id=limit.id).update(**values, version=F("version") + 1, updated_at=now)

    def _lock(self, *, of_tenant: bool, open_only: bool = True) -> CusIntegration:
        """Lock the row of whose limits change: two requests never fill the last place of a quota."""
        if of_tenant:
            tenants = CusTenant.objects.select_for_update(no_key=True)
            tenants.get(id=self.integration.tenant_id)
        return locked_integration(self.integration.id, open_only=open_only)

    def _raise_versions(self, limit: CusScopedLimit) -> None:
        if limit.integration_id is None:
            raise_config_versions(self.integration.tenant)
        else:
            raise_versions_of([limit.integration_id])

    def _record(self, action: str, limit: CusScopedLimit, changes: dict[str, Any]) -> None:
        if limit.unit == CusScopedLimit.Unit.CENTS and "amount" in changes:
            # By its unit, so that the trail writes dollars.
            changes["amount_cents"] = changes.pop("amount")
        record_change(action, limit, actor=self.actor, changes=changes)


@contextmanager
def _refused_if_over() -> Iterator[None]:
    """Raise LimitOver where the database's guard finds, by its own clock, that the limit ended."""
    try:
        yield
    except IntegrityError as error:
        if not isinstance(error.__cause__, RestrictViolation):
            raise
        raise LimitOver from None


def integration_of(limit: CusScopedLimit) -> CusIntegration:
    """The limit's integration; of a limit over all integrations the tenant's first.

    Raises IntegrationNotFound if it is deleted, or the tenant has none any more.
    """
    living = CusIntegration.objects.filter(tenant_id=limit.tenant_id, deleted_at__isnull=True)
    if limit.integration_id is not None:
        living = living.filter(id=limit.integration_id)
    found = living.select_related("tenant").order_by("created_at", "id").first()
    if found is None:
        raise IntegrationNotFound
    return found


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    unknown = sorted(set(fields) - set(MUTABLE))
    if unknown:
        msg = f"not fields that may be set: {', '.join(unknown)}"
        raise TypeError(msg)
