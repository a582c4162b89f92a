"""Budgets in code of sessions: a check brings its session's, and the database keeps the least.

A budget starts in a transaction of its own before the check, because its start waits for those who
count landed calls, and a check must not wait for them while it has the integration's lock.
"""

import time
import uuid
from collections.abc import Container, Iterable, Sequence
from typing import Final

import msgspec

from enforcement.cus_checks.requests import CheckRequest, RunBudget
from enforcement.cus_reading.connection import DeciderConnection
from telemetry.cus_holds.limit_sums import run_limit_id

_MAX_KNOWN: Final = 10_000
# A budget that is not named for thirty days is swept, so a process names it anew in time.
_KNOWN_SECONDS: Final = 6 * 3_600.0
_Key = tuple[uuid.UUID, str, RunBudget]
_started: dict[_Key, float] = {}


def unstarted(
    integration_id: uuid.UUID, requests: Iterable[CheckRequest]
) -> list[tuple[str, RunBudget]]:
    """The budgets of sessions that this process has not given to the database yet, in order."""
    now = time.monotonic()
    named = {
        (request.session_id, request.run)
        for request in requests
        if request.run and request.session_id
    }
    return sorted(
        (
            (session, run)
            for session, run in named
            if _started.get((integration_id, session, run), now - _KNOWN_SECONDS)
            <= now - _KNOWN_SECONDS
        ),
        key=lambda one: one[0],
    )


def start(
    connection: DeciderConnection,
    tenant_id: uuid.UUID,
    integration_id: uuid.UUID,
    budgets: Sequence[tuple[str, RunBudget]],
) -> None:
    """Keep the budgets of sessions. Raises psycopg.Error."""
    for session_id, run in budgets:
        whose = (tenant_id, integration_id, session_id, run_limit_id(integration_id, session_id))
        amounts = msgspec.json.encode(run).decode()
        connection.rows(f"BEGIN; {connection.call('cus_start_run', *whose, amounts)}; COMMIT")
        if len(_started) >= _MAX_KNOWN:
            _started.clear()
        _started[integration_id, session_id, run] = time.monotonic()


def swept(requests: Iterable[CheckRequest], found: Container[str]) -> bool:
    """Whether a budget is not there any more that this process knows; then it starts anew."""
    named = {request.session_id for request in requests if request.run and request.session_id}
    if all(session in found for session in named):
        return False
    forget_runs()
    return True


def forget_runs() -> None:
    """Forget all budgets, as in a process that has just started."""
    _started.clear()
