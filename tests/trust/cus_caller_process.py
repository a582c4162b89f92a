"""A process of callers as a race sees it: told when to ask, asked what it was told, killed."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from aos_project.cus_embedded.process import Program, kill_group, launch
from tests.e2e.cus_served import ROOT

_COMMAND = (sys.executable, "-m", "tests.trust.cus_race_callers")


class CallerProcess:
    """Runs `Callers` within its context, and never outlives us. Enter it in the main thread."""

    def __init__(self, ports: Sequence[int], key: str, numbers: Sequence[int]) -> None:
        self._orders = {"ports": [*ports], "key": key, "numbers": [*numbers]}
        self._numbers = numbers
        self._race = ""
        self._ready = False

    def __enter__(self) -> "CallerProcess":
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        self._kill()

    def begin(self, race: str, starts_at: float, dies_at: float | None = None) -> None:
        """Have them ask at a time of the monotonic clock, and perhaps be killed at another."""
        self._race = race
        self._tell({"name": race, "starts_at": starts_at, "dies_at": dies_at})

    def outcomes(self, *, dying: bool = False) -> list[tuple[str, str]]:
        """What each was told; of one that was to die first, "killed" is all that is known."""
        line = self._line()
        if dying and not line.endswith("\n"):
            return [(f"{self._race}-{number}", "killed") for number in self._numbers]
        try:
            return [(call_id, result) for call_id, result in json.loads(line)]
        except ValueError:
            # What it says besides is why it can't go on.
            raise RuntimeError(f"a process of callers failed: {line}{self._rest()}") from None

    def wait_until_ready(self) -> None:
        """Until all its callers can be told to ask."""
        if not self._ready and (line := self._line()) != "ready\n":
            raise RuntimeError(f"a process of callers did not start: {line}{self._rest()}")
        self._ready = True

    def replace(self) -> None:
        """`kill -9` it, and start another in its place."""
        self._kill()
        self._start()

    def _kill(self) -> None:
        kill_group(self._child.pid)
        self._rest()

    def _start(self) -> None:
        program = Program(name="callers", command=_COMMAND, cwd=ROOT)
        self._child = launch(program, subprocess.PIPE, subprocess.PIPE)
        self._ready = False
        self._tell(self._orders)

    def _tell(self, content: dict[str, Any]) -> None:
        assert self._child.stdin
        self._child.stdin.write(json.dumps(content).encode() + b"\n")
        self._child.stdin.flush()

    def _line(self) -> str:
        assert self._child.stdout
        return self._child.stdout.readline().decode(errors="replace")

    def _rest(self) -> str:
        return self._child.communicate()[0].decode(errors="replace")
