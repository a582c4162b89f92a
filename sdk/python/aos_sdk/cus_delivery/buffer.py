"""Buffers of records that wait for the sender: in memory, or in a ring that survives the process."""

import contextlib
import threading
import uuid
from collections import deque
from collections.abc import Iterable
from itertools import count
from typing import Any, NamedTuple, Protocol, TypeAlias

from aos_sdk.cus_delivery.codec import (
    decode_record,
    encode_call,
    encode_plain,
    is_plain,
    plain_json,
)
from aos_sdk.cus_delivery.ended_call import CusEndedCall
from aos_sdk.cus_guard import plain_text
from aos_sdk.cus_record import CusUsageRecord, encoded_json
from aos_sdk.cus_wire import DROPPED_FULL, DROPPED_REFUSED, MAX_CALL_ID_LENGTH

# A record, or an ended call, of which the sender makes a record.
CusReported: TypeAlias = CusUsageRecord | CusEndedCall


class CusEntry(NamedTuple):
    """A record with its sequence in its process: as reported, or as bytes of a ring."""

    process_id: str
    sequence: int
    record: CusUsageRecord | bytes

    def to_dict(self) -> dict[str, Any]:
        """The record in the wire's form. Raises whatever the record's values raise."""
        process_id, sequence, record = self
        if isinstance(record, bytes):
            return decode_record(record, process_id, sequence)
        return {**record.to_dict(), "process_id": process_id, "sequence": sequence}

    def to_json(self, integration_id: str) -> bytes:
        """The wire's form as JSON, which always includes the record's integration."""
        process_id, sequence, record = self
        if isinstance(record, bytes) and is_plain(record):
            return plain_json(record, process_id, sequence, integration_id)
        data = self.to_dict()
        data.setdefault("integration_id", integration_id)
        return encoded_json(data)

    @property
    def call_id(self) -> str:
        """The call id, for `on_error`. Raises whatever the record's values raise."""
        record = self.record
        name = self.to_dict()["call_id"] if isinstance(record, bytes) else record.call_id
        return plain_text(str(name), MAX_CALL_ID_LENGTH)


class CusSource(Protocol):
    """Records of one process, whose reader owns what it takes until it settles it."""

    process_id: str

    def take(self, limit: int) -> list[CusEntry]:
        """Up to `limit` of the oldest entries, beginning with entries taken and not yet settled."""

    def settle(self, entries: Iterable[CusEntry], *, refused: bool = False) -> None:
        """Forget entries that the server has answered; `refused`: that it will never store."""

    @property
    def last_sequence(self) -> int:
        """The highest sequence of the process' records."""

    @property
    def dropped(self) -> dict[str, int]:
        """The number of sequences that will never come, since the process began, by reason."""

    def __len__(self) -> int:
        """The number of entries that are not settled, taken or not."""


class CusBuffer(CusSource, Protocol):
    """The source that this process appends to. Bounded: the oldest records are dropped, counted."""

    durable: bool

    def append(self, reported: CusReported) -> int:
        """Store one record; return its sequence. Takes no lock, so signal handlers can't hang."""

    def replace(self, entry: CusEntry) -> None:
        """Replace an entry that was taken and has never been sent."""

    def abandon(self) -> None:
        """Release everything in a forked child: the records are the parent's."""

    def discard_if_empty(self) -> bool:
        """At exit: remove the file if it is empty; return whether the buffer was empty."""


class CusMemoryBuffer:
    """A buffer of at most `capacity` records in memory.

    Appending takes no lock: a signal handler or a finalizer may report at any moment, and would
    deadlock with the code that it has interrupted.
    """

    durable = False

    def __init__(self, capacity: int) -> None:
        self._capacity = max(capacity, 1)
        self.process_id = uuid.uuid4().hex
        self._numbers = count(1)
        self._next_number = self._numbers.__next__
        # Records with their sequences. Calls hold their sequence themselves, because another object
        # for each call would be most of the cost of appending.
        self._waiting: deque[CusEndedCall | tuple[int, CusUsageRecord]] = deque()
        self._taken: dict[int, CusEntry] = {}
        self._shedding = threading.Lock()
        self._dropped = {DROPPED_FULL: 0, DROPPED_REFUSED: 0}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._taken)

    @property
    def last_sequence(self) -> int:
        return int(repr(self._numbers)[6:-1]) - 1

    @property
    def dropped(self) -> dict[str, int]:
        return {reason: number for reason, number in self._dropped.items() if number}

    def append(self, reported: CusReported) -> int:
        if isinstance(reported, CusEndedCall) and not reported.is_settled:
            reported = reported.record()
        sequence = self._next_number()
        waiting = self._waiting
        if isinstance(reported, CusEndedCall):
            reported.sequence = sequence
            waiting.append(reported)
        else:
            waiting.append((sequence, reported))
        if len(waiting) > self._capacity:
            self._shed()
        return sequence

    def _shed(self) -> None:
        # If the lock is taken, return: its holder sheds already, or is the code that this thread
        # has interrupted. A record or two above the capacity do no harm.
        if not self._shedding.acquire(blocking=False):
            return
        try:
            while len(self._waiting) > self._capacity:
                self._waiting.popleft()
                self._dropped[DROPPED_FULL] += 1
        except IndexError:
            return  # The sender has taken them meanwhile.
        finally:
            self._shedding.release()

    def take(self, limit: int) -> list[CusEntry]:
        while len(self._taken) < limit and self._waiting:
            try:
                first = self._waiting.popleft()
            except IndexError:
                break  # Shed meanwhile.
            try:
                entry = self._entry_of(first)
            except BaseException:
                self._waiting.appendleft(first)  # It is neither lost nor counted otherwise.
                raise
            self._taken[entry.sequence] = entry
        return list(self._taken.values())[:limit]

    def _entry_of(self, waiting: CusEndedCall | tuple[int, CusUsageRecord]) -> CusEntry:
        if isinstance(waiting, CusEndedCall):
            return CusEntry(self.process_id, waiting.sequence, self._packed_call(waiting))
        sequence, record = waiting
        return CusEntry(self.process_id, sequence, self._packed(record))

    # Packs records as for a ring if possible, which is quickest to send. Values of the program's
    # own classes may raise any error here, which must not lose the record.

    def _packed_call(self, call: CusEndedCall) -> CusUsageRecord | bytes:
        with contextlib.suppress(BaseException):
            if packed := encode_call(call):
                return packed
        return call.named(self.process_id, call.sequence).record()

    def _packed(self, record: CusUsageRecord) -> CusUsageRecord | bytes:
        with contextlib.suppress(BaseException):
            return encode_plain(record) or record
        return record

    def settle(self, entries: Iterable[CusEntry], *, refused: bool = False) -> None:
        for entry in entries:
            if self._taken.pop(entry.sequence, None) and refused:
                self._dropped[DROPPED_REFUSED] += 1

    def replace(self, entry: CusEntry) -> None:
        self._taken[entry.sequence] = entry

    def abandon(self) -> None:
        """Do nothing: the child's memory is not shared with the parent."""

    def discard_if_empty(self) -> bool:
        """Return whether the buffer is empty; it has no file."""
        return not len(self)
