"""Callers who are threads of a process of their own: `python -m tests.trust.cus_race_callers`.

On the standard library alone, so that a killed one is soon replaced. Reads what it is as a line
of JSON and says "ready"; each further line is a race, answered by a line of who was told what.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.trust.cus_door import Answer, Door

CHECK = "/api/v1/cus/enforcement/check"
# One in so many leaves in mid-request.
_LEAVES = 9


def asked(call_id: str, cents: int = 1) -> bytes:
    """The body of a check."""
    return json.dumps(
        {"call_id": call_id, "estimated_tokens": 1, "estimated_cost_cents": cents}
    ).encode()


def answer_name(answer: Answer) -> str:
    """The result; for contention its reason, for anything but a verdict the answer itself."""
    if answer.status != 200:
        return str(answer)
    verdict = answer.json()
    if verdict["degraded"]:
        return "degraded"
    code = verdict["reasons"][0]["code"]
    return code if code in ("contention", "state_unknown") else str(verdict["result"])


class Callers:
    """A thread and a connection for each number, so that all of them ask at one moment."""

    def __init__(self, ports: Sequence[int], key: str, numbers: Sequence[int]) -> None:
        self._doors = {number: Door(ports[number % len(ports)], key) for number in numbers}
        self._pool = ThreadPoolExecutor(len(numbers))

    def race(self, name: str, starts_at: float) -> list[tuple[str, str]]:
        """Ask at that time of the monotonic clock, which processes share; what each was told."""

        def ask(number: int) -> tuple[str, str]:
            call_id, door = f"{name}-{number}", self._doors[number]
            time.sleep(max(starts_at - time.monotonic(), 0))
            if number % _LEAVES == 0:
                door.abandon(CHECK, asked(call_id), 1.0)
                return call_id, "left"
            return call_id, answer_name(door.post(CHECK, asked(call_id)))

        return list(self._pool.map(ask, self._doors))


def main() -> None:
    callers = Callers(**json.loads(sys.stdin.readline()))
    _say("ready")
    for line in sys.stdin:
        race = json.loads(line)
        if (dies_at := race.pop("dies_at")) is not None:
            threading.Thread(target=_die, args=(dies_at,), daemon=True).start()
        _say(json.dumps(callers.race(**race)))


def _die(at: float) -> None:
    """As an out-of-memory killer does it: whatever is under way."""
    time.sleep(max(at - time.monotonic(), 0))
    os.kill(os.getpid(), signal.SIGKILL)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
