"""Files of rings, with their locks.

A living process holds a lock on its ring's file, which the kernel releases however the process ends.
A process that gets this lock may send the ring's records.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from typing import Final, NamedTuple

from aos_sdk.cus_delivery.codec import decode_record
from aos_sdk.cus_delivery.ring import CusRing, CusRingUnusable, map_ring, mappings

if sys.platform != "win32":
    import fcntl

RING: Final = ".ring"
# A file in the making, before it gets its name.
NEW: Final = ".new"

# A fork copies open descriptors. A child that kept them would keep the lock after its parent died.
_open_descriptors: set[int] = set()


def open_file(path: str, flags: int) -> int:
    """Open a ring's file, private to the user. A forked child closes the file."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    _open_descriptors.add(descriptor)
    return descriptor


def close_file(descriptor: int) -> None:
    """Close a file of `open_file`, unless it is closed already."""
    if descriptor in _open_descriptors:
        _open_descriptors.discard(descriptor)
        os.close(descriptor)


@contextlib.contextmanager
def making(path: str) -> Iterator[int]:
    """Make a locked file in the block, which gets its name at the end; an error removes the file.

    Yields the descriptor, which stays open. Raises OSError.
    """
    new = path + NEW
    descriptor = open_file(new, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        # Locked before it gets the name by which other processes find it.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
        os.rename(new, path)
    except BaseException:
        close_file(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise


def _close_all_in_child() -> None:
    for mapping in list(mappings):
        with contextlib.suppress(BufferError):
            mapping.close()
    for descriptor in list(_open_descriptors):
        with contextlib.suppress(OSError):
            close_file(descriptor)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all_in_child)


class CusRingFile:
    """A ring's file with its lock."""

    def __init__(self, path: str, descriptor: int, ring: CusRing) -> None:
        self.path = path
        self._descriptor = descriptor
        self.ring = ring

    def let_go(self) -> None:
        """Unmap and close the file. In a fork the parent keeps its lock: the lock ends when all of
        the file's descriptors are closed, or by an unlock, so never unlock here.
        """
        self.ring.close()
        descriptor, self._descriptor = self._descriptor, -1
        close_file(descriptor)

    def remove(self) -> None:
        """Remove the file. The mapping stays usable for code that still reads it."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)


def lock_dead(path: str) -> CusRingFile | None:
    """The ring of a dead process, locked; None if the process lives, or the ring is unusable.

    Removes a file in the making. Raises OSError.
    """
    descriptor = open_file(path, os.O_RDWR)
    try:
        file = _lock(path, descriptor)
    except BaseException:
        close_file(descriptor)
        raise
    if file is None:
        close_file(descriptor)
    return file


def _lock(path: str, descriptor: int) -> CusRingFile | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    found = os.fstat(descriptor)
    if not found.st_nlink:
        return None  # Another process has sent it all meanwhile.
    if path.endswith(NEW):
        os.unlink(path)
        return None
    if found.st_uid != os.geteuid() or not found.st_size:
        return None
    mapping = map_ring(descriptor, found.st_size)
    try:
        return CusRingFile(path, descriptor, CusRing(mapping))
    except (CusRingUnusable, UnicodeDecodeError, ValueError):
        mapping.close()  # Of another version: leave the ring to a process that knows it.
        return None


class CusRingSeen(NamedTuple):
    """What a look at a ring's file shows, without a lock."""

    lives: bool
    waiting: int
    # The one integration that every waiting record names; None if there is none, or not looked for.
    integration_id: str | None
    size_bytes: int
    written_at: float


def look(path: str, *, for_names: bool = False) -> CusRingSeen | None:
    """Look at a ring, also for the names in its records; change nothing.

    Returns None if the file is gone, or is not a ring.
    """
    try:
        return _look(path, for_names=for_names)
    except (OSError, ValueError):
        return None


def _look(path: str, *, for_names: bool) -> CusRingSeen:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        lives = False
        try:
            # A shared lock, released at once: an adopter that is refused just now tries again
            # later.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            lives = True
        found = os.fstat(descriptor)
        with mmap(descriptor, 0, access=ACCESS_READ) as mapping:
            ring = CusRing(mapping)
            waiting = sum(bool(ring.read(number)) for number in ring.written())
            named = named_integration(ring) if for_names else None
            return CusRingSeen(lives, waiting, named, found.st_size, found.st_mtime)
    finally:
        os.close(descriptor)


def named_integration(ring: CusRing) -> str | None:
    """The one integration that every waiting record of a ring names; None if there is none.

    Records that name none are of the integration whose key their process had.
    """
    first: str | None = None
    for name in named_integrations(ring):
        if name is None or first not in (None, name):
            return None
        first = name
    return first


def named_integrations(ring: CusRing) -> Iterator[str | None]:
    """The integration that each waiting record names, or None for a record that names none."""
    for number in ring.written():
        payload = ring.read(number)
        if payload:
            yield _named(payload, ring.process_id, number)


def _named(payload: bytes, process_id: str, number: int) -> str | None:
    try:
        name = decode_record(payload, process_id, number).get("integration_id")
    except ValueError:
        return None
    return name if isinstance(name, str) else None
