"""The file in which a process notes what it sets aside of its leases (ruling F5a).

If the process dies, the next process of this host that finds the file returns what was not set
aside, so that no killed process keeps a part of a budget. The file is mapped into memory: the kernel
keeps what was written, however the process ends. It has a lock as a ring has (`ring_files`).

Little-endian: magic, version; then a slot of 64 bytes for each lease: whether it is in use, the
lease's id, and the amounts in the order of `CusAmounts`.
"""

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator
from functools import partial
from mmap import mmap
from struct import Struct
from typing import Final

from aos_sdk.cus_delivery.ring import map_ring
from aos_sdk.cus_delivery.ring_files import close_file, making, open_file
from aos_sdk.cus_delivery.spool import CusSpool
from aos_sdk.cus_enforcing.lease import CusAmounts, CusNote

if sys.platform != "win32":
    import fcntl

LEASES: Final = ".leases"
_MAGIC: Final = b"AOSLEASE"
# Raise this number with every change of the file. Files of other versions are left alone.
_VERSION: Final = 1
_HEADER: Final = Struct("<8sI")
_SLOT_BYTES: Final = 64
SLOTS: Final = 63
_BYTES: Final = _SLOT_BYTES * (SLOTS + 1)
_FREE, _USED = 0, 1
_STATE: Final = Struct("<I")
_SLOT: Final = Struct("<I16s4q")
_AMOUNTS: Final = Struct("<4q")
_AMOUNTS_AT: Final = _SLOT.size - _AMOUNTS.size


class CusLeaseFile:
    """A mapped file of leases, locked by this process."""

    def __init__(self, path: str, descriptor: int, mapping: mmap) -> None:
        self._path = path
        self._descriptor = descriptor
        self._map = mapping

    def add(self, lease_id: uuid.UUID) -> int | None:
        """Note a lease of which nothing is set aside yet; return its slot, None if all are taken."""
        for slot in range(1, SLOTS + 1):
            at = slot * _SLOT_BYTES
            if _STATE.unpack_from(self._map, at)[0] == _FREE:
                # Marked as used last, so that a kill in between leaves a free slot.
                _SLOT.pack_into(self._map, at, _FREE, lease_id.bytes, 0, 0, 0, 0)
                _STATE.pack_into(self._map, at, _USED)
                return slot
        return None

    def note_of(self, slot: int) -> CusNote:
        """What notes all that was ever set aside of the lease of a slot.

        Bound to the place at once: each call of a program runs this before it begins.
        """
        return partial(_AMOUNTS.pack_into, self._map, slot * _SLOT_BYTES + _AMOUNTS_AT)

    def remove(self, slot: int) -> None:
        """The lease was returned, or is not known any more."""
        _STATE.pack_into(self._map, slot * _SLOT_BYTES, _FREE)

    def leases(self) -> Iterator[tuple[int, uuid.UUID, CusAmounts]]:
        """Each lease that was not returned: its slot, and what was set aside of it."""
        for slot in range(1, SLOTS + 1):
            state, name, *amounts = _SLOT.unpack_from(self._map, slot * _SLOT_BYTES)
            if state == _USED:
                yield slot, uuid.UUID(bytes=name), CusAmounts(*amounts)

    def close(self) -> None:
        """Unmap and close; remove the file if no lease is in it."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        is_empty = not any(True for _ in self.leases())
        with contextlib.suppress(OSError):
            if is_empty:
                os.unlink(self._path)
        self._map.close()
        close_file(descriptor)


def make(spool: CusSpool) -> CusLeaseFile | None:
    """A new file for the leases of this process; None where the spool can't be used."""
    if sys.platform == "win32" or not os.path.isabs(spool.folder):
        return None
    path = os.path.join(spool.folder, uuid.uuid4().hex + LEASES)
    try:
        spool.prepare()
        with making(path) as descriptor:
            # A mapped file with holes kills the program where the disk is full.
            os.posix_fallocate(descriptor, 0, _BYTES)
            mapping = map_ring(descriptor, _BYTES)
            _HEADER.pack_into(mapping, 0, _MAGIC, _VERSION)
    except (OSError, ValueError):
        return None
    return CusLeaseFile(path, descriptor, mapping)


def left_by_the_dead(spool: CusSpool) -> Iterator[CusLeaseFile]:
    """The files of dead processes, locked by this one."""
    if sys.platform == "win32":
        return
    try:
        paths = sorted(one.path for one in os.scandir(spool.folder) if one.name.endswith(LEASES))
    except OSError:
        return
    for path in paths:
        file = _locked(path)
        if file is not None:
            yield file


def _locked(path: str) -> CusLeaseFile | None:
    try:
        descriptor = open_file(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(descriptor)
        if found.st_nlink and found.st_uid == os.geteuid() and found.st_size == _BYTES:
            mapping = map_ring(descriptor, _BYTES)
            if _HEADER.unpack_from(mapping) == (_MAGIC, _VERSION):
                return CusLeaseFile(path, descriptor, mapping)
            mapping.close()
    except (OSError, ValueError):  # A living process has it.
        pass
    close_file(descriptor)
    return None
