"""Limit one integration's share of a process, so that no tenant waits for another.

The share counts checks, not requests: a batch of 100 is 100 checks. A check beyond the share is
refused after a short pause; it takes no connection and no place in the queue.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

# An integration counts as active for so long after its last check: others must leave it room.
_ACTIVE_SECONDS = 10.0
_MAX_KNOWN = 10_000


class ShareTaken(Exception):
    """The integration asks for more than its share of this process: load."""


class _Use:
    """An integration's use: requests in progress (`inside`), and checks still free (`left`)."""

    __slots__ = ("asked_at", "inside", "left")

    def __init__(self, left: float, now: float) -> None:
        self.inside = 0
        self.left = left
        self.asked_at = now


class FairShare:
    """Counts the checks of each integration in this process."""

    def __init__(self) -> None:
        self._uses: dict[uuid.UUID, _Use] = {}
        self._counting = threading.Lock()
        # The integration that asked last, and when any other integration last asked.
        self._last: uuid.UUID | None = None
        self._other_asked_at = float("-inf")

    @contextmanager
    def taken(self, integration_id: uuid.UUID, checks: int) -> Iterator[None]:
        """Take that many checks of the integration's share for the block. Raises ShareTaken."""
        with self._counting:
            use = self._enter(integration_id, checks, time.monotonic())
        try:
            yield
        finally:
            with self._counting:
                use.inside -= 1

    def _enter(self, integration_id: uuid.UUID, checks: int, now: float) -> _Use:
        most = settings.CUS_CHECKS_PER_SECOND
        use = self._uses.get(integration_id) or self._first(integration_id, most, now)
        # An integration saves up one second's checks. A batch is taken as a whole, so `left` may
        # become negative; further checks are refused until `left` is positive again.
        use.left = min(use.left + (now - use.asked_at) * most, most)
        use.asked_at = now
        self._note_asking(integration_id)
        if most and use.left <= 0:
            raise ShareTaken
        at_once = settings.CUS_CHECK_REQUESTS_AT_ONCE
        if at_once and use.inside >= at_once and now - self._other_asked_at < _ACTIVE_SECONDS:
            raise ShareTaken
        use.left -= checks
        use.inside += 1
        return use

    def _note_asking(self, integration_id: uuid.UUID) -> None:
        if integration_id != self._last:
            if before := self._last and self._uses.get(self._last):
                self._other_asked_at = max(self._other_asked_at, before.asked_at)
            self._last = integration_id

    def _first(self, integration_id: uuid.UUID, most: int, now: float) -> _Use:
        if len(self._uses) >= _MAX_KNOWN:
            self._uses = {known: use for known, use in self._uses.items() if use.inside}
        use = self._uses[integration_id] = _Use(most, now)
        return use

    def forget(self) -> None:
        """Forget all use, as in a process that has just started."""
        with self._counting:
            self._uses.clear()
            self._last, self._other_asked_at = None, float("-inf")


fair_share = FairShare()
