"""The process groups that a run has started, on disk, for the start after a killed run.

The sentinel ends these groups, but the sentinel can be killed, too. Then only this record tells
granian's workers, which hold the port, from other users' programs.
"""

import contextlib
import json
import os
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aos_project.cus_embedded.errors import OrphanStays
from aos_project.cus_embedded.passwords import write_private
from aos_project.cus_embedded.process import wait_for

_SECONDS_TO_DIE = 5.0


@dataclass(frozen=True)
class _Process:
    """A living process, from /proc; `started` is in ticks since the machine's start."""

    pid: int
    group: int
    session: int
    started: int


class GroupRecord:
    """The groups of one data folder, each by its leader's pid and start time."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._path = data / "run.groups"
        self._started: dict[int, int] = {}

    def add(self, pgid: int) -> None:
        leader = _process(pgid)
        if leader:
            self._started[pgid] = leader.started
            self._write()

    def remove(self, pgid: int) -> None:
        if self._started.pop(pgid, None) is not None:
            self._write()

    def end_left_over(self) -> list[int]:
        """End the processes that are left of an earlier run on this data; return their pids."""
        ended = self._left_over()
        for process in ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        for process in ended:
            if not wait_for(partial(_is_gone, process), _SECONDS_TO_DIE):
                raise OrphanStays(name="A program", folder=self._data, pid=process.pid)
        self._path.unlink(missing_ok=True)
        return [process.pid for process in ended]

    def _left_over(self) -> list[_Process]:
        started = self._read()
        if not started:
            return []
        found = [process for pid in _all_pids() if (process := _process(pid))]
        return [process for process in found if self._is_ours(process, started)]

    def _is_ours(self, process: _Process, started: dict[int, int]) -> bool:
        """Whether a process is of the earlier run, by the pid and start time of its leader. If the
        leader is dead, another program may have its pid by now; then the process itself must name
        our data in its environment."""
        leader_started = started.get(process.group)
        if leader_started is None or process.session != process.group:
            return False
        if process.pid == process.group:
            return process.started == leader_started
        return process.started >= leader_started and _names(process.pid, self._data)

    def _write(self) -> None:
        write_private(self._path, json.dumps({"boot": _boot(), "started": self._started}))

    def _read(self) -> dict[int, int]:
        """The recorded groups of this boot; pids and ticks begin anew with each boot."""
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, KeyError):
            record = json.loads(self._path.read_text())
            if record["boot"] == _boot():
                return {int(pgid): int(ticks) for pgid, ticks in record["started"].items()}
        return {}


def listener(port: int) -> int | None:
    """The pid of the process that listens on a TCP port; None if we may not see it."""
    with contextlib.suppress(OSError):
        inodes = {f"socket:[{inode}]" for inode in _listening(port)}
        for pid in _all_pids():
            with contextlib.suppress(OSError):
                for link in Path(f"/proc/{pid}/fd").iterdir():
                    if os.readlink(link) in inodes:
                        return pid
    return None


def _listening(port: int) -> set[str]:
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _process(pid: int) -> _Process | None:
    """The process of this pid; None if it is dead, also before its parent has waited for it."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    # The first thread of a program may be dead while another thread still holds the port.
    if state in ("Z", "X") and int(fields[16]) <= 1:
        return None
    return _Process(pid, group=int(fields[1]), session=int(fields[2]), started=int(fields[18]))


def _is_gone(process: _Process) -> bool:
    return _process(process.pid) != process


def _names(pid: int, data: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"CUS_DATA_DIR=" + os.fsencode(data) in words


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
