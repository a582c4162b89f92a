"""What a replay must remember of single calls, for a while. Bounded, and pure.

What a program reports late is in flight for long: a spool of a month's calls, for a month. Live, holds
have a bound of their own; calls that nobody held for have none.
"""

from collections.abc import Hashable, Iterator
from datetime import datetime
from heapq import heappop, heappush
from itertools import islice
from typing import Final, Generic, NamedTuple, TypeVar

from enforcement.cus_what_if.at_scopes import Counting
from telemetry.cus_money.amounts import Amounts

# Calls in flight at once, with each limit at a scope that may count a call as one more: a few hundred
# bytes each. So 400,000 calls without such limits, and 14,000 of 27.
MOST_PARTS: Final = 400_000
_LEAST_CALLS: Final = 1_000

Name = TypeVar("Name", bound=Hashable)
Value = TypeVar("Value")


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


class Remembered(Generic[Name, Value]):
    """Values by name. Of more than `most` names those that rested longest are forgotten."""

    def __init__(self, most: int = 100_000) -> None:
        self.forgotten = 0
        self._most = most
        self._values: dict[Name, Value] = {}

    def __contains__(self, name: Name) -> bool:
        return name in self._values

    def take(self, name: Name) -> Value | None:
        """The value, which is remembered no more; None if there is none."""
        return self._values.pop(name, None)

    def get(self, name: Name) -> Value | None:
        """The value; None if there is none."""
        return self._values.get(name)

    def keep(self, name: Name, value: Value) -> None:
        """Remember a value as the newest."""
        values = self._values
        values.pop(name, None)
        values[name] = value
        if len(values) > self._most:
            # Many at once, because the first of a dictionary is slow to find again and again.
            oldest = list(islice(values, len(values) // 4 + 1))
            for forgotten in oldest:
                del values[forgotten]
            self.forgotten += len(oldest)
