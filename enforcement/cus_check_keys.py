"""Whose an SDK key is, for checks: asked under a deadline, remembered through an outage (F6)."""

import hmac
import time
import uuid
from datetime import datetime
from typing import NamedTuple

import msgspec

from enforcement.cus_absence import DatabaseAbsent, DatabaseTrouble
from enforcement.cus_decider import decider_pool
from enforcement.cus_decider_connection import DeciderConnection
from integrations.cus_sdk_keys import digest_of_key

# A revoked key must be dead within two seconds; while the database is away, the last answer
# stands for five minutes.
_REMEMBERED_SECONDS = 1.5
_OUTAGE_SECONDS = 300.0
_ASK_SECONDS = 0.2
_MAX_KNOWN = 10_000


class Caller(NamedTuple):
    """The integration whose key a check came with, and how asking about the key went.

    `began` is when the request did, on the monotonic clock. `absent`: the database did not
    answer; not `verified`: nor had it, lately, so the key's own word is all there is.
    """

    tenant_id: uuid.UUID
    integration_id: uuid.UUID
    began: float
    absent: bool = False
    verified: bool = True

    @property
    def is_authenticated(self) -> bool:
        """What DRF asks of a request's user."""
        return True


class _Known(NamedTuple):
    tenant_id: uuid.UUID
    integration_id: uuid.UUID
    expires_at: datetime | None
    asked_at: float


_known: dict[bytes, _Known] = {}
_row = msgspec.json.Decoder(tuple[uuid.UUID, uuid.UUID, datetime | None, str])


def caller_of(text: str, *, now: datetime) -> Caller | None:
    """Whom a key's text vouches for, or None if it is no living key.

    With no database and no answer of the last five minutes, the caller that the key names,
    unverified: of an integration whose state is unknown.
    """
    named = digest_of_key(text)
    if named is None:
        return None
    tenant_id, integration_id, digest = named
    began, absent = time.monotonic(), False
    known = _known.get(digest)
    if known is None or began - known.asked_at > _REMEMBERED_SECONDS:
        try:
            known = _ask(digest, began)
        except DatabaseTrouble as error:
            absent = isinstance(error, DatabaseAbsent)
            if known is None or began - known.asked_at > _OUTAGE_SECONDS:
                return Caller(tenant_id, integration_id, began, absent, verified=False)
    if known is None or (known.expires_at and known.expires_at <= now):
        return None
    if known[:2] != (tenant_id, integration_id):
        return None
    return Caller(tenant_id, integration_id, began, absent)


def forget_callers() -> None:
    """Ask the database about every key again."""
    _known.clear()


def _ask(digest: bytes, began: float) -> _Known | None:
    def find(connection: DeciderConnection) -> list[bytes | None]:
        return connection.rows(connection.call("cus_find_key", digest))

    end_by = began + _ASK_SECONDS
    rows = decider_pool().run(find, take_by=end_by, end_by=end_by)
    found = _row.decode(rows[0]) if rows and rows[0] else None
    # The index compares as indexes do; once more in constant time.
    if found is None or not hmac.compare_digest(found[3], digest.hex()):
        _known.pop(digest, None)
        return None
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    tenant_id, integration_id, expires_at, _ = found
    known = _known[digest] = _Known(tenant_id, integration_id, expires_at, began)
    return known
