"""Keeps a handful of programs running, in order, and ends them in the reverse order.

A single thread runs the loop: the kernel sends the "parent died" signal when the thread that
started a child ends, and a fork beside other threads is unsafe.
"""

import contextlib
import itertools
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Self

from aos_project.cus_embedded.errors import KeepsDying, NeverReady, ServiceError, StepFailed
from aos_project.cus_embedded.groups import GroupRecord
from aos_project.cus_embedded.postgres import log_end
from aos_project.cus_embedded.process import Program, kill_group, launch, stop
from aos_project.cus_embedded.sentinel import Sentinel

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MOST_DEATHS, _WINDOW_SECONDS, _LONGEST_DELAY = 5, 60.0, 8.0
_LONGEST_LINE = 65_536
_COLOURS = (36, 33, 35, 32, 34)


class Interrupted(Exception):
    """A signal asked the supervisor to stop."""


class Console:
    """Prints lines with the name of their program, in colour on a terminal."""

    def __init__(self) -> None:
        self.gone = False
        self._on_terminal = sys.stdout.isatty()
        self._coloured = self._on_terminal and "NO_COLOR" not in os.environ
        self._has_status = False
        self._colours: dict[str, int] = {}
        self._palette = itertools.cycle(_COLOURS)

    def say(self, text: str) -> None:
        self._write(f"{text}\n")

    def status(self, text: str) -> None:
        """Print how things are. On a terminal the line takes the place of the last such line, so
        that a day of them moves nothing off the screen.
        """
        if not self._on_terminal:
            self.say(text)
            return
        self._write(text)
        self._has_status = True

    def move_to(self, file: Path) -> None:
        """Print to this file from now on, so that the program that reads our output may end."""
        sys.stdout.flush()
        output = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output, stream.fileno())
        os.close(output)
        self._on_terminal = self._coloured = False

    def line(self, name: str, text: str) -> None:
        label = f"{name:<8} | "
        if self._coloured:
            if name not in self._colours:
                self._colours[name] = next(self._palette)
            label = f"\033[{self._colours[name]}m{label}\033[0m"
        self._write(f"{label}{text}\n")

    def _write(self, text: str) -> None:
        if self.gone:
            return
        if self._has_status:
            text, self._has_status = f"\r\033[K{text}", False
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError:  # The terminal or the pipe is closed.
            self.gone = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass
class _Child:
    program: Program
    process: "subprocess.Popen[bytes]"
    log: Path | None
    deaths: deque[float] = field(default_factory=deque)
    restart_at: float | None = None
    unfinished: bytes = b""
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=12))

    @property
    def last_output(self) -> str:
        return log_end(self.log) if self.log else "\n".join(self.last_lines) or "(empty)"


class Supervisor:
    """Runs programs within a block: `with Supervisor(Console()) as supervisor:`.

    The end of the block ends all programs.
    """

    def __init__(
        self,
        console: Console,
        *,
        keep_open: Sequence[int] = (),
        record: GroupRecord | None = None,
        first_delay: float = 0.25,
    ) -> None:
        self._console = console
        self._keep_open = keep_open
        self._record = record
        self._first_delay = first_delay
        self._children: dict[str, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._asked_at: list[float] = []

    def __enter__(self) -> Self:
        self._sentinel = Sentinel(self._keep_open)
        self._former = {sig: signal.signal(sig, self._asked) for sig in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for name in reversed(list(self._children)):
            self._end(self._children.pop(name))
        self._sentinel.close()
        self._selector.close()
        for sig, handler in self._former.items():
            signal.signal(sig, handler)

    def start(self, program: Program, log: Path | None = None) -> None:
        """Keep the program running. Its output goes to `log`, or else to the console."""
        child = _Child(program, self._launch(program, log), log)
        self._children[program.name] = child
        self._listen(child)

    def run(self, program: Program) -> None:
        """Run the program to its end, with its own output, and keep the others running."""
        process = launch(program)
        self._watch_group(process.pid)
        try:
            while process.poll() is None:
                self._turn(0.05)
        finally:
            stop(program, process)
            self._forget_group(process.pid)
        if process.returncode != 0:
            raise StepFailed(name=program.name, code=process.returncode)

    def wait_until(self, ready: Callable[[], bool], name: str, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise NeverReady(name=name, seconds=seconds, log=self._children[name].last_output)
            self._turn(0.05)

    def watch(self, status_seconds: float = math.inf) -> None:
        """Run until a signal asks to stop (`Interrupted`) or a program `KeepsDying`.

        Prints the programs' state every `status_seconds`.
        """
        due = time.monotonic() + status_seconds
        while True:
            self._turn(0.2)
            if time.monotonic() >= due:
                due = time.monotonic() + status_seconds
                self._console.status(self._state())

    def _state(self) -> str:
        """The time, and which programs run."""
        away = [name for name, child in self._children.items() if child.restart_at is not None]
        restarts = sum(len(child.deaths) for child in self._children.values())
        parts = [f"programs running: {len(self._children) - len(away)}"]
        parts += [f"restarting: {', '.join(away)}"] if away else []
        parts += [f"restarts lately: {restarts}"] if restarts else []
        return f"{datetime.now(UTC):%H:%M} UTC  {'; '.join(parts)}"

    def watch_folder(self, folder: Path) -> None:
        self._sentinel.watch_folder(folder)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self._asked_at.append(time.monotonic())

    def _in_a_hurry(self) -> bool:
        # `make` repeats a SIGTERM that its whole group got, so two at once are one request.
        return bool(self._asked_at) and self._asked_at[-1] - self._asked_at[0] > 0.5

    def _turn(self, seconds: float) -> None:
        self._read(seconds)
        if self._asked_at or self._console.gone:
            raise Interrupted
        for child in self._children.values():
            if child.restart_at is None and child.process.poll() is not None:
                self._bury(child)
            if child.restart_at is not None and time.monotonic() >= child.restart_at:
                self._revive(child)

    def _launch(self, program: Program, log: Path | None) -> "subprocess.Popen[bytes]":
        if log is None:
            process = launch(program, subprocess.PIPE)
        else:
            with log.open("ab") as output:
                process = launch(program, output)
        # Servers are not watched: they stop by themselves when we die, and need time to do so.
        if program.on_orphan is signal.SIGKILL:
            self._watch_group(process.pid)
        return process

    def _watch_group(self, pgid: int) -> None:
        self._sentinel.watch_group(pgid)
        if self._record:
            self._record.add(pgid)

    def _forget_group(self, pgid: int) -> None:
        self._sentinel.forget_group(pgid)
        if self._record:
            self._record.remove(pgid)

    def _listen(self, child: _Child) -> None:
        if child.process.stdout:
            os.set_blocking(child.process.stdout.fileno(), False)
            self._selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def _read(self, seconds: float) -> None:
        if not self._selector.get_map():
            time.sleep(seconds)
            return
        for key, _ in self._selector.select(seconds):
            self._hear(key.data)

    def _hear(self, child: _Child) -> bool:
        """Pass on the child's output. False if there was none."""
        pipe = child.process.stdout
        data = None
        if pipe and not pipe.closed:
            with contextlib.suppress(BlockingIOError):
                data = os.read(pipe.fileno(), _LONGEST_LINE)
            if data == b"":
                self._selector.unregister(pipe)
                pipe.close()
        if not data:
            return False
        *lines, child.unfinished = (child.unfinished + data).split(b"\n")
        if len(child.unfinished) > _LONGEST_LINE:
            lines, child.unfinished = [*lines, child.unfinished], b""
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            child.last_lines.append(text)
            self._console.line(child.program.name, text)
        return True

    def _clear(self, child: _Child) -> None:
        """Clean up after the child's end: end its group, print its last lines, close its pipe."""
        kill_group(child.process.pid)
        self._forget_group(child.process.pid)
        while self._hear(child):
            pass
        pipe = child.process.stdout
        if pipe and not pipe.closed:
            self._selector.unregister(pipe)
            pipe.close()

    def _bury(self, child: _Child) -> None:
        self._clear(child)
        now, name = time.monotonic(), child.program.name
        child.deaths.append(now)
        while child.deaths[0] < now - _WINDOW_SECONDS:
            child.deaths.popleft()
        if len(child.deaths) > _MOST_DEATHS:
            raise KeepsDying(name=name, times=len(child.deaths), log=child.last_output)
        delay = min(self._first_delay * 2 ** (len(child.deaths) - 1), _LONGEST_DELAY)
        child.restart_at = now + delay
        end = _how_it_ended(child.process.returncode)
        self._console.line(name, f"{end}; restarting in {delay:.2g} s")

    def _revive(self, child: _Child) -> None:
        child.restart_at = None
        child.process = self._launch(child.program, child.log)
        self._listen(child)

    def _end(self, child: _Child) -> None:
        stop(child.program, child.process, self._wait)
        self._clear(child)

    def _wait(self, process: "subprocess.Popen[bytes]", seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline and not self._in_a_hurry():
            self._read(0.05)


def until_stopped(serve: Callable[[Console], None]) -> int:
    """Serve until Ctrl-C. Return the exit code: 0 after a request to stop, 1 after an error."""
    console = Console()
    try:
        serve(console)
    except Interrupted:
        console.say("Stopped.")
        return 0
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
