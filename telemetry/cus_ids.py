"""Identifiers: UUIDs of version 7 for rows, which sort by time, and hashes of call ids."""

import hashlib
import os
import time
import uuid
from datetime import UTC, datetime

_RANDOM_A = (1 << 12) - 1
_RANDOM_B = (1 << 62) - 1


def uuid7() -> uuid.UUID:
    """A new id: milliseconds since 1970, then 74 random bits (RFC 9562).

    Made here, not in SQL, because `uuidv7()` needs PostgreSQL 18 and we support 15.
    """
    milliseconds = time.time_ns() // 1_000_000
    randomness = int.from_bytes(os.urandom(10))
    value = milliseconds << 80 | 7 << 76 | (randomness >> 62 & _RANDOM_A) << 64
    return uuid.UUID(int=value | 0b10 << 62 | randomness & _RANDOM_B)


def made_at(identifier: uuid.UUID) -> datetime:
    """The time at which a version 7 id was made, to the millisecond."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, tz=UTC)


def hash_call_id(call_id: str) -> str:
    """128 bits of the call id's SHA-256 in hex: the ledger's key within a tenant."""
    return hashlib.sha256(call_id.encode()).hexdigest()[:32]


def lock_key(integration_id: uuid.UUID) -> int:
    """The number of an integration's advisory lock: 63 bits of its id."""
    # If two integrations share a number, their checks only wait for each other.
    return int.from_bytes(integration_id.bytes[8:]) >> 1
