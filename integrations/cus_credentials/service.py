"""Provider credentials: sealed on the way in, with where they may go; gone when destroyed.

They are opened in `cus_credentials.sending` alone.
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

# What a credential's secret part is called, by the order in which we look for a hint.
_SECRET_FIELDS = ("api_key", "azure_ad_token", "aws_secret_access_key")


class CusCredentialService:
    """Keeps the credentials of one tenant's integrations (CUS-002).

    A credential is entered for where the integration's configuration leads at that moment: its
    origin is recorded on the integration, and sealed with the credential (ruling C4a).
    """

    def __init__(self, tenant: CusTenant) -> None:
        self.tenant = tenant

    @transaction.atomic
    def store(self, integration: CusIntegration, credential: dict[str, str]) -> CusCredential:
        """Seal and keep the credential, in place of any earlier one.

        Raises what `effective_origin` raises.
        """
        remember_secret(*credential.values())
        is_here = integration.credential_ref.startswith("db://")
        origin = self._point(
            integration, integration.credential_ref if is_here else f"db://{uuid.uuid4()}"
        )
        ring = key_ring(settings.CUS_CREDENTIAL_KEYS)
        plain = text_to_seal(credential, origin)
        values = {
            "sealed": seal(ring, plain, row=row_name(integration)),
            "key_id": ring.first_id,
            "hint": _hint(credential),
        }
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

        Only for operators: the caller has made sure of it. Raises CredentialRefRefused, and what
        `effective_origin` raises. A credential that was kept here is destroyed.
        """
        check_credential_ref(ref, self.tenant)
        self._point(integration, ref)
        self.destroy(integration)

    def destroy(self, integration: CusIntegration) -> None:
        """Remove the stored credential for good. Nothing of it stays in any other table."""
        CusCredential.objects.filter(tenant=self.tenant, integration=integration).delete()

    def _point(self, integration: CusIntegration, ref: str) -> str:
        """Record where the credential is, and the origin that it is entered for: the answer."""
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
        # Four characters of a short secret would be most of it.
        if len(credential.get(field, "")) >= 12:
            return credential[field][-4:]
    return ""
