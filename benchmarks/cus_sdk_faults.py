"""The events that arrive when a program is killed, forks, loses its server or ends without one.

In each fault a program makes its calls and meets its fate; what its sink has then is "at once".
Then another program of the same host begins, makes one call and stays for some seconds: what the sink
has of the first one's calls after that. An event that came twice counts once.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.markup import escape

from benchmarks.cus_report import Section
from benchmarks.cus_sdk_contestants import BARE, Contestant
from benchmarks.cus_sdk_sink import Sink
from benchmarks.cus_targets import SDK_EXIT, SDK_LOST

_END_SECONDS: Final = 120.0
# What is on its way to the sink when its sender dies.
_SETTLE_SECONDS: Final = 0.5
_PACE_SECONDS: Final = 0.01
_AT_ONCE: Final = 3


@dataclass(frozen=True)
class FaultSizes:
    events: int
    outage_seconds: float
    # Of good service before the outage, and after it.
    around_seconds: float
    # How long the next process stays for what the first one left.
    next_seconds: float

    @property
    def outage_events(self) -> int:
        return round((self.outage_seconds + 2 * self.around_seconds) / _PACE_SECONDS)


@dataclass
class Outcome:
    """Of one fault. `exit_seconds` is how long the end of a program took that could end by itself."""

    events: int
    at_once: int = 0
    after_next: int = 0
    exit_seconds: float | None = None
    problem: str = ""


class Trial:
    """One contestant in one fault, with a folder and a sink of its own."""

    def __init__(self, contestant: Contestant, folder: Path, sizes: FaultSizes) -> None:
        self.contestant = contestant
        self.folder = folder
        self.sizes = sizes
        self.sink = Sink()

    def reopen(self) -> None:
        """The server is back, at the address where it was."""
        self.sink = Sink(self.sink.port)

    def close(self) -> None:
        self.sink.__exit__(None, None, None)

    @contextmanager
    def program(
        self, fate: str, events: int, pause: float = 0.0
    ) -> Iterator[subprocess.Popen[str]]:
        """Running from before its first call; ended, however it is ended, behind the block."""
        options = {
            "contestant": self.contestant.name,
            "url": self.sink.url,
            "fate": fate,
            "spool": str(self.folder / "spool"),
            "events": events,
            "pause": pause,
        }
        with (self.folder / f"{fate}.err").open("w") as errors:
            process = subprocess.Popen(
                [
                    *(self.contestant.python, "-m", "benchmarks.cus_sdk_fault_program"),
                    json.dumps(options),
                ],
                cwd=self.folder,
                env=self.contestant.environment(self.folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        with process:
            try:
                assert process.stdout is not None
                if process.stdout.readline() != "ready\n":
                    raise NotReady(_last_words(self.folder / f"{fate}.err"))
                yield process
                process.wait(_END_SECONDS)
            finally:
                process.kill()

    def arrived(self) -> int:
        self.sink.read()
        return len(self.sink.marks)

    def settled(self) -> int:
        time.sleep(_SETTLE_SECONDS)
        return self.arrived()

    def run_next(self, events: int) -> int:
        """Another process of this host; how many of the first one's events have arrived then."""
        already = self.arrived()
        with self.program("next", 1) as process:
            deadline = time.monotonic() + self.sizes.next_seconds
            while self.arrived() < events and time.monotonic() < deadline:
                time.sleep(0.05)
            assert process.stdin is not None
            process.stdin.close()
        return max(self.settled(), already)


class NotReady(Exception):
    """A program could not begin; the message has the reason."""


def _last_words(path: Path) -> str:
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word"


def killed(fate: str) -> Callable[[Trial, FaultSizes], Outcome]:
    def trial(one: Trial, sizes: FaultSizes) -> Outcome:
        with one.program(fate, sizes.events):
            pass
        outcome = Outcome(sizes.events, at_once=one.settled())
        outcome.after_next = one.run_next(sizes.events)
        return outcome

    return trial


def _outage(one: Trial, sizes: FaultSizes) -> Outcome:
    """The server answers 503 for a while, and well before and after it."""
    events = sizes.outage_events
    with one.program("outage", events, _PACE_SECONDS):
        time.sleep(sizes.around_seconds)
        one.sink.status = 503
        time.sleep(sizes.outage_seconds)
        one.sink.status = 200
    outcome = Outcome(events, at_once=one.settled())
    outcome.after_next = one.run_next(events)
    return outcome


def _dead_sink(one: Trial, sizes: FaultSizes) -> Outcome:
    """No server listens when the program ends; a server listens when the next program runs."""
    took = _exit_without_sink(one, sizes).exit_seconds
    one.reopen()
    return Outcome(sizes.events, 0, one.run_next(sizes.events), took)


def _exit_without_sink(one: Trial, sizes: FaultSizes) -> Outcome:
    one.close()
    with one.program("exit", sizes.events) as process:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        process.wait(_END_SECONDS)
        return Outcome(sizes.events, exit_seconds=time.monotonic() - began)


_PACED: Final = "503 for a while"
_EXIT: Final = "exit, dead sink"
_FAULTS: Final[dict[str, Callable[[Trial, FaultSizes], Outcome]]] = {
    "SIGTERM, no handler": killed("sigterm"),
    "SIGKILL": killed("sigkill"),
    "os._exit in a forked child": killed("fork"),
    _PACED: _outage,
    _EXIT: _dead_sink,
}


def measure(contestants: Sequence[Contestant], sizes: FaultSizes) -> list[Section]:
    """Every contestant in every fault."""
    found: dict[tuple[str, str], Outcome] = {}

    def meet(which: tuple[Contestant, str]) -> None:
        contestant, fault = which
        found[contestant.name, fault] = _meet(contestant, _FAULTS[fault], sizes)

    # The time of our exit is compared with a target, so no other program runs meanwhile.
    alone = [(one, _EXIT) for one in contestants if not one.is_peer]
    paced = [(one, _PACED) for one in contestants]
    others = [(one, fault) for fault in _FAULTS for one in contestants if fault != _PACED]
    for which in alone:
        meet(which)
    bare = _meet(BARE, _exit_without_sink, sizes)
    # Paced programs hardly work, so all outages pass at once; beginning a peer is work.
    with ThreadPoolExecutor(len(paced)) as many, ThreadPoolExecutor(_AT_ONCE) as few:
        done = [many.submit(meet, which) for which in paced]
        done += [few.submit(meet, which) for which in others if which not in alone]
        for future in done:
            future.result()
    section = Section(
        f"Faults: events that arrived, at once → after the next process of the host "
        f"({sizes.events} each; {sizes.outage_events:,} in {sizes.outage_seconds:g} s of 503)",
        ("contestant", *_FAULTS),
    )
    alone_took = f"{bare.exit_seconds:.1f}" if bare.exit_seconds else f"unknown ({bare.problem})"
    section.notes = [
        f"exit: the seconds that the program took to end, without any of these {alone_took}; "
        "and what the next one delivered."
    ]
    for contestant in contestants:
        outcomes_of = [found[contestant.name, fault] for fault in _FAULTS]
        section.rows.append([contestant.title, *map(_cell, outcomes_of)])
        for outcome in outcomes_of:
            if outcome.problem:
                section.notes.append(f"[yellow]{contestant.title}[/]: {escape(outcome.problem)}")
    return [section, _targets(contestants, found, bare)]


def _meet(
    contestant: Contestant, trial: Callable[[Trial, FaultSizes], Outcome], sizes: FaultSizes
) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="cus-bench-sdk-") as folder:
        one = Trial(contestant, Path(folder), sizes)
        try:
            return trial(one, sizes)
        except (NotReady, subprocess.TimeoutExpired) as error:
            return Outcome(sizes.events, problem=str(error)[:200])
        finally:
            one.close()


def _cell(outcome: Outcome) -> str:
    if outcome.problem:
        return "failed"
    if outcome.exit_seconds is not None:
        return f"{outcome.exit_seconds:.1f} s, {outcome.after_next:,}"
    return f"{outcome.at_once:,} → {outcome.after_next:,}"


def _targets(
    contestants: Sequence[Contestant], found: dict[tuple[str, str], Outcome], bare: Outcome
) -> Section:
    section = Section(
        "Faults, beside the targets", ("", "lost for good", "target", "exit, added", "target")
    )
    for contestant in contestants:
        # Records in memory are lost with the process, as docs/delivery.md says.
        if contestant.name == "durable":
            outcomes = [found[contestant.name, fault] for fault in _FAULTS]
            lost = sum(outcome.events - outcome.after_next for outcome in outcomes)
            took = found[contestant.name, _EXIT].exit_seconds
            row = [contestant.title, f"{lost:,}", SDK_LOST.verdict(lost), "-", str(SDK_EXIT)]
            if took and bare.exit_seconds:
                added = took - bare.exit_seconds
                row[-2:] = [f"{added:.2f} s", SDK_EXIT.verdict(added)]
            section.rows.append(row)
    return section
