"""Store and destroy provider credentials. Each is sealed together with its origin.

Only `cus_credentials.sending` opens credentials.
"""

import uuid

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant
from integrations.cus_credentials.envelope import key_ring, seal
from integrations.cus_credentials.models import CusCredential
from integrations.cus_credentials.registry import credential_id, row_name, store_of, text_to_seal
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_providers.origin import effective_origin
from integrations.cus_web.redaction import remember_secret

# The secret fields of credentials, in the order of search for the hint.
_SECRET_FIELDS = ("api_key", "azure_ad_token", "aws_secret_access_key")


class CusCredentialService:
    """Keeps the credentials of one tenant's integrations (CUS-002).

    A credential is entered for the origin to which the integration's configuration leads at that
    moment. The origin is recorded on the integration, and sealed with the credential (C4a).
    """

    def __init__(self, tenant: CusTenant) -> None:
        self.tenant = tenant

    @transaction.atomic
    def store(self, integration: CusIntegration, credential: dict[str, str]) -> CusCredential:
        """Seal and store the credential, in place of any earlier credential.

        Raises what `effective_origin` raises.
        """
        remember_secret(*credential.values())
        is_here = integration.credential_ref.startswith("db://")
        origin = self._point(
            integration, integration.credential_ref if is_here else f"db://{uuid.uuid4()}"
        )
        ring = key_ring(settings.CUS_CREDENTIAL_KEYS)
        plain = text_to_seal(credential, origin)
        stored = CusCredential(
            id=credential_id(integration),
            tenant=self.tenant,
            integration=integration,
            sealed=seal(ring, plain, row=row_name(integration)),
            key_id=ring.first_id,
            hint=_hint(credential),
            updated_at=timezone.now(),
        )
        CusCredential.objects.bulk_create(
            [stored],
            update_conflicts=True,
            unique_fields=["integration"],
            update_fields=["sealed", "key_id", "hint", "updated_at"],
        )
        return stored

    @transaction.atomic
    def refer(self, integration: CusIntegration, ref: str) -> None:
        """Take the credential from a store of the operator's from now on (ruling C1).

        Only for operators: the caller must check that. Destroys the credential that was stored
        here. Raises CredentialRefRefused, and the errors of `effective_origin`.
        """
        check_credential_ref(ref, self.tenant)
        self._point(integration, ref)
        self.destroy(integration)

    def destroy(self, integration: CusIntegration) -> None:
        """Remove the stored credential for good. No other table has a copy."""
        CusCredential.objects.filter(tenant=self.tenant, integration=integration).delete()

    def _point(self, integration: CusIntegration, ref: str) -> str:
        """Record the credential's reference and origin on the integration; return the origin."""
        origin = effective_origin(integration.provider_type, integration.config)
        integration.credential_ref, integration.credential_origin = ref, origin
        CusIntegration.objects.filter(tenant=self.tenant, id=integration.id).update(
            credential_ref=ref, credential_origin=origin, updated_at=timezone.now()
        )
        return origin


def check_credential_ref(ref: str, tenant: CusTenant) -> None:
    """Raise CredentialRefRefused unless an operator may give the tenant this reference."""
    store_of(ref).check(ref, tenant.id)


def _hint(credential: dict[str, str]) -> str:
    for field in _SECRET_FIELDS:
        # No hint for a short secret: four characters would reveal most of the secret.
        if len(credential.get(field, "")) >= 12:
            return credential[field][-4:]
    return ""
