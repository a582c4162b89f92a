"""Sealing of secrets at rest: authenticated, versioned by key id, bound to their row (C2).

A secret is encrypted with AES-256-GCM under a data key of its own; the data key is wrapped
by a key of the ring. Rotation rewraps the data key and leaves the ciphertext alone. Tenant
and integration are authenticated with both, so a sealed secret that is moved to another
row does not open.

Layout, after the format byte: key id length, key id, wrap nonce (12), wrapped data key
(48), nonce (12), ciphertext.
"""

import base64
import binascii
import os
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from integrations.cus_errors import CredentialUnreadable

FORMAT = 1
_NONCE_BYTES = 12
_WRAPPED_BYTES = 48


class KeyRingInvalid(ValueError):
    """CUS_CREDENTIAL_KEYS must be `id:key` pairs, comma-separated, each key base64 of 32 bytes."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


@dataclass(frozen=True, repr=False)
class KeyRing:
    """Keys by id. The first seals, all open."""

    first_id: str
    keys: dict[str, bytes]

    @classmethod
    def parse(cls, text: str) -> "KeyRing":
        """A ring from `id:base64,id:base64`. Raises KeyRingInvalid, which quotes no key."""
        keys = dict(_parse_key(part.strip()) for part in text.split(",") if part.strip())
        if not keys:
            raise KeyRingInvalid
        return cls(first_id=next(iter(keys)), keys=keys)

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self.keys)})"


def _parse_key(part: str) -> tuple[str, bytes]:
    key_id, separator, encoded = part.partition(":")
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise KeyRingInvalid from None
    if not (separator and 0 < len(key_id) <= 32 and key_id.isascii() and len(key) == 32):
        raise KeyRingInvalid
    return key_id, key


@lru_cache(maxsize=4)
def key_ring(text: str) -> KeyRing:
    """The parsed ring of a setting's text."""
    return KeyRing.parse(text)


def seal(ring: KeyRing, plain: bytes, *, row: str) -> bytes:
    """Encrypt `plain` for the row named `row` under the ring's first key."""
    key_id = ring.first_id
    header = bytes([FORMAT, len(key_id)]) + key_id.encode()
    bound = header + row.encode()
    data_key, wrap_nonce, nonce = AESGCM.generate_key(256), os.urandom(12), os.urandom(12)
    wrapped = AESGCM(ring.keys[key_id]).encrypt(wrap_nonce, data_key, bound)
    # The body is bound to the row but not to the key id, so that rotation only rewraps.
    body = AESGCM(data_key).encrypt(nonce, plain, row.encode())
    return header + wrap_nonce + wrapped + nonce + body


def open_sealed(ring: KeyRing, sealed: bytes, *, row: str) -> bytes:
    """Decrypt what `seal` made for the same row. Raises CredentialUnreadable."""
    try:
        return _open(ring, sealed, row)
    except (InvalidTag, KeyError, IndexError, ValueError):
        # One answer whatever is wrong: a difference would help who tampers.
        raise CredentialUnreadable from None


def _open(ring: KeyRing, sealed: bytes, row: str) -> bytes:
    if sealed[0] != FORMAT:
        raise CredentialUnreadable
    start = 2 + sealed[1]
    header, rest = sealed[:start], sealed[start:]
    key = ring.keys[header[2:].decode()]
    wrap_nonce, rest = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
    wrapped, rest = rest[:_WRAPPED_BYTES], rest[_WRAPPED_BYTES:]
    data_key = AESGCM(key).decrypt(wrap_nonce, wrapped, header + row.encode())
    return AESGCM(data_key).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], row.encode())
