"""Budgets in code: limits of a session that a program names itself, and their count in this process.

The server counts what all processes of a session use, and decides wherever it answers. The count
here binds calls that no server which knows such budgets has admitted.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

from aos_sdk.cus_cost import CusTokenUsage, cost_of_call, format_cost
from aos_sdk.cus_delivery.ended_call import CusOrigin
from aos_sdk.cus_enforcing.decisions import EnforcementReason
from aos_sdk.cus_enforcing.run_budget import CusRun, CusRunUse
from aos_sdk.cus_pricing.places import CusPlace
from aos_sdk.cus_reported_usage import CusReportedUsage
from aos_sdk.cus_wire import CusReasonCode

# Sessions whose use is kept in mind. Of more, those without running calls that were not used for
# longest are forgotten.
_MOST_SESSIONS: Final = 10_000
_LIFE: Final = "life"
_SESSION: Final = "session_id"
_TOO_LARGE: Final = CusReasonCode.ESTIMATE_EXCEEDS_ROOM


class CusPricedCall(Protocol):
    """What the cost of an ended call depends on."""

    model: str
    provider: str | None
    usage: CusTokenUsage | CusReportedUsage | None
    service_tier: str | None
    cost_cents: int | None
    error_code: str | None
    is_late: bool

    @property
    def billed_units(self) -> Mapping[str, int] | None: ...
    @property
    def started_at(self) -> datetime | int: ...
    @property
    def origin(self) -> CusOrigin: ...


def use_of(call: CusPricedCall) -> CusRunUse | None:
    """What the ended call has used; None where that is not known, and its estimate counts."""
    usage = call.usage
    if call.is_late or (usage is None and call.error_code is None):
        return None
    if usage is None:
        return CusRunUse(call.cost_cents or 0)
    cents = call.cost_cents
    if cents is None:
        place = CusPlace(call.provider, call.origin.region)
        tier, units = call.service_tier, call.billed_units
        priced = cost_of_call(call.model, usage, tier, units, call.started_at, place=place)
        if priced is None:
            return None
        cents = priced[0]
    return CusRunUse(cents, usage.tokens_in + usage.tokens_out)


class _Session:
    """What the calls of a session have used here, and what those that run may use."""

    def __init__(self) -> None:
        self.used = [0, 0, 0]
        self.held = [0, 0, 0]
        # The least of all budgets that were named: no later one is larger.
        self.run = CusRun()
        # What a person has raised, as the server last told; it replaces what code gives.
        self.raised = CusRun()

    @property
    def is_running(self) -> bool:
        """Whether calls of it run."""
        return self.held[2] > 0

    def limit(self, place: int) -> int | None:
        """What it may use of a unit."""
        by_code, raised = self.run.amounts[place], self.raised.amounts[place]
        return by_code if by_code is None or raised is None else raised


class CusRuns:
    """Counts the calls of sessions with a budget in code, for any number of threads."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._running: dict[Hashable, tuple[_Session, CusRunUse]] = {}
        # Budgets that a check has told the server, so that a lease can be of them.
        self._told: OrderedDict[tuple[str, CusRun], None] = OrderedDict()
        self._changing = threading.Lock()

    def note_told(self, session_id: str, run: CusRun, raised: CusRun | None) -> None:
        """The server has answered a check that named the budget; `raised` is what it told of that."""
        with self._changing:
            self._note_raised(session_id, raised)
            self._told[session_id, run] = None
            if len(self._told) > _MOST_SESSIONS:
                self._told.popitem(last=False)

    def is_told(self, session_id: str, run: CusRun) -> bool:
        """Whether the server knows of the budget."""
        return (session_id, run) in self._told

    def begin(
        self, call: Hashable, session_id: str, estimate: CusRunUse, raised: CusRun | None = None
    ) -> None:
        """A call begins that the server has admitted, or a lease whose answer told what is raised."""
        with self._changing:
            self._note_raised(session_id, raised)
            self._hold(call, self._session(session_id), estimate)

    def begin_if_it_fits(
        self, call: Hashable, session_id: str, run: CusRun, estimate: CusRunUse
    ) -> EnforcementReason | None:
        """Let a call begin; return the reason why not, if the budget has no room for it here."""
        with self._changing:
            session = self._session(session_id)
            session.run = session.run.least(run)
            self._let_go(call)
            for reason in _findings(session, session_id, estimate):
                return reason
            self._hold(call, session, estimate)
        return None

    def end(self, call: Hashable, use: CusRunUse | None) -> None:
        """The call has ended. None if it is not known what it used: then its estimate counts."""
        with self._changing:
            found = self._let_go(call)
            if found is not None:
                session, estimate = found
                _add(session.used, estimate if use is None else use)

    def forget(self, call: Hashable) -> None:
        """The call never left the program, or nobody will tell of its end."""
        with self._changing:
            self._let_go(call)

    def _note_raised(self, session_id: str, raised: CusRun | None) -> None:
        if raised is not None:
            self._session(session_id).raised = raised

    def _session(self, session_id: str) -> _Session:
        session = self._sessions.setdefault(session_id, _Session())
        self._sessions.move_to_end(session_id)
        if len(self._sessions) > _MOST_SESSIONS:
            self._forget_one()
        return session

    def _forget_one(self) -> None:
        """Forget the session that was not used for longest, but none with running calls: what these
        use would be forgotten, too. Those are in use, so they go to the end.
        """
        for _ in range(len(self._sessions) - 1):
            name, oldest = next(iter(self._sessions.items()))
            if not oldest.is_running:
                del self._sessions[name]
                return
            self._sessions.move_to_end(name)

    def _hold(self, call: Hashable, session: _Session, estimate: CusRunUse) -> None:
        self._let_go(call)
        _add(session.held, estimate)
        self._running[call] = session, estimate

    def _let_go(self, call: Hashable) -> tuple[_Session, CusRunUse] | None:
        found = self._running.pop(call, None)
        if found is not None:
            _add(found[0].held, found[1], sign=-1)
        return found


def _add(amounts: list[int], use: CusRunUse, sign: int = 1) -> None:
    for place, amount in enumerate(use):
        amounts[place] += sign * amount


# Of each unit: the type of its limits, and how an amount of it is written.
_UNITS: Final = (
    ("budget", format_cost),
    ("tokens", "{:,} tokens".format),
    ("rate", "{:,} calls".format),
)


def _findings(
    session: _Session, session_id: str, estimate: CusRunUse
) -> Iterator[EnforcementReason]:
    """Each unit in which the budget has no room for a call."""
    for place, (limit_type, text) in enumerate(_UNITS):
        limit: Any = session.limit(place)
        used, held, asked = session.used[place], session.held[place], estimate[place]
        if limit is None or used + held + max(asked, 1) <= limit:
            continue
        has_room = limit_type != "rate" and used + held < limit
        yield EnforcementReason(
            code=_TOO_LARGE if has_room else CusReasonCode.SESSION_LIMIT_EXCEEDED,
            message=(
                f"The budget in code of the session {session_id}, {text(limit)}, has no room for "
                f"this call: {text(used)} used, {text(held)} for calls that run, and the call may "
                f"take {text(asked)}."
            ),
            action="Have a person raise it, name another session, or go on without this budget",
            limit_type=limit_type,
            limit_value=limit,
            current_value=used,
            held_value=held,
            scope=_SESSION,
            scope_value=session_id,
            window=_LIFE,
        )
