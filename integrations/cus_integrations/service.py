"""Make, find, change and close the integrations of one tenant."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from integrations.cus_audit.service import differences, record_change, values_of
from integrations.cus_credentials.service import CusCredentialService
from integrations.cus_integrations.rules import check_fields, check_level
from integrations.cus_lifecycle.limits import LIMIT_COLUMNS
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_lifecycle.service import CusIntegrationLifecycle
from integrations.cus_providers.origin import leads_where_entered
from integrations.cus_providers.rules import check_credential
from integrations.cus_web.conflicts import refused_by
from integrations.cus_web.errors import (
    CredentialRefRequired,
    CredentialRequired,
    IntegrationChanged,
    IntegrationNotFound,
    NameTaken,
    OperatorsOnly,
    VersionMismatch,
)
from integrations.cus_web.quotas import INTEGRATIONS, INTEGRATIONS_A_DAY, made_within_a_day

# The fields that may be set at any time. The others are identity, or are changed by the lifecycle
# and by checks alone.
MUTABLE = (
    "name",
    "config",
    "default_model",
    *LIMIT_COLUMNS,
    "enforcement_level",
    "allow_unpriced",
    "max_live_holds",
)
# The mutable fields that protect the service itself, not the tenant's money.
_OPERATORS_OWN = ("max_live_holds",)
_RECORDED = ("provider_type", *MUTABLE)
# The values after a new credential: the results of earlier checks were about the old credential.
_NEVER_CHECKED = {
    "credential_state": CusIntegration.CredentialState.UNKNOWN,
    "consecutive_bad_keys": 0,
}


class CusIntegrationService(CusIntegrationLifecycle):
    """The operations on a tenant's integrations.

    Every change is one conditional UPDATE with its audit entry, in one transaction.
    """

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

        The credential is sealed or, for operators, is in a store that `reference` names (C1).
        Raises ValidationError, by field, NameTaken, TenantClosed, OperatorsOnly,
        ProviderUnsupported and the credential service's refusals of the reference.
        """
        self.require_open_tenant()
        self._check_entered(credential, reference)
        _refuse_unknown(fields)
        self._require_room()
        integration = CusIntegration(
            tenant=self.tenant,
            name=name,
            provider_type=provider_type,
            credential_ref=f"db://{uuid.uuid4()}",
            created_by=self.actor,
            **fields,
        )
        check_fields(integration)
        usual = values_of(CusIntegration(), _OPERATORS_OWN)
        self._check_bounds(differences(usual, values_of(integration, _OPERATORS_OWN)))
        with refused_by(cus_integrations_name=NameTaken):
            integration.save(force_insert=True)
        # {} is refused: an integration needs a credential from the start.
        self._keep(integration, credential or {}, reference)
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
        reference: str | None = None,
        **fields: Any,
    ) -> CusIntegration:
        """Set the named fields (of `MUTABLE`), and the credential if given.

        For operators, `reference` names the credential in a store of theirs, such as
        `env://…` (ruling C1). Raises VersionMismatch if `config_version` is not
        `expected_version` any more; IntegrationChanged if another change was written at the same
        moment; ValidationError, by field; NameTaken; LevelNotReachable; CredentialRequired where
        the stored credential would go elsewhere (ruling C4a); OperatorsOnly;
        ProviderUnsupported. If no value differs, nothing changes.
        """
        self._check_entered(credential, reference)
        _refuse_unknown(fields)
        row = self.get(integration_id)
        if expected_version not in (None, row.config_version):
            raise VersionMismatch
        before = values_of(row, MUTABLE)
        _set_fields(row, fields)
        values = {name: getattr(row, name) for name in fields if getattr(row, name) != before[name]}
        self._check_change(row, before, values)
        changes: dict[str, Any] = dict(differences(before, values))
        if credential is not None or reference:
            values |= _NEVER_CHECKED
            changes["credential_ref" if reference else "credential"] = "changed"
        elif "config" in values:
            self._keep_origin(row)
        if not changes:
            return row
        if "config" in values:
            values["consecutive_refusals"] = 0
        with refused_by(cus_integrations_name=NameTaken):
            written = self._write(row, values)
        if not written:
            raise VersionMismatch if expected_version is not None else IntegrationChanged
        self._keep(row, credential, reference)
        record_change("integration.changed", row, actor=self.actor, changes=changes)
        return self.get(integration_id)

    def _check_change(
        self, row: CusIntegration, before: Mapping[str, Any], values: Mapping[str, Any]
    ) -> None:
        """Refuse new values that the old values do not allow."""
        self._check_bounds(values)
        if "enforcement_level" in values:
            check_level(
                values["enforcement_level"],
                current=before["enforcement_level"],
                coverage_percent=row.coverage_percent,
            )

    def _require_room(self) -> None:
        made = CusIntegration.objects.filter(tenant=self.tenant)
        INTEGRATIONS.require_room(self.scope())
        # Deleted integrations stay in the table, because evidence refers to them.
        INTEGRATIONS_A_DAY.require_room(made_within_a_day(made, "created_at", timezone.now()))

    def _check_bounds(self, changed: Mapping[str, Any]) -> None:
        """Refuse a tenant's change of the bounds on its own load (ruling F5b)."""
        if not changed.keys().isdisjoint(_OPERATORS_OWN):
            self._require_operator()

    def _check_entered(self, credential: dict[str, str] | None, reference: str | None) -> None:
        """Refuse a reference from a person who is no operator, and one beside a credential."""
        if reference:
            self._require_operator()
        if reference and credential is not None:
            msg = "Enter a credential or a reference to one, not both."
            raise ValidationError({"credential_ref": msg})

    def _keep_origin(self, row: CusIntegration) -> None:
        """Refuse a configuration that leads the stored credential elsewhere (ruling C4a)."""
        if leads_where_entered(row):
            return
        if row.credential_ref.startswith("db://"):
            raise CredentialRequired
        if self.actor is not None and self.actor.is_operator:
            raise CredentialRefRequired
        raise OperatorsOnly(
            "This integration's credential is kept in a store of the operator's, so only an "
            "operator may send it to another address. Or enter a credential of your own."
        )

    def _keep(
        self,
        integration: CusIntegration,
        credential: dict[str, str] | None,
        reference: str | None,
    ) -> None:
        """Store the credential or reference if given, for the origin of the configuration now."""
        if reference:
            CusCredentialService(self.tenant).refer(integration, reference)
        elif credential is not None:
            check_credential(integration.provider_type, credential)
            CusCredentialService(self.tenant).store(integration, credential)

    @transaction.atomic
    def delete(self, integration: CusIntegration) -> None:
        """Close the integration for good (ruling C3).

        The name becomes free, the credential is destroyed, and the keys work for ingest alone. The
        row stays, because evidence refers to it. Raises IntegrationNotFound if already deleted.
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


def _set_fields(row: CusIntegration, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        setattr(row, name, value)
    check_fields(row)


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    unknown = sorted(set(fields) - set(MUTABLE))
    if unknown:
        msg = f"not fields that may be set: {', '.join(unknown)}"
        raise TypeError(msg)
