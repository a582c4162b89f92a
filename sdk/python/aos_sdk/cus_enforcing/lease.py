"""A lease: amounts that the server lent to this process, of which calls take without asking (F5a)."""

import itertools
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from aos_sdk.cus_delivery.ended_call import CusReserved
from aos_sdk.cus_enforcing.clock import clock
from aos_sdk.cus_enforcing.decisions import EnforcementDecision, EnforcementResult

# The longest that a lease is used (ruling F5a), whatever the server says.
_LONGEST_SECONDS: Final = 5.0
# A lease of which less than this part is left is followed by another.
_PART_LEFT: Final = 4
_LIFE: Final = "life"

# Gets all that was ever set aside of a lease: cents, microcents, tokens, calls.
CusNote: TypeAlias = Callable[[int, int, int, int], object]


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


class CusSlice(NamedTuple):
    """The part of one limit that a lease is of. `value` and `window` are None for a limit of the
    integration's own.
    """

    limit_id: str
    unit: str
    value: str | None = None
    window: str | None = None

    @classmethod
    def read_all(cls, content: Any) -> "tuple[CusSlice, ...]":
        """The slices of an answer; what is none is left out."""
        return tuple(
            cls(str(one.get("limit_id")), str(one.get("unit")), one.get("value"), one.get("window"))
            for one in (content if isinstance(content, list) else [])
            if isinstance(one, Mapping)
        )


class CusLease:
    """Amounts that calls take until the lease ends, in any thread.

    `note` gets all that was ever set aside, before the call begins that it is set aside for, so that
    another process can return the rest if this one dies.
    """

    def __init__(self, content: Mapping[str, Any], began: float, note: CusNote) -> None:
        """The lease of an answer; `began` is when its request was begun. Raises ValueError."""
        self.id = uuid.UUID(str(content.get("lease_id")))
        self._name = self.id.bytes
        self.lent = CusAmounts.read(content)
        self.slices = CusSlice.read_all(content.get("slices"))
        self.limit_ids = frozenset(one.limit_id for one in self.slices)
        # Whether it is known to be of each limit that applies to its calls: none begins before.
        self.is_sure = False
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
        # Counts one call by each `next`, which needs no lock. Only `next` tells the number, so
        # `running` counts its own readings.
        self._ended, self._readings = itertools.count(), 0
        # Whether a calling program should have the next one soon.
        self.is_due = False
        self._note = note
        # In the order of `CusAmounts`, and changed in place, which takes a third of the time: what
        # was set aside; the most that may be; and beyond what the next lease is to be asked for.
        self._set_aside = [0] * len(self.lent)
        self._most = [*self.lent]
        self._due = [amount - amount // _PART_LEFT for amount in self.lent]
        self._is_open = self.decision.admits
        self._changing = threading.Lock()
        self._renew_at = self.until - seconds / 2

    def restart_in_child(self) -> None:
        """After a fork it is the parent's: no call begins under it here, and none waits for it."""
        self._changing = threading.Lock()
        self._is_open, self._note = False, note_nowhere

    @property
    def set_aside(self) -> CusAmounts:
        """All that calls have taken of it. Final once it is closed."""
        return CusAmounts(*self._set_aside)

    def units_of(self, session_id: str | None) -> frozenset[str]:
        """The units in which it is of limits of this session's whole life."""
        return frozenset(
            one.unit for one in self.slices if one.window == _LIFE and one.value == session_id
        )

    @property
    def running(self) -> int:
        """How many calls have begun under it and not ended."""
        with self._changing:
            ended = next(self._ended) - self._readings
            self._readings += 1
            return self._set_aside[-1] - ended

    @property
    def is_over(self) -> bool:
        """Whether no call may begin under it any more."""
        return not self._is_open or clock() >= self.until

    def take(self, microcents: int, tokens: int) -> CusReserved | None:
        """Set amounts aside for a call that begins now; None if the lease is over or too small."""
        # At least what a call can cost (ruling F3a); cents as `cents_of` has them, without its call.
        microcents, tokens = microcents or 1, tokens or 1
        cents = -(-microcents // MICROCENTS_PER_CENT)
        set_aside, most, due = self._set_aside, self._most, self._due
        # `with`, because a signal's exception between `acquire` and `try` would leave it locked.
        with self._changing:
            now = clock()
            all_cents, all_microcents = set_aside[0] + cents, set_aside[1] + microcents
            all_tokens, calls = set_aside[2] + tokens, set_aside[3] + 1
            if (
                all_cents > due[0] or all_microcents > due[1] or all_tokens > due[2]
                or calls > due[3] or now >= self._renew_at
            ):  # fmt: skip
                if (
                    all_cents > most[0] or all_microcents > most[1] or all_tokens > most[2]
                    or calls > most[3] or now >= self.until
                ):  # fmt: skip
                    return None
                self.is_due = True
            if not self._is_open:
                return None
            set_aside[0], set_aside[1] = all_cents, all_microcents
            set_aside[2], set_aside[3] = all_tokens, calls
            self._note(all_cents, all_microcents, all_tokens, calls)
        return self._name, cents, microcents, tokens

    def end(self, reserved: CusReserved, tokens: int) -> None:
        """A call has ended that used so many tokens, which its record tells.

        What it used beyond what was set aside is missing here as it is at the server: the next call
        is decided by what is left (§6.2, step 7).
        """
        next(self._ended)
        if tokens > reserved[3]:
            with self._changing:
                self._lower(reserved, tokens)

    def _lower(self, reserved: CusReserved, tokens: int) -> None:
        _, _, microcents_aside, tokens_aside = reserved
        microcents = -(-microcents_aside * tokens // tokens_aside) - microcents_aside
        for amounts in (self._most, self._due):
            amounts[1] -= microcents
            amounts[2] -= tokens - tokens_aside

    def give_back(self, reserved: CusReserved) -> None:
        """The call never left the program: the next call may take its amounts."""
        with self._changing:
            # Once the lease is closed, the server may know already what was set aside.
            if self._is_open:
                for place, amount in enumerate((*reserved[1:], 1)):
                    self._set_aside[place] -= amount
                self._note(*self._set_aside)
            else:
                next(self._ended)

    def close(self) -> None:
        """Let no further call begin under it, so that the rest can be returned."""
        with self._changing:
            self._is_open = False


def note_nowhere(_cents: int, _microcents: int, _tokens: int, _calls: int) -> None:
    """For a lease that no file keeps."""
