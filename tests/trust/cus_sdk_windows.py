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
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.cus_served import ROOT
from tests.trust.cus_sdk_sink import FAULTS, Sink

FATES = ("kill", "suicide", "term", "os_exit", "shutdown", "exit_in_send", "fork", "pool", "exit")
ORDERLY = ("exit", "shutdown")
DISKS = ("ring", "ring", "ring", "small", "two", "full_disk", "read_only", "memory", "small_memory")
# What waits in memory survives no kill, so these windows end in order.
IN_MEMORY = ("full_disk", "read_only", "memory", "small_memory")
CLOCKS = ("right", "right", "right", "jumps")
_LIMIT_SECONDS = 90.0
# How many of the servers are well again while the program runs.
_HEALING = 0.6
# What the SDK itself may take of a program's end, whatever the server does.
EXIT_SECONDS = 1.0

Say = Callable[[str], None]


@dataclass
class Window:
    """One window: what is wrong with the server, the disk and the clock; how the program ends."""

    number: int
    fault: str
    fate: str
    disk: str
    clock: str
    heals: bool
    # Whether the program ends only once a request of its own has failed.
    fails: bool = False
    # How long it waits for an answer.
    timeout: float = 0.5

    def __str__(self) -> str:
        heals = ", heals" if self.heals else ""
        clock = "; the clock jumps" if self.clock == "jumps" else ""
        return f"window {self.number} ({self.fault}{heals}; {self.disk}; {self.fate}{clock})"


@dataclass
class Result:
    """What a campaign did and found."""

    windows: int = 0
    accepted: int = 0
    dropped: int = 0
    redelivered: int = 0
    slowest_exit: float = 0.0
    slowest_window: str = ""
    seen: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.windows} windows, {self.accepted:,} events accepted, {self.dropped:,} dropped"
            f" and counted, {self.redelivered:,} delivered twice, slowest exit"
            f" {self.slowest_exit:.2f} s ({self.slowest_window or 'none'})"
        )

    def add(self, other: "Result") -> None:
        """Count one more window in."""
        self.windows += other.windows
        self.accepted += other.accepted
        self.dropped += other.dropped
        self.redelivered += other.redelivered
        if other.slowest_exit > self.slowest_exit:
            self.slowest_exit, self.slowest_window = other.slowest_exit, other.slowest_window
        self.seen += other.seen
        self.findings += other.findings


def _in_turn(values: Sequence[str], chance: random.Random) -> Iterator[str]:
    """All of them again and again, each time in another order."""
    while True:
        yield from chance.sample(values, len(values))


class Campaign:
    """Runs windows, each with a spool and a sink of its own; says at once what one has found."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        exit_seconds: float = EXIT_SECONDS,
        full_disk: Path | None = None,
        say: Say = lambda _: None,
    ) -> None:
        self._folder = folder
        self._seed = seed
        self.exit_seconds = exit_seconds
        self._full_disk = full_disk
        self._say = say
        self._lock = threading.Lock()
        self._todo: deque[Window] = deque()
        self.result = Result()

    def plan(self, count: int) -> list[Window]:
        """So many windows: every fault, fate, disk and clock in turn, in changing company.

        In the first an answer is lost for certain, so that something comes twice. In the second
        something is dropped for certain, and who waits for the request ends late.
        """
        lost = Window(0, "lost_answer", "exit", "ring", "right", heals=False, fails=True)
        late = Window(1, "hung", "exit", "small", "right", heals=False, timeout=30.0)
        chance = random.Random(self._seed)
        faults, disks, clocks = (_in_turn(all_, chance) for all_ in (FAULTS, DISKS, CLOCKS))
        fates, orderly = _in_turn(FATES, chance), _in_turn(ORDERLY, chance)
        planned = [lost, late]
        for number in range(2, count):
            disk = next(disks)
            fate = next(orderly if disk in IN_MEMORY else fates)
            heals = chance.random() < _HEALING
            planned.append(Window(number, next(faults), fate, disk, next(clocks), heals=heals))
        return planned[:count]

    def execute(self, windows: list[Window], workers: int) -> None:
        """Run windows, so many at a time. Ctrl-C ends it after those that are under way."""
        self._todo = deque(windows)
        with ThreadPoolExecutor(workers) as pool:
            running = [pool.submit(self._work) for _ in range(workers)]
            try:
                for each in running:
                    each.result()
            except KeyboardInterrupt:
                self._say("Interrupted: what is under way is finished first.")
            finally:
                self._todo.clear()

    def _work(self) -> None:
        while True:
            try:
                window = self._todo.popleft()
            except IndexError:
                return
            self.run(window)

    def run(self, window: Window) -> None:
        """Let it happen, let the next process adopt, and compare."""
        folder = self._folder / str(window.number)
        (folder / "accepted").mkdir(parents=True)
        with Sink() as sink:
            found = _Run(self, window, folder, sink).execute()
        with self._lock:
            self.result.add(found)
            for finding in found.findings:
                self._say(f"FOUND: {finding}")
            if self.result.windows % 10 == 0:
                self._say(str(self.result))

    def options(self, window: Window, folder: Path) -> dict[str, Any]:
        """What the programs of a window are told."""
        chance = random.Random(f"{self._seed}-{window.number}")
        options: dict[str, Any] = {
            "spool": self._spool(window, folder),
            "accepted": str(folder / "accepted"),
            "count": chance.randint(50, 300),
            "pause": chance.choice((0.0, 0.005, 0.02)),
            "healing": chance.uniform(0.2, 0.6),
            "killing": chance.uniform(0.1, 0.7),
            "fails": window.fails,
            "timeout": window.timeout,
            "clock_jumps": window.clock == "jumps",
        }
        if window.disk.startswith("small"):
            options["max_queue"] = 30
        if window.disk == "full_disk" and not self._full_disk:
            options["file_bytes"] = 100_000
        return options

    def _spool(self, window: Window, folder: Path) -> str | None:
        if window.disk.endswith("memory"):
            return None
        if window.disk == "read_only":
            return "/proc/cus-spool"
        if window.disk == "full_disk" and self._full_disk:
            return str(self._full_disk)
        return str(folder / "spool")


class _Run:
    def __init__(self, campaign: Campaign, window: Window, folder: Path, sink: Sink) -> None:
        self._result = Result(windows=1)
        self._result.seen.update((window.fault, window.fate, window.disk, window.clock))
        self._window = window
        self._sink = sink
        self._exit_seconds = campaign.exit_seconds
        self._accepted_folder = folder / "accepted"
        self._options = {"url": sink.url, **campaign.options(window, folder)}
        self._orderly = window.disk in IN_MEMORY
        self._lost_in_memory = self._dropped_in_memory = 0

    def execute(self) -> Result:
        self._sink.misbehave(self._window.fault)
        healing = threading.Timer(self._options["healing"], self._sink.misbehave, [""])
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
        return self._result

    def _start(self, options: dict[str, Any]) -> "subprocess.Popen[str]":
        options = {"fate": self._window.fate, **options}
        if self._orderly:
            # In memory: give it the time that the fault takes.
            options["flush"] = 30.0 if self._window.heals else 0.2
        return subprocess.Popen(
            [sys.executable, "-m", "tests.trust.cus_sdk_program", json.dumps(options)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,  # Ctrl-C is for the campaign alone
        )

    def _wait(self, program: "subprocess.Popen[str]") -> None:
        if self._window.fate == "kill":
            time.sleep(self._options["killing"])
            program.kill()
        figures = self._finish(program)
        if figures and figures["stats"]["faults"]:
            self._find(f"{figures['stats']['faults']} faults in the SDK")
        if self._orderly and figures:
            self._lost_in_memory = figures["stats"]["queued"]
            self._dropped_in_memory = figures["stats"]["dropped"]
            if figures["durable"]:
                self._find("a ring where no ring can be")
            if self._window.heals and self._lost_in_memory:
                self._find(f"{self._lost_in_memory} not sent to a server that is well again")

    def _finish(self, program: "subprocess.Popen[str]") -> dict[str, Any] | None:
        """Wait for the end; what the program said of itself, if it came to that."""
        with program:
            try:
                output, errors = program.communicate(timeout=_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                program.kill()
                self._find("it did not end")
                return None
        figures: dict[str, Any] = {}
        for line in output.splitlines():
            figures |= json.loads(line)
        self._note_exit(figures.get("exit_seconds", 0.0))
        if "Traceback" in errors or program.returncode > 0:
            self._find(f"code {program.returncode}: {errors[-500:]}")
        return figures or None

    def _note_exit(self, seconds: float) -> None:
        if seconds > self._result.slowest_exit:
            self._result.slowest_exit, self._result.slowest_window = seconds, str(self._window)
        if seconds > self._exit_seconds:
            self._find(f"the SDK took {seconds:.2f} s of its exit")

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
        if self._orderly and not self._window.heals:
            known = self._dropped_in_memory + self._lost_in_memory
            # What was in flight at the end may have been stored after all, its answer lost.
            if len(missing) > known:
                self._find(f"{len(missing)} missing of which {known} were counted")
        else:
            self._compare_by_number(missing, accepted)
        self._result.dropped += len(missing)

    def _compare_by_number(self, missing: Any, accepted: Any) -> None:
        stored: dict[str, set[int]] = defaultdict(set)
        for record in self._sink.stored.values():
            stored[record["process_id"]].add(record["sequence"])
        if sum(map(len, stored.values())) != len(self._sink.stored):
            self._find("a number was given twice")
        surplus = sum(self._surplus(process, found) for process, found in stored.items())
        dropped = sum(sum(reasons.values()) for reasons in self._sink.dropped.values()) - surplus
        if len(missing) != dropped:
            self._find(f"{len(missing)} missing of {len(accepted)}, {dropped} declared")
        if missing and not self._window.disk.startswith("small"):
            self._find(f"{len(missing)} of {len(accepted)} missing: {sorted(missing)[:3]}")

    def _surplus(self, process: str, found: set[int]) -> int:
        """How many of a process were declared as dropped and are there.

        A batch whose answer the program did not live to hear, and whose slots newer records have
        taken, counts as dropped: no process of the host can know that it arrived.
        """
        highest = max(self._sink.last_sequence.get(process, 0), *found)
        gone = sum(self._sink.dropped.get(process, {}).values())
        surplus = len(found) + gone - highest
        oldest = highest - self._options.get("max_queue", highest)
        overwritten = [batch for batch in self._sink.batches[process] if min(batch) <= oldest]
        unheard = overwritten[-1] if overwritten and not self._orderly else set()
        if not 0 <= surplus <= len(unheard):
            self._find(f"process {process}: {len(found)} + {gone} of {highest}")
        return surplus

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
    folder: Path,
    *,
    windows: int,
    seed: int,
    workers: int = 2,
    exit_seconds: float = EXIT_SECONDS,
    say: Say = lambda _: None,
) -> Result:
    """So many windows in a folder, so many at a time; what they found."""
    disk = small_disk(folder / "full")
    try:
        campaign = Campaign(folder, seed=seed, exit_seconds=exit_seconds, full_disk=disk, say=say)
        campaign.execute(campaign.plan(windows), workers)
        return campaign.result
    finally:
        unmount(disk)
