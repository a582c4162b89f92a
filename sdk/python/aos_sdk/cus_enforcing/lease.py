"""A lease: amounts that the server lent to this process, of which calls take without asking (F5a)."""

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from aos_sdk.cus_delivery.ended_call import CusReserved
from aos_sdk.cus_enforcing.decisions import EnforcementDecision

# The longest that a lease is used (ruling F5a), whatever the server says.
_LONGEST_SECONDS: Final = 5.0
# A lease of which less than this part is left is followed by another.
_PART_LEFT: Final = 4
_UNITS: Final = ("cents", "microcents", "tokens", "calls")


def _clock() -> Callable[[], float]:
    """A clock that also runs while the machine sleeps, where the system has it: a lease ends then."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    if boottime is None:
        return time.monotonic
    return lambda: time.clock_gettime(boottime)


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
        values = (content.get(name) for name in _UNITS)
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
        self, content: Mapping[str, Any], began: float, note: Callable[[CusAmounts], object]
    ) -> None:
        """The lease of an answer; `began` is when its request was begun. Raises ValueError."""
        self.id = uuid.UUID(str(content.get("lease_id")))
        self.lent = CusAmounts.read(content)
        milliseconds = content.get("valid_for_ms")
        seconds = milliseconds / 1_000 if type(milliseconds) is int else 0.0
        self.until = began + min(seconds, _LONGEST_SECONDS)
        version = content.get("config_version")
        self.config_version = version if type(version) is int else 0
        answer = content.get("decision")
        # What a call under this lease is told, but for its call id.
        self.decision = EnforcementDecision.read(answer if isinstance(answer, Mapping) else {}, "")
        self.running = 0
        self._note = note
        self._left = self.lent
        self._set_aside = CusAmounts()
        self._is_open = self.decision.admits
        self._changing = threading.Lock()
        self._renew_at = self.until - seconds / 2
        self._fewest = CusAmounts(*(amount // _PART_LEFT for amount in self.lent))

    @property
    def set_aside(self) -> CusAmounts:
        """All that calls have taken of it. Final once it is closed."""
        return self._set_aside

    @property
    def is_used(self) -> bool:
        """Whether any call has taken of it."""
        return self._set_aside.calls > 0

    @property
    def is_over(self) -> bool:
        """Whether no call may begin under it any more."""
        return not self._is_open or clock() >= self.until

    @property
    def is_due(self) -> bool:
        """Whether a calling program should have the next one soon."""
        return clock() >= self._renew_at or any(map(int.__lt__, self._left, self._fewest))

    def take(self, cents: int, microcents: int, tokens: int) -> CusReserved | None:
        """Set amounts aside for a call that begins now; None if the lease is over or too small."""
        # At least what a call can cost (ruling F3a).
        cents, microcents, tokens = cents or 1, microcents or 1, tokens or 1
        with self._changing:
            left_cents, left_microcents, left_tokens, left_calls = self._left
            if (
                cents > left_cents or microcents > left_microcents or tokens > left_tokens
                or not left_calls or not self._is_open or clock() >= self.until
            ):  # fmt: skip
                return None
            self._left = CusAmounts(
                left_cents - cents,
                left_microcents - microcents,
                left_tokens - tokens,
                left_calls - 1,
            )
            was = self._set_aside
            self._set_aside = becomes = CusAmounts(
                was.cents + cents, was.microcents + microcents, was.tokens + tokens, was.calls + 1
            )
            self._note(becomes)
            self.running += 1
        return CusReserved(self.id.bytes, cents, microcents, tokens)

    def end(self, reserved: CusReserved, tokens: int) -> None:
        """A call has ended that used so many tokens, which its record tells.

        What it used beyond what was set aside is missing here as it is at the server: the next call
        is decided by what is left (§6.2, step 7).
        """
        with self._changing:
            self.running -= 1
            if tokens > reserved.tokens:
                more = -(-reserved.microcents * tokens // reserved.tokens) - reserved.microcents
                left = self._left
                self._left = CusAmounts(
                    left.cents,
                    left.microcents - more,
                    left.tokens - (tokens - reserved.tokens),
                    left.calls,
                )

    def give_back(self, reserved: CusReserved) -> None:
        """The call never left the program: the next call may take its amounts."""
        back = CusAmounts(*reserved[1:], 1)
        with self._changing:
            self.running -= 1
            self._left = self._left.plus(back)
            # Once it is closed, the server may know already what was set aside.
            if self._is_open:
                self._set_aside = CusAmounts(*map(int.__sub__, self._set_aside, back))
                self._note(self._set_aside)

    def close(self) -> None:
        """Let no further call begin under it, so that the rest can be returned."""
        with self._changing:
            self._is_open = False
