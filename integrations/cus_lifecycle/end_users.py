"""Pseudonyms of end users, where their names must not be stored (setting `CUS_HASH_END_USERS`)."""

import hmac
import uuid
from hashlib import sha256
from typing import Final

from django.conf import settings

PREFIX: Final = "hmac-sha256:"
_DIGITS: Final = 32  # 128 bits: no two people of a tenant share them


class CusEndUsers:
    """How a tenant's end users are named in what is stored.

    A pseudonym is a hash with a key of the tenant's own, made of `CUS_KEY_HASH_SECRET`: the same
    name always has the same pseudonym, no two tenants share pseudonyms, and nobody can find a
    name by trying names without that secret.
    """

    def __init__(self, tenant_id: uuid.UUID) -> None:
        self._key: bytes | None = None
        if settings.CUS_HASH_END_USERS:
            secret = settings.CUS_KEY_HASH_SECRET.encode()
            self._key = hmac.digest(secret, b"end users:" + tenant_id.bytes, sha256)

    def stored(self, name: str | None) -> str | None:
        """What a row keeps of an end user's name: the name, or its pseudonym."""
        if self._key is None or not name:
            return name
        return PREFIX + hmac.digest(self._key, name.encode(), sha256).hex()[:_DIGITS]

    def spellings(self, name: str) -> set[str]:
        """What rows may have of this name: rows from before the setting was changed, too."""
        return {name, self.stored(name) or name}
