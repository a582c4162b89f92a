"""Provider credentials: sealed on the way in, opened only to be used, gone when destroyed."""

import json
import uuid
from contextlib import suppress

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from integrations.cus_audit import record_change
from integrations.cus_credential_stores import (
    OpenedCredential,
    credential_id,
    parsed_credential,
    row_name,
    store_of,
)
from integrations.cus_envelope import key_ring, seal
from integrations.cus_errors import (
    CredentialMissing,
    CredentialRefRefused,
    CredentialUnreadable,
    IntegrationNotFound,
)
from integrations.cus_integration_lifecycle import CusIntegrationLifecycle
from integrations.cus_models import CusCredential, CusIntegration, CusTenant, CusUser
from integrations.cus_redaction import remember_secret

# What a credential's secret part is called, by the order in which we look for a hint.
_SECRET_FIELDS = ("api_key", "azure_ad_token", "aws_secret_access_key")


class CusCredentialService:
    """Keeps and opens the credentials of one tenant's integrations (CUS-002)."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    @transaction.atomic
    def store(self, integration: CusIntegration, credential: dict[str, str]) -> CusCredential:
        """Seal and keep the credential, in place of any earlier one."""
        remember_secret(*credential.values())
        ring = key_ring(settings.CUS_CREDENTIAL_KEYS)
        values = {
            "sealed": seal(ring, json.dumps(credential).encode(), row=row_name(integration)),
            "key_id": ring.first_id,
            "hint": _hint(credential),
        }
        if not integration.credential_ref.startswith("db://"):
            self._point(integration, f"db://{uuid.uuid4()}")
        stored, _ = CusCredential.objects.update_or_create(
            tenant=self.tenant,
            integration=integration,
            defaults=values | {"updated_at": timezone.now()},
            create_defaults=values | {"id": credential_id(integration)},
        )
        return stored

    @transaction.atomic
    def refer(self, integration: CusIntegration, ref: str) -> None:
        """Take the credential from a store of the operator's from now on (ruling C1).

        Only for operators: who calls this has made sure of it. Raises CredentialRefRefused. A
        credential that was kept here is destroyed.
        """
        check_credential_ref(ref, self.tenant)
        self._point(integration, ref)
        self.destroy(integration)

    def open(self, integration: CusIntegration) -> OpenedCredential:
        """The plain credential; it does not print itself.

        Raises CredentialUnreadable when it can't be decrypted, which also puts the integration
        into error, and CredentialMissing when it is not there; either makes the credential's
        state `invalid` at once (ruling F2). Raises CredentialStoreUnavailable when its store
        can't be asked, which says nothing about the credential.
        """
        try:
            return parsed_credential(store_of(integration.credential_ref).read(integration))
        except CredentialRefRefused as error:
            # The operator's bounds were drawn tighter after it had been set.
            self._mark_invalid(integration)
            raise CredentialMissing(error.detail) from None
        except CredentialUnreadable as error:
            self._mark_invalid(integration)
            if not isinstance(error, CredentialMissing):
                self._fail(integration, error.detail)
            raise

    def destroy(self, integration: CusIntegration) -> None:
        """Remove the stored credential for good. Nothing of it stays in any other table."""
        CusCredential.objects.filter(tenant=self.tenant, integration=integration).delete()

    def _point(self, integration: CusIntegration, ref: str) -> None:
        integration.credential_ref = ref
        CusIntegration.objects.filter(tenant=self.tenant, id=integration.id).update(
            credential_ref=ref, updated_at=timezone.now()
        )

    @transaction.atomic
    def _mark_invalid(self, integration: CusIntegration) -> None:
        invalid = CusIntegration.CredentialState.INVALID
        rows = CusIntegration.objects.filter(
            tenant=self.tenant, id=integration.id, deleted_at__isnull=True
        )
        row = rows.exclude(credential_state=invalid).select_for_update(no_key=True).first()
        if row is None:
            return
        rows.update(
            credential_state=invalid,
            config_version=F("config_version") + 1,
            updated_at=timezone.now(),
        )
        told = {"credential_state": {"from": row.credential_state, "to": invalid}}
        record_change("integration.checked", row, actor=self.actor, changes=told)

    def _fail(self, integration: CusIntegration, reason: str) -> None:
        with suppress(IntegrationNotFound):  # deleted: nothing of it serves any more
            CusIntegrationLifecycle(self.tenant, actor=self.actor).fail(integration, reason)


def check_credential_ref(ref: str, tenant: CusTenant) -> None:
    """Raise CredentialRefRefused unless an operator may give the tenant this reference."""
    store_of(ref).check(ref, tenant.id)


def _hint(credential: dict[str, str]) -> str:
    for field in _SECRET_FIELDS:
        # Four characters of a short secret would be most of it.
        if len(credential.get(field, "")) >= 12:
            return credential[field][-4:]
    return ""
