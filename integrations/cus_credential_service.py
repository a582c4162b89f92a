"""Provider credentials: sealed on the way in, opened only to be used."""

import json
import re

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone

from integrations.cus_envelope import key_ring, open_sealed, seal
from integrations.cus_models import CusCredential, CusIntegration, CusTenant

# What a credential's secret part is called, by the order in which we look for a hint.
_SECRET_FIELDS = ("api_key", "azure_ad_token", "aws_secret_access_key")

_ENV_REF = re.compile(r"env://CUS_CREDENTIAL_(?!KEYS)[A-Z0-9_]{1,100}", re.ASCII)


class CusCredentialService:
    """Keeps and opens the credentials of one tenant's integrations (CUS-002)."""

    def __init__(self, tenant: CusTenant) -> None:
        self.tenant = tenant

    def store(self, integration: CusIntegration, credential: dict[str, str]) -> CusCredential:
        """Seal and keep the credential, in place of any earlier one."""
        ring = key_ring(settings.CUS_CREDENTIAL_KEYS)
        sealed = seal(ring, json.dumps(credential).encode(), row=self._row(integration))
        stored, _ = CusCredential.objects.update_or_create(
            tenant=self.tenant,
            integration=integration,
            defaults={
                "sealed": sealed,
                "key_id": ring.first_id,
                "hint": _hint(credential),
                "updated_at": timezone.now(),
            },
            create_defaults={
                "id": credential_id(integration),
                "sealed": sealed,
                "key_id": ring.first_id,
                "hint": _hint(credential),
            },
        )
        return stored

    def open(self, integration: CusIntegration) -> dict[str, str]:
        """The plain credential. Raises CredentialUnreadable; never log what this returns."""
        stored = CusCredential.objects.get(tenant=self.tenant, integration=integration)
        ring = key_ring(settings.CUS_CREDENTIAL_KEYS)
        plain = open_sealed(ring, bytes(stored.sealed), row=self._row(integration))
        opened: dict[str, str] = json.loads(plain)
        return opened

    def refer(self, integration: CusIntegration, ref: str) -> None:
        """Take the credential from the server's environment from now on (ruling C1).

        Only for operators: who calls this has made sure of it. Raises ValidationError.
        """
        if not _ENV_REF.fullmatch(ref):
            hint = "A reference must be env://CUS_CREDENTIAL_… and name no key ring."
            raise ValidationError({"credential_ref": hint})
        integration.credential_ref = ref
        CusIntegration.objects.filter(tenant=self.tenant, id=integration.id).update(
            credential_ref=ref
        )
        self.destroy(integration)

    def destroy(self, integration: CusIntegration) -> None:
        """Remove the stored credential for good."""
        CusCredential.objects.filter(tenant=self.tenant, integration=integration).delete()

    def _row(self, integration: CusIntegration) -> str:
        return f"{self.tenant.id}:{integration.id}"


def credential_id(integration: CusIntegration) -> str:
    """The stored credential's id, as `db://<id>` names it in `credential_ref` (ruling C1)."""
    return integration.credential_ref.removeprefix("db://")


def _hint(credential: dict[str, str]) -> str:
    for field in _SECRET_FIELDS:
        # Four characters of a short secret would be most of it.
        if len(credential.get(field, "")) >= 12:
            return credential[field][-4:]
    return ""
