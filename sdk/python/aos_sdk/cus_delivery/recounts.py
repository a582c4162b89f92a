"""Calls whose tokens are approximated, until the sender counts them by the tokenizer (ruling T3).

Their texts are in memory alone, bounded in bytes, and never in a spool (ruling E9). Without its
texts (no room for them, a process that died, no time left) a record goes out approximated, and says
so. A record is counted before it is first sent, or never: what was sent once stays as it is.
"""

import contextlib
import copy
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final

from aos_sdk.cus_delivery.buffer import CusBuffer, CusEntry
from aos_sdk.cus_delivery.codec import is_plain
from aos_sdk.cus_delivery.ended_call import CusEndedCall, CusRecount
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_record import CusUsageRecord, generate_call_id
from aos_sdk.cus_wire import COUNTED_BY_TOKENIZER, TOKENS_COUNTED_BY

MOST_BYTES: Final = 16 * 1024 * 1024
MOST_CALLS: Final = 1_000


class CusRecounts:
    """The calls that wait to be counted. The oldest make room, and stay approximated."""

    def __init__(self, guard: never_raise) -> None:
        self._guard = guard
        # Reentrant: a signal handler or a finalizer may report while this thread holds it.
        self._lock = threading.RLock()
        self._waiting: dict[str, tuple[CusEndedCall, CusRecount]] = {}
        self._bytes = 0
        self._old: set[str] = set()
        self._ends: list[float] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, call: CusEndedCall) -> None:
        """Remember a call that is about to be stored, if it has texts to count."""
        recount = call.recount
        if recount is None or recount.size_bytes > MOST_BYTES:
            return
        if call.call_id is None:
            call.call_id = generate_call_id()
        # A copy: the program may still change its call, which is reported as it is now.
        kept = copy.copy(call)
        call.recount = kept.recount = None  # a call that the program keeps holds no texts
        with self._lock:
            self._waiting[call.call_id] = kept, recount
            self._bytes += recount.size_bytes
            while self._bytes > MOST_BYTES or len(self._waiting) > MOST_CALLS:
                self._forget(next(iter(self._waiting)))

    def forget_old(self) -> None:
        """Nothing waits to be sent: what was here before the last such moment was dropped.

        Not at the first such moment: a call is kept just before its record is stored.
        """
        with self._lock:
            for call_id in self._old & self._waiting.keys():
                self._forget(call_id)
            self._old = set(self._waiting)

    @contextlib.contextmanager
    def hurry(self, seconds: float) -> Iterator[None]:
        """Whoever is in the block waits for the sender: counting ends in so many seconds."""
        end = time.monotonic() + seconds
        self._ends.append(end)
        try:
            yield
        finally:
            self._ends.remove(end)

    def applied(self, entries: Sequence[CusEntry], buffer: CusBuffer) -> list[CusEntry]:
        """The records to send, with the tokenizer's counts and their prices where there are texts."""
        return [self._counted(entry, buffer) for entry in entries]

    def _counted(self, entry: CusEntry, buffer: CusBuffer) -> CusEntry:
        if not self._waiting or (isinstance(entry.record, bytes) and is_plain(entry.record)):
            return entry
        with self._guard:  # a count that fails costs nothing but the count
            waiting = self._take(entry.call_id)
            record = self._record_of(*waiting) if waiting else None
            if record is not None:
                entry = entry._replace(record=record)
                buffer.replace(entry)
        return entry

    def _record_of(self, call: CusEndedCall, recount: CusRecount) -> CusUsageRecord | None:
        usage = recount.usage(self._seconds_left)
        if usage is None:
            return None
        call.usage = usage
        call.metadata = {**(call.metadata or {}), TOKENS_COUNTED_BY: COUNTED_BY_TOKENIZER}
        return call.record()

    def _seconds_left(self) -> float:
        return min([*self._ends, float("inf")]) - time.monotonic()

    def _take(self, call_id: str) -> tuple[CusEndedCall, CusRecount] | None:
        with self._lock:
            return self._forget(call_id)

    def _forget(self, call_id: str) -> tuple[CusEndedCall, CusRecount] | None:
        found = self._waiting.pop(call_id, None)
        if found is not None:
            self._bytes -= found[1].size_bytes
        return found
