"""A lease: amounts that the server lent to this process, of which calls take without asking (F5a)."""

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from aos_sdk.cus_delivery.ended_call import CusReserved
from aos_sdk.cus_enforcing.decisions import EnforcementDecision, EnforcementResult

# The longest that a lease is used (ruling F5a), whatever the server says.
_LONGEST_SECONDS: Final = 5.0
# A lease of which less than this part is left is followed by another.
_PART_LEFT: Final = 4


def _clock() -> Callable[[], float]:
    """A clock that also runs while the machine sleeps, where the system has it: a lease ends then."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    if boottime is None:
        return time.monotonic
    return partial(time.clock_gettime, boottime)


# Seconds, comparable with each other alone.
clock: Final = _clock()


class CusAmounts(NamedTuple):
    """Amounts of a lease, in each of its units."""

    cents: int = 0
    microcents: int = 0
    tokens: int = 0
    calls: int = 0

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "CusAmounts":
        """The amounts of an answer; 0 for what is no whole number."""
        values = (content.get(name) for name in cls._fields)
        return cls(*(value if type(value) is int and value > 0 else 0 for value in values))

    def plus(self, other: "CusAmounts") -> "CusAmounts":
        """Both together."""
        return CusAmounts(*map(sum, zip(self, other, strict=True)))

    def at_least(self, other: "CusAmounts") -> "CusAmounts":
        """The larger of each."""
        return CusAmounts(*map(max, self, other))


class CusLease:
    """Amounts that calls take until the lease ends, in any thread.

    `note` gets all that was ever set aside, before the call begins that it is set aside for, so that
    another process can return the rest if this one dies.
    """

    def __init__(
        self, content: Mapping[str, Any], began: float, note: Callable[[Sequence[int]], object]
    ) -> None:
        """The lease of an answer; `began` is when its request was begun. Raises ValueError."""
        self.id = uuid.UUID(str(content.get("lease_id")))
        self._name = self.id.bytes
        self.lent = CusAmounts.read(content)
        milliseconds = content.get("valid_for_ms")
        seconds = milliseconds / 1_000 if type(milliseconds) is int else 0.0
        self.until = began + min(seconds, _LONGEST_SECONDS)
        version = content.get("config_version")
        self.config_version = version if type(version) is int else 0
        answer = content.get("decision")
        # What a call under this lease is told, but for its call id.
        self.decision = EnforcementDecision.read(answer if isinstance(answer, Mapping) else {}, "")
        # The same where calls are to be warned by it, else None.
        warns = self.decision.result == EnforcementResult.WARNED
        self.warning = self.decision if warns else None
        self.running = 0
        self._note = note
        # In the order of `CusAmounts`. Changed in place, which takes a third of the time.
        self._left = [*self.lent]
        self._set_aside = [0] * len(self.lent)
        self._is_open = self.decision.admits
        self._changing = threading.Lock()
        self._renew_at = self.until - seconds / 2
        self._fewest = [amount // _PART_LEFT for amount in self.lent]

    @property
    def set_aside(self) -> CusAmounts:
        """All that calls have taken of it. Final once it is closed."""
        return CusAmounts(*self._set_aside)

    @property
    def is_used(self) -> bool:
        """Whether any call has taken of it."""
        return self._set_aside[-1] > 0

    @property
    def is_over(self) -> bool:
        """Whether no call may begin under it any more."""
        return not self._is_open or clock() >= self.until

    @property
    def is_due(self) -> bool:
        """Whether a calling program should have the next one soon."""
        left, fewest = self._left, self._fewest
        return (
            left[0] < fewest[0] or left[1] < fewest[1] or left[2] < fewest[2]
            or left[3] < fewest[3] or clock() >= self._renew_at
        )  # fmt: skip

    def take(self, cents: int, microcents: int, tokens: int) -> CusReserved | None:
        """Set amounts aside for a call that begins now; None if the lease is over or too small."""
        # At least what a call can cost (ruling F3a).
        cents, microcents, tokens = cents or 1, microcents or 1, tokens or 1
        with self._changing:
            left, set_aside = self._left, self._set_aside
            if (
                cents > left[0] or microcents > left[1] or tokens > left[2] or left[3] < 1
                or not self._is_open or clock() >= self.until
            ):  # fmt: skip
                return None
            left[0] -= cents
            left[1] -= microcents
            left[2] -= tokens
            left[3] -= 1
            set_aside[0] += cents
            set_aside[1] += microcents
            set_aside[2] += tokens
            set_aside[3] += 1
            self._note(set_aside)
            self.running += 1
        return CusReserved(self._name, cents, microcents, tokens)

    def end(self, reserved: CusReserved, tokens: int) -> None:
        """A call has ended that used so many tokens, which its record tells.

        What it used beyond what was set aside is missing here as it is at the server: the next call
        is decided by what is left (§6.2, step 7).
        """
        with self._changing:
            self.running -= 1
            if tokens > reserved.tokens:
                more = -(-reserved.microcents * tokens // reserved.tokens) - reserved.microcents
                self._left[1] -= more
                self._left[2] -= tokens - reserved.tokens

    def give_back(self, reserved: CusReserved) -> None:
        """The call never left the program: the next call may take its amounts."""
        with self._changing:
            self.running -= 1
            _add(self._left, reserved)
            # Once the lease is closed, the server may know already what was set aside.
            if self._is_open:
                _add(self._set_aside, reserved, sign=-1)
                self._note(self._set_aside)

    def close(self) -> None:
        """Let no further call begin under it, so that the rest can be returned."""
        with self._changing:
            self._is_open = False


def _add(amounts: list[int], reserved: CusReserved, sign: int = 1) -> None:
    """Add the amounts of one call."""
    for place, amount in enumerate((*reserved[1:], 1)):
        amounts[place] += sign * amount
