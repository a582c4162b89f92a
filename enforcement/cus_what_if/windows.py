"""What a replay counts of one limit, by value, in the limit's present window. Pure.

Time only goes on: each moment is at or after those before it. Counts forget what is over, and of too
many values those that rested longest, so memory does not grow with what calls name.
"""

from collections import deque
from datetime import datetime, timedelta
from typing import Final, Protocol

from enforcement.cus_what_if.remembered import Remembered
from integrations.cus_lifecycle.limits import Window

# A second counts as long as any part of it is within the last 60 seconds, as checks have it.
MINUTE: Final = timedelta(seconds=61)


class Count(Protocol):
    """What the calls of each value take of a limit, in the limit's unit."""

    @property
    def forgotten(self) -> int:
        """How many values had to be forgotten before their window was over."""

    def taken(self, value: str, now: datetime) -> tuple[int, int]:
        """What is used, and what running calls hold."""

    def admit(self, value: str, at: datetime, hold: int) -> None:
        """A call begins. `hold` is 0 if nothing is held for it."""

    def land(self, value: str, at: datetime, admitted_at: datetime, hold: int, spent: int) -> None:
        """A call's record comes: what it used, in place of what was held for it."""

    def revise(self, value: str, at: datetime, counted_at: datetime, change: int) -> None:
        """What was counted at an earlier moment changes, if that is of the present window."""


class CalendarCount:
    """Of a day, a week, a month (in UTC) or all time. Calls count when their records come."""

    def __init__(self, window: Window, began: datetime, most_values: int) -> None:
        self._window = window
        self._end = window.end(began)
        self._used = Remembered[str, int](most_values)
        self._held: dict[str, int] = {}

    @property
    def forgotten(self) -> int:
        return self._used.forgotten

    def taken(self, value: str, now: datetime) -> tuple[int, int]:
        self._pass_time(now)
        # Corrections may come to more than the rest.
        return max(self._used.get(value) or 0, 0), self._held.get(value, 0)

    def admit(self, value: str, at: datetime, hold: int) -> None:
        if hold:
            self._held[value] = self._held.get(value, 0) + hold

    def land(self, value: str, at: datetime, admitted_at: datetime, hold: int, spent: int) -> None:
        if hold:
            rest = self._held.pop(value) - hold
            if rest:
                self._held[value] = rest
        self._pass_time(at)
        self.add(value, spent)

    def revise(self, value: str, at: datetime, counted_at: datetime, change: int) -> None:
        self._pass_time(at)
        if self._window.end(counted_at) == self._end:
            self.add(value, change)

    def add(self, value: str, amount: int) -> None:
        """Use so much more in the present window."""
        self._used.keep(value, (self._used.get(value) or 0) + amount)

    def _pass_time(self, now: datetime) -> None:
        if self._end is not None and now >= self._end:
            self._used.clear()
            self._end = self._window.end(now)


class SlidingCount:
    """Of the last minute. Calls count by the second in which they were admitted."""

    def __init__(self, most_values: int) -> None:
        """Of more values than `most_values`, each second's by itself, the earliest are forgotten."""
        self.forgotten = 0
        self._most = most_values
        # By second and value what is used, and what is held; the seconds in their order.
        self._seconds: deque[tuple[datetime, str]] = deque()
        self._of_second: dict[tuple[datetime, str], list[int]] = {}
        self._sums: dict[str, list[int]] = {}

    def taken(self, value: str, now: datetime) -> tuple[int, int]:
        self._pass_time(now)
        used, held = self._sums.get(value, (0, 0))
        return used, held

    def admit(self, value: str, at: datetime, hold: int) -> None:
        self._pass_time(at)
        key = (at.replace(microsecond=0), value)
        if key not in self._of_second:
            self._seconds.append(key)
            self._of_second[key] = [0, 0]
            if len(self._seconds) > self._most:
                self._forget(self._seconds.popleft())
                self.forgotten += 1
        self._change(key, 0, hold)

    def land(self, value: str, at: datetime, admitted_at: datetime, hold: int, spent: int) -> None:
        self._change((admitted_at.replace(microsecond=0), value), spent, -hold)

    def revise(self, value: str, at: datetime, counted_at: datetime, change: int) -> None:
        """Nothing: what comes later does not change what a minute admitted."""

    def _change(self, key: tuple[datetime, str], used: int, held: int) -> None:
        of_second = self._of_second.get(key)
        if of_second is None:
            return
        for sums in (of_second, self._sums.setdefault(key[1], [0, 0])):
            sums[0] += used
            sums[1] += held

    def _pass_time(self, now: datetime) -> None:
        oldest = now - MINUTE
        while self._seconds and self._seconds[0][0] <= oldest:
            self._forget(self._seconds.popleft())

    def _forget(self, key: tuple[datetime, str]) -> None:
        used, held = self._of_second.pop(key)
        # A value whose other seconds came to nothing has no sums any more.
        sums = self._sums.setdefault(key[1], [0, 0])
        sums[0] -= used
        sums[1] -= held
        if not any(sums):
            del self._sums[key[1]]
