"""Decisions that were made without the database, because an integration took its share.

Writing each decision at once would cost what turning away saves. The integration's next round logs
and counts them in its own commit (ruling F9). Of a flood, each round logs the first decision alone
and counts all. The end of the process logs the decisions that still wait.
"""

import atexit
import threading
import time
import uuid
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from enforcement.cus_checks.rounds import Verdict
from enforcement.cus_decisions import log as log
from enforcement.cus_reading.absence import DatabaseTrouble
from enforcement.cus_reading.connection import DeciderConnection
from enforcement.cus_reading.decider import decider_pool
from enforcement.cus_rules.facts import Facts
from enforcement.cus_rules.precedence import Decision

logger = structlog.get_logger(__name__)

# A process that ends waits no longer for its database; otherwise the supervisor kills the process.
_LAST_SECONDS = 2.0
_MOST_LOGGED = 100
_MAX_KNOWN = 10_000
_PAUSE_SECONDS = 0.03


class TurnedAway(NamedTuple):
    """The decisions to log, and the counts of all decisions, as `cus_count` takes them."""

    logged: Sequence[tuple[Facts, Decision]] = ()
    counts: Sequence[int] = log.NO_COUNTS

    def plus(self, other: "TurnedAway") -> "TurnedAway":
        """The decisions of both, with those of `self` first."""
        counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        return TurnedAway([*self.logged, *other.logged][:_MOST_LOGGED], counts)


NONE_TURNED_AWAY = TurnedAway()
# The tenant and the integration.
Whose = tuple[uuid.UUID, uuid.UUID]
_waiting: dict[Whose, TurnedAway] = {}
_changing = threading.Lock()


def pause_turned_away() -> None:
    """Wait before a request beyond the share is refused.

    Without a pause the client would ask again at once, and refusing takes processor time from other
    integrations.
    """
    time.sleep(_PAUSE_SECONDS)


def note_turned_away(whose: Whose, turned_away: TurnedAway) -> None:
    """Keep decisions for the integration's next round."""
    with _changing:
        if len(_waiting) >= _MAX_KNOWN:
            _waiting.clear()
        _waiting[whose] = _waiting.get(whose, NONE_TURNED_AWAY).plus(turned_away)


def take_turned_away(whose: Whose) -> TurnedAway:
    """Remove and return the decisions that wait; the caller must log them."""
    with _changing:
        return _waiting.pop(whose, NONE_TURNED_AWAY)


def statements_of(connection: DeciderConnection, whose: Whose, decisions: TurnedAway) -> list[str]:
    """The statements that append and count decisions."""
    statements = [connection.call("cus_count", *whose, *decisions.counts)]
    entries = [log.entry(*whose, *logged) for logged in decisions.logged]
    if entries:
        statements.append(connection.call("cus_append", log.encoded(entries)))
    return statements


def logging_of(
    connection: DeciderConnection,
    whose: Whose,
    verdicts: Sequence[Verdict],
    before: TurnedAway = NONE_TURNED_AWAY,
) -> list[str]:
    """The statements that append and count decisions, those that were turned away before first."""
    numbers = log.counts(verdict.decision for verdict in verdicts)
    numbers = [a + b for a, b in zip(before.counts, numbers, strict=True)]
    notable = [
        (verdict.facts, verdict.decision) for verdict in verdicts if not verdict.decision.is_plain
    ]
    return statements_of(connection, whose, TurnedAway([*before.logged, *notable], numbers))


def log_turned_away(*, seconds: float = _LAST_SECONDS) -> None:
    """Log the waiting decisions at the end of the process; those not stored in time are lost."""
    end_by = time.monotonic() + seconds

    def work(connection: DeciderConnection) -> None:
        while waits := next(iter(_waiting), None):
            turned_away = take_turned_away(waits)
            statements = statements_of(connection, waits, turned_away)
            try:
                connection.rows("; ".join(["BEGIN", *statements, "COMMIT"]))
            except Exception:
                note_turned_away(waits, turned_away)
                raise

    if not _waiting:
        return
    try:
        decider_pool().run(work, take_by=end_by, end_by=end_by)
    except DatabaseTrouble as error:
        lost = sum(sum(turned_away.counts) for turned_away in _waiting.values())
        logger.warning("decisions were not logged", decisions=lost, error=type(error).__name__)
        forget_turned_away()


def forget_turned_away() -> None:
    """Forget all waiting decisions, as in a process that has just started."""
    with _changing:
        _waiting.clear()


# For servers that have no hook of their own. Runs before the hook that closes the pool, because
# the pool's module was imported first.
atexit.register(log_turned_away)
