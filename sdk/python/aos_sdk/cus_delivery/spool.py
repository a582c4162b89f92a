"""The folder in which processes of one host keep their rings, and adopt rings of dead processes.

Below the spool's folder each combination of server, tenant and integration has a folder, named by
their hash; keys are never stored. A living process holds a lock on its ring's file, which the
kernel releases however the process ends. A process that gets this lock may send the ring's records.
"""

import contextlib
import os
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from typing import Final, NamedTuple

from aos_sdk.cus_delivery.connection import CusConnection
from aos_sdk.cus_delivery.ring import CusRing, CusRingUnusable, map_ring, mappings, ring_bytes
from aos_sdk.cus_delivery.ring_buffer import CusAdoptedRing, CusRingBuffer
from aos_sdk.cus_errors import CusSpoolUnavailable

if sys.platform != "win32":
    import fcntl

# Values of `spool_dir` and CUS_SPOOL_DIR: for the user's state folder, and for no folder.
STATE_DIRECTORY: Final = "state"
NO_SPOOL: Final = "off"

# The most bytes of all rings of one integration on one host. Without it, a program that reports,
# crashes and restarts again and again while the server is away would fill the disk.
QUOTA_BYTES: Final = 2 * 1024**3

_RING: Final = ".ring"
_NEW: Final = ".new"
_ATTEMPTS: Final = 3
_FORGOTTEN_SECONDS: Final = 600.0


def spool_folder(spool_dir: str | os.PathLike[str] | None) -> str | None:
    """The folder for rings, by the argument or else CUS_SPOOL_DIR; None for memory alone."""
    if spool_dir is None:
        return None
    chosen = os.fspath(spool_dir)
    if chosen == STATE_DIRECTORY:
        chosen = os.environ.get("CUS_SPOOL_DIR") or STATE_DIRECTORY
    if chosen == NO_SPOOL:
        return None
    if chosen == STATE_DIRECTORY:
        state = os.environ.get("XDG_STATE_HOME", "")
        if not os.path.isabs(state):  # The specification of XDG says to ignore relative paths.
            state = os.path.expanduser("~/.local/state")
        return os.path.join(state, "aos-sdk", "spool")
    return os.path.abspath(chosen)


class CusSpoolCensus(NamedTuple):
    """The numbers of rings in a spool, and of the records that wait in them."""

    living_rings: int = 0
    living_records: int = 0
    dead_rings: int = 0
    dead_records: int = 0


class CusSpool:
    """The rings of one server, tenant and integration on this host."""

    def __init__(self, root: str, connection: CusConnection) -> None:
        from hashlib import sha256  # here, because `import aos_sdk` must stay light

        key = connection.key
        name = "\n".join((connection.base_url, key.tenant_id, key.integration_id))
        self.folder = os.path.join(root, sha256(name.encode()).hexdigest()[:32])

    def create(self, slots: int) -> CusRingBuffer:
        """A new ring of this process, locked. Raises CusSpoolUnavailable."""
        if sys.platform == "win32":
            message = "this system has no file locks that end with their process"
            raise CusSpoolUnavailable(message)
        if not os.path.isabs(self.folder):
            message = "this user has no home directory; CUS_SPOOL_DIR can name a folder"
            raise CusSpoolUnavailable(message)
        try:
            # A process whose clock has jumped may take a file in the making for forgotten, so try
            # again.
            for _ in range(_ATTEMPTS):
                with contextlib.suppress(BlockingIOError, FileNotFoundError):
                    return self._create(max(slots, 1))
            return self._create(max(slots, 1))
        except OSError as error:
            # The message names the folder, which tells the reader what to mend.
            message = f"{self.folder}: {error.strerror or type(error).__name__}"
            raise CusSpoolUnavailable(message) from None

    def _create(self, slots: int) -> CusRingBuffer:
        self._prepare_folder()
        self._check_quota(ring_bytes(slots))
        process_id = uuid.uuid4().hex
        path = os.path.join(self.folder, process_id + _RING)
        new = path + _NEW
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = _open(new, flags)
        try:
            # Lock the file before it gets the name by which other processes find it.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ring = CusRing.create(descriptor, slots, process_id)
            os.rename(new, path)
        except BaseException:
            _close(descriptor)
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        file = _RingFile(path, descriptor, ring)
        return CusRingBuffer(ring, file.let_go, file.remove)

    def _prepare_folder(self) -> None:
        os.makedirs(os.path.dirname(self.folder), mode=0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.folder, 0o700)
        found = os.lstat(self.folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            message = "it belongs to another user"
            raise OSError(0, message)
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.chmod(self.folder, 0o700)

    def _check_quota(self, ring_size: int) -> None:
        taken = 0
        for entry in os.scandir(self.folder):
            with contextlib.suppress(FileNotFoundError):
                taken += entry.stat(follow_symlinks=False).st_size
        if taken + ring_size > QUOTA_BYTES:
            message = "the spool is full of records that other processes left"
            raise OSError(0, message)

    def adopt(self) -> Iterator[CusAdoptedRing]:
        """The rings of dead processes that no other process has adopted, locked.

        A ring may be empty if its process dropped records and may not have announced that.
        """
        if sys.platform == "win32":
            return
        try:
            names = [entry.name for entry in os.scandir(self.folder)]
        except OSError:
            return
        for name in sorted(names):
            if name.endswith(_RING) or self._is_forgotten(name):
                with contextlib.suppress(OSError):
                    yield from self._adopt(os.path.join(self.folder, name))

    def census(self) -> CusSpoolCensus:
        """Count the waiting records, in rings of living and of dead processes; change nothing."""
        found: dict[bool, list[int]] = {True: [], False: []}
        if sys.platform != "win32":
            for path in self._rings():
                with contextlib.suppress(OSError, ValueError):
                    lives, waiting = _look(path)
                    found[lives].append(waiting)
        living, dead = found[True], found[False]
        return CusSpoolCensus(len(living), sum(living), len(dead), sum(dead))

    def _rings(self) -> list[str]:
        try:
            return [entry.path for entry in os.scandir(self.folder) if entry.name.endswith(_RING)]
        except OSError:
            return []

    def _is_forgotten(self, name: str) -> bool:
        # An old file's process died before its first report. A young file is about to be locked.
        if not name.endswith(_RING + _NEW):
            return False
        try:
            age = time.time() - os.stat(os.path.join(self.folder, name)).st_mtime
        except OSError:
            return False
        return age > _FORGOTTEN_SECONDS

    def _adopt(self, path: str) -> Iterator[CusAdoptedRing]:
        descriptor = _open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            file = _lock_dead(path, descriptor)
        except BaseException:
            _close(descriptor)
            raise
        if file is None:
            _close(descriptor)
            return
        adopted = CusAdoptedRing(file.ring, file.let_go, file.remove)
        if len(adopted) or adopted.dropped:
            yield adopted
        else:
            adopted.finish()


# A fork copies open descriptors. A child that kept them would keep the lock after its parent died.
_open_descriptors: set[int] = set()


def _open(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    _open_descriptors.add(descriptor)
    return descriptor


def _close(descriptor: int) -> None:
    if descriptor in _open_descriptors:
        _open_descriptors.discard(descriptor)
        os.close(descriptor)


def _close_all_in_child() -> None:
    for mapping in list(mappings):
        with contextlib.suppress(BufferError):
            mapping.close()
    for descriptor in list(_open_descriptors):
        with contextlib.suppress(OSError):
            _close(descriptor)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all_in_child)


def _look(path: str) -> tuple[bool, int]:
    """Whether a ring's process lives, and how many records wait in the ring."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        lives = False
        try:
            # A shared lock, released at once: an adopter that is refused just now tries again
            # later.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            lives = True
        with mmap(descriptor, 0, access=ACCESS_READ) as mapping:
            ring = CusRing(mapping)
            return lives, sum(bool(ring.read(number)) for number in ring.written())
    finally:
        os.close(descriptor)


class _RingFile:
    """A ring's file with its lock."""

    def __init__(self, path: str, descriptor: int, ring: CusRing) -> None:
        self._path = path
        self._descriptor = descriptor
        self.ring = ring

    def let_go(self) -> None:
        """Unmap and close the file. In a fork the parent keeps its lock: the lock ends when all of
        the file's descriptors are closed, or by an unlock, so never unlock here.
        """
        self.ring.close()
        descriptor, self._descriptor = self._descriptor, -1
        _close(descriptor)

    def remove(self) -> None:
        """Remove the file. The mapping stays usable for code that still reads it."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)


def _lock_dead(path: str, descriptor: int) -> _RingFile | None:
    """The ring of a dead process, locked; None if the process lives, or the ring is unusable."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    found = os.fstat(descriptor)
    if not found.st_nlink:
        return None  # Another process has sent it all meanwhile.
    if path.endswith(_NEW):
        os.unlink(path)
        return None
    if found.st_uid != os.geteuid() or not found.st_size:
        return None
    mapping = map_ring(descriptor, found.st_size)
    try:
        return _RingFile(path, descriptor, CusRing(mapping))
    except (CusRingUnusable, UnicodeDecodeError, ValueError):
        mapping.close()  # Of another version: leave the ring to a process that knows it.
        return None
