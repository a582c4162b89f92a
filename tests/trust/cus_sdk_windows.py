"""Fault windows: a program reports while something is wrong; afterwards nothing may be missing.

After each window the next process of the host adopts what is left, on a server that is well
again. Then what `report` accepted is compared with what the sink stored.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from tests.e2e.cus_served import ROOT
from tests.trust.cus_sdk_sink import FAULTS, Sink

FATES = ("exit", "kill", "suicide", "term", "os_exit", "shutdown", "exit_in_send", "fork", "pool")
ORDERLY = ("exit", "shutdown")
DISKS = ("ring", "ring", "ring", "small", "two", "full_disk", "read_only", "memory")
# What waits in memory survives no kill, so these windows end in order.
IN_MEMORY = ("full_disk", "read_only", "memory")
_LIMIT_SECONDS = 60.0


@dataclass
class Window:
    """One window: what is wrong with the server, with the disk, and how the program ends."""

    number: int
    fault: str
    fate: str
    disk: str
    heals: bool

    def __str__(self) -> str:
        heals = ", heals" if self.heals else ""
        return f"window {self.number} ({self.fault}{heals}; {self.disk}; {self.fate})"


@dataclass
class Result:
    """What a campaign did and found."""

    windows: int = 0
    accepted: int = 0
    dropped: int = 0
    redelivered: int = 0
    slowest_exit: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.windows} windows, {self.accepted:,} events accepted, {self.dropped:,} dropped"
            f" and counted, {self.redelivered:,} delivered twice, exit in {self.slowest_exit:.2f} s"
        )


class Campaign:
    """Runs windows one after the other, each with a spool and a sink of its own."""

    def __init__(self, folder: Path, *, seed: int, full_disk: Path | None = None) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self._full_disk = full_disk
        self.result = Result()

    def plan(self, count: int) -> list[Window]:
        """So many windows: every fault, fate and disk in turn, in changing company."""
        fates = cycle(FATES)
        return [self._window(number, fates) for number in range(count)]

    def _window(self, number: int, fates: Iterator[str]) -> Window:
        disk = DISKS[number % len(DISKS)]
        fault = FAULTS[(number * 3 + number // len(FAULTS)) % len(FAULTS)]
        fate = ORDERLY[number % 2] if disk in IN_MEMORY else next(fates)
        return Window(number, fault, fate, disk, heals=number % 3 != 0)

    def run(self, window: Window) -> None:
        """Let it happen, let the next process adopt, and compare."""
        folder = self._folder / str(window.number)
        (folder / "accepted").mkdir(parents=True)
        with Sink() as sink:
            _Run(self, window, folder, sink).execute()
        self.result.windows += 1
        self.result.seen.update((window.fault, window.fate, window.disk))

    def spool(self, window: Window, folder: Path) -> str | None:
        """Where the programs of a window keep their rings."""
        if window.disk == "memory":
            return None
        if window.disk == "read_only":
            return "/proc/cus-spool"
        if window.disk == "full_disk" and self._full_disk:
            return str(self._full_disk)
        return str(folder / "spool")


class _Run:
    def __init__(self, campaign: Campaign, window: Window, folder: Path, sink: Sink) -> None:
        self._random = campaign._random
        self._result = campaign.result
        self._window = window
        self._sink = sink
        self._spool = campaign.spool(window, folder)
        self._accepted_folder = folder / "accepted"
        self._options: dict[str, Any] = {
            "url": sink.url,
            "spool": self._spool,
            "accepted": str(self._accepted_folder),
            "count": self._random.randint(50, 300),
            "pause": self._random.choice((0.0, 0.005, 0.02)),
        }
        if window.disk == "small":
            self._options["max_queue"] = 30
        if window.disk == "full_disk" and not campaign._full_disk:
            self._options["file_bytes"] = 100_000
        self._orderly = window.disk in IN_MEMORY

    def execute(self) -> None:
        self._sink.misbehave(self._window.fault)
        healing = threading.Timer(self._random.uniform(0.2, 0.6), self._sink.misbehave, [""])
        if self._window.heals:
            healing.start()
        names = ["a", "b"] if self._window.disk == "two" else ["a"]
        programs = [self._start({**self._options, "name": name}) for name in names]
        for program in programs:
            self._wait(program)
        healing.cancel()
        self._sink.misbehave("")
        if not self._orderly:
            self._finish(self._start({**self._options, "name": "sweep", "fate": "sweep"}))
        self._compare()

    def _start(self, options: dict[str, Any]) -> "subprocess.Popen[str]":
        options = {"fate": self._window.fate, **options}
        if self._orderly:
            # In memory: give it the time that the fault takes.
            options["flush"] = 5.0 if self._window.heals else 0.2
        return subprocess.Popen(
            [sys.executable, "-m", "tests.trust.cus_sdk_program", json.dumps(options)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _wait(self, program: "subprocess.Popen[str]") -> None:
        if self._window.fate == "kill":
            time.sleep(self._random.uniform(0.1, 0.7))
            program.kill()
        told = self._finish(program)
        if told and told["stats"]["faults"]:
            self._find(f"{told['stats']['faults']} faults in the SDK")
        if self._orderly and told:
            self._lost_in_memory = told["stats"]["queued"]
            self._dropped_in_memory = told["stats"]["dropped"]
            if told["durable"]:
                self._find("a ring where no ring can be")

    def _finish(self, program: "subprocess.Popen[str]") -> dict[str, Any] | None:
        with program:
            assert program.stdout
            line = program.stdout.readline()
            began = time.monotonic()
            try:
                _, errors = program.communicate(timeout=_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                program.kill()
                self._find("it did not end")
                return None
        if line:
            self._result.slowest_exit = max(self._result.slowest_exit, time.monotonic() - began)
        if "Traceback" in errors or program.returncode > 0:
            self._find(f"code {program.returncode}: {errors[-500:]}")
        told: dict[str, Any] | None = json.loads(line) if line else None
        return told

    def _compare(self) -> None:
        accepted = self._accepted()
        stored = self._sink.stored
        self._result.accepted += len(accepted)
        self._result.redelivered += self._sink.redelivered
        # A kill may come between a record's last byte and the note that it was accepted.
        unnoted = {name for name in stored if name not in accepted}
        if len(unnoted) > (2 if self._window.fate == "kill" else 0):
            self._find(f"stored, and never accepted: {sorted(unnoted)[:3]}")
        missing = accepted.keys() - stored.keys()
        if self._orderly:
            known = self._dropped_in_memory + self._lost_in_memory
            # What was in flight at the end may have been stored after all, its answer lost.
            if len(missing) > known:
                self._find(f"{len(missing)} missing of which {known} were counted")
        else:
            self._compare_by_number(missing, accepted)
        self._result.dropped += len(missing)

    def _compare_by_number(self, missing: Any, accepted: Any) -> None:
        dropped = sum(
            number for reasons in self._sink.dropped.values() for number in reasons.values()
        )
        if self._window.disk == "small":
            if len(missing) != dropped:
                self._find(f"{len(missing)} missing of {len(accepted)}, {dropped} declared")
        elif missing:
            self._find(f"{len(missing)} of {len(accepted)} missing: {sorted(missing)[:3]}")
        numbers: dict[str, list[int]] = defaultdict(list)
        for record in self._sink.stored.values():
            numbers[record["process_id"]].append(record["sequence"])
        for process, found in numbers.items():
            highest = max(self._sink.last_sequence.get(process, 0), *found)
            gone = sum(self._sink.dropped.get(process, {}).values())
            if len(set(found)) != len(found) or len(found) + gone != highest:
                self._find(f"process {process}: {len(found)} + {gone} of {highest}")

    def _accepted(self) -> dict[str, None]:
        found: dict[str, None] = {}
        for path in self._accepted_folder.iterdir():
            count = int.from_bytes(path.read_bytes()[:8], "little")
            found.update((f"{path.name}-{number}", None) for number in range(1, count + 1))
        return found

    def _find(self, text: str) -> None:
        self._result.findings.append(f"{self._window}: {text}")


def small_disk(folder: Path) -> Path | None:
    """A disk of 64 KiB, where this user may mount one."""
    folder.mkdir()
    mounted = None
    with suppress(OSError):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        )
        mounted = folder if done.returncode == 0 else None
    return mounted


def unmount(folder: Path | None) -> None:
    """Give a small disk back."""
    if folder is not None and os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


def run_campaign(
    folder: Path, *, windows: int, seed: int, say: Callable[[str], None] = lambda _: None
) -> Result:
    """So many windows in a folder; what they found."""
    disk = small_disk(folder / "full")
    try:
        campaign = Campaign(folder, seed=seed, full_disk=disk)
        for window in campaign.plan(windows):
            campaign.run(window)
            if window.number % 10 == 9:
                say(str(campaign.result))
        return campaign.result
    finally:
        unmount(disk)
