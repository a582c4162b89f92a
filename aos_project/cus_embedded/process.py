"""Programs that must never outlive the process that started them."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aos_project.cus_embedded.errors import OrphanStays

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: a child between fork and exec must not import or allocate much.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Account:
    """The user that a server runs as when we are root, which PostgreSQL refuses to be."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Program:
    """A program to keep running, and how to end it: signals, each with seconds to obey."""

    name: str
    command: Sequence[str]
    cwd: Path
    stop: Sequence[tuple[signal.Signals, float]] = ((signal.SIGTERM, 10.0),)
    env: Mapping[str, str] | None = None
    account: Account | None = None
    # The signal that the kernel sends to the program when its parent dies.
    on_orphan: signal.Signals = signal.SIGKILL


def launch(
    program: Program, output: int | IO[bytes] | None = None, stdin: int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    """Start the program in a session of its own. Call this from the main thread: the kernel sends
    the "parent died" signal when the thread that started the child ends."""
    identity: dict[str, Any] = {}
    if program.account:
        identity = {"user": program.account.uid, "group": program.account.gid, "extra_groups": []}
    return subprocess.Popen(
        list(program.command),
        cwd=program.cwd,
        env=program.env,
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        start_new_session=True,
        preexec_fn=_die_with_parent(program.on_orphan),
        **identity,
    )


def _die_with_parent(sig: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def in_child() -> None:
        # Must run after the change of user, which would clear the setting.
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(sig))
        if os.getppid() != parent:
            os._exit(1)

    return in_child


def stop(
    program: Program,
    child: "subprocess.Popen[bytes]",
    wait: "Callable[[subprocess.Popen[bytes], float], object] | None" = None,
) -> None:
    """End the program, and the processes that it left in its process group. If `wait(child,
    seconds)` returns early, the next, harsher signal follows at once."""
    for sig, seconds in program.stop:
        if child.poll() is not None:
            break
        child.send_signal(sig)
        (wait or _wait)(child, seconds)
    kill_group(child.pid)
    child.wait()


def _wait(child: "subprocess.Popen[bytes]", seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(seconds)


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def end_orphan(
    name: str, pid_file: Path, argument: Path, stop: Sequence[tuple[signal.Signals, float]]
) -> bool:
    """End a server of an earlier run that still uses our data. Its own file has its pid, and its
    command line must name the data. True if there was such a server."""
    pid = _pid_in(pid_file)
    if pid is None or not _names(pid, argument):
        return False
    for sig, seconds in (*stop, (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sig)
        if wait_for(lambda: not _names(pid, argument), seconds):
            return True
    raise OrphanStays(name=name, folder=argument, pid=pid)


def alive(pid: int) -> bool:
    with contextlib.suppress(PermissionError):  # The process exists and belongs to another user.
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def _pid_in(path: Path) -> int | None:
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _names(pid: int, argument: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(argument) in words


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
