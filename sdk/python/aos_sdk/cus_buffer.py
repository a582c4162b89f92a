"""Where records wait for the sender. The memory buffer is one shape of it; a durable one fits."""

import threading
import uuid
from collections import deque
from itertools import count
from typing import Protocol

from aos_sdk.cus_record import CusUsageRecord

# The process that wrote a record, its number there, and the record.
CusEntry = tuple[str, int, CusUsageRecord]


class CusBuffer(Protocol):
    """A bounded queue whose reader owns what it takes until it settles it.

    Any thread appends; one thread takes and settles.
    """

    dropped: int

    def append(self, record: CusUsageRecord) -> int:
        """Store one record and say how many wait. Never blocks."""

    def take(self, limit: int) -> list[CusEntry]:
        """Up to `limit` of the oldest: first those taken before and not settled yet."""

    def settle(self, entries: list[CusEntry]) -> None:
        """Forget entries that the server has answered for."""

    def restart(self) -> None:
        """Begin anew in a forked child: what waits is the parent's, who will send it."""

    def __len__(self) -> int:
        """How many are not settled yet, taken or not."""


class CusMemoryBuffer:
    """A buffer of at most `capacity` records in memory; the oldest make room and are counted.

    Appending takes no lock: a signal handler or a finalizer may report at any point, and must not
    wait for the code that it has interrupted.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = max(capacity, 1)
        self.restart()

    def restart(self) -> None:
        self._process_id = uuid.uuid4().hex
        self._next_number = count(1).__next__
        self._waiting: deque[CusEntry] = deque()
        self._taken: list[CusEntry] = []
        self._shedding = threading.Lock()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._taken)

    def append(self, record: CusUsageRecord) -> int:
        waiting = self._waiting
        waiting.append((self._process_id, self._next_number(), record))
        size = len(waiting)
        if size > self._capacity:
            self._shed()
        return size

    def _shed(self) -> None:
        # Whoever finds the lock taken leaves: its holder is shedding already, or is the very code
        # that was interrupted. A record or two above the capacity do no harm.
        if not self._shedding.acquire(blocking=False):
            return
        try:
            while len(self._waiting) > self._capacity:
                self._waiting.popleft()
                self.dropped += 1
        except IndexError:
            return  # the sender was quicker
        finally:
            self._shedding.release()

    def take(self, limit: int) -> list[CusEntry]:
        while len(self._taken) < limit and self._waiting:
            try:
                self._taken.append(self._waiting.popleft())
            except IndexError:
                break  # shed in the meantime
        return self._taken[:limit]

    def settle(self, entries: list[CusEntry]) -> None:
        done = {id(entry) for entry in entries}
        self._taken = [entry for entry in self._taken if id(entry) not in done]
