"""Budgets in code of sessions: a check brings its session's, and the database keeps the least.

A budget starts in a transaction of its own before the check, because its start waits for those who
count landed calls, and a check must not wait for them while it has the integration's lock.
"""

import time
import uuid
from collections import OrderedDict
from collections.abc import Collection, Container, Iterable, Sequence
from threading import Lock
from typing import Final

import msgspec
import psycopg

from enforcement.cus_checks.requests import CheckRequest, RunBudget
from enforcement.cus_checks.scopes import session_of
from enforcement.cus_reading.connection import DeciderConnection
from integrations.cus_web.quotas import RUN_LIMITS
from telemetry.cus_holds.limit_sums import RUNS_FULL, run_limit_id

_MAX_KNOWN: Final = 10_000
# A budget that is not named for thirty days is swept, so a process names it anew in time.
_KNOWN_SECONDS: Final = 6 * 3_600.0


class _Started:
    """The budgets that this process has given to the database of late, by integration."""

    def __init__(self) -> None:
        self._known: dict[uuid.UUID, OrderedDict[tuple[str, RunBudget], float]] = {}
        self._number = 0
        self._changing = Lock()

    def has(self, integration_id: uuid.UUID, session_id: str, run: RunBudget) -> bool:
        """Whether the budget was given less than `_KNOWN_SECONDS` ago."""
        of_one = self._known.get(integration_id)
        given_at = of_one.get((session_id, run)) if of_one else None
        return given_at is not None and time.monotonic() - given_at < _KNOWN_SECONDS

    def add(self, integration_id: uuid.UUID, session_id: str, run: RunBudget) -> None:
        """Note a budget. Of too many, the first of the integration with most of them is forgotten:
        a flood of one integration's sessions costs the others nothing.
        """
        with self._changing:
            of_one = self._known.setdefault(integration_id, OrderedDict())
            self._number += (session_id, run) not in of_one
            of_one[session_id, run] = time.monotonic()
            of_one.move_to_end((session_id, run))
            if self._number > _MAX_KNOWN:
                max(self._known.values(), key=len).popitem(last=False)
                self._number -= 1

    def forget(self, integration_id: uuid.UUID, sessions: Container[str]) -> None:
        """Forget the budgets of sessions."""
        with self._changing:
            of_one = self._known.get(integration_id, OrderedDict())
            for key in [key for key in of_one if key[0] in sessions]:
                del of_one[key]
                self._number -= 1

    def clear(self) -> None:
        """Forget all budgets."""
        with self._changing:
            self._known.clear()
            self._number = 0


_started = _Started()


def unstarted(
    integration_id: uuid.UUID, requests: Iterable[CheckRequest]
) -> list[tuple[str, RunBudget]]:
    """The budgets of sessions that this process has not given to the database yet, in order."""
    named = {
        (session, request.run)
        for request in requests
        if request.run and (session := session_of(request))
    }
    return sorted(
        (one for one in named if not _started.has(integration_id, *one)), key=lambda one: one[0]
    )


def start(
    connection: DeciderConnection,
    tenant_id: uuid.UUID,
    integration_id: uuid.UUID,
    budgets: Sequence[tuple[str, RunBudget]],
) -> frozenset[str]:
    """Keep the budgets of sessions; return the sessions for which there is no place.

    Idle budgets make room for new ones, the least recently used first. Raises psycopg.Error.
    """
    without_place = set[str]()
    for session_id, run in budgets:
        whose = (tenant_id, integration_id, session_id)
        amounts = msgspec.json.encode(run).decode()
        limit_id = run_limit_id(integration_id, session_id)
        start_run = connection.call("cus_start_run", *whose, limit_id, amounts)
        bound = connection.call("cus_bound_runs", *whose, RUN_LIMITS.most)
        try:
            connection.rows(f"BEGIN; {start_run}; {bound}; COMMIT")
        except psycopg.Error as error:
            if error.sqlstate != RUNS_FULL:
                raise
            connection.rows("ROLLBACK")
            without_place.add(session_id)
        else:
            _started.add(integration_id, session_id, run)
    return frozenset(without_place)


def most_runs(request: CheckRequest, without_place: Collection[str]) -> int:
    """The bound of budgets in code, if the request's found no place; else 0."""
    return RUN_LIMITS.most if request.run and session_of(request) in without_place else 0


def swept(
    integration_id: uuid.UUID, requests: Iterable[CheckRequest], found: Container[str | None]
) -> bool:
    """Whether a budget is not there any more that this process knows; then it starts anew."""
    named = {session_of(request) for request in requests if request.run}
    gone = {session for session in named if session is not None and session not in found}
    if gone:
        _started.forget(integration_id, gone)
    return bool(gone)


def forget_runs() -> None:
    """Forget all budgets, as in a process that has just started."""
    _started.clear()
