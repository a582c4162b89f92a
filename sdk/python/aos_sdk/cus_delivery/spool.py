"""The spool: where processes of one host keep their rings, and adopt rings of dead processes."""

import contextlib
import os
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Final, NamedTuple

from aos_sdk.cus_delivery.connection import CusConnection
from aos_sdk.cus_delivery.folders import (
    describe,
    folder_of,
    former_folders,
    owner_of_key,
    rings_in,
    undescribed,
)
from aos_sdk.cus_delivery.ring import CusRing, ring_bytes
from aos_sdk.cus_delivery.ring_buffer import CusAdoptedRing, CusRingBuffer
from aos_sdk.cus_delivery.ring_files import (
    NEW,
    RING,
    CusRingFile,
    CusRingSeen,
    lock_dead,
    look,
    making,
    named_integration,
)
from aos_sdk.cus_errors import CusSpoolUnavailable

# Values of `spool_dir` and CUS_SPOOL_DIR: for the user's state folder, and for no folder.
STATE_DIRECTORY: Final = "state"
NO_SPOOL: Final = "off"

# The most bytes of all rings of one integration on one host. Without it, a program that reports,
# crashes and restarts again and again while the server is away would fill the disk.
QUOTA_BYTES: Final = 2 * 1024**3

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
    """The rings of one integration of one tenant on this host.

    `folder` holds the rings of this release. `former` are the folders that SDK 0.1.0 had for this
    integration; its rings there are adopted, too.
    """

    def __init__(self, root: str, connection: CusConnection) -> None:
        self.root = root
        self.owner = owner_of_key(connection)
        self.folder = folder_of(root, self.owner)
        self.former = former_folders(root, connection)
        # Rings of dead processes in folders of nobody that do not say that they are ours.
        self._not_ours: set[str] = set()

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
        self.prepare()
        self._check_quota(ring_bytes(slots))
        process_id = uuid.uuid4().hex
        path = os.path.join(self.folder, process_id + RING)
        with making(path) as descriptor:
            ring = CusRing.create(descriptor, slots, process_id)
        file = CusRingFile(path, descriptor, ring)
        return CusRingBuffer(ring, file.let_go, file.remove)

    def prepare(self) -> None:
        """Make the folder, private to the user, and say in it whose it is. Raises OSError."""
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.folder, 0o700)
        found = os.lstat(self.folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            message = "it belongs to another user"
            raise OSError(0, message)
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.chmod(self.folder, 0o700)
        describe(self.folder, self.owner)

    def _check_quota(self, ring_size: int) -> None:
        taken = 0
        for path in self._rings():
            with contextlib.suppress(FileNotFoundError):
                taken += os.lstat(path).st_size
        if taken + ring_size > QUOTA_BYTES:
            message = "the spool is full of records that other processes left"
            raise OSError(0, message)

    def adopt(self) -> Iterator[CusAdoptedRing]:
        """The rings of dead processes that no other process has adopted, locked.

        A ring may be empty if its process dropped records and may not have announced that. A ring in
        a folder of nobody is adopted if each of its records names this integration.
        """
        if sys.platform == "win32":
            return
        self._remove_forgotten()
        for path in self._rings():
            if (ring := self._adopted(path)) is not None:
                yield ring
        for path in self.rings_of_nobody():
            if path not in self._not_ours and (ring := self._adopted_by_records(path)) is not None:
                yield ring

    def census(self) -> CusSpoolCensus:
        """Count the waiting records, in rings of living and of dead processes; change nothing."""
        found: dict[bool, list[int]] = {True: [], False: []}
        if sys.platform != "win32":
            for ring in (*map(look, self._rings()), *self._rings_that_name_us()):
                if ring is not None:
                    found[ring.lives].append(ring.waiting)
        living, dead = found[True], found[False]
        return CusSpoolCensus(len(living), sum(living), len(dead), sum(dead))

    def _rings_that_name_us(self) -> Iterator[CusRingSeen]:
        for path in self.rings_of_nobody():
            ring = look(path, for_names=True)
            if ring is not None and ring.integration_id == self.owner.integration_id:
                yield ring

    def _rings(self) -> list[str]:
        return [path for folder in (self.folder, *self.former) for path in rings_in(folder)]

    def rings_of_nobody(self) -> list[str]:
        """The rings in folders that say of nobody whose they are: of SDK 0.1.0, for any integration
        under another address, or for another integration.
        """
        folders = undescribed(self.root, (self.folder, *self.former))
        return [path for folder in folders for path in rings_in(folder)]

    def _remove_forgotten(self) -> None:
        for folder in (self.folder, *self.former):
            with contextlib.suppress(OSError):
                for entry in os.scandir(folder):
                    if entry.name.endswith(NEW) and _is_forgotten(entry):
                        _locked(entry.path)

    def _adopted(self, path: str) -> CusAdoptedRing | None:
        file = _locked(path)
        return None if file is None else _opened(file)

    def _adopted_by_records(self, path: str) -> CusAdoptedRing | None:
        file = _locked(path)
        if file is None:
            return None
        if named_integration(file.ring) == self.owner.integration_id:
            return _opened(file)
        # Remembered, because a dead process' ring changes no more, and reading it takes long.
        self._not_ours.add(path)
        file.let_go()
        return None


def _is_forgotten(entry: "os.DirEntry[str]") -> bool:
    # An old file's process died while it made the file. A young file is about to get its name.
    try:
        age = time.time() - entry.stat(follow_symlinks=False).st_mtime
    except OSError:
        return False
    return age > _FORGOTTEN_SECONDS


def _locked(path: str) -> CusRingFile | None:
    try:
        return lock_dead(path)
    except OSError:
        return None


def _opened(file: CusRingFile) -> CusAdoptedRing | None:
    """The records of a locked ring. None for a ring without any, which is removed, and for a ring
    that can't be read, which stays: it must not keep the rings after it from being adopted.
    """
    adopted = None
    try:
        with contextlib.suppress(Exception):
            adopted = CusAdoptedRing(file.ring, file.let_go, file.remove)
    finally:
        if adopted is None:
            file.let_go()
    if adopted is not None and not len(adopted) and not adopted.dropped:
        adopted.finish()
        return None
    return adopted
