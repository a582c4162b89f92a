"""Verdicts without evidence: by authority alone, as it is or as it was last known (ruling F6)."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import structlog
from psycopg import errors

from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.locked import LOAD, whole_by
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.rounds import Verdict
from enforcement.cus_checks.stopped import stop_of
from enforcement.cus_checks.turned_away import logging_of
from enforcement.cus_reading.absence import DatabaseAbsent, DatabaseTrouble
from enforcement.cus_reading.connection import DeciderConnection, trouble_with
from enforcement.cus_reading.decider import decider_pool
from enforcement.cus_rules.authority import Known, known_state, remember_state
from enforcement.cus_rules.facts import Facts
from enforcement.cus_rules.precedence import decide

logger = structlog.get_logger(__name__)

# A check does not wait for a locked table of authority: the state last known decides.
_UNLOCKED_ONLY = "BEGIN; SET LOCAL lock_timeout = 50"


class CusUnreadDecisions:
    """Decides checks of the caller's integration without evidence.

    `at` replaces the clock, in tests. Not `logged`: the verdicts are of no call, so the log of
    decisions has no entry for them.
    """

    def __init__(self, caller: Caller, *, at: datetime | None = None, logged: bool = True) -> None:
        self.caller = caller
        self.at = at
        self.logged = logged
        self._whose = (caller.tenant_id, caller.integration_id)

    def after(self, error: Exception, requests: Sequence[CheckRequest]) -> list[Verdict]:
        """Verdicts by the error that kept us from reading or storing."""
        if isinstance(error, LOAD):
            return self._by_authority(requests, contended=True)
        # A database that did not answer about evidence will not answer about authority.
        if isinstance(error, DatabaseAbsent):
            return self.by_last_state(requests)
        # The caller does not wait for a repair, so the log must tell operators that the database
        # answers and refuses to read the evidence.
        logger.warning("evidence could not be read", error=str(error))
        return self._by_authority(requests, contended=False)

    def _by_authority(self, requests: Sequence[CheckRequest], *, contended: bool) -> list[Verdict]:
        """Verdicts by authority alone: read now if the database answers, else as last known."""

        def work(connection: DeciderConnection) -> list[Verdict]:
            statement = connection.call("cus_read_authority", *self._whose)
            try:
                (row,) = connection.rows(f"{_UNLOCKED_ONLY}; {statement}")
            except errors.LockNotAvailable as error:
                connection.rows("ROLLBACK")
                raise trouble_with(error, while_reading=True) from error
            known = remember_state(self.caller.integration_id, msgspec.json.decode(row or b""))
            verdicts = self.judge(requests, known, contended=contended)
            logging = logging_of(connection, self._whose, verdicts) if self.logged else []
            connection.rows("; ".join([*logging, "COMMIT"]))
            return verdicts

        end_by = whole_by(self.caller)
        try:
            return decider_pool().run(work, take_by=end_by, end_by=end_by)
        except DatabaseTrouble:
            return self.by_last_state(requests, contended=contended)

    def by_last_state(
        self, requests: Sequence[CheckRequest], *, contended: bool = False
    ) -> list[Verdict]:
        """Verdicts by the last known state. The log gets them with the calls' records."""
        last = known_state(self.caller.integration_id)
        return self.judge(requests, last, contended=contended)

    def judge(
        self, requests: Sequence[CheckRequest], known: Known | None, *, contended: bool
    ) -> list[Verdict]:
        """Verdicts by this state, or where it is None by an unknown state."""
        now = self.at or datetime.now(UTC)
        facts = [
            Facts(
                call_id=request.call_id,
                model=request.model,
                evaluated_at=now,
                authority=known.authority if known else None,
                usage=None,
                contended=contended,
                stopped=stop_of(self.caller.tenant_id, known, request),
            )
            for request in requests
        ]
        # Without usage, the decision depends on the integration and its stops alone.
        decisions = {
            stop: decide(of_call) for stop, of_call in {f.stopped: f for f in facts}.items()
        }
        return [Verdict(decisions[of_call.stopped], of_call) for of_call in facts]
