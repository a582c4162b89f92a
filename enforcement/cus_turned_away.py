"""Decisions that were made without the database, because an integration took its share.

Writing each down at once would cost what turning away saves. The integration's next round logs
and counts them in its own commit (ruling F9); of a flood it logs the first of each round alone,
and counts all.
"""

import threading
import uuid
from collections.abc import Sequence
from typing import NamedTuple

from enforcement import cus_decision_log as log
from enforcement.cus_precedence import Decision, Facts

_MOST_LOGGED = 100
_MAX_KNOWN = 10_000


class TurnedAway(NamedTuple):
    """What is to be logged, and how many decisions there were, as `cus_count` takes them."""

    logged: Sequence[tuple[Facts, Decision]] = ()
    counts: Sequence[int] = log.NO_COUNTS

    def plus(self, other: "TurnedAway") -> "TurnedAway":
        """Both together, the earlier first."""
        counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        return TurnedAway([*self.logged, *other.logged][:_MOST_LOGGED], counts)


NOBODY = TurnedAway()
_waiting: dict[uuid.UUID, TurnedAway] = {}
_changing = threading.Lock()


def note_turned_away(integration_id: uuid.UUID, turned_away: TurnedAway) -> None:
    """Keep decisions for the integration's next round."""
    with _changing:
        if len(_waiting) >= _MAX_KNOWN:
            _waiting.clear()
        _waiting[integration_id] = _waiting.get(integration_id, NOBODY).plus(turned_away)


def take_turned_away(integration_id: uuid.UUID) -> TurnedAway:
    """What waits to be logged; it is the caller's now."""
    with _changing:
        return _waiting.pop(integration_id, NOBODY)


def forget_turned_away() -> None:
    """Nobody was."""
    with _changing:
        _waiting.clear()
