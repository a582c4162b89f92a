"""Folders of rings of which nobody knows whose they are, and how a user gives them an integration.

SDK 0.1.0 named its folders by the server's address. If a program had a wrong address, and nothing in
its records names an integration, no later process can tell whose they are; the user can.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

from aos_sdk.cus_delivery.folders import owner_of, rings_in, undescribed
from aos_sdk.cus_delivery.ring_files import (
    CusRingFile,
    lock_dead,
    look,
    named_integrations,
)
from aos_sdk.cus_delivery.spool import CusSpool
from aos_sdk.cus_errors import CusSpoolRefused


class CusStray(NamedTuple):
    """A folder of rings that dead processes left, and that no process will adopt.

    `written_at` is in seconds since the epoch: when a ring of the folder was last changed.
    """

    folder: str
    rings: int
    records: int
    size_bytes: int
    written_at: float


class CusTakenOver(NamedTuple):
    """The rings and records that a spool has taken over, and the rings that stayed in the folder:
    of running processes, or of no version that this SDK reads.
    """

    rings: int
    records: int
    rings_left: int


def strays(spool: CusSpool) -> list[CusStray]:
    """The folders beside a spool's with waiting records of which nobody knows whose they are."""
    if sys.platform == "win32":
        return []  # It has no rings.
    folders = undescribed(spool.root, (spool.folder, *spool.former))
    return [stray for folder in folders if (stray := _stray(folder)).records]


def _stray(folder: str) -> CusStray:
    seen = [look(path, for_names=True) for path in rings_in(folder)]
    # A ring whose records name their integration is adopted by that integration's processes.
    lost = [ring for ring in seen if ring and not ring.lives and ring.integration_id is None]
    return CusStray(
        folder,
        len(lost),
        sum(ring.waiting for ring in lost),
        sum(ring.size_bytes for ring in lost),
        max((ring.written_at for ring in lost), default=0.0),
    )


def take_over(spool: CusSpool, folder: str) -> CusTakenOver:
    """Move a folder's rings into the spool's, on the user's word that they are its integration's.

    Raises CusSpoolRefused, and moves nothing, if the folder or a record says that it is another
    integration's, or if the rings can't be moved.
    """
    _check_folder(spool, folder)
    paths = rings_in(folder)
    with contextlib.ExitStack() as stack:
        files: list[CusRingFile] = []
        for path in paths:
            if (file := _locked(path)) is not None:
                stack.callback(file.let_go)
                files.append(file)
                _check_records(spool, file)
        records = sum(sum(1 for _ in named_integrations(file.ring)) for file in files)
        moved = len(list(_moved(spool, files)))
    with contextlib.suppress(OSError):
        os.rmdir(folder)  # Not if anything is left in it.
    return CusTakenOver(moved, records, len(paths) - moved)


def _locked(path: str) -> CusRingFile | None:
    try:
        return lock_dead(path)
    except OSError:
        return None


def _check_folder(spool: CusSpool, folder: str) -> None:
    if sys.platform == "win32" or not os.path.isabs(spool.root):
        message = (
            "this user or system can have no spool; CUS_SPOOL_DIR can name a folder for a user"
        )
        raise CusSpoolRefused(message)
    if not os.path.isdir(folder):
        message = f"{folder} is not a folder"
        raise CusSpoolRefused(message)
    owner = owner_of(folder)
    if owner is not None and owner != spool.owner:
        message = (
            f"{folder} holds records of integration {owner.integration_id} of tenant "
            f"{owner.tenant_id}, and the key is of integration {spool.owner.integration_id} of "
            f"tenant {spool.owner.tenant_id}: nothing was moved. Processes with a key of that "
            "integration send them by themselves"
        )
        raise CusSpoolRefused(message)


def _check_records(spool: CusSpool, file: CusRingFile) -> None:
    for name in named_integrations(file.ring):
        if name not in (None, spool.owner.integration_id):
            message = (
                f"{file.path} holds a record of integration {name}, and the key is of integration "
                f"{spool.owner.integration_id}: nothing was moved. Use a key of that integration"
            )
            raise CusSpoolRefused(message)


def _moved(spool: CusSpool, files: list[CusRingFile]) -> Iterator[str]:
    try:
        spool.prepare()
        for file in files:
            # Locked, so no process adopts it meanwhile. Where a copy of the ring has the name
            # already, this one stays.
            target = os.path.join(spool.folder, os.path.basename(file.path))
            if not os.path.lexists(target):
                os.rename(file.path, target)
                yield target
    except OSError as error:
        message = (
            f"the rings cannot be moved to {spool.folder}: {error.strerror}. If they are on another "
            f"file system, copy their folder to {spool.root} first"
        )
        raise CusSpoolRefused(message) from None
