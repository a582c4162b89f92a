"""The doctor's look at the spool, and its way to send what an earlier release left behind."""

import os
import time
from functools import partial
from typing import Final

from aos_sdk.cus_delivery.connection import CusConnection
from aos_sdk.cus_delivery.delivery import CusTally
from aos_sdk.cus_delivery.findings import CusFinding, CusState
from aos_sdk.cus_delivery.sender import CusSender
from aos_sdk.cus_delivery.spool import STATE_DIRECTORY, CusSpool, spool_folder
from aos_sdk.cus_delivery.storage import CusStorage
from aos_sdk.cus_delivery.strays import CusStray, CusTakenOver, strays, take_over
from aos_sdk.cus_delivery.transport import CusTransport
from aos_sdk.cus_errors import CusDeliveryError, CusSpoolRefused, CusSpoolUnavailable
from aos_sdk.cus_wire import MAX_BATCH_RECORDS

_CHECK: Final = "spool"
# A server that answers takes the largest spool in less; a server that fails ends the attempt at once.
_SENDING_SECONDS: Final = 600.0
_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def spool_findings(connection: CusConnection, slots: int) -> list[CusFinding]:
    """Where records wait and how many, and the folders of which nobody knows whose they are.

    `slots` are the records for which a process' ring has room.
    """
    in_memory = "records wait in memory, which no killed process keeps"
    folder = spool_folder(STATE_DIRECTORY)
    if folder is None:
        says = f"{in_memory}: CUS_SPOOL_DIR turns the spool off"
        return [CusFinding(_CHECK, CusState.WARNING, says)]
    spool = CusSpool(folder, connection)
    left = [_stray(stray) for stray in strays(spool)]
    try:
        return [_waiting(spool, slots), *left]
    except CusSpoolUnavailable as error:
        return [CusFinding(_CHECK, CusState.WARNING, f"{in_memory}: {error}"), *left]


def _waiting(spool: CusSpool, slots: int) -> CusFinding:
    """How many records wait. Raises CusSpoolUnavailable if no ring can be made."""
    waiting = spool.census()
    ring = spool.create(slots)
    ring.discard_if_empty()
    ring.abandon()
    says = (
        f"records wait in {spool.folder}, and survive their process: "
        f"{_number(waiting.living_records, 'record')} in "
        f"{_number(waiting.living_rings, 'ring')} of running processes, "
        f"{_number(waiting.dead_records, 'record')} in "
        f"{_number(waiting.dead_rings, 'ring')} that the next process to report adopts"
    )
    return CusFinding(_CHECK, CusState.OK, says)


def _stray(stray: CusStray) -> CusFinding:
    size = stray.size_bytes / 1024**2
    says = (
        f"{_number(stray.records, 'record')} in {_number(stray.rings, 'ring')} ({size:,.1f} MiB, "
        f"last changed {_ago(stray.written_at)}) in {stray.folder} will not be sent: SDK 0.1.0 wrote "
        "them for another server's address or another integration, and they do not say which. If "
        f"they are this integration's, `python -m aos_sdk doctor --adopt {stray.folder}` sends them; "
        "if not, run that with a key of their integration"
    )
    return CusFinding(_CHECK, CusState.WARNING, says)


def _ago(moment: float) -> str:
    seconds = max(time.time() - moment, 0.0)
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{_number(int(seconds / length), unit)} ago"
    return "less than a minute ago"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def adopt_folder(
    connection: CusConnection, folder: str, *, timeout_seconds: float
) -> list[CusFinding]:
    """Take a folder's rings over, on the user's word that they are of the key's integration, and
    send them. What can't be sent now waits for the next process to report.
    """
    root = spool_folder(STATE_DIRECTORY)
    if root is None:
        says = "CUS_SPOOL_DIR turns the spool off; unset it, or let it name a folder"
        return [CusFinding(_CHECK, CusState.PROBLEM, says)]
    spool = CusSpool(root, connection)
    folder = _found(root, folder)
    try:
        taken = take_over(spool, folder)
    except CusSpoolRefused as refusal:
        return [CusFinding(_CHECK, CusState.PROBLEM, str(refusal))]
    findings = [_taken(spool, folder, taken)]
    if taken.rings:
        findings.append(_sent(spool, connection, timeout_seconds))
    return findings


def _found(root: str, folder: str) -> str:
    """The folder's path; a bare name may also be of a folder in the spool."""
    below = os.path.join(root, folder)
    return below if not os.path.isdir(folder) and os.path.isdir(below) else folder


def _taken(spool: CusSpool, folder: str, taken: CusTakenOver) -> CusFinding:
    if os.path.abspath(folder) == spool.folder:
        says = f"{folder} is this integration's own: the next process to report sends what is there"
        return CusFinding(_CHECK, CusState.OK, says)
    says = (
        f"{_number(taken.records, 'record')} in {_number(taken.rings, 'ring')} of {folder} are now "
        f"those of integration {spool.owner.integration_id}"
    )
    if not taken.rings_left:
        return CusFinding(_CHECK, CusState.OK, says)
    says += (
        f"; {_number(taken.rings_left, 'ring')} stayed there, of running processes or of a release "
        "of the SDK that this release does not know"
    )
    return CusFinding(_CHECK, CusState.WARNING, says)


def _sent(spool: CusSpool, connection: CusConnection, timeout_seconds: float) -> CusFinding:
    problems: list[CusDeliveryError] = []
    sender = CusSender(
        CusStorage(spool, 1),
        partial(CusTransport, connection, timeout_seconds),
        integration_id=spool.owner.integration_id,
        batch_size=MAX_BATCH_RECORDS,
        batch_interval=1.0,
        on_error=problems.append,
    )
    sender.ensure_running()
    sender.stop(_SENDING_SECONDS, adopt=True)
    sender.release_adopted()
    return _outcome(sender.tally, spool.census().dead_records, problems)


def _outcome(tally: CusTally, left: int, problems: list[CusDeliveryError]) -> CusFinding:
    refused = tally.rejected + tally.conflicts
    says = f"{_number(tally.sent, 'record')} sent"
    if tally.duplicates:
        says += f", {tally.duplicates:,} that the server had already"
    if refused:
        says += f", {refused:,} refused"
    if left:
        says += f", {left:,} not yet: the next process to report sends them"
    if problems:
        says += f" ({problems[0]})"
    state = CusState.PROBLEM if refused or left else CusState.OK
    return CusFinding("sending", state, says)
