"""The field of contestants: each a running program with a sink of its own, taking turns."""

import json
import random
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from rich.markup import escape

from benchmarks.cus_report import Section
from benchmarks.cus_sdk_contestants import Contestant
from benchmarks.cus_sdk_sink import Sink

# A turn lasts a second or two; a peer that hangs must not hold up the others for ever.
_TURN_SECONDS: Final = 180.0

Figures = dict[str, Any]


class Failed(Exception):
    """A contestant failed and takes no further part; the message has the reason."""


class Measured:
    """One contestant's program and sink, and the notes about it."""

    def __init__(
        self,
        contestant: Contestant,
        folder: Path,
        preload: Mapping[str, str],
        *,
        messages: bool,
    ) -> None:
        self.contestant = contestant
        self.openai = ""
        self.calls = 0
        self.told: dict[str, list[Figures]] = {}
        self.sink = Sink()
        self._errors = (folder / f"{contestant.name}.err").open("w+")
        options = {
            "contestant": contestant.name,
            "url": self.sink.url,
            "spool": str(folder / f"{contestant.name}-spool"),
            "messages": messages,
        }
        self._process = subprocess.Popen(
            [contestant.python, "-m", "benchmarks.cus_sdk_program", json.dumps(options)],
            cwd=folder,
            env={**contestant.environment(folder), **preload},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def heard(self) -> Figures:
        """The next line of its program. Raises Failed with the last words of one that ended."""
        assert self._process.stdout is not None
        alarm = threading.Timer(_TURN_SECONDS, self._process.kill)
        alarm.start()
        line = self._process.stdout.readline()
        alarm.cancel()
        if not line:
            self._errors.seek(0)
            lines = [line for line in self._errors.read().splitlines() if line.strip()]
            raise Failed(lines[-1] if lines else "it ended without a word")
        figures: Figures = json.loads(line)
        return figures

    def take_turn(self, order: str, number: int) -> Figures:
        """Have an order carried out. Raises Failed."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"order": order, "number": number}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it says below why it ended
        figures = self.heard()
        self.calls += figures["calls"]
        self.sink.read()
        return figures

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self.sink, self._errors, self._process.stdout:
            try:
                self._process.stdin.close()
                self._process.wait(15)
            except (subprocess.TimeoutExpired, BrokenPipeError):
                self._process.kill()
                self._process.wait()

    @property
    def received(self) -> str:
        """How many of its events came to its sink."""
        if self.contestant.name in ("bare", "null"):
            return "-"
        share = self.sink.events / max(self.calls, 1)
        return f"{self.sink.events:,} of {self.calls:,}" if share != 1 else f"all {self.calls:,}"


class Field:
    """The contestants that still take part; a contestant that fails leaves with a note."""

    def __init__(self, taking_part: list[Measured], notes: list[str]) -> None:
        self.taking_part = taking_part
        self.notes = notes

    def rounds(self, order: str, numbers: Mapping[str, int], rounds: int) -> None:
        """So many shuffled rounds, each contestant once; a first one goes unmeasured."""
        for measured in self.taking_part:
            measured.told[order] = []
        for number in range(rounds + 1):
            for measured in random.sample(self.taking_part, len(self.taking_part)):
                try:
                    figures = measured.take_turn(order, numbers[measured.contestant.name])
                except Failed as error:
                    self._leave_out(measured, str(error))
                    continue
                if number > 0:
                    measured.told[order].append(figures)
        for measured in list(self.taking_part):
            # A peer that reports no events would look quick.
            if not measured.sink.events and measured.received != "-":
                self._leave_out(measured, "its sink received nothing, so its figures say nothing")

    def probe(self, calls: int) -> Section:
        """Check each contestant: its sink must get the events of some calls."""
        self.rounds("calls", {one.contestant.name: calls for one in self.taking_part}, 1)
        section = Section(
            "Who takes part", ("contestant", "openai", "received", "requests", "bytes an event")
        )
        for measured in self.taking_part:
            sink = measured.sink
            a_event = f"{sink.bytes / sink.events:,.0f}" if sink.events else "-"
            cells = (measured.openai, measured.received, f"{sink.requests:,}", a_event)
            section.rows.append([measured.contestant.title, *cells])
        section.notes = list(self.notes)
        return section

    def _leave_out(self, measured: Measured, why: str) -> None:
        self.taking_part.remove(measured)
        self.notes.append(failure(measured.contestant, why))

    def get(self, name: str) -> Measured | None:
        return next((one for one in self.taking_part if one.contestant.name == name), None)

    @property
    def peers(self) -> list[Measured]:
        return [measured for measured in self.taking_part if measured.contestant.is_peer]


@contextmanager
def field_of(
    contestants: Sequence[Contestant],
    preload: Mapping[str, str] | None = None,
    *,
    messages: bool = False,
) -> Iterator[Field]:
    """Start the programs of all of them, with Anthropic's client or without; end them."""
    field = Field([], [])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cus-bench-sdk-")))
        started = [Measured(one, folder, preload or {}, messages=messages) for one in contestants]
        for measured in started:
            stack.callback(measured.end)
        for measured in started:
            try:
                measured.openai = measured.heard()["openai"]
            except Failed as error:
                field.notes.append(failure(measured.contestant, str(error)))
            else:
                field.taking_part.append(measured)
        yield field


def failure(contestant: Contestant, why: str) -> str:
    """The note about one that could not take part."""
    return f"[yellow]FAILED: {contestant.title}[/]: {escape(why[:200])}"
