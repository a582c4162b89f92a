"""A ring for the sender: counts waiting, taken and overwritten records."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from aos_sdk.cus_delivery.buffer import CusEntry, CusReported
from aos_sdk.cus_delivery.codec import encode_any, encode_call, encode_plain
from aos_sdk.cus_delivery.ended_call import CusEndedCall
from aos_sdk.cus_delivery.ring import CusRing, CusRingState
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_record import CusUsageRecord
from aos_sdk.cus_wire import DROPPED_FULL, DROPPED_INTERRUPTED, DROPPED_REFUSED

# A sequence that was claimed and not written within so long was interrupted, such as by Ctrl-C; its
# caller got an exception, so there is no record.
GIVE_UP_SECONDS: Final = 30.0


class _RingReader:
    """Takes and settles the records of a ring. For one thread at a time."""

    def __init__(
        self, ring: CusRing, let_go: Callable[[], None], remove: Callable[[], None]
    ) -> None:
        self._ring = ring
        self._let_go = let_go
        self._remove = remove
        self.process_id = ring.process_id
        self._next = ring.state.tail
        self._taken: dict[int, CusEntry] = {}
        self._dropped = {
            DROPPED_FULL: ring.state.full,
            DROPPED_INTERRUPTED: ring.state.interrupted,
            DROPPED_REFUSED: ring.state.refused,
        }

    @property
    def dropped(self) -> dict[str, int]:
        return {reason: number for reason, number in self._dropped.items() if number}

    def settle(self, entries: Iterable[CusEntry], *, refused: bool = False) -> None:
        for entry in entries:
            if self._taken.pop(entry.sequence, None) and refused:
                self._dropped[DROPPED_REFUSED] += 1
        self._save()

    def _lowest(self) -> int:
        return min(self._taken, default=self._next)

    def _save(self) -> None:
        dropped = self._dropped
        self._ring.save(
            CusRingState(
                tail=self._lowest(),
                full=dropped[DROPPED_FULL],
                interrupted=dropped[DROPPED_INTERRUPTED],
                refused=dropped[DROPPED_REFUSED],
            )
        )

    def _hold(self, sequence: int, payload: bytes) -> None:
        self._taken[sequence] = CusEntry(self.process_id, sequence, payload)


class CusRingBuffer(_RingReader):
    """The ring of this process: records are on it before `append` returns."""

    durable = True

    def __init__(
        self, ring: CusRing, let_go: Callable[[], None], remove: Callable[[], None]
    ) -> None:
        super().__init__(ring, let_go, remove)
        # Sequences that were claimed and not written, with the time when that was first seen.
        self._holes: dict[int, float] = {}
        # Records that can't be encoded. The sender refuses them and reports the reason.
        self._spoiled: deque[CusEntry] = deque()
        self._spoiling = never_raise(count=int)

    def append(self, reported: CusReported) -> int:
        if not isinstance(reported, CusEndedCall):
            return self._append_record(reported)
        payload = encode_call(reported)
        if payload:
            return self._ring.append(payload)
        return self._append_record(reported.record())

    def _append_record(self, record: CusUsageRecord) -> int:
        payload = encode_plain(record)
        if payload:
            return self._ring.append(payload)
        with self._spoiling:
            return self._ring.append(encode_any(record))
        # The record takes no sequence, so none is missing.
        self._spoiled.append(CusEntry(self.process_id, 0, record))
        return 0

    def __len__(self) -> int:
        newest = self._ring.next_sequence
        unread = newest - max(self._next, newest - self._ring.slots)
        return unread + len(self._taken) + len(self._holes) + len(self._spoiled)

    @property
    def last_sequence(self) -> int:
        return self._ring.next_sequence - 1

    @property
    def dropped(self) -> dict[str, int]:
        overrun = max(self._ring.next_sequence - self._ring.slots - self._next, 0)
        found = {**self._dropped, DROPPED_FULL: self._dropped[DROPPED_FULL] + overrun}
        return {reason: number for reason, number in found.items() if number}

    def take(self, limit: int) -> list[CusEntry]:
        newest = self._ring.next_sequence
        self._skip_overwritten(newest - self._ring.slots)
        self._look_into_holes()
        while len(self._taken) < limit and self._next < newest:
            self._read(self._next)
            self._next += 1
        while self._spoiled and len(self._taken) < limit:
            self._spoil(self._spoiled.popleft())
        return list(self._taken.values())[:limit]

    def _spoil(self, entry: CusEntry) -> None:
        # Negative numbers are not sequences; they only distinguish these records until their
        # refusal.
        number = min(self._taken, default=0)
        number = min(number, 0) - 1
        self._taken[number] = entry._replace(sequence=number)

    def settle(self, entries: Iterable[CusEntry], *, refused: bool = False) -> None:
        numbered = []
        for entry in entries:
            if entry.sequence < 0:
                self._taken.pop(entry.sequence, None)
            else:
                numbered.append(entry)
        super().settle(numbered, refused=refused)

    def _skip_overwritten(self, oldest: int) -> None:
        if self._next < oldest:
            self._dropped[DROPPED_FULL] += oldest - self._next
            self._next = oldest

    def _read(self, sequence: int) -> None:
        payload = self._ring.read(sequence)
        if payload is None:
            self._holes[sequence] = time.monotonic()
        elif payload:
            self._hold(sequence, payload)
        else:
            self._dropped[DROPPED_FULL] += 1

    def _look_into_holes(self) -> None:
        now = time.monotonic()
        for sequence, since in list(self._holes.items()):
            payload = self._ring.read(sequence)
            if payload:
                self._hold(sequence, payload)
            elif payload is None and now - since < GIVE_UP_SECONDS:
                continue
            else:
                self._dropped[DROPPED_INTERRUPTED] += 1
            del self._holes[sequence]

    def _lowest(self) -> int:
        numbers = [*(number for number in self._taken if number > 0), *self._holes]
        return min(numbers, default=self._next)

    def replace(self, entry: CusEntry) -> None:
        self._taken[entry.sequence] = entry

    def abandon(self) -> None:
        """Close the file in a forked child; the parent continues with it."""
        self._let_go()

    def discard_if_empty(self) -> bool:
        if len(self):
            return False
        self._remove()
        return True


class CusAdoptedRing(_RingReader):
    """The ring of a dead process, with the records that it left."""

    def __init__(
        self, ring: CusRing, let_go: Callable[[], None], remove: Callable[[], None]
    ) -> None:
        super().__init__(ring, let_go, remove)
        written = ring.written()
        self.last_sequence = written[-1] if written else ring.state.tail - 1
        self._unread = deque(number for number in written if ring.read(number))
        # Missing sequences below the ring's reach were overwritten. Other missing records were
        # torn, or their chunks were overwritten by newer records.
        reach = max(self.last_sequence - ring.slots + 1, ring.state.tail)
        self._dropped[DROPPED_FULL] += reach - ring.state.tail
        self._dropped[DROPPED_INTERRUPTED] += self.last_sequence + 1 - reach - len(self._unread)
        self._next = self.last_sequence + 1

    def __len__(self) -> int:
        return len(self._unread) + len(self._taken)

    def take(self, limit: int) -> list[CusEntry]:
        while len(self._taken) < limit and self._unread:
            # Hold the record before it leaves the list: an error in between must not lose it.
            number = self._unread[0]
            self._hold(number, self._ring.read(number) or b"")
            self._unread.popleft()
        return list(self._taken.values())[:limit]

    def settle(self, entries: Iterable[CusEntry], *, refused: bool = False) -> None:
        super().settle(entries, refused=refused)
        if not len(self):
            self.finish()

    def finish(self) -> None:
        """Remove the file, because the server has all of its records."""
        self._remove()
        self._let_go()

    def _lowest(self) -> int:
        unread = self._unread[0] if self._unread else self._next
        return min(self._taken, default=unread)

    def abandon(self) -> None:
        """Release the ring, to another process or, in a forked child, to the parent."""
        self._let_go()
