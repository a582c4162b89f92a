"""Identifiers: rows' are UUIDs of version 7, which sort by when they were made; calls' are hashed."""

import hashlib
import os
import time
import uuid
from datetime import UTC, datetime

_RANDOM_A = (1 << 12) - 1
_RANDOM_B = (1 << 62) - 1


def uuid7() -> uuid.UUID:
    """A new id: milliseconds since 1970, then 74 random bits (RFC 9562).

    Made here, not in SQL: `uuidv7()` exists from PostgreSQL 18 on only, we support 15.
    """
    milliseconds = time.time_ns() // 1_000_000
    randomness = int.from_bytes(os.urandom(10))
    value = milliseconds << 80 | 7 << 76 | (randomness >> 62 & _RANDOM_A) << 64
    return uuid.UUID(int=value | 0b10 << 62 | randomness & _RANDOM_B)


def made_at(identifier: uuid.UUID) -> datetime:
    """When a version 7 id was made, to the millisecond."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, tz=UTC)


def hash_call_id(call_id: str) -> str:
    """128 bits of the call id's SHA-256 in hex: the ledger's key within a tenant."""
    return hashlib.sha256(call_id.encode()).hexdigest()[:32]


def lock_key(integration_id: uuid.UUID) -> int:
    """The number of an integration's advisory lock: 63 bits of its id."""
    # Two integrations that share a number would only wait for each other.
    return int.from_bytes(integration_id.bytes[8:]) >> 1
