"""Where records wait for the sender: in memory, or in a ring that outlives the process."""

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

# A record, or a call that has ended and becomes one when somebody wants it.
CusReported: TypeAlias = CusUsageRecord | CusEndedCall


class CusEntry(NamedTuple):
    """A record with its number in its process: as it was reported, or as a ring has it."""

    process_id: str
    sequence: int
    record: CusUsageRecord | bytes

    def to_dict(self) -> dict[str, Any]:
        """What the wire gets. Raises whatever the record's values raise."""
        process_id, sequence, record = self
        if isinstance(record, bytes):
            return decode_record(record, process_id, sequence)
        return {**record.to_dict(), "process_id": process_id, "sequence": sequence}

    def to_json(self, integration_id: str) -> bytes:
        """The same as JSON; a record always says which integration it belongs to."""
        process_id, sequence, record = self
        if isinstance(record, bytes) and is_plain(record):
            return plain_json(record, process_id, sequence, integration_id)
        data = self.to_dict()
        data.setdefault("integration_id", integration_id)
        return encoded_json(data)

    @property
    def call_id(self) -> str:
        """The name that `on_error` hears. Raises what an absurd record raises."""
        record = self.record
        name = self.to_dict()["call_id"] if isinstance(record, bytes) else record.call_id
        return plain_text(str(name), MAX_CALL_ID_LENGTH)


class CusSource(Protocol):
    """Records of one process, whose reader owns what it takes until it settles it."""

    process_id: str

    def take(self, limit: int) -> list[CusEntry]:
        """Up to `limit` of the oldest: first those taken before and not settled yet."""

    def settle(self, entries: Iterable[CusEntry], *, refused: bool = False) -> None:
        """Forget entries that the server has answered for; or, refused, that it will never get."""

    @property
    def last_sequence(self) -> int:
        """The highest number that a record of the process has."""

    @property
    def dropped(self) -> dict[str, int]:
        """How many numbers will never come, since the process began, by reason."""

    def __len__(self) -> int:
        """How many are not settled yet, taken or not."""


class CusBuffer(CusSource, Protocol):
    """The source that this process appends to. Bounded: the oldest make room and are counted."""

    durable: bool

    def append(self, reported: CusReported) -> int:
        """Store one record and say its sequence. Takes no lock that a signal handler could wait for."""

    def replace(self, entry: CusEntry) -> None:
        """Another record in place of one that was taken and has never been sent."""

    def abandon(self) -> None:
        """Let go of everything, in a forked child: it is the parent's."""

    def discard_if_empty(self) -> bool:
        """At the end: leave nothing on disk that nobody needs. Says whether there was nothing."""


class CusMemoryBuffer:
    """A buffer of at most `capacity` records in memory.

    Appending takes no lock: a signal handler or a finalizer may report at any point, and must not
    wait for the code that it has interrupted.
    """

    durable = False

    def __init__(self, capacity: int) -> None:
        self._capacity = max(capacity, 1)
        self.process_id = uuid.uuid4().hex
        self._numbers = count(1)
        self._next_number = self._numbers.__next__
        # With their numbers; calls bear them themselves, as an object more for each would be most
        # of what appending costs.
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
        # Whoever finds the lock taken leaves: its holder is shedding already, or is the very code
        # that was interrupted. A record or two above the capacity do no harm.
        if not self._shedding.acquire(blocking=False):
            return
        try:
            while len(self._waiting) > self._capacity:
                self._waiting.popleft()
                self._dropped[DROPPED_FULL] += 1
        except IndexError:
            return  # the sender was quicker
        finally:
            self._shedding.release()

    def take(self, limit: int) -> list[CusEntry]:
        while len(self._taken) < limit and self._waiting:
            try:
                first = self._waiting.popleft()
            except IndexError:
                break  # shed in the meantime
            if isinstance(first, CusEndedCall):
                sequence, record = first.sequence, self._packed_call(first)
            else:
                sequence, record = first[0], self._packed(first[1])
            self._taken[sequence] = CusEntry(self.process_id, sequence, record)
        return list(self._taken.values())[:limit]

    # As a ring would have them, where it can: the shortest way onto the wire. Values of the
    # program's own classes may raise anything there, which must not cost the record.

    def _packed_call(self, call: CusEndedCall) -> CusUsageRecord | bytes:
        with contextlib.suppress(Exception):
            if packed := encode_call(call):
                return packed
        return call.named(self.process_id, call.sequence).record()

    def _packed(self, record: CusUsageRecord) -> CusUsageRecord | bytes:
        with contextlib.suppress(Exception):
            return encode_plain(record) or record
        return record

    def settle(self, entries: Iterable[CusEntry], *, refused: bool = False) -> None:
        for entry in entries:
            if self._taken.pop(entry.sequence, None) and refused:
                self._dropped[DROPPED_REFUSED] += 1

    def replace(self, entry: CusEntry) -> None:
        self._taken[entry.sequence] = entry

    def abandon(self) -> None:
        """Nothing of it is shared with the parent."""

    def discard_if_empty(self) -> bool:
        """Nothing of it is on disk."""
        return not len(self)
