"""The keys of seals, made of `CUS_SEAL_SECRET`."""

import hmac
import uuid
from hashlib import sha256

from django.conf import settings


class SealKeys:
    """A tenant's keys: one of each secret in `CUS_SEAL_SECRET`, by the secret's name.

    A secret's name is a hash of the secret that tells nothing else about it. The first secret seals;
    the others only verify what was sealed while they were the first.
    """

    def __init__(self, tenant_id: uuid.UUID) -> None:
        secrets = [secret.encode() for secret in seal_secrets(settings.CUS_SEAL_SECRET)]
        names = [hmac.digest(secret, b"name of the seal key", sha256) for secret in secrets]
        self._keys = {
            name.hex()[:16]: hmac.digest(secret, b"evidence seal:" + tenant_id.bytes, sha256)
            for name, secret in zip(names, secrets, strict=True)
        }

    @property
    def newest(self) -> tuple[str, bytes]:
        """The name of the secret that seals, and its key."""
        return next(iter(self._keys.items()))

    def get(self, key_id: str) -> bytes | None:
        """The key of the secret with this name; None if the setting does not have the secret."""
        return self._keys.get(key_id)


def seal_secrets(text: str) -> list[str]:
    """The secrets in the setting, which commas or lines separate."""
    return text.replace(",", " ").split()
