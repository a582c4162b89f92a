"""The calls that are in flight during a replay. Bounded, and pure.

What a program reports late is in flight for long: a spool of a month's calls, for a month. Live, holds
have a bound of their own; calls that nobody held for have none.
"""

from collections.abc import Iterator
from datetime import datetime
from heapq import heappop, heappush
from typing import Final, NamedTuple

from enforcement.cus_what_if.at_scopes import Counting
from telemetry.cus_money.amounts import Amounts

# Calls in flight at once, with each limit at a scope that may count a call as one more: a few hundred
# bytes each. So 400,000 calls without such limits, and 14,000 of 27.
MOST_PARTS: Final = 400_000
_LEAST_CALLS: Final = 1_000


class GivenUp(NamedTuple):
    """What a replay gave up to stay small.

    `values` of limits were forgotten before their window was over, `landings` were counted before
    their records came, and of `otherwise` calls it was forgotten that they were decided otherwise.
    """

    values: int = 0
    landings: int = 0
    otherwise: int = 0


class Landing(NamedTuple):
    """A call's record: when it comes, what the call used, and what is held for it until then."""

    at: datetime
    # So that the heap of those that will come compares no further.
    number: int
    admitted_at: datetime
    spent: Amounts
    hold: Amounts | None
    counting: Counting


class InFlight:
    """Records that will come, in the order in which they come."""

    def __init__(self, limits: int, *, most_parts: int = MOST_PARTS) -> None:
        """`limits`: how many at scopes there are, each of which may count a call."""
        self.landed_early = 0
        self._most = max(most_parts // (1 + limits), _LEAST_CALLS)
        self._landings: list[Landing] = []

    def add(self, landing: Landing, now: datetime) -> Landing | None:
        """A call begins. Of too many, the record that comes first comes now: it is returned."""
        heappush(self._landings, landing)
        if len(self._landings) <= self._most:
            return None
        self.landed_early += 1
        return heappop(self._landings)._replace(at=now)

    def come_by(self, moment: datetime) -> Iterator[Landing]:
        """The records that have come by a moment; they are in flight no more."""
        landings = self._landings
        while landings and landings[0].at <= moment:
            yield heappop(landings)
