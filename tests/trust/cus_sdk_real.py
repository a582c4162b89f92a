"""The SDK against the product itself: programs killed, web servers and PostgreSQL killed.

Each round kills a program before it could send everything. The gaps that the product names must
be what is missing, until the next process of the host has adopted it; and then none.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.cus_served import ROOT
from tests.trust.cus_real_product import RealProduct

_GAPS = """
import json, sys, uuid
import django
django.setup()
from integrations.cus_models import CusTenant
from telemetry.cus_gaps_service import CusGapsService, GapsFilter
tenant = CusTenant.objects.get(id=uuid.UUID(sys.argv[1]))
print(json.dumps([[g.process_id, g.missing, g.missing_count, g.dropped]
                  for g in CusGapsService(tenant).gaps(GapsFilter())]))
"""


@dataclass
class RealResult:
    """What was done with the product, and found."""

    rounds: int = 0
    accepted: int = 0
    named: int = 0
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds against the product: {self.accepted:,} events accepted,"
            f" {self.named:,} named as missing until they were adopted"
        )


def run_real(folder: Path, *, rounds: int, seed: int) -> RealResult:
    """So many rounds on servers of their own."""
    result = RealResult()
    chance = random.Random(seed)
    with RealProduct() as product:
        key = product.make_keys()[0][0]
        for number in range(rounds):
            _Round(product, key, folder / f"real{number}", chance, result).execute(number)
    return result


class _Round:
    def __init__(
        self,
        product: RealProduct,
        key: str,
        folder: Path,
        chance: random.Random,
        result: RealResult,
    ) -> None:
        self._product = product
        self._key = key
        self._tenant = key.split(":")[0]
        self._folder = folder
        self._chance = chance
        self._result = result
        (folder / "accepted").mkdir(parents=True)

    def execute(self, number: int) -> None:
        program = self._start(f"r{number}", "exit", count=100_000, pause=0.004)
        # So many that the first batch, which says how much there is, has had its answer.
        self._wait_until_stored(f"r{number}-", 200)
        if number % 2:
            self._product.webs[0].kill()
        else:
            os.kill(self._product.webs[0].pid, signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.3, 0.8))
        program.kill()
        program.communicate()
        if number % 2 == 0:
            os.kill(self._product.webs[0].pid, signal.SIGCONT)
            self._product.webs[0].kill()
        if number % 3 == 2:
            self._product.kill_database()
            self._product.start_database()
        self._product.restart_web(0)
        self._product.webs[0].wait_until_ready()
        accepted = self._accepted(f"r{number}")
        before = self._missing(accepted)
        named = self._gaps()
        self._check_named(named, before)
        self._start(f"s{number}", "sweep").communicate(timeout=60)
        after = self._missing(accepted)
        if after:
            self._find(f"round {number}: {len(after)} of {len(accepted)} never came")
        if still := self._gaps():
            self._find(f"round {number}: {still} after everything came")
        self._result.rounds += 1
        self._result.accepted += len(accepted)
        self._result.named += sum(gap[2] for gap in named)

    def _check_named(self, named: list[Any], before: set[str]) -> None:
        """Named is what is missing, up to what the process had announced; and it had announced."""
        missing = {int(call_id.split("-")[1]) for call_id in before}
        numbers = {
            number
            for _, ranges, _, _ in named
            for first, last in ranges
            for number in range(first, last + 1)
        }
        if not numbers:
            self._find(f"nothing named of {len(missing)} that are missing")
            return
        # A kill may come between a record's last byte and the note that it was accepted.
        if numbers - missing - {max(missing, default=0) + 1}:
            self._find(f"named and not missing: {sorted(numbers - missing)[:5]}")
        if unnamed := {number for number in missing if number <= max(numbers)} - numbers:
            self._find(f"missing and not named: {sorted(unnamed)[:5]}")

    def _start(
        self, name: str, fate: str, count: int = 1, pause: float = 0.0
    ) -> "subprocess.Popen[str]":
        options = {
            "url": f"http://127.0.0.1:{self._product.webs[0].port}",
            "key": self._key,
            "spool": str(self._folder / "spool"),
            "accepted": str(self._folder / "accepted"),
            "name": name,
            "fate": fate,
            "count": count,
            "pause": pause,
            "burst": 3_000,
            "timeout": 5.0,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.trust.cus_sdk_program", json.dumps(options)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _wait_until_stored(self, prefix: str, number: int) -> None:
        deadline = time.monotonic() + 60
        while len(self._stored(prefix)) < number:
            assert time.monotonic() < deadline, "the program delivers nothing"
            time.sleep(0.05)

    def _stored(self, prefix: str) -> set[str]:
        with self._product.connect() as connection:
            rows = connection.execute(
                "SELECT call_id FROM cus_llm_usage WHERE call_id LIKE %s", [f"{prefix}%"]
            )
            return {str(call_id) for (call_id,) in rows}

    def _accepted(self, name: str) -> set[str]:
        count = int.from_bytes((self._folder / "accepted" / name).read_bytes()[:8], "little")
        return {f"{name}-{number}" for number in range(1, count + 1)}

    def _missing(self, accepted: set[str]) -> set[str]:
        name = next(iter(accepted)).split("-")[0]
        return accepted - self._stored(f"{name}-")

    def _gaps(self) -> list[Any]:
        environment: Mapping[str, str] = (
            os.environ
            | self._product.environment
            | {"DJANGO_SETTINGS_MODULE": "aos_project.settings"}
        )
        done = subprocess.run(
            [sys.executable, "-c", _GAPS, self._tenant],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        found: list[Any] = json.loads(done.stdout)
        return found

    def _find(self, text: str) -> None:
        self._result.findings.append(text)
