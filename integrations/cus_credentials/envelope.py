"""Sealing of secrets at rest: authenticated, versioned by key id, bound to their row (C2).

A secret is encrypted with AES-256-GCM under a data key of its own; the data key is wrapped
by a key of the ring. Rotation rewraps the data key and leaves the ciphertext alone. Both layers
authenticate tenant and integration, so a sealed secret that is copied to another row does not
open.

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

from integrations.cus_web.errors import CredentialUnreadable

FORMAT = 1
_NONCE_BYTES = 12
_WRAPPED_BYTES = 48


class KeyRingInvalid(ValueError):
    """CUS_CREDENTIAL_KEYS must be `id:key` pairs, separated by commas or lines: each id once, each
    key base64 of 32 bytes.
    """

    def __init__(self) -> None:
        super().__init__(" ".join((self.__doc__ or "").split()))


@dataclass(frozen=True, repr=False)
class KeyRing:
    """Keys by id. The first seals, all open."""

    first_id: str
    keys: dict[str, bytes]

    @classmethod
    def parse(cls, text: str) -> "KeyRing":
        """A ring from `id:base64,id:base64`. Raises KeyRingInvalid, which quotes no key."""
        pairs = [_parse_key(part) for part in text.replace(",", " ").split()]
        keys = dict(pairs)
        # Two keys with the same id: the ring would drop one, and its credentials could not be read.
        if not pairs or len(keys) != len(pairs):
            raise KeyRingInvalid
        return cls(first_id=pairs[0][0], keys=keys)

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
    data_key, nonce = AESGCM.generate_key(256), os.urandom(_NONCE_BYTES)
    # The body is bound to the row and not to the key id, so rotation need not encrypt it again.
    body = nonce + AESGCM(data_key).encrypt(nonce, plain, row.encode())
    return _header_and_key(ring, data_key, row) + body


def rewrap(ring: KeyRing, sealed: bytes, *, row: str) -> bytes:
    """The same secret with its data key wrapped by the ring's first key.

    The secret itself stays sealed: only the data key passes through memory. Unwrapping
    authenticates the old header, so a header with a wrong key id fails. Raises
    CredentialUnreadable.
    """
    parts = _parts(sealed)
    data_key = _unwrap(ring, parts, row)
    return _header_and_key(ring, data_key, row) + parts.body


def sealing_key_id(sealed: bytes) -> str:
    """The id of the key that wrapped the secret, by its header. Raises CredentialUnreadable."""
    return _parts(sealed).key_id


def open_sealed(ring: KeyRing, sealed: bytes, *, row: str) -> bytes:
    """Decrypt a secret that `seal` made for the same row. Raises CredentialUnreadable."""
    parts = _parts(sealed)
    data_key = _unwrap(ring, parts, row)
    return _decrypt(data_key, parts.body, row.encode())


@dataclass(frozen=True, repr=False)
class _Parts:
    header: bytes
    wrapped: bytes  # nonce and data key
    body: bytes  # nonce and ciphertext

    @property
    def key_id(self) -> str:
        # Latin-1 decodes every byte, so a damaged id can't raise; no ring has such an id.
        return self.header[2:].decode("latin-1")


def _parts(sealed: bytes) -> _Parts:
    if len(sealed) < 2 or sealed[0] != FORMAT:
        raise CredentialUnreadable
    start = 2 + sealed[1]
    end = start + _NONCE_BYTES + _WRAPPED_BYTES
    return _Parts(sealed[:start], sealed[start:end], sealed[end:])


def _unwrap(ring: KeyRing, parts: _Parts, row: str) -> bytes:
    key = ring.keys.get(parts.key_id)
    if key is None:
        raise CredentialUnreadable
    return _decrypt(key, parts.wrapped, parts.header + row.encode())


def _header_and_key(ring: KeyRing, data_key: bytes, row: str) -> bytes:
    header = bytes([FORMAT, len(ring.first_id)]) + ring.first_id.encode()
    nonce = os.urandom(_NONCE_BYTES)
    bound = header + row.encode()
    return header + nonce + AESGCM(ring.keys[ring.first_id]).encrypt(nonce, data_key, bound)


def _decrypt(key: bytes, nonce_and_text: bytes, bound: bytes) -> bytes:
    nonce, text = nonce_and_text[:_NONCE_BYTES], nonce_and_text[_NONCE_BYTES:]
    try:
        return AESGCM(key).decrypt(nonce, text, bound)
    except (InvalidTag, ValueError):
        # The same error for every cause: a difference would help an attacker.
        raise CredentialUnreadable from None
