"""Whose turn it is to be checked: one check of an integration, two of a tenant at a time (C6).

The places are advisory locks of the database's session. They need no expiry: PostgreSQL
frees them when the connection ends, however the process died. They are no transaction's, so a
slow provider keeps none open.
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
    """Have the turn while inside. Raises CheckUnderWay if it doesn't come in time."""
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
    """The locks taken: the integration's and one of the tenant's places; none if not both."""
    one = _key("integration", integration_id)
    if not _try(one):
        return []
    for place in range(PLACES_OF_A_TENANT):
        if _try(key := _key(f"place {place}", tenant_id)):
            return [one, key]
    _give_back([one])
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
        # The locks end with the session; one that can't be asked must not go on holding them.
        connection.close()


def _key(kind: str, owner: uuid.UUID) -> int:
    digest = hashlib.sha256(f"cus-health {kind} {owner}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
