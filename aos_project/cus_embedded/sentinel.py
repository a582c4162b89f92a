"""A tiny process that cleans up after its parent, even after `kill -9` of it.

The kernel ends our direct children with us, but not their children: granian's workers, for example,
live on and hold the port. So the parent sends the names of its process groups to the sentinel
through a pipe, and when the pipe closes the sentinel ends the groups that were not withdrawn. The
sentinel shares nothing else with its parent: it is a script of its own, on the standard library
alone.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


class Sentinel:
    """The parent's side. When the parent dies, watched groups are ended and folders removed."""

    def __init__(self, keep_open: Sequence[int] = ()) -> None:
        # The sentinel inherits `keep_open`, so a lock among these is held until it has cleaned up.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            pass_fds=keep_open,
        )

    def watch_group(self, pgid: int) -> None:
        self._tell("+group", str(pgid))

    def forget_group(self, pgid: int) -> None:
        self._tell("-group", str(pgid))

    def watch_folder(self, folder: Path) -> None:
        self._tell("+folder", str(folder))

    def close(self) -> None:
        """End the sentinel; it cleans up everything that is still watched."""
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.wait()

    def _tell(self, order: str, what: str) -> None:
        # The sentinel may have been killed, which must not stop the product.
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.write(os.fsencode(f"{order} {what}\n"))
                self._process.stdin.flush()


def main() -> None:
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.SIG_IGN)
    watched: set[tuple[str, str]] = set()
    for line in sys.stdin:
        order, _, what = line.rstrip("\n").partition(" ")
        (watched.add if order[0] == "+" else watched.discard)((order[1:], what))
    for kind, what in sorted(watched, reverse=True):  # Each "group" before its "folder".
        if kind == "group":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(what), signal.SIGKILL)
        else:
            _remove(what)


def _remove(folder: str) -> None:
    for _ in range(50):  # The database's last processes may still write to the folder.
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return
        time.sleep(0.1)


if __name__ == "__main__":
    main()
