"""One framework, run without and with the SDK against the local provider, cell by cell."""

import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.frameworks.cus_environments import HOME, ROOT, python_of
from tests.frameworks.cus_program import GOVERN
from tests.frameworks.cus_provider import FrameworkProvider, Seen
from tests.sdk.cus_fake_servers import CusFakeCollector

_LONGEST_SECONDS: Final = 600.0
_NAME_OF_RUN: Final = re.compile("[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
_KEY: Final = "tenant-1:integration-1:aosk_verysecretindeed"
# Frameworks neither report home nor fetch price lists: only providers can be reached.
_QUIET: Final = {
    "ANONYMIZED_TELEMETRY": "False",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OTEL_SDK_DISABLED": "true",
}


class TrialFailed(Exception):
    """A framework's program ended, or hung, before all of its cells had run."""


class Call(NamedTuple):
    """What the provider told of a request, or what a record says: the two must be equal."""

    host: str
    model: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int


@dataclass(frozen=True)
class Heard:
    """One cell in one run: what the program answered, the requests, and the records."""

    answer: Mapping[str, Any]
    seen: tuple[Seen, ...]
    records: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Cell:
    """A cell of the table: the same use of a framework, bare and governed."""

    row: str
    column: str
    bare: Heard
    governed: Heard

    @property
    def told(self) -> list[Call]:
        """The requests, as the provider told their usage."""
        return sorted(Call(seen.host, *_told(seen)) for seen in self.governed.seen)

    @property
    def recorded(self) -> list[Call]:
        """The records."""
        return sorted(map(_call_of, self.governed.records))

    def faults(self) -> Iterator[str]:
        """How the cell differs from what it must be; none if it is right."""
        error = self.bare.answer.get("error")
        if error:
            yield f"without the SDK, it fails with {error}"
        if not self.told:
            yield "no request reached the provider"
        yield from _differences(self.told, self.recorded)
        if self.governed.answer.get("output") != self.bare.answer.get("output"):
            yield "the framework's output differs from its output without the SDK"
        if self.governed.answer.get("error") != error:
            yield f"with the SDK, it fails with {self.governed.answer.get('error')}"
        if _asked(self.bare) != _asked(self.governed):
            yield "the provider was asked something else than without the SDK"


@dataclass(frozen=True)
class Trial:
    """A framework's cells, and how many calls its program reported as governed and as bypassed."""

    framework: str
    cells: tuple[Cell, ...]
    governed_calls: int
    bypassed_calls: int
    seconds: float

    @property
    def requests(self) -> int:
        """The requests that reached the provider."""
        return sum(len(cell.told) for cell in self.cells)


def tried(framework: str, *, in_one_process: bool = False) -> Trial:
    """Run a framework bare and governed, at the same time in two processes, of which one begins with
    the SDK; or in one process that installs the SDK in between, which takes half the work.

    Raises NotInstallable and TrialFailed.
    """
    python = python_of(framework)
    began = time.monotonic()
    modes = ["both"] if in_one_process else ["bare", "governed"]
    with ThreadPoolExecutor(len(modes)) as runs:
        ended = list(runs.map(lambda mode: _run(framework, python, mode), modes))
    bare, governed = ended[0].passes[0], ended[-1].passes[-1]
    cells = tuple(Cell(*place, heard, governed[place]) for place, heard in bare.items())
    return Trial(
        framework,
        cells,
        sum(report["governed_calls"] for report in ended[-1].reports),
        sum(report["bypassed_calls"] for report in ended[-1].reports),
        time.monotonic() - began,
    )


_Pass = Mapping[tuple[str, str], Heard]


class _Run(NamedTuple):
    """What a program did, each time that its cells ran, and its reports of bypassed calls."""

    passes: list[_Pass]
    reports: list[dict[str, Any]]


def _run(framework: str, python: Path, mode: str) -> _Run:
    with (
        tempfile.TemporaryDirectory() as folder,
        FrameworkProvider(Path(folder)) as provider,
        CusFakeCollector() as collector,
    ):
        command = [str(python), "-m", "tests.frameworks.cus_program", framework, mode]
        environment = _environment(Path(folder), provider, collector)
        with _program(command, environment, framework, mode) as program:
            rows = program.hear()
            passes: list[_Pass] = [dict(_cells(program, rows, provider, collector))]
            if mode == "both":
                program.say(GOVERN)
                passes.append(dict(_cells(program, rows, provider, collector)))
        return _Run(passes, collector.bypass_reports)


def _cells(
    program: "_Program",
    rows: Mapping[str, list[str]],
    provider: FrameworkProvider,
    collector: CusFakeCollector,
) -> Iterator[tuple[tuple[str, str], Heard]]:
    known = set(collector.stored)
    for row, columns in rows.items():
        for column in columns:
            answer = program.ask(f"{row}|{column}")
            fresh = [record for call, record in collector.stored.items() if call not in known]
            known.update(collector.stored)
            yield (row, column), Heard(answer, tuple(provider.take()), tuple(fresh))


class _Program:
    """A framework's process, of which each line asked gets a line of JSON in return."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log

    def say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def ask(self, line: str) -> Any:
        self.say(line)
        return self.hear(line)

    def hear(self, asked: str = "its rows") -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise TrialFailed(f"no answer to {asked}; its messages are in {self._log}")
        return json.loads(line)


@contextmanager
def _program(
    command: list[str], environment: Mapping[str, str], framework: str, mode: str
) -> Iterator[_Program]:
    log = HOME / "logs" / f"{framework}-{mode}.log"
    log.parent.mkdir(exist_ok=True)
    with (
        log.open("w") as messages,
        subprocess.Popen(
            command,
            cwd=environment["HOME"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
        ) as process,
    ):
        deadline = threading.Timer(_LONGEST_SECONDS, process.kill)
        deadline.start()
        try:
            yield _Program(process, log)
            process.communicate()
        finally:
            process.kill()
            deadline.cancel()


def _environment(
    folder: Path, provider: FrameworkProvider, collector: CusFakeCollector
) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    ours = {
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sdk" / "python")]),
        "CUS_SPOOL_DIR": str(folder / "spool"),
        "CUS_INTEGRATION_KEY": _KEY,
        "AOS_BASE_URL": collector.url,
    }
    return {**kept, **_QUIET, **provider.environment(), **ours}


def _told(seen: Seen) -> tuple[str, int, int, int]:
    told = seen.exchange.told
    return told.model, told.tokens_in, told.tokens_out, told.tokens_cached


def _call_of(record: Mapping[str, Any]) -> Call:
    return Call(
        record.get("host") or "",
        record["model"],
        record["tokens_in"],
        record["tokens_out"],
        record.get("tokens_cached") or 0,
    )


def _differences(told: list[Call], recorded: list[Call]) -> Iterator[str]:
    if len(told) != len(recorded):
        yield f"{len(recorded)} records of {_requests(len(told))}"
    elif told != recorded:
        missing = Counter(told) - Counter(recorded)
        other = Counter(recorded) - Counter(told)
        yield f"the records say {_listed(other)}; the provider told {_listed(missing)}"


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def _listed(calls: "Counter[Call]") -> str:
    return ", ".join(
        f"{call.model} at {call.host}: {call.tokens_in} in, {call.tokens_out} out, "
        f"{call.tokens_cached} cached"
        for call in calls.elements()
    )


def _asked(heard: Heard) -> list[str]:
    """The requests' bodies, without what differs each time: the names that frameworks give to runs,
    and the request for usage, which the SDK may add to a stream.
    """
    bodies = [{**seen.exchange.body} for seen in heard.seen]
    for body in bodies:
        body.pop("stream_options", None)
    return [_NAME_OF_RUN.sub("…", json.dumps(body, sort_keys=True)) for body in bodies]
