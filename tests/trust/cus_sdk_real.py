"""The SDK against the product itself: programs killed, web servers and PostgreSQL killed.

Each round kills a program before it could send everything. The gaps that the product names must
be what is missing, until the next process of the host has adopted it; and then none.
"""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cus_prepared_database import PreparedDatabase
from tests.e2e.cus_served import ROOT
from tests.sdk.cus_fake_servers import Answer, CusFakeServer
from tests.trust.cus_real_product import RealProduct

# What a member of the tenant is shown.
_GAPS = """
import sys, uuid
import django
django.setup()
from django.contrib.auth import get_user_model
from django.test import Client
from integrations.cus_accounts.models import CusTenant
from tests.cus_factories import make_user
tenant = CusTenant.objects.get(id=uuid.UUID(sys.argv[1]))
client = Client(headers={"host": "127.0.0.1"})
client.force_login(get_user_model().objects.first() or make_user("member", tenant))
answer = client.get("/api/v1/cus/telemetry/gaps")
assert answer.status_code == 200, answer.content
print(answer.content.decode())
"""

# So many records are reported before a program's first batch has its answer, and so many batches of up
# to a thousand have one, besides one whose answer is lost. What a process has counted is announced with
# its first batch, and again once twice as many wait; so however quick the machine is, far more is
# announced than is stored.
_BURST = 12_000
_BATCHES = 2
_PATIENCE_SECONDS = 90.0

Say = Callable[[str], None]


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

    def add(self, other: "RealResult") -> None:
        """Count one more round in."""
        self.rounds += other.rounds
        self.accepted += other.accepted
        self.named += other.named
        self.findings += other.findings


class Turnstile(CusFakeServer):
    """The way to the product: closed until it is opened, and then for so many batches.

    The batch after those may reach the product, but its answer is lost; later ones are refused.
    """

    def __init__(self, product: RealProduct, key: str) -> None:
        super().__init__(self._pass)
        self.opened = threading.Event()
        self.used_up = threading.Event()
        self._left = _BATCHES
        self._product = product
        self._key = key

    def release(self) -> None:
        """From now on everything passes."""
        self._left = sys.maxsize

    def _pass(self, path: str, body: dict[str, Any]) -> Answer:
        self.opened.wait(_PATIENCE_SECONDS)
        passes = self._left > 0
        if not passes and self.used_up.is_set():
            return None
        self._left -= 1
        if not passes:
            self.used_up.set()
        door = self._product.door(0, self._key)
        with contextlib.closing(door), contextlib.suppress(OSError, http.client.HTTPException):
            answer = door.post(path, json.dumps(body).encode())
            return (answer.status, answer.json(), {}) if passes else None
        return None


def run_real(
    folder: Path,
    *,
    rounds: int,
    seed: int,
    say: Say = lambda _: None,
    prepared: PreparedDatabase | None = None,
) -> RealResult:
    """So many rounds on servers of their own. Ctrl-C ends it."""
    result = RealResult()
    chance = random.Random(seed)
    servers = RealProduct(web_servers=1, prepared=prepared)
    with contextlib.suppress(KeyboardInterrupt), servers as product:
        key = product.make_keys()[0][0]
        for number in range(rounds):
            with Turnstile(product, key) as turnstile:
                at = folder / f"real{number}"
                found = _Round(product, turnstile, key, at, chance).execute(number)
            result.add(found)
            for finding in found.findings:
                say(f"FOUND: {finding}")
    return result


class _Round:
    def __init__(
        self,
        product: RealProduct,
        turnstile: Turnstile,
        key: str,
        folder: Path,
        chance: random.Random,
    ) -> None:
        self._product = product
        self._turnstile = turnstile
        self._key = key
        self._folder = folder
        self._chance = chance
        self._result = RealResult(rounds=1)
        (folder / "accepted").mkdir(parents=True)

    def execute(self, number: int) -> RealResult:
        self._kill_a_program(number)
        accepted = self._accepted(f"r{number}")
        before = self._missing(accepted)
        named = self._gaps()
        self._check_named(named, before)
        self._turnstile.release()
        self._start(f"s{number}", "sweep").communicate(timeout=_PATIENCE_SECONDS)
        after = self._missing(accepted)
        if after:
            self._find(f"round {number}: {len(after)} of {len(accepted)} never came")
        if still := self._gaps():
            self._find(f"round {number}: {still} after everything came")
        self._result.accepted = len(accepted)
        self._result.named = sum(gap["missing_count"] for gap in named)
        return self._result

    def _kill_a_program(self, number: int) -> None:
        """Once more is announced than can be sent: kill it, its server, and now and then the database."""
        web = self._product.webs[0]
        program = self._start(f"r{number}", "exit", count=100_000, pause=0.004)
        with program:
            self._wait(lambda: len(self._accepted(f"r{number}")) >= _BURST)
            self._turnstile.opened.set()
            self._wait(self._turnstile.used_up.is_set)
            if number % 2:
                web.kill()
            else:
                os.kill(web.pid, signal.SIGSTOP)
            time.sleep(self._chance.uniform(0.0, 0.5))
            program.kill()
        if number % 2 == 0:
            os.kill(web.pid, signal.SIGCONT)
            web.kill()
        if number % 3 == 2:
            self._product.kill_database()
            self._product.start_database()
        self._product.restart_web(0)
        web.wait_until_ready()

    def _check_named(self, named: list[Any], before: set[str]) -> None:
        """Named is what is missing, up to what the process had announced; and it had announced."""
        missing = {int(call_id.split("-")[1]) for call_id in before}
        numbers = {
            number
            for gap in named
            for first, last in gap["missing"]
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
            "url": self._turnstile.url,
            "key": self._key,
            "spool": str(self._folder / "spool"),
            "accepted": str(self._folder / "accepted"),
            "name": name,
            "fate": fate,
            "count": count,
            "pause": pause,
            "burst": _BURST,
            "timeout": 5.0,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.trust.cus_sdk_program", json.dumps(options)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _wait(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not reached():
            assert time.monotonic() < deadline, "the program delivers nothing"
            time.sleep(0.02)

    def _stored(self, prefix: str) -> set[str]:
        with self._product.connect() as connection:
            rows = connection.execute(
                "SELECT call_id FROM cus_llm_usage WHERE call_id LIKE %s", [f"{prefix}%"]
            )
            return {str(call_id) for (call_id,) in rows}

    def _accepted(self, name: str) -> set[str]:
        path = self._folder / "accepted" / name
        count = int.from_bytes(path.read_bytes()[:8], "little") if path.exists() else 0
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
            [sys.executable, "-c", _GAPS, self._key.split(":")[0]],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        found: list[Any] = json.loads(done.stdout)["results"]
        return found

    def _find(self, text: str) -> None:
        self._result.findings.append(text)
