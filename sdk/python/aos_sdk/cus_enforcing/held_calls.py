"""Calls with a hold of the server's: renewed while they run, and left to the next by calls that never
left the program.
"""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from aos_sdk.cus_enforcing.asked import CusAsked

# A hold ends 15 minutes after its last renewal (ruling F5).
_RENEW_AFTER_SECONDS: Final = 300.0
# A call that is said to run for longer was forgotten, for instance an iterator that nobody reads.
_LONGEST_CALL_SECONDS: Final = 86_400.0
# Calls that were admitted and never left the program, whose holds the next calls take over: at once
# for so long, later by asking again.
_MOST_SPARE: Final = 100
_SPARE_SECONDS: Final = 10.0


class CusRunning(NamedTuple):
    """A running call with a hold; when the call began, and when its hold was renewed."""

    asked: CusAsked
    began: float
    since: float

    @classmethod
    def begin(cls, asked: CusAsked) -> "CusRunning":
        """A call that begins now, with a hold that was taken now."""
        now = time.monotonic()
        return cls(asked, now, now)

    @property
    def is_due(self) -> bool:
        """Whether its hold is to be renewed."""
        return time.monotonic() - self.since >= _RENEW_AFTER_SECONDS

    @property
    def is_lost(self) -> bool:
        """Whether it runs for so long that its end was missed."""
        return time.monotonic() - self.began >= _LONGEST_CALL_SECONDS

    def renewed(self) -> "CusRunning":
        """The same call after its hold was renewed."""
        return self._replace(since=time.monotonic())


class CusHeldCalls:
    """The holds of this process' calls, for any number of threads."""

    def __init__(self) -> None:
        self.running: dict[str, CusRunning] = {}
        self._spare: list[tuple[CusAsked, float]] = []

    def begin(self, asked: CusAsked) -> None:
        """The call runs now: as long as it does, the server's hold for it is renewed."""
        self.running[asked.call_id] = CusRunning.begin(asked)

    def end(self, call_id: str) -> None:
        """The call has ended: its record settles what was held for it."""
        self.running.pop(call_id, None)

    def take_over(self, asked: CusAsked) -> tuple[str, bool] | None:
        """The id of a call that was admitted and never left, if what is held for it covers this
        call; and whether it was admitted so lately that the server need not be asked again.
        """
        for spare in list(self._spare):
            if spare[0].covers(asked):
                try:
                    self._spare.remove(spare)
                except ValueError:  # Another thread was quicker.
                    continue
                is_fresh = time.monotonic() - spare[1] < _SPARE_SECONDS
                if is_fresh:
                    self.begin(spare[0])
                return spare[0].call_id, is_fresh
        return None

    def give_back(self, asked: CusAsked) -> None:
        """The call was admitted and never left the program: a later call may have its hold."""
        is_held = self.running.pop(asked.call_id, None) is not None
        if is_held and not asked.is_named and len(self._spare) < _MOST_SPARE:
            self._spare.append((asked, time.monotonic()))

    def look_after(self, renew: Callable[[CusAsked], bool]) -> None:
        """Renew the holds of calls that run for long, so that no hold ends before its call.

        `renew` says whether the server has renewed a hold.
        """
        for call_id, call in list(self.running.items()):
            if call.is_lost:
                self.running.pop(call_id, None)
            elif call.is_due and renew(call.asked) and call_id in self.running:
                self.running[call_id] = call.renewed()
