"""The transitions of an integration's status: created → enabled ⇄ disabled, to error and back.

An error has a reason, and is open until it is cleared. `fail` opens an error; `recover` closes it
and restores the status from before (ruling F2). Disabling always works, also in error; otherwise a
stopped integration could start by itself when a check passes. Enabling is refused while an error is
open.
"""

import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.service import differences, record_change, values_of
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_providers.origin import leads_where_entered
from integrations.cus_web.errors import (
    CredentialRequired,
    IntegrationChanged,
    IntegrationNotFound,
    InvalidTransition,
    TenantClosed,
)

_Status = CusIntegration.Status
_NO_ERROR = {"error_reason": None, "status_before_error": None}
# An attempt fails if another change was written since the row was read.
_ATTEMPTS = 10
_MAX_REASON = 1000

Step = Callable[[CusIntegration], Mapping[str, Any]]


class CusIntegrationLifecycle:
    """The transitions of one tenant's integrations. Repeating a transition changes nothing."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    def scope(self) -> QuerySet[CusIntegration]:
        """The tenant's integrations that are not deleted."""
        return CusIntegration.objects.filter(tenant=self.tenant, deleted_at__isnull=True)

    def get(self, pk: uuid.UUID | str) -> CusIntegration:
        """The tenant's integration of this id. Raises IntegrationNotFound."""
        try:
            return self.scope().select_related("stored_credential").get(id=pk)
        except (CusIntegration.DoesNotExist, ValidationError):
            raise IntegrationNotFound from None

    @transaction.atomic
    def enable(self, integration: CusIntegration) -> CusIntegration:
        """Let the integration serve.

        Raises InvalidTransition, which names the obstacle, and CredentialRequired if the
        configuration leads to another origin than the credential was entered for.
        """
        self.require_open_tenant()
        return self._move(integration, "integration.enabled", _enabling)

    def disable(self, integration: CusIntegration) -> CusIntegration:
        """Stop the integration, whatever its status. It stays stopped until it is enabled."""
        return self._move(integration, "integration.disabled", _disabling)

    def fail(self, integration: CusIntegration, reason: str) -> CusIntegration:
        """Put the integration into `error`, with the reason in plain words (no secrets).

        Failing again replaces the reason. An integration that was disabled in error stays disabled.
        """
        # A provider's message may hold a NUL, which PostgreSQL's texts can't hold.
        text = reason.replace("\0", "").strip()[:_MAX_REASON] or "No reason was given."
        return self._move(integration, "integration.failed", lambda row: _failing(row, text))

    def recover(self, integration: CusIntegration) -> CusIntegration:
        """Close an open error: a check passed, or an operator cleared it.

        The integration returns to its status before the error, unless it was disabled since.
        """
        return self._move(integration, "integration.recovered", _recovering)

    def require_open_tenant(self) -> None:
        """Raise TenantClosed if the tenant is closed; keep it open until the transaction ends."""
        tenants = CusTenant.objects.select_for_update(no_key=True)
        if tenants.get(id=self.tenant.id).closed_at:
            raise TenantClosed

    @transaction.atomic
    def _move(self, integration: CusIntegration, action: str, step: Step) -> CusIntegration:
        for _ in range(_ATTEMPTS):
            row = self.scope().filter(id=integration.id).first()
            if row is None:
                raise IntegrationNotFound
            values = step(row)
            if not values or self._write(row, values):
                if values:
                    changes = differences(values_of(row, values), values)
                    record_change(action, row, actor=self.actor, changes=changes)
                integration.refresh_from_db()
                return integration
        raise IntegrationChanged

    def _write(self, row: CusIntegration, values: Mapping[str, Any]) -> bool:
        """Write the values and raise the version, unless the row has changed since it was read."""
        unchanged = self.scope().filter(id=row.id, config_version=row.config_version)
        return bool(
            unchanged.update(
                **values, config_version=F("config_version") + 1, updated_at=timezone.now()
            )
        )


def _enabling(row: CusIntegration) -> Mapping[str, Any]:
    if row.status == _Status.ENABLED:
        return {}
    if row.error_reason or row.status == _Status.ERROR:
        raise InvalidTransition(
            f"The integration is in error: {row.error_reason or 'its reason is not known.'} "
            "Mend that and run a test: when the test passes, the error is closed."
        )
    if row.credential_state == CusIntegration.CredentialState.INVALID:
        raise InvalidTransition(
            "The provider refuses the integration's credential. Enter a valid one first."
        )
    if not _has_credential(row):
        raise InvalidTransition("The integration has no credential. Enter one first.")
    if not leads_where_entered(row):
        raise CredentialRequired(
            "The configuration leads to another address than the credential was entered for. Enter "
            "the credential again for this address, or correct the configuration."
        )
    return {"status": _Status.ENABLED}


def _disabling(row: CusIntegration) -> Mapping[str, Any]:
    return {} if row.status == _Status.DISABLED else {"status": _Status.DISABLED}


def _failing(row: CusIntegration, reason: str) -> Mapping[str, Any]:
    if row.error_reason == reason:
        return {}
    if row.error_reason:
        return {"error_reason": reason}
    return {
        "status": _Status.ERROR,
        "status_before_error": row.status,
        "error_reason": reason,
    }


def _recovering(row: CusIntegration) -> Mapping[str, Any]:
    if row.status == _Status.ERROR:
        return {"status": row.status_before_error or _Status.DISABLED} | _NO_ERROR
    return _NO_ERROR if row.error_reason else {}


def _has_credential(row: CusIntegration) -> bool:
    if not row.credential_ref.startswith("db://"):
        return True
    stored = CusIntegration.objects.filter(id=row.id, stored_credential__tenant=row.tenant_id)
    return stored.exists()


def locked_integration(integration_id: uuid.UUID, *, open_only: bool = True) -> CusIntegration:
    """The integration's row, locked: whoever changes its child rows takes turns, so that two
    requests never fill the last place of a quota.

    Raises IntegrationNotFound; and TenantClosed, unless not `open_only`.
    """
    locked = CusIntegration.objects.select_for_update(of=("self",), no_key=True)
    integration = locked.select_related("tenant").get(id=integration_id)
    if integration.deleted_at:
        raise IntegrationNotFound
    if open_only and integration.tenant.closed_at:
        raise TenantClosed
    return integration


def raise_config_versions(tenant: CusTenant) -> None:
    """Raise the versions of all of the tenant's integrations: a fact of all has changed (F10)."""
    _raise_versions(CusIntegration.objects.filter(tenant=tenant, deleted_at__isnull=True))


def raise_versions_of(integration_ids: Collection[uuid.UUID]) -> None:
    """Raise the versions of these integrations: child rows that decisions read have changed."""
    if integration_ids:
        _raise_versions(CusIntegration.objects.filter(id__in=integration_ids))


def _raise_versions(scope: QuerySet[CusIntegration]) -> None:
    # In the order of their keys, so that two transactions can't deadlock.
    ids = list(scope.order_by("id").select_for_update(no_key=True).values_list("id", flat=True))
    scope.filter(id__in=ids).update(
        config_version=F("config_version") + 1, updated_at=timezone.now()
    )
