"""Secrets that sign messages to customers' receivers: issued once, sealed at rest (ruling C2).

The plain secret leaves this module only in the answer that issues it.
"""

import hashlib
import hmac
import secrets
import uuid

from django.conf import settings

from integrations.cus_accounts.models import CusTenant
from integrations.cus_credentials.envelope import key_ring, open_sealed, seal
from integrations.cus_credentials.models import CusSigningSecret
from integrations.cus_web.redaction import remember_secret

PREFIX = "whsec_"
_BYTES = 32


def issue_signing_secret(tenant: CusTenant) -> tuple[CusSigningSecret, str]:
    """A new secret's row, and its text, which can't be shown again."""
    text = PREFIX + secrets.token_urlsafe(_BYTES)
    remember_secret(text)
    row = CusSigningSecret(id=uuid.uuid4(), tenant=tenant)
    ring = key_ring(settings.CUS_CREDENTIAL_KEYS)
    row.sealed = seal(ring, text.encode(), row=bound_to(row))
    row.key_id = ring.first_id
    row.save(force_insert=True)
    return row, text


def signature(secret: CusSigningSecret, message: bytes) -> str:
    """The message's HMAC-SHA256 by the secret, in hexadecimal. Raises CredentialUnreadable."""
    ring = key_ring(settings.CUS_CREDENTIAL_KEYS)
    plain = open_sealed(ring, bytes(secret.sealed), row=bound_to(secret))
    remember_secret(plain.decode())
    return hmac.digest(plain, message, hashlib.sha256).hex()


def bound_to(secret: CusSigningSecret) -> str:
    """The name of the row that a sealed secret is bound to."""
    return f"{secret.tenant_id}:signing:{secret.id}"
