"""The leases of one combination of names, one after another: what its calls ask for, and spent."""

import time
from typing import Any

from aos_sdk.cus_cost import cents_of
from aos_sdk.cus_enforcing.lease import CusAmounts, CusLease
from aos_sdk.cus_enforcing.scoped_limits import CusCombination

# After a refusal the server is asked again so soon, each time later.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 5.0


class CusLeaseLine:
    """What calls of one combination take of, and what they want.

    `want` is for the threads of calls; all else for the thread that asks for leases.
    """

    def __init__(self, names: CusCombination) -> None:
        self.names = names
        self.current: CusLease | None = None
        # The largest call since the last lease was asked for; None where none is wanted.
        self.wanted: CusAmounts | None = None
        # When the server may be asked.
        self.ask_at = 0.0
        # A budget in code was told by a check, so one of its calls came before.
        self._has_called = not names.values or names.run is not None
        self._largest = CusAmounts()
        # What calls set aside of leases that are over; and of all leases when the last was asked for.
        self._spent = CusAmounts()
        self._spent_before: CusAmounts | None = None
        self._pause = _FIRST_PAUSE_SECONDS

    def want(self, microcents: int, tokens: int) -> bool:
        """Note that a call of this size wants a lease; return whether the server is to be asked.

        A combination that makes one call alone, such as a session of one question, wants none.
        """
        if not self._has_called:
            self._has_called = True
            return False
        wanted = CusAmounts(cents_of(microcents), microcents, tokens, 1)
        known = self.wanted
        self.wanted = wanted if known is None else known.at_least(wanted)
        return known is None and time.monotonic() >= self.ask_at

    @property
    def wishes_now(self) -> bool:
        """Whether a lease is wanted, and may be asked for."""
        return self.wanted is not None and time.monotonic() >= self.ask_at

    def wishes(self) -> dict[str, Any]:
        """What a lease is asked for with: its calls' size, and what calls took since the last."""
        if self.wanted is not None:
            self._largest = self._largest.at_least(self.wanted)
        self.wanted = None
        lease, before = self.current, self._spent_before
        spent = self._spent if lease is None else self._spent.plus(lease.set_aside)
        self._spent_before = spent
        since = None if before is None else CusAmounts(*map(int.__sub__, spent, before))
        return {
            "estimate": self._largest._asdict(),
            "spent": since._asdict() if since is not None else None,
            "lease_id": str(lease.id) if lease is not None else None,
        }

    def follow(self, lease: CusLease | None) -> CusLease | None:
        """Let calls take of this lease from now on; return the former, under which none begins."""
        if lease is not None:
            self._largest = CusAmounts()
            self.ask_at, self._pause = 0.0, _FIRST_PAUSE_SECONDS
        former, self.current = self.current, lease
        if former is not None:
            former.close()
            self._spent = self._spent.plus(former.set_aside)
        return former

    def ask_later(self, seconds: float | None = None) -> None:
        """The server lends nothing now: ask again after a pause, each time longer."""
        if seconds is not None:
            self._pause = seconds
        self.ask_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
