"""Bound the checks that run at once: one of an integration, two of a tenant (ruling C6).

The places are advisory locks of the database session. They need no expiry, because PostgreSQL
frees them when the connection ends, however the process died. They belong to no transaction, so a
slow provider keeps no transaction open.
"""

import contextlib
import hashlib
import time
import uuid
from collections.abc import Iterator

from django.db import Error, connection

from integrations.cus_web.errors import CusError

PLACES_OF_A_TENANT = 2
_POLL_SECONDS = 0.1


class CheckUnderWay(CusError):
    """This integration is being checked, or two others of its tenant are. Try again shortly."""

    code, status = "check_under_way", 429
    retry_after_seconds = 5


@contextlib.contextmanager
def turn(
    tenant_id: uuid.UUID, integration_id: uuid.UUID, *, wait_seconds: float = 0.0
) -> Iterator[None]:
    """Hold the locks for a check within the block. Raises CheckUnderWay after `wait_seconds`."""
    until = time.monotonic() + wait_seconds
    while not (held := _take(tenant_id, integration_id)):
        if time.monotonic() >= until:
            raise CheckUnderWay
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        _give_back(held)


def _take(tenant_id: uuid.UUID, integration_id: uuid.UUID) -> list[int]:
    """Take the integration's lock and a place of the tenant; both, or none (an empty list)."""
    own_lock = _key("integration", integration_id)
    if not _try(own_lock):
        return []
    for place in range(PLACES_OF_A_TENANT):
        if _try(key := _key(f"place {place}", tenant_id)):
            return [own_lock, key]
    _give_back([own_lock])
    return []


def _try(key: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
        return bool(cursor.fetchone()[0])


def _give_back(keys: list[int]) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_unlock(key) FROM unnest(%s::bigint[]) AS key", [keys]
            )
    except Error:
        # The unlocking failed. Closing the session frees the locks.
        connection.close()


def _key(kind: str, owner: uuid.UUID) -> int:
    digest = hashlib.sha256(f"cus-health {kind} {owner}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
