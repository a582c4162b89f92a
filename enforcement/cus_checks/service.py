"""May this call run? One integration's checks: lock, read, decide, hold, commit (rulings F3 to F6).

A check is two messages to the database. The first takes the integration's lock and then reads, in
one statement, all evidence that a decision depends on; the second holds the call's estimate, logs
and counts the decision, and commits. So at every admission used + held + leased + estimate ≤ limit,
however many callers there are. Where a limit of the tenant has allotted too little, the check gets
more of it and reads again in between. Checks of one integration that come at the same time to one
process share a round.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

import psycopg

from aos_sdk.cus_wire import MAX_BATCH_CHECKS
from enforcement.cus_checks.allotting import needs_of, refill, unless_contended
from enforcement.cus_checks.fair_share import ShareTaken, fair_share
from enforcement.cus_checks.joined import GroupFailed, GroupTimeout, JoinedWork
from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.locked import (
    ABSENCE,
    LOAD,
    Contended,
    evidence_by,
    lock_by,
    lock_in_time,
    rows_in_time,
    run_in_time,
)
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.rounds import Round, Verdict
from enforcement.cus_checks.runs import start, swept, unstarted
from enforcement.cus_checks.scopes import CallScopes, asked_of, scopes_of
from enforcement.cus_checks.turned_away import (
    TurnedAway,
    logging_of,
    note_turned_away,
    pause_turned_away,
    take_turned_away,
)
from enforcement.cus_checks.unread import CusUnreadDecisions
from enforcement.cus_decisions import log as log
from enforcement.cus_reading.absence import (
    DatabaseAbsent,
    DatabaseTrouble,
)
from enforcement.cus_reading.connection import DeciderConnection, no_answer
from enforcement.cus_reading.known_models import (
    READ_MODELS,
    KnownModels,
    known_models,
    remember_models,
)
from enforcement.cus_rules.authority import known_state, remember_state
from telemetry.cus_holds.hold_changes import HOLDS_CHANGED, change_values
from telemetry.cus_holds.holds import HOLD_LIFE, Reading, read_values, reading_of
from telemetry.cus_holds.limit_sums import AskedLimit, LimitKey, key_of

# A call's record may land between our reading and our hold; then the round reads again.
_ATTEMPTS = 3


class _Landed(Exception):
    """What the round was read for has changed: a call was recorded, or something was swept."""


class _Asking(NamedTuple):
    """What a round's reading is asked about: own prices of models, limits at scopes, and sessions."""

    models: Sequence[str]
    scopes: Sequence[CallScopes]
    limits: Sequence[AskedLimit]

    @property
    def keys(self) -> Sequence[LimitKey]:
        """The keys of the limits, in their order."""
        return [key_of(limit) for limit in self.limits]

    @property
    def sessions(self) -> Sequence[str]:
        """The sessions that the calls name, which may have budgets in code."""
        return sorted({name for call in self.scopes if (name := call.names.session_id)})

    def differs_from(self, other: "_Asking") -> bool:
        """Whether a reading for the other does not serve."""
        return (self.models, self.limits) != (other.models, other.limits)


# The key is the integration and, in tests, the moment: checks with the same key share a round.
_joined = JoinedWork[CheckRequest, "Verdict | Exception"](most=MAX_BATCH_CHECKS)


class CusEnforcementService:
    """Decides checks of the caller's integration.

    `at` replaces the database's clock, in tests. A missing database never raises here: each check
    has a verdict within 450 ms.
    """

    def __init__(self, caller: Caller, *, at: datetime | None = None) -> None:
        self.caller = caller
        self.at = at
        self._whose = (caller.tenant_id, caller.integration_id)
        self._unread = CusUnreadDecisions(caller, at=at)

    def check(self, request: CheckRequest) -> Verdict:
        """The verdict on one call; holds its estimate if the call may run and asks for a hold."""
        return self.check_batch([request])[0]

    def check_batch(self, requests: Sequence[CheckRequest]) -> list[Verdict]:
        """The verdicts on calls, under one lock; each call sees the holds of the calls before."""
        if not self.caller.verified:
            # The sender of a made-up key learns nothing, and gets no hold.
            return self._unread.judge(requests, None, contended=False)
        if self.caller.absent:
            return self._unread.by_last_state(requests)
        try:
            with fair_share.taken(self.caller.integration_id, len(requests)):
                return self._decide(requests)
        except ShareTaken:
            return self._turn_away(requests)

    def _decide(self, requests: Sequence[CheckRequest]) -> list[Verdict]:
        try:
            found = self._decide_joined(requests)
        except (*LOAD, *ABSENCE) as error:
            return self._unread.after(error, requests)
        errors_met = [result for result in found if isinstance(result, Exception)]
        if errors_met:
            unkept = [
                request
                for request, result in zip(requests, found, strict=True)
                if isinstance(result, Exception)
            ]
            anew = iter(self._unread.after(errors_met[0], unkept))
            return [result if isinstance(result, Verdict) else next(anew) for result in found]
        return [result for result in found if isinstance(result, Verdict)]

    def _turn_away(self, requests: Sequence[CheckRequest]) -> list[Verdict]:
        """Verdicts beyond the integration's share; the integration's next round logs them."""
        if known_state(self.caller.integration_id) is None:
            # A refusal needs the integration's state, which this process has not read yet.
            return self._decide(requests)
        pause_turned_away()
        verdicts = self._unread.by_last_state(requests, contended=True)
        numbers = log.counts(verdict.decision for verdict in verdicts)
        refused = [(verdict.facts, verdict.decision) for verdict in verdicts]
        note_turned_away(self._whose, TurnedAway(refused, numbers))
        return verdicts

    # --- With evidence --------------------------------------------------------------------------

    def _decide_joined(self, requests: Sequence[CheckRequest]) -> Sequence[Verdict | Exception]:
        """Verdicts of a round that these requests lead, or of one that another request leads."""
        while True:
            try:
                return _joined.run(
                    (self.caller.integration_id, self.at),
                    requests,
                    self._decide_locked,
                    turn_by=lock_by(self.caller),
                    end_by=evidence_by(self.caller),
                )
            except GroupTimeout:
                raise no_answer() from None
            except GroupFailed as failed:
                if isinstance(failed.__cause__, ABSENCE):
                    raise failed.__cause__ from None
                # The leading request had less time than these requests, or was itself at fault.
                continue

    def _decide_locked(self, requests: Sequence[CheckRequest]) -> list[Verdict | Exception]:
        """Verdicts of one round; an error replaces each admission that could not be stored."""
        decided = list[Verdict]()

        def work(connection: DeciderConnection) -> list[Verdict]:
            new = unstarted(self.caller.integration_id, requests)
            without_place = start(connection, *self._whose, new)
            decided.clear()
            round_, asking = self._read(connection, requests, without_place)
            verdicts = round_.verdicts(requests, asking.scopes)
            if needs := needs_of(verdicts):
                if refill(connection, self.caller, needs, self.at):
                    reading = self._reading(connection, requests, asking)
                    round_ = round_.read_again(reading)
                    verdicts = round_.verdicts(requests, asking.scopes)
                else:
                    verdicts = list(map(unless_contended, verdicts))
            decided[:] = verdicts
            return self._commit(connection, round_, decided)

        for _ in range(_ATTEMPTS):
            try:
                return [*run_in_time(self.caller, work)]
            except _Landed:
                continue
            except DatabaseTrouble as error:
                # A refusal is valid even if it was not stored (ruling F9).
                if not decided:
                    raise
                return [error if verdict.decision.admits else verdict for verdict in decided]
        raise Contended

    def _read(
        self,
        connection: DeciderConnection,
        requests: Sequence[CheckRequest],
        without_place: Collection[str],
    ) -> tuple[Round, _Asking]:
        """Take the integration's lock and read its evidence, its own prices and its limits."""
        known = known_models(self.caller.integration_id)
        asking = self._asking(requests, known)
        reading = self._reading(connection, requests, asking, lock_in_time(self.caller))
        version = reading.integration["config_version"]
        if version != known.config_version:
            statement = connection.call(READ_MODELS, *self._whose)
            ((document,),) = rows_in_time(connection, statement)
            default = reading.integration["default_model"]
            known = remember_models(self.caller.integration_id, version, default, document or b"")
            was, asking = asking, self._asking(requests, known)
            if asking.differs_from(was):
                reading = self._reading(connection, requests, asking)
        if swept(self.caller.integration_id, requests, {*reading.runs, *without_place}):
            connection.rows("ROLLBACK")
            raise _Landed
        state = remember_state(self.caller.integration_id, reading.integration)
        round_ = Round(self.caller.tenant_id, state, reading, known, without_place)
        return round_, asking

    def _asking(self, requests: Sequence[CheckRequest], known: KnownModels) -> "_Asking":
        scopes = [scopes_of(self.caller.tenant_id, request, known) for request in requests]
        models = known.named([request.model for request in requests])
        return _Asking(models, scopes, asked_of(scopes))

    def _reading(
        self,
        connection: DeciderConnection,
        requests: Sequence[CheckRequest],
        asking: "_Asking",
        lock_first: str = "",
    ) -> Reading:
        call_ids = [request.call_id for request in requests]
        values = read_values(
            *self._whose, call_ids, self.at, asking.models, asking.limits, asking.sessions
        )
        statement = connection.call("cus_read", *values)
        first = [lock_first] if lock_first else []
        *_, rows = rows_in_time(connection, *first, statement, waits=len(first))
        if not rows or rows[0] is None:
            connection.rows("ROLLBACK")
            raise DatabaseAbsent("there is no such integration")
        return reading_of(rows[0], call_ids, asking.keys)

    def _commit(
        self, connection: DeciderConnection, round_: Round, verdicts: list[Verdict]
    ) -> list[Verdict]:
        """Hold, log and commit in one message, with the decisions that were turned away before."""
        now = round_.reading.now
        before = take_turned_away(self._whose)
        message = [*logging_of(connection, self._whose, verdicts, before), "COMMIT"]
        if round_.changes:
            change = change_values(*self._whose, round_.changes, now)
            message.insert(0, connection.call("cus_change_holds", *change))
        try:
            connection.rows("; ".join(message))
        except psycopg.Error as error:
            note_turned_away(self._whose, before)
            if error.sqlstate != HOLDS_CHANGED:
                raise
            connection.rows("ROLLBACK")
            raise _Landed from None
        return [
            verdict._replace(hold_expires_at=now + HOLD_LIFE)
            if verdict.facts.call_id in round_.changes
            else verdict
            for verdict in verdicts
        ]
