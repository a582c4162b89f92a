"""Integrations of one tenant: made, found, changed, closed."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from integrations.cus_audit import differences, record_change, values_of
from integrations.cus_conflicts import refused_by
from integrations.cus_credential_service import CusCredentialService
from integrations.cus_errors import (
    IntegrationChanged,
    IntegrationNotFound,
    NameTaken,
    OperatorsOnly,
    VersionMismatch,
)
from integrations.cus_integration_lifecycle import CusIntegrationLifecycle
from integrations.cus_integration_rules import check_fields, check_level
from integrations.cus_models import CusIntegration, CusTenant
from integrations.cus_provider_rules import check_credential

# What may be set at any time. The rest is identity, or moves by the lifecycle and by checks.
MUTABLE = (
    "name",
    "config",
    "default_model",
    "budget_limit_cents",
    "budget_basis",
    "token_limit_month",
    "rate_limit_rpm",
    "enforcement_level",
    "allow_unpriced",
    "max_live_holds",
)
# Of those, what guards the service itself, not the tenant's money.
_OPERATORS_OWN = ("max_live_holds",)
_RECORDED = ("provider_type", *MUTABLE)
# With another credential: what checks said in a row was not about this one.
_NEVER_CHECKED = {
    "credential_state": CusIntegration.CredentialState.UNKNOWN,
    "consecutive_bad_keys": 0,
}


class CusIntegrationService(CusIntegrationLifecycle):
    """What may be done with a tenant's integrations. Born with its tenant and actor.

    Every change is one conditional UPDATE with its audit entry, in one transaction.
    """

    def get(self, pk: uuid.UUID | str) -> CusIntegration:
        """One of the tenant's integrations. Raises IntegrationNotFound."""
        try:
            return self.scope().select_related("stored_credential").get(id=pk)
        except (CusIntegration.DoesNotExist, ValidationError):
            raise IntegrationNotFound from None

    @transaction.atomic
    def create(
        self,
        *,
        name: str,
        provider_type: str,
        credential: dict[str, str] | None = None,
        reference: str | None = None,
        **fields: Any,
    ) -> CusIntegration:
        """A new integration, `created` and not yet serving.

        Its credential is sealed or, for operators, in a store that `reference` names (ruling C1).
        Raises ValidationError, by field, NameTaken, TenantClosed, OperatorsOnly and what the
        credential service says of the reference.
        """
        self.require_open_tenant()
        if reference:
            self._require_operator()
        _refuse_unknown(fields)
        integration = CusIntegration(
            tenant=self.tenant,
            name=name,
            provider_type=provider_type,
            credential_ref=f"db://{uuid.uuid4()}",
            created_by=self.actor,
            **fields,
        )
        check_fields(integration)
        self._check_bounds(CusIntegration(), values_of(integration, _OPERATORS_OWN))
        if not reference:
            check_credential(provider_type, credential or {})
        with refused_by(cus_integrations_name=NameTaken):
            integration.save(force_insert=True)
        if reference:
            CusCredentialService(self.tenant).refer(integration, reference)
        else:
            CusCredentialService(self.tenant).store(integration, credential or {})
        integration = self.get(integration.id)
        made = differences({}, values_of(integration, _RECORDED)) | {"credential": "changed"}
        record_change("integration.created", integration, actor=self.actor, changes=made)
        return integration

    @transaction.atomic
    def change(
        self,
        integration_id: uuid.UUID | str,
        *,
        expected_version: int | None = None,
        credential: dict[str, str] | None = None,
        **fields: Any,
    ) -> CusIntegration:
        """Set the named fields (of `MUTABLE`), and the credential where one is given.

        Raises VersionMismatch if `config_version` is not `expected_version` any more;
        IntegrationChanged if another change was written at the same moment; ValidationError,
        by field; NameTaken; LevelNotReachable; OperatorsOnly. What is as it was already changes
        nothing.
        """
        _refuse_unknown(fields)
        row = self.get(integration_id)
        if expected_version not in (None, row.config_version):
            raise VersionMismatch
        before = values_of(row, MUTABLE)
        _set_fields(row, fields)
        values = {name: getattr(row, name) for name in fields if getattr(row, name) != before[name]}
        self._check_change(row, before, values, credential)
        changes: dict[str, Any] = dict(differences(before, values))
        if credential is not None:
            values |= _NEVER_CHECKED
            changes["credential"] = "changed"
        if not changes:
            return row
        if "config" in values:
            values["consecutive_refusals"] = 0
        with refused_by(cus_integrations_name=NameTaken):
            written = self._write(row, values)
        if not written:
            raise VersionMismatch if expected_version is not None else IntegrationChanged
        if credential is not None:
            CusCredentialService(self.tenant).store(row, credential)
        record_change("integration.changed", row, actor=self.actor, changes=changes)
        return self.get(integration_id)

    def _check_change(
        self,
        row: CusIntegration,
        before: Mapping[str, Any],
        values: Mapping[str, Any],
        credential: dict[str, str] | None,
    ) -> None:
        """Refuse what the new values may not be, beside the old ones and with this credential."""
        self._check_bounds(row, values)
        if "enforcement_level" in values:
            check_level(
                values["enforcement_level"],
                current=before["enforcement_level"],
                coverage_percent=row.coverage_percent,
            )
        if credential is None:
            self._keep_address(row, before["config"])
        else:
            check_credential(row.provider_type, credential)

    def _check_bounds(self, row: CusIntegration, values: Mapping[str, Any]) -> None:
        """What bounds the load that a tenant may be is not the tenant's to change (ruling F5b)."""
        for name in _OPERATORS_OWN:
            if name in values and values[name] != getattr(row, name):
                self._require_operator()

    def _keep_address(self, row: CusIntegration, before: Mapping[str, Any]) -> None:
        """A secret of the operator's goes to no address of the tenant's choice (ruling C1)."""
        moved = row.config.get("base_url") != before.get("base_url")
        is_operator = self.actor is not None and self.actor.is_operator
        if moved and not is_operator and not row.credential_ref.startswith("db://"):
            raise OperatorsOnly(
                "This integration's credential is kept in a store of the operator's, so only an "
                "operator may send it to another base_url. Or enter a credential of your own."
            )

    @transaction.atomic
    def refer(self, integration: CusIntegration, ref: str) -> CusIntegration:
        """Take the credential from a store of the operator's, such as `env://…` (ruling C1).

        Raises OperatorsOnly, and what the credential service says of the reference.
        """
        self._require_operator()
        row = self.get(integration.id)
        if not self._write(row, _NEVER_CHECKED):
            raise IntegrationChanged
        CusCredentialService(self.tenant).refer(row, ref)
        changes = {"credential_ref": "changed"}
        record_change("integration.changed", row, actor=self.actor, changes=changes)
        return self.get(row.id)

    @transaction.atomic
    def delete(self, integration: CusIntegration) -> None:
        """Close the integration for good (ruling C3).

        Its name becomes free, its credential is destroyed, its keys go on for ingest alone.
        Evidence refers to it, so its row stays. Raises IntegrationNotFound if it is gone already.
        """
        closed: Mapping[str, Any] = {
            "deleted_at": timezone.now(),
            "status": CusIntegration.Status.DISABLED,
            "error_reason": None,
            "status_before_error": None,
            "credential_state": CusIntegration.CredentialState.UNKNOWN,
        }
        changed = (
            self.scope()
            .filter(id=integration.id)
            .update(**closed, config_version=F("config_version") + 1, updated_at=timezone.now())
        )
        if not changed:
            raise IntegrationNotFound
        integration.refresh_from_db()
        CusCredentialService(self.tenant).destroy(integration)
        changes = {"credential": "changed"}
        record_change("integration.deleted", integration, actor=self.actor, changes=changes)

    def _require_operator(self) -> None:
        if self.actor is None or not self.actor.is_operator:
            raise OperatorsOnly


def raise_config_versions(tenant: CusTenant) -> None:
    """Something changed that decisions about all of the tenant's integrations read (F10)."""
    scope = CusIntegration.objects.filter(tenant=tenant, deleted_at__isnull=True)
    # In the order of their keys, so that two of these can't deadlock.
    ids = list(scope.order_by("id").select_for_update(no_key=True).values_list("id", flat=True))
    scope.filter(id__in=ids).update(
        config_version=F("config_version") + 1, updated_at=timezone.now()
    )


def _set_fields(row: CusIntegration, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        setattr(row, name, value)
    check_fields(row)


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    unknown = sorted(set(fields) - set(MUTABLE))
    if unknown:
        msg = f"not fields that may be set: {', '.join(unknown)}"
        raise TypeError(msg)
