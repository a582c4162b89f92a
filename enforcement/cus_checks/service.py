"""May this call run? One integration's checks: lock, read, decide, hold, commit (rulings F3 to F6).

A check is two messages to the database. The first takes the integration's lock and then reads, in
one statement, all evidence that a decision depends on; the second holds the call's estimate, logs
and counts the decision, and commits. So at every admission used + held + leased + estimate ≤ limit,
however many callers there are. Checks of one integration that come at the same time to one process
share a round.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import psycopg
import structlog
from psycopg import errors

from aos_sdk.cus_wire import MAX_BATCH_CHECKS
from enforcement.cus_checks.fair_share import ShareTaken, fair_share
from enforcement.cus_checks.joined import GroupFailed, GroupTimeout, JoinedWork, QueueTimeout
from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.rounds import Round, Verdict
from enforcement.cus_checks.turned_away import (
    NONE_TURNED_AWAY,
    TurnedAway,
    note_turned_away,
    statements_of,
    take_turned_away,
)
from enforcement.cus_decisions import log as log
from enforcement.cus_reading.absence import (
    DatabaseAbsent,
    DatabaseBusy,
    DatabaseTrouble,
    EvidenceUnreadable,
)
from enforcement.cus_reading.connection import DeciderConnection, no_answer, trouble_with
from enforcement.cus_reading.decider import decider_pool
from enforcement.cus_reading.known_models import READ_MODELS, known_models, remember_models
from enforcement.cus_rules.authority import known_state, remember_state
from enforcement.cus_rules.precedence import Authority, Facts, decide
from telemetry.cus_holds.holds import (
    HOLD_LIFE,
    HOLDS_CHANGED,
    Reading,
    change_values,
    lock,
    read_values,
    reading_of,
)

logger = structlog.get_logger(__name__)

# Seconds from the beginning of a request (ruling F6): _LOCK for the lock, _EVIDENCE for the
# verdict with evidence, _WHOLE for any verdict. A server that answers reports within _LOCK that
# the lock is taken, ends a read after _READ, and after _TABLE_LOCK if a table is locked. If the
# server hangs, our own clock ends the wait.
_LOCK_SECONDS = 0.2
_READ_SECONDS = 0.195
_TABLE_LOCK_SECONDS = 0.15
_TURNED_AWAY_PAUSE_SECONDS = 0.03
_EVIDENCE_SECONDS = 0.41
_WHOLE_SECONDS = 0.43
# A check does not wait for a locked table of authority: the state last known decides.
_UNLOCKED_ONLY = "BEGIN; SET LOCAL lock_timeout = 50"
# A call's record may land between our reading and our hold; then the round reads again.
_ATTEMPTS = 3


class _Contended(Exception):
    """The integration's lock or its evidence was not available in time: load."""


class _Landed(Exception):
    """Since our reading, a call of this round was recorded, or its hold was swept."""


_LOAD = (_Contended, DatabaseBusy, QueueTimeout)
_ABSENCE = (DatabaseAbsent, EvidenceUnreadable)
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

    def check(self, request: CheckRequest) -> Verdict:
        """The verdict on one call; holds its estimate if the call may run and asks for a hold."""
        return self.check_batch([request])[0]

    def check_batch(self, requests: Sequence[CheckRequest]) -> list[Verdict]:
        """The verdicts on calls, under one lock; each call sees the holds of the calls before."""
        if not self.caller.verified:
            # The sender of a made-up key learns nothing, and gets no hold.
            return self._judge(requests, None, contended=False)
        if self.caller.absent:
            return self._by_last_state(requests)
        try:
            with fair_share.taken(self.caller.integration_id, len(requests)):
                return self._decide(requests)
        except ShareTaken:
            return self._turn_away(requests)

    def _decide(self, requests: Sequence[CheckRequest]) -> list[Verdict]:
        try:
            found = self._decide_joined(requests)
        except (*_LOAD, *_ABSENCE) as error:
            return self._decide_without(requests, error)
        errors_met = [result for result in found if isinstance(result, Exception)]
        if errors_met:
            unkept = [
                request
                for request, result in zip(requests, found, strict=True)
                if isinstance(result, Exception)
            ]
            anew = iter(self._decide_without(unkept, errors_met[0]))
            return [result if isinstance(result, Verdict) else next(anew) for result in found]
        return [result for result in found if isinstance(result, Verdict)]

    def _turn_away(self, requests: Sequence[CheckRequest]) -> list[Verdict]:
        """Verdicts beyond the integration's share; the integration's next round logs them."""
        if known_state(self.caller.integration_id) is None:
            # A refusal needs the integration's state, which this process has not read yet.
            return self._decide(requests)
        # Without a pause the client would ask again at once, and refusing takes processor time
        # from other integrations.
        time.sleep(_TURNED_AWAY_PAUSE_SECONDS)
        verdicts = self._by_last_state(requests, contended=True)
        numbers = log.counts(verdict.decision for verdict in verdicts)
        refused = [(verdict.facts, verdict.decision) for verdict in verdicts]
        note_turned_away(self._whose, TurnedAway(refused, numbers))
        return verdicts

    # --- With evidence --------------------------------------------------------------------------

    def _decide_joined(self, requests: Sequence[CheckRequest]) -> Sequence[Verdict | Exception]:
        """Verdicts of a round that these requests lead, or of one that another request leads."""
        began = self.caller.began
        while True:
            try:
                return _joined.run(
                    (self.caller.integration_id, self.at),
                    requests,
                    self._decide_locked,
                    turn_by=began + _LOCK_SECONDS,
                    end_by=began + _EVIDENCE_SECONDS,
                )
            except GroupTimeout:
                raise no_answer() from None
            except GroupFailed as failed:
                if isinstance(failed.__cause__, _ABSENCE):
                    raise failed.__cause__ from None
                # The leading request had less time than these requests, or was itself at fault.
                continue

    def _decide_locked(self, requests: Sequence[CheckRequest]) -> list[Verdict | Exception]:
        """Verdicts of one round; an error replaces each admission that could not be stored."""
        began, decided = self.caller.began, list[Verdict]()

        def work(connection: DeciderConnection) -> list[Verdict]:
            round_ = self._read(connection, requests)
            decided[:] = [round_.verdict(request) for request in requests]
            return self._commit(connection, round_, decided)

        for _ in range(_ATTEMPTS):
            try:
                return [
                    *decider_pool().run(
                        work, take_by=began + _LOCK_SECONDS, end_by=began + _EVIDENCE_SECONDS
                    )
                ]
            except _Landed:
                continue
            except DatabaseTrouble as error:
                # A refusal is valid even if it was not stored (ruling F9).
                if not decided:
                    raise
                return [error if verdict.decision.admits else verdict for verdict in decided]
        raise _Contended

    def _read(self, connection: DeciderConnection, requests: Sequence[CheckRequest]) -> Round:
        """Take the integration's lock and read its evidence and its own prices."""
        names = known_models(self.caller.integration_id)
        models = [request.model for request in requests]
        left = self.caller.began + _LOCK_SECONDS - time.monotonic()
        if left <= 0:
            # The database was not asked yet: this process is slow, which is load, not absence.
            raise _Contended
        locked = lock(
            self.caller.integration_id,
            wait_seconds=left,
            read_seconds=_READ_SECONDS,
            table_lock_seconds=_TABLE_LOCK_SECONDS,
        )
        named = names.named(models)
        reading = self._reading(connection, requests, named, lock_first=f"{locked}; ")
        version = reading.integration["config_version"]
        if version != names.config_version:
            statement = connection.call(READ_MODELS, *self._whose)
            (document,) = _rows_in_time(connection, statement)
            default = reading.integration["default_model"]
            names = remember_models(self.caller.integration_id, version, default, document or b"")
            if names.named(models) != named:
                reading = self._reading(connection, requests, names.named(models))
        known = remember_state(self.caller.integration_id, reading.integration)
        return Round(self.caller.tenant_id, known, reading, names)

    def _reading(
        self,
        connection: DeciderConnection,
        requests: Sequence[CheckRequest],
        own_models: Sequence[str],
        lock_first: str = "",
    ) -> Reading:
        call_ids = [request.call_id for request in requests]
        values = read_values(*self._whose, call_ids, self.at, own_models)
        statement = connection.call("cus_read", *values)
        rows = _rows_in_time(connection, statement, lock_first)
        if not rows or rows[0] is None:
            connection.rows("ROLLBACK")
            raise DatabaseAbsent("there is no such integration")
        return reading_of(rows[0], call_ids)

    def _commit(
        self, connection: DeciderConnection, round_: Round, verdicts: list[Verdict]
    ) -> list[Verdict]:
        """Hold, log and commit in one message, with the decisions that were turned away before."""
        now = round_.reading.now
        before = take_turned_away(self._whose)
        message = [*self._logging(connection, verdicts, before), "COMMIT"]
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

    def _logging(
        self,
        connection: DeciderConnection,
        verdicts: Sequence[Verdict],
        before: TurnedAway = NONE_TURNED_AWAY,
    ) -> list[str]:
        """The statements that append and count decisions."""
        numbers = log.counts(verdict.decision for verdict in verdicts)
        numbers = [a + b for a, b in zip(before.counts, numbers, strict=True)]
        notable = [
            (verdict.facts, verdict.decision)
            for verdict in verdicts
            if not verdict.decision.is_plain
        ]
        return statements_of(
            connection, self._whose, TurnedAway([*before.logged, *notable], numbers)
        )

    # --- Without --------------------------------------------------------------------------------

    def _decide_without(self, requests: Sequence[CheckRequest], error: Exception) -> list[Verdict]:
        """Verdicts without evidence, by the error that kept us from reading or storing."""
        if isinstance(error, _LOAD):
            return self._decide_unread(requests, contended=True)
        # A database that did not answer about evidence will not answer about authority.
        if isinstance(error, DatabaseAbsent):
            return self._by_last_state(requests)
        # The caller does not wait for a repair, so the log must tell operators that the database
        # answers and refuses to read the evidence.
        logger.warning("evidence could not be read", error=str(error))
        return self._decide_unread(requests, contended=False)

    def _decide_unread(self, requests: Sequence[CheckRequest], *, contended: bool) -> list[Verdict]:
        """Verdicts by authority alone: read now if the database answers, else as last known."""

        def work(connection: DeciderConnection) -> list[Verdict]:
            statement = connection.call("cus_read_authority", *self._whose)
            try:
                (row,) = connection.rows(f"{_UNLOCKED_ONLY}; {statement}")
            except errors.LockNotAvailable as error:
                connection.rows("ROLLBACK")
                raise trouble_with(error, while_reading=True) from error
            known = remember_state(self.caller.integration_id, msgspec.json.decode(row or b""))
            verdicts = self._judge(requests, known.authority, contended=contended)
            connection.rows("; ".join([*self._logging(connection, verdicts), "COMMIT"]))
            return verdicts

        end_by = self.caller.began + _WHOLE_SECONDS
        try:
            return decider_pool().run(work, take_by=end_by, end_by=end_by)
        except DatabaseTrouble:
            return self._by_last_state(requests, contended=contended)

    def _by_last_state(
        self, requests: Sequence[CheckRequest], *, contended: bool = False
    ) -> list[Verdict]:
        """Verdicts by the last known state. The log gets them with the calls' records."""
        last = known_state(self.caller.integration_id)
        return self._judge(requests, last.authority if last else None, contended=contended)

    def _judge(
        self, requests: Sequence[CheckRequest], authority: Authority | None, *, contended: bool
    ) -> list[Verdict]:
        now = self.at or datetime.now(UTC)
        facts = [
            Facts(
                call_id=request.call_id,
                model=request.model,
                evaluated_at=now,
                authority=authority,
                usage=None,
                contended=contended,
            )
            for request in requests
        ]
        # Without usage, the decision depends on the integration alone: all calls share it.
        decision = decide(facts[0])
        return [Verdict(decision, facts_of_call) for facts_of_call in facts]


def _rows_in_time(
    connection: DeciderConnection, statement: str, lock_first: str = ""
) -> list[bytes | None]:
    """The rows of a statement under the lock. Raises _Contended, EvidenceUnreadable."""
    try:
        return connection.rows(lock_first + statement)
    except errors.LockNotAvailable as error:
        # If the integration's lock is held already, the wait was for a locked table.
        while_reading = connection.gave_rows or not lock_first
        connection.rows("ROLLBACK")
        if while_reading:
            raise trouble_with(error, while_reading=True) from error
        raise _Contended from None
    except errors.QueryCanceled:
        connection.rows("ROLLBACK")
        raise _Contended from None
