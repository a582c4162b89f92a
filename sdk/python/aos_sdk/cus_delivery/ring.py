"""A ring of records in a memory-mapped file: durable once appended, whatever kills the process.

The kernel keeps what is written to the mapping, so records survive SIGKILL and `os._exit` without
a system call. They do not survive a power failure, because the file is never synced.

The file (version 2, little-endian; `docs/decisions/0024` has the reasons):

    page 0         magic, version, sizes, the process that wrote it; at 1024 and 2048 two copies of
                   the state (how far it is settled), written in turn, each with its checksum
    slots          one record each: sequence n is in slot n mod slots, or in none. Sequence,
                   checksum of the payload seeded with it, length, first chunk; then the payload
    chunks         what does not fit a slot: sequence and next chunk; then more of the payload

A record is valid if its slot holds its sequence and a payload with the right checksum. The slot is
written last, with Python's lock held. So an interrupted write leaves no valid record, and a reader
recognises a slot that was overwritten meanwhile.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from errno import EINVAL, ENOSYS, EOPNOTSUPP
from itertools import count
from mmap import mmap
from struct import Struct
from typing import Final, NamedTuple
from weakref import WeakSet
from zlib import crc32

MAGIC: Final = b"AOSRING\0"
# Raise this number with every change of the file or of a payload's layout. Older SDKs leave rings
# of unknown versions alone; this SDK reads all earlier versions.
VERSION: Final = 2
READABLE_VERSIONS: Final = frozenset(range(1, VERSION + 1))
PAGE_BYTES: Final = 4096
# A record of a usual call fits into one slot. Chunks are fewer, and take longer to write.
SLOT_BYTES: Final = 384
_SLOT_BYTES_OF_VERSION_1: Final = 256
CHUNK_BYTES: Final = 512
# There are a quarter as many chunks as slots. A record with metadata takes one or two chunks.
_SLOTS_A_CHUNK: Final = 4
_FEWEST_CHUNKS: Final = 256

_HEADER: Final = Struct("<8sIIIII32s")
_STATE: Final = Struct("<QQQQQ")
_CHECKSUM: Final = Struct("<I")
_STATE_AT: Final = (1024, 2048)
# Sequence, checksum, length and first chunk; then the beginning of the payload.
_HEAD: Final = Struct("<QIIQ")
_ROOM: Final = SLOT_BYTES - _HEAD.size
_SLOT: Final = Struct(f"<QIIQ{_ROOM}s")
_SCANNED_SLOTS: Final = 4096
_LINK: Final = Struct("<QQ")
_CHUNK_ROOM: Final = CHUNK_BYTES - _LINK.size


class CusRingUnusable(ValueError):
    """The file is not a ring of a version that this SDK reads; the file stays unchanged."""


class CusRecordTooLarge(ValueError):
    """The record is too large for every ring."""


class CusRingState(NamedTuple):
    """A ring's progress: all below `tail` is settled; `dropped` counts by reason, since the start."""

    generation: int = 0
    tail: int = 1
    full: int = 0
    interrupted: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class _Layout:
    slots: int
    chunks: int
    slot_bytes: int = SLOT_BYTES

    @property
    def chunks_at(self) -> int:
        return PAGE_BYTES + self.slots * self.slot_bytes

    @property
    def size(self) -> int:
        return self.chunks_at + self.chunks * CHUNK_BYTES


def ring_bytes(slots: int) -> int:
    """The size of a ring's file."""
    return _layout(slots).size


def _layout(slots: int) -> _Layout:
    return _Layout(slots, max(slots // _SLOTS_A_CHUNK, _FEWEST_CHUNKS))


def allocate(descriptor: int, size: int) -> None:
    """Allocate a file's blocks now. Raises OSError if the disk has no room.

    Writing to a mapping of a file with holes on a full disk would kill the program by SIGBUS.
    """
    if sys.platform != "win32" and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            # Ignore file systems that can't allocate, if the C library does not emulate it.
            if error.errno not in (EOPNOTSUPP, EINVAL, ENOSYS):
                raise
        else:
            return
    block = bytes(1 << 20)
    for start in range(0, size, len(block)):
        left = memoryview(block)[: size - start]
        while left:
            left = left[os.write(descriptor, left) :]


# All mappings of this process. Each holds a copy of its file's descriptor, and so of its lock.
mappings: "WeakSet[mmap]" = WeakSet()


def map_ring(descriptor: int, size: int) -> mmap:
    """Map a ring's file, shared. Raises OSError or ValueError."""
    mapping = mmap(descriptor, size)
    mappings.add(mapping)
    return mapping


class CusRing:
    """One mapped ring. Any thread appends, without a lock; one thread reads.

    Appending takes no lock, so that a signal handler or a finalizer may report at any moment, and a
    fork can't copy a held lock.
    """

    def __init__(self, mapping: mmap) -> None:
        """Raises CusRingUnusable if the mapping is not a ring that this version can read."""
        if len(mapping) < PAGE_BYTES:
            message = "too short for a ring"
            raise CusRingUnusable(message)
        self._map = mapping
        magic, version, slot_bytes, slots, chunk_bytes, chunks, process = _HEADER.unpack_from(
            mapping
        )
        self._layout = _Layout(slots, chunks, slot_bytes)
        whole = crc32(mapping[: _HEADER.size])
        sound = _CHECKSUM.unpack_from(mapping, _HEADER.size)[0] == whole
        known = (
            (magic, chunk_bytes) == (MAGIC, CHUNK_BYTES)
            and version in READABLE_VERSIONS
            and slot_bytes == (_SLOT_BYTES_OF_VERSION_1 if version == 1 else SLOT_BYTES)
        )
        if not known or not sound:
            message = "no ring of a version that this SDK reads"
            raise CusRingUnusable(message)
        if not slots or not chunks or self._layout.size > len(mapping):
            message = "a ring that was cut off"
            raise CusRingUnusable(message)
        self.slots: int = slots
        self._slot_bytes: int = slot_bytes
        self.process_id: str = process.decode()
        self.state = self._read_state()
        self._numbers = count(1)
        self.claim: Callable[[], int] = self._numbers.__next__
        self._claim_chunk = count(1).__next__

    @classmethod
    def create(cls, descriptor: int, slots: int, process_id: str) -> "CusRing":
        """Make a ring of an empty file. Raises OSError if the disk has no room for all of it."""
        layout = _layout(slots)
        allocate(descriptor, layout.size)
        mapping = map_ring(descriptor, layout.size)
        header = _HEADER.pack(
            MAGIC,
            VERSION,
            SLOT_BYTES,
            layout.slots,
            CHUNK_BYTES,
            layout.chunks,
            process_id.encode(),
        )
        mapping[: len(header) + 4] = header + _CHECKSUM.pack(crc32(header))
        return cls(mapping)

    @property
    def next_sequence(self) -> int:
        """The sequence that the next record of this process will have."""
        # The only way to read a counter without a lock and without taking a number from it.
        return int(repr(self._numbers)[6:-1])

    def append(self, payload: bytes) -> int:
        """Store one record; return its sequence. Overwrites the oldest if there is no room.

        Only for a ring that this process has created. Raises CusRecordTooLarge.
        """
        size = len(payload)
        chunk = 0
        if size > _ROOM:
            sequence, chunk = self._append_chunks(payload)
        else:
            sequence = self.claim()
        start = PAGE_BYTES + sequence % self.slots * SLOT_BYTES
        checksum = crc32(payload, sequence)  # crc32 uses the lower half of the sequence.
        _SLOT.pack_into(self._map, start, sequence, checksum, size, chunk, payload)
        return sequence

    def _append_chunks(self, payload: bytes) -> tuple[int, int]:
        parts = [
            payload[start : start + _CHUNK_ROOM]
            for start in range(_ROOM, len(payload), _CHUNK_ROOM)
        ]
        if len(parts) > self._layout.chunks:
            message = f"a record of {len(payload)} bytes is too large for the spool"
            raise CusRecordTooLarge(message)
        sequence = self.claim()
        positions = [self._claim_chunk() for _ in parts]
        for position, following, part in zip(positions, (*positions[1:], 0), parts, strict=True):
            start = self._chunk_at(position)
            chunk = _LINK.pack(sequence, following) + part
            self._map[start : start + len(chunk)] = chunk
        return sequence, positions[0]

    def _chunk_at(self, position: int) -> int:
        return self._layout.chunks_at + position % self._layout.chunks * CHUNK_BYTES

    def read(self, sequence: int) -> bytes | None:
        """The payload of a record; empty if it was overwritten or torn, None if never written."""
        start = PAGE_BYTES + sequence % self.slots * self._slot_bytes
        # Copy before reading: a writer may overwrite the slot at any moment.
        slot = self._map[start : start + self._slot_bytes]
        found, checksum, size, chunk = _HEAD.unpack_from(slot)
        if found != sequence:
            return None if found < sequence else b""
        payload = slot[_HEAD.size : _HEAD.size + size]
        if (rest := size - len(payload)) > 0:
            payload += self._read_chunks(sequence, chunk, rest)
        return payload if crc32(payload, sequence) == checksum else b""

    def _read_chunks(self, sequence: int, position: int, size: int) -> bytes:
        found = bytearray()
        # Each round adds bytes or ends the loop, so a torn link can't loop for ever.
        while position and len(found) < size:
            start = self._chunk_at(position)
            chunk = self._map[start : start + CHUNK_BYTES]
            owner, position = _LINK.unpack_from(chunk)
            if owner != sequence:
                break
            found += chunk[_LINK.size :]
        return bytes(found[:size])

    def written(self) -> list[int]:
        """The sequences from the tail on that slots claim to hold, in order; for a dead ring."""
        tail, end = self.state.tail, self._layout.chunks_at
        found: list[int] = []
        # Most slots are empty, and a host may have many rings, so C code does most of this.
        sequence_of_slot = Struct(f"<Q{self._slot_bytes - 8}x")
        step = _SCANNED_SLOTS * self._slot_bytes
        for start in range(PAGE_BYTES, end, step):
            slots = sequence_of_slot.iter_unpack(self._map[start : min(start + step, end)])
            found += [sequence for (sequence,) in slots if sequence >= tail]
        return sorted(found)

    def save(self, state: CusRingState) -> None:
        """Store the state in the copy that does not hold the last state."""
        self.state = state._replace(generation=self.state.generation + 1)
        at = _STATE_AT[self.state.generation % 2]
        packed = _STATE.pack(*self.state)
        packed += _CHECKSUM.pack(crc32(packed))
        self._map[at : at + len(packed)] = packed

    def _read_state(self) -> CusRingState:
        found = [CusRingState()]
        for at in _STATE_AT:
            packed = self._map[at : at + _STATE.size]
            if _CHECKSUM.unpack_from(self._map, at + _STATE.size)[0] == crc32(packed):
                state = CusRingState(*_STATE.unpack(packed))
                # Zero bytes are not a state, even with the right checksum.
                if state.generation:
                    found.append(state)
        return max(found)

    def close(self) -> None:
        """Close the mapping; the file stays."""
        self._map.close()
