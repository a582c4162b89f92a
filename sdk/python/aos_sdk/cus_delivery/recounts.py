"""Calls with approximated tokens, which the sender counts by the tokenizer (ruling T3).

The texts of calls are in memory alone, bounded in bytes, and never in a spool (ruling E9). Without
its texts (no room for them, a process that died, no time left) a record is sent with approximated
tokens, and marked so. A record is counted before it is first sent, or never.
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
        # Reentrant: a signal handler or a finalizer may report while this thread holds the lock.
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
        # Keep a copy: the call is reported as it is now, and the program may still change it.
        kept = copy.copy(call)
        call.recount = kept.recount = None  # The program's call must not keep the texts.
        with self._lock:
            self._waiting[call.call_id] = kept, recount
            self._bytes += recount.size_bytes
            while self._bytes > MOST_BYTES or len(self._waiting) > MOST_CALLS:
                self._forget(next(iter(self._waiting)))

    def forget_old(self) -> None:
        """Forget calls that were kept before the last call of this. Call this when no record waits.

        Newer calls stay, because a call is kept just before its record is stored.
        """
        with self._lock:
            for call_id in self._old & self._waiting.keys():
                self._forget(call_id)
            self._old = set(self._waiting)

    @contextlib.contextmanager
    def hurry(self, seconds: float) -> Iterator[None]:
        """End counting after so many seconds, because the block's caller waits for the sender."""
        end = time.monotonic() + seconds
        self._ends.append(end)
        try:
            yield
        finally:
            self._ends.remove(end)

    def applied(self, entries: Sequence[CusEntry], buffer: CusBuffer) -> list[CusEntry]:
        """The entries to send, with the tokenizer's counts and prices if their texts are kept."""
        return [self._counted(entry, buffer) for entry in entries]

    def _counted(self, entry: CusEntry, buffer: CusBuffer) -> CusEntry:
        if not self._waiting or (isinstance(entry.record, bytes) and is_plain(entry.record)):
            return entry
        with self._guard:  # An error of the count must not lose the record.
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
