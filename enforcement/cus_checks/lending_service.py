"""Lend a part of each limit's room to a program that then decides by itself (rulings F5a, F5c).

Lending is two messages, as a check is: lock, take back what the holder returns and read; then lend
and commit. What is lent counts as leased for all others from the commit on, so a call that its
holder admits within the lease is a call that was admitted under the lock.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from enforcement.cus_checks.allotting import needs_of_lease, refill, unless_contended
from enforcement.cus_checks.fair_share import ShareTaken, fair_share
from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.lending_requests import LeaseRequest
from enforcement.cus_checks.locked import (
    ABSENCE,
    LOAD,
    Contended,
    lock_in_time,
    rows_in_time,
    run_in_time,
)
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.rounds import Verdict, usage_of
from enforcement.cus_checks.runs import most_runs, start, swept, unstarted
from enforcement.cus_checks.scopes import (
    CallScopes,
    facts_at_scopes,
    scopes_of,
)
from enforcement.cus_checks.turned_away import pause_turned_away
from enforcement.cus_checks.unread import CusUnreadDecisions
from enforcement.cus_reading.absence import DatabaseAbsent
from enforcement.cus_reading.connection import DeciderConnection
from enforcement.cus_reading.known_models import (
    READ_MODELS,
    KnownModels,
    known_models,
    remember_models,
)
from enforcement.cus_rules.authority import Known, remember_state
from enforcement.cus_rules.facts import Facts
from enforcement.cus_rules.lending import lend
from enforcement.cus_rules.precedence import decide
from telemetry.cus_holds.leases import (
    Lease,
    LendingReading,
    lend_values,
    lending_reading_of,
    lending_values,
    release_values,
)
from telemetry.cus_holds.limit_sums import RunLimit
from telemetry.cus_ids import uuid7
from telemetry.cus_money.amounts import Amounts, LeaseAmounts

# The statements of the first message that wait for other transactions: the lock, and taking back.
_WAITS = 2
_ATTEMPTS = 2


class _Outdated(Exception):
    """The budget in code was swept."""


class Lending(NamedTuple):
    """The verdict on a call of the estimate, the lease if there is one, and what was returned."""

    verdict: Verdict
    lease: Lease | None = None
    returned: Sequence[uuid.UUID] = ()
    # Whether sessions have budgets in code: then a lease is of one session, or of calls without one.
    by_session: bool = False


class CusLendingService:
    """Gives and takes back leases of the caller's integration.

    `at` replaces the database's clock, in tests. Asking for a lease never raises for want of a
    database: then there is no lease, and the verdict says why.
    """

    def __init__(self, caller: Caller, *, at: datetime | None = None) -> None:
        self.caller = caller
        self.at = at
        self._whose = (caller.tenant_id, caller.integration_id)
        # The verdicts are of no call: what the holder decides by them comes with its records.
        self._unread = CusUnreadDecisions(caller, at=at, logged=False)

    def lease(self, request: LeaseRequest) -> Lending:
        """A lease for a holder, if there is room; also keeps and returns what the holder names."""
        asked, unread = [request.as_check()], self._unread
        if not self.caller.verified:
            return _none(unread.judge(asked, None, contended=False))
        if self.caller.absent:
            return _none(unread.by_last_state(asked))
        try:
            with fair_share.taken(self.caller.integration_id, 1):
                return self._lend_anew(request)
        except ShareTaken:
            pause_turned_away()
            return _none(unread.by_last_state(asked, contended=True))
        except (*LOAD, *ABSENCE) as error:
            return _none(unread.after(error, asked))

    def end(self, lease_id: uuid.UUID, set_aside: LeaseAmounts) -> Sequence[uuid.UUID]:
        """Take back what was not set aside of a lease; its id, if it need not be named again.

        This only makes room, so it waits for no lock. Raises DatabaseTrouble.
        """
        if self.caller.absent or not self.caller.verified:
            raise DatabaseAbsent("the database did not answer when asked about the key")
        values = release_values(*self._whose, {lease_id: set_aside}, now=self.at)

        def work(connection: DeciderConnection) -> list[bytes | None]:
            return connection.rows(connection.call("cus_release_leases", *values))

        return _ids(run_in_time(self.caller, work))

    def _lend_anew(self, request: LeaseRequest) -> Lending:
        for _ in range(_ATTEMPTS):
            try:
                return run_in_time(self.caller, partial(self._lend, request))
            except _Outdated:
                continue
        raise Contended

    def _lend(self, request: LeaseRequest, connection: DeciderConnection) -> Lending:
        asked = request.as_check()
        new = unstarted(self.caller.integration_id, [asked])
        without_place = start(connection, *self._whose, new)
        returned, reading, scopes = self._take_back_and_read(connection, request, asked)
        if swept(self.caller.integration_id, [asked], {*reading.runs, *without_place}):
            connection.rows("ROLLBACK")
            raise _Outdated
        state = remember_state(self.caller.integration_id, reading.integration)
        most = most_runs(asked, without_place)
        verdict = _verdict(request, state, reading, scopes, most)
        if needs := needs_of_lease(verdict, request.holder, holders=reading.others + 1):
            if refill(connection, self.caller, needs, self.at):
                (rows,) = rows_in_time(connection, self._reads(connection, request, scopes))
                reading = self._found(connection, rows, scopes)
                verdict = _verdict(request, state, reading, scopes, most)
            else:
                verdict = unless_contended(verdict)
        (decision, facts, *_), run = verdict, _run_of(reading, scopes)
        lease, statements = None, ["COMMIT"]
        bound = state.authority.max_live_holds
        may_lend = _tells_enough(request, scopes, reading) and _may_have_more(reading, bound)
        if decision.admits and may_lend and (lease := _lease(request, facts, reading)):
            keys = [*scopes.of_calls.keys, *([run.key] if run else [])]
            lease = lease._replace(names=scopes.of_calls.document, limits=keys)
            values = lend_values(*self._whose, lease, reading.now)
            statements.insert(0, connection.call("cus_lend", *values))
        lent = connection.rows("; ".join(statements))
        # A repeated request names a lease that exists: its holder has the lease, or will return it.
        lease = lease if lent else None
        return Lending(verdict, lease, returned, reading.has_runs)

    def _take_back_and_read(
        self, connection: DeciderConnection, request: LeaseRequest, asked: CheckRequest
    ) -> tuple[Sequence[uuid.UUID], LendingReading, "_Scopes"]:
        known = known_models(self.caller.integration_id)
        scopes = self._scopes(asked, known)
        release = release_values(
            *self._whose,
            request.set_aside,
            running=request.running,
            keep=request.keep,
            now=self.at,
        )
        _, returned, rows = rows_in_time(
            connection,
            lock_in_time(self.caller),
            connection.call("cus_release_leases", *release),
            self._reads(connection, request, scopes),
            waits=_WAITS,
        )
        reading = self._found(connection, rows, scopes)
        version = reading.integration["config_version"]
        if version != known.config_version:
            ((document,),) = rows_in_time(connection, connection.call(READ_MODELS, *self._whose))
            default = reading.integration["default_model"]
            known = remember_models(self.caller.integration_id, version, default, document or b"")
            scopes = self._scopes(asked, known)
            (rows,) = rows_in_time(connection, self._reads(connection, request, scopes))
            reading = self._found(connection, rows, scopes)
        return _ids(returned), reading, scopes

    def _scopes(self, asked: CheckRequest, known: KnownModels) -> "_Scopes":
        of_calls = scopes_of(self.caller.tenant_id, asked, known)
        # Without a model, a lease is of calls of any.
        if asked.model is None:
            names = of_calls.names._replace(model=None)
            of_calls = CallScopes(names, known.limits.counting(names))
        return _Scopes(of_calls, not any(limit.enabled for limit in known.limits.all))

    def _reads(
        self, connection: DeciderConnection, request: LeaseRequest, scopes: "_Scopes"
    ) -> str:
        session = scopes.of_calls.names.session_id
        values = lending_values(
            *self._whose,
            request.holder_id,
            self.at,
            scopes.of_calls.asked,
            [session] if session else [],
        )
        return connection.call("cus_read_lending", *values)

    def _found(
        self, connection: DeciderConnection, rows: Sequence[bytes | None], scopes: "_Scopes"
    ) -> LendingReading:
        if not rows or rows[0] is None:
            connection.rows("ROLLBACK")
            raise DatabaseAbsent("there is no such integration")
        return lending_reading_of(rows[0], scopes.of_calls.keys)


class _Scopes(NamedTuple):
    """What the calls of a lease name, and whether a holder that knows no scopes may have a lease."""

    of_calls: CallScopes
    has_no_limits: bool


def _none(verdicts: Sequence[Verdict]) -> Lending:
    (verdict,) = verdicts
    return Lending(verdict)


def _run_of(reading: LendingReading, scopes: _Scopes) -> RunLimit | None:
    return reading.runs.get(scopes.of_calls.names.session_id or "")


def _verdict(
    request: LeaseRequest, state: Known, reading: LendingReading, scopes: _Scopes, most: int
) -> Verdict:
    """The verdict on a call of the holder's estimate. `most`: the bound of budgets in code, if the
    session's found no place."""
    run = _run_of(reading, scopes)
    facts = Facts(
        call_id="",
        evaluated_at=reading.now,
        authority=state.authority,
        usage=usage_of(reading),
        estimate=Amounts(*request.holder.estimate[: len(Amounts._fields)]),
        most_runs=most,
        limits=facts_at_scopes(scopes.of_calls, run, reading.limits, reading.now),
    )
    return Verdict(decide(facts), facts, run_raised=run.raised if run else None)


def _lease(request: LeaseRequest, facts: Facts, reading: LendingReading) -> Lease | None:
    holder = request.holder
    loan = lend(facts, holder, holders=reading.others + 1, young=reading.young)
    if loan is None:
        return None
    return Lease(
        request.next_lease_id or uuid7(),
        request.holder_id,
        loan.lent,
        [slice_.document() for slice_ in loan.slices],
        holder.is_young,
    )


def _tells_enough(request: LeaseRequest, scopes: _Scopes, reading: LendingReading) -> bool:
    """Whether the holder asks for a lease, and names all by which a limit could count its calls."""
    if request.estimate is None or (reading.has_runs and not request.says_session):
        return False
    return scopes.has_no_limits or request.named is not None


def _may_have_more(reading: LendingReading, bound: int) -> bool:
    """Whether the integration has fewer leases than its bound of holds; 0 is no bound."""
    return not bound or reading.leases < bound


def _ids(rows: Sequence[bytes | None]) -> list[uuid.UUID]:
    return [uuid.UUID((row or b"").decode()) for row in rows]
