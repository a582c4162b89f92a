"""Ask the database under an integration's lock, within the time that a check has (rulings F5, F6).

All times run from the beginning of the request, on the monotonic clock.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from psycopg import errors

from enforcement.cus_checks.joined import QueueTimeout
from enforcement.cus_checks.keys import Caller
from enforcement.cus_reading.absence import DatabaseAbsent, DatabaseBusy, EvidenceUnreadable
from enforcement.cus_reading.connection import DeciderConnection, trouble_with
from enforcement.cus_reading.decider import decider_pool
from telemetry.cus_holds.holds import lock, lock_also

_T = TypeVar("_T")
# Seconds from the beginning of a request: _LOCK for the lock, _EVIDENCE for the answer with
# evidence, _WHOLE for any answer. A server that answers reports within _LOCK that the lock is taken,
# ends a read after _READ, and after _TABLE_LOCK if a table is locked. If the server hangs, our own
# clock ends the wait.
_LOCK_SECONDS = 0.2
_READ_SECONDS = 0.195
_TABLE_LOCK_SECONDS = 0.15
_EVIDENCE_SECONDS = 0.41
_WHOLE_SECONDS = 0.43


class Contended(Exception):
    """The integration's lock or its evidence was not available in time: load."""


LOAD = (Contended, DatabaseBusy, QueueTimeout)
ABSENCE = (DatabaseAbsent, EvidenceUnreadable)


def lock_by(caller: Caller) -> float:
    """When the caller's request must have the integration's lock."""
    return caller.began + _LOCK_SECONDS


def evidence_by(caller: Caller) -> float:
    """When the caller's request must have an answer with evidence."""
    return caller.began + _EVIDENCE_SECONDS


def whole_by(caller: Caller) -> float:
    """When the caller's request must have any answer."""
    return caller.began + _WHOLE_SECONDS


def run_in_time(caller: Caller, work: Callable[[DeciderConnection], _T]) -> _T:
    """The result of `work` on a connection, by the deadline for evidence. Raises DatabaseTrouble."""
    return decider_pool().run(work, take_by=lock_by(caller), end_by=evidence_by(caller))


def lock_in_time(caller: Caller) -> str:
    """SQL that begins a transaction and takes the integration's lock. Raises Contended."""
    return lock(
        caller.integration_id,
        wait_seconds=_left(caller),
        read_seconds=_READ_SECONDS,
        table_lock_seconds=_TABLE_LOCK_SECONDS,
    )


def lock_tenant_in_time(caller: Caller) -> str:
    """SQL that takes the tenant's lock, under the integration's. Raises Contended."""
    return lock_also(caller.tenant_id, _left(caller), _TABLE_LOCK_SECONDS)


def _left(caller: Caller) -> float:
    left = lock_by(caller) - time.monotonic()
    if left <= 0:
        # The database was not asked yet: this process is slow, which is load, not absence.
        raise Contended
    return left


def rows_in_time(
    connection: DeciderConnection, *statements: str, waits: int = 0
) -> list[list[bytes | None]]:
    """The rows of each statement that gives any. Raises Contended, EvidenceUnreadable.

    `waits`: the first so many statements that give rows wait for other transactions, which is load:
    the integration's lock, and what writes rows. Later statements read, and wait only for a table
    that another session has locked.
    """
    try:
        return connection.all_rows("; ".join(statements))
    except errors.LockNotAvailable as error:
        while_reading = connection.answered >= waits
        connection.rows("ROLLBACK")
        if while_reading:
            raise trouble_with(error, while_reading=True) from error
        raise Contended from None
    except errors.QueryCanceled:
        connection.rows("ROLLBACK")
        raise Contended from None
