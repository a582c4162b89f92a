"""Find the integration of an SDK key for checks: by a deadline, from memory in an outage (F6)."""

import time
import uuid
from datetime import datetime
from functools import partial
from typing import NamedTuple

from psycopg import errors

from enforcement.cus_reading.absence import DatabaseBusy, DatabaseTrouble
from enforcement.cus_reading.connection import DeciderConnection, trouble_with
from enforcement.cus_reading.decider import decider_pool
from integrations.cus_keys.verifier import last_known_key, living_key, named_key

# While the database is away, its last answer about a key is valid for five minutes.
_OUTAGE_SECONDS = 300.0
_ASK_SECONDS = 0.2
# A session that has locked the table of keys does not keep checks waiting (ruling F6a).
_WITHIN = "BEGIN; SET LOCAL lock_timeout = 100"


class Caller(NamedTuple):
    """The integration whose key a check came with, and how the look-up of the key went.

    `began` is when the request began, on the monotonic clock. `absent`: the database did not
    answer. Not `verified`: the database had not answered in the last five minutes either, so the
    tenant and the integration are what the key's text claims.
    """

    tenant_id: uuid.UUID
    integration_id: uuid.UUID
    began: float
    absent: bool = False
    verified: bool = True

    @property
    def is_authenticated(self) -> bool:
        """True: DRF reads this attribute of a request's user."""
        return True


def caller_of(text: str, *, now: datetime, arrived: float | None = None) -> Caller | None:
    """The caller of a key's text, or None if the key is unknown, revoked or expired.

    `arrived` is when the request came, on the monotonic clock, if the request waited for a thread:
    the check's time runs from then.

    Without the database and without its answer of the last five minutes, the caller is the one
    that the key's text claims, unverified: the state of its integration is unknown.
    """
    named = named_key(text)
    if named is None:
        return None
    tenant_id, integration_id, _ = named
    began = time.monotonic() if arrived is None else arrived
    absent = False
    try:
        known = living_key(named, now=now, find=partial(_find, time.monotonic()))
    except DatabaseTrouble as trouble:
        absent = not isinstance(trouble, DatabaseBusy)
        known = last_known_key(named, within_seconds=_OUTAGE_SECONDS)
        if known is None:
            return Caller(tenant_id, integration_id, began, absent, verified=False)
    if known is None or not known.vouches(named, now):
        return None
    return Caller(tenant_id, integration_id, began, absent)


def _find(began: float, digest: bytes) -> bytes | None:
    def find(connection: DeciderConnection) -> list[bytes | None]:
        statement = connection.call("cus_find_key", digest)
        try:
            return connection.rows(f"{_WITHIN}; {statement}; COMMIT")
        except errors.LockNotAvailable as error:
            connection.rows("ROLLBACK")
            raise trouble_with(error, while_reading=True) from error

    end_by = began + _ASK_SECONDS
    rows = decider_pool().run(find, take_by=end_by, end_by=end_by)
    return rows[0] if rows else None
