"""`python -m tests.trust.cus_abuse.witness`: another tenant's checks, and the probe, under a flood.

On the standard library alone. Reads its orders as a line of JSON (`port`, `key`, `seconds`), and
says at the end what its checks were told, how long each took, and how long each probe took.
"""

import json
import random
import secrets
import sys
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from typing import Any

from tests.trust.cus_door import Door
from tests.trust.cus_race_callers import CHECK, answer_name, asked

_CALLERS = 4
# How long each waits between an answer and its next check, on average.
_THINKS_SECONDS = 0.04
_PROBE_EVERY_SECONDS = 0.5
_PROBE_SECONDS = 10.0


class Witness:
    """Asks in several threads until the time is over."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        self._over = time.monotonic() + orders["seconds"]
        self.told: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.probes: list[float] = []

    def watch(self) -> None:
        """Check and probe until the time is over."""
        targets = [self._check] * _CALLERS + [self._probe]
        threads = [threading.Thread(target=target) for target in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _check(self) -> None:
        door = Door(self._orders["port"], self._orders["key"], seconds=self._orders["patience"])
        prefix, number = secrets.token_hex(8), 0
        while time.monotonic() < self._over:
            time.sleep(random.expovariate(1 / _THINKS_SECONDS))
            number += 1
            started = time.monotonic()
            try:
                answer = answer_name(door.post(CHECK, asked(f"{prefix}-{number}")))
            except (OSError, HTTPException) as error:
                answer = f"no answer: {type(error).__name__}"
            self.seconds.append(time.monotonic() - started)
            self.told[answer] += 1
        door.close()

    def _probe(self) -> None:
        """On a connection of its own each time, as a supervisor of the server does it."""
        while time.monotonic() < self._over:
            started = time.monotonic()
            connection = HTTPConnection("127.0.0.1", self._orders["port"], timeout=_PROBE_SECONDS)
            try:
                connection.request("GET", "/healthz")
                answered = connection.getresponse().status == 200
            except (OSError, HTTPException):
                answered = False
            finally:
                connection.close()
            took = time.monotonic() - started
            self.probes.append(took if answered else _PROBE_SECONDS)
            time.sleep(_PROBE_EVERY_SECONDS)


def main() -> None:
    witness = Witness(json.loads(sys.stdin.readline()))
    witness.watch()
    found = {"told": witness.told, "seconds": witness.seconds, "probes": witness.probes}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
