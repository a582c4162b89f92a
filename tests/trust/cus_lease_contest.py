"""Processes with leases that race for the last of a budget, while much goes wrong (F5a, F5c).

Processes are killed and stopped at random, their clocks differ by ten minutes, and their way to the
server is cut. Meanwhile used, held and leased amounts together never exceed the limit; in the end no
more was spent than the limit, and nearly all of it.
"""

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.e2e.cus_served import ROOT
from tests.trust.cus_check_races import integration_of, reported
from tests.trust.cus_real_product import RealProduct

_MICROCENTS = 1_000_000
# Of gpt-4o's input.
_TOKENS_A_CENT = 4_000
_OFFSETS = (0.0, 600.0, -600.0)
_REPORT = "/api/v1/cus/telemetry/llm-usage"
# The dearest call of `cus_lease_program`, a little more than its longest answer costs.
_DEAREST_MICROCENTS = 1_200_000
_TAKEN = """
SELECT integration.budget_limit_cents * 1000000::numeric,
    (SELECT coalesce(sum(cost_microcents + provisional_microcents - released_microcents), 0)
        FROM cus_period_totals WHERE integration_id = integration.id),
    (SELECT coalesce(sum(microcents), 0) FROM cus_enforcement_holds
        WHERE integration_id = integration.id),
    (SELECT coalesce(sum(microcents), 0) FROM cus_enforcement_leases
        WHERE integration_id = integration.id)
FROM cus_integrations AS integration WHERE id = %s
"""
_ROWS = """
SELECT count(*) FILTER (WHERE lease_id IS NOT NULL), count(*) FROM cus_llm_usage
WHERE integration_id = %s AND policy_result <> 'blocked' AND call_id <> 'used-before'
"""


@dataclass
class ContestTally:
    """What came of a contest, in microcents, and what must not have been.

    `calls` and `spent` are of calls that were reported.
    """

    room: int = 0
    spent: int = 0
    calls: int = 0
    leased_calls: int = 0
    killed: int = 0
    cuts: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """How much of the room was spent."""
        return self.spent / self.room


class Wire:
    """The way to a web server, which can be cut: connections break, and new ones are refused."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._over = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._is_cut = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Break everything."""
        with self._lock:
            self._is_cut = True
            for pair in self._pairs:
                _close(*pair)
            self._pairs.clear()

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False

    def close(self) -> None:
        """End for good."""
        self._over.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                continue
            with self._lock:
                if self._is_cut:
                    _close(near, far)
                    continue
                self._pairs.append((near, far))
            threading.Thread(target=_carry, args=(near, far), daemon=True).start()


def _carry(near: socket.socket, far: socket.socket) -> None:
    other = {near: far, far: near}
    with suppress(OSError, ValueError):
        while True:
            for ready in select.select([near, far], [], [])[0]:
                data = ready.recv(65_536)
                if not data:
                    return _close(near, far)
                other[ready].sendall(data)
    return _close(near, far)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


class LeaseContest:
    """`processes` of `threads` each, all on one host, for the last `room_cents` of a budget."""

    def __init__(
        self,
        product: RealProduct,
        folder: Path,
        *,
        processes: int,
        threads: int,
        room_cents: int,
        longest_call: float = 0.03,
    ) -> None:
        self.product = product
        self.tally = ContestTally()
        self._key = product.make_keys()[0][0]
        self._integration = integration_of(self._key)
        self._folder = folder
        self._processes = processes
        self._room = room_cents
        self._options: dict[str, Any] = {"threads": threads, "longest_call": longest_call}
        self._random = random.Random(processes)
        self._programs: list[subprocess.Popen[bytes]] = []
        self._wire = Wire(product.webs[0].port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for program in self._programs:
            with suppress(ProcessLookupError):
                program.send_signal(signal.SIGCONT)
            program.kill()
            program.wait()
            for pipe in (program.stdin, program.stdout):
                if pipe is not None:
                    pipe.close()
        self._wire.close()

    def run(self, seconds: float, lives: float) -> ContestTally:
        """Race for so long with kills, stops and cuts; then let all room return that the dead had,
        within `lives` seconds, and be used.
        """
        self._make_room()
        with self._watched():
            self._programs = [self._start(number) for number in range(self._processes)]
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self._trouble()
                time.sleep(self._random.uniform(0.05, 0.3))
            self._wire.mend()
            self._wait_until_spent(lives)
            self._end_programs()
        self._sum_up()
        return self.tally

    # --- Programs -------------------------------------------------------------------------------

    def _start(self, number: int) -> "subprocess.Popen[bytes]":
        options = self._options | {
            "key": self._key,
            "url": f"http://127.0.0.1:{self._wire.port}",
            "spool": str(self._folder / "spool"),
            "calls": str(self._folder / "calls"),
            "clock_offset": _OFFSETS[number % len(_OFFSETS)],
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.trust.cus_lease_program", json.dumps(options)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"CUS_ENFORCE": "auto"},
        )

    def _trouble(self) -> None:
        """One thing goes wrong."""
        number = self._random.randrange(len(self._programs))
        chance = self._random.random()
        if chance < 0.6:
            self._replace(number)
        elif chance < 0.8:
            self._programs[number].send_signal(signal.SIGSTOP)
            time.sleep(0.3)
            self._programs[number].send_signal(signal.SIGCONT)
        else:
            self.tally.cuts += 1
            self._wire.cut()
            time.sleep(self._random.uniform(0.05, 0.5))
            self._wire.mend()

    def _replace(self, number: int) -> None:
        program = self._programs[number]
        program.kill()
        program.wait()
        for pipe in (program.stdin, program.stdout):
            if pipe is not None:
                pipe.close()
        self.tally.killed += 1
        self._programs[number] = self._start(number)

    def _end_programs(self) -> None:
        for program in self._programs:
            assert program.stdin is not None
            program.stdin.write(b"\n")
            program.stdin.flush()
        for program in self._programs:
            assert program.stdout is not None
            left = int(program.stdout.readline())
            program.wait(60.0)
            if left:
                self._find(f"{left} records were not delivered")

    # --- The server -----------------------------------------------------------------------------

    def _make_room(self) -> None:
        """All but the room is used already: the room is the last percent of the budget."""
        limit = self._room * 100
        with self.product.connect() as connection:
            connection.execute(
                "UPDATE cus_integrations SET budget_limit_cents = %s, budget_basis = 'exact',"
                " enforcement_level = 'block', config_version = config_version + 1 WHERE id = %s",
                [limit, self._integration],
            )
        door = self.product.door(0, self._key)
        used = limit - self._room
        answer = door.post(
            _REPORT, reported("used-before", cents=used, tokens_in=used * _TOKENS_A_CENT)
        )
        door.close()
        assert answer.status == 201, answer
        _, used, _, _ = self._taken()
        self.tally.room = limit * _MICROCENTS - used

    def _taken(self) -> tuple[int, int, int, int]:
        with self.product.connect() as connection:
            row = connection.execute(_TAKEN, [self._integration]).fetchone()
        assert row
        return int(row[0]), int(row[1]), int(row[2]), int(row[3])

    def _wait_until_spent(self, seconds: float) -> None:
        """Until the room is used but for less than a call, or so many seconds have passed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            limit, used, _, _ = self._taken()
            if limit - used < _DEAREST_MICROCENTS:
                return
            self.product.sweep_holds()
            time.sleep(0.2)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Check all the time that used, held and leased together stay within the limit."""
        over = threading.Event()

        def watch() -> None:
            with self.product.connect() as connection:
                while not over.wait(0.002):
                    row = connection.execute(_TAKEN, [self._integration]).fetchone()
                    assert row
                    limit, used, held, leased = map(int, row)
                    if used + held + leased > limit:
                        self._find(f"used {used} + held {held} + leased {leased} > limit {limit}")

        watcher = threading.Thread(target=watch)
        with ExitStack() as stack:
            watcher.start()
            stack.callback(watcher.join)
            stack.callback(over.set)
            yield

    def _sum_up(self) -> None:
        limit, used, _, _ = self._taken()
        self.tally.spent = self.tally.room - (limit - used)
        begun = len((self._folder / "calls").read_text().split())
        with self.product.connect() as connection:
            row = connection.execute(_ROWS, [self._integration]).fetchone()
        assert row
        self.tally.leased_calls, self.tally.calls = int(row[0]), int(row[1])
        # Of a killed process the calls that ran at that moment are in no record.
        lost, most = begun - self.tally.calls, self.tally.killed * self._options["threads"]
        if not 0 <= lost <= most:
            self._find(f"{lost} calls have no record, of {self.tally.killed} killed processes")

    def _find(self, text: str) -> None:
        if len(self.tally.findings) < 20:
            self.tally.findings.append(text)


def describe(tally: ContestTally) -> dict[str, Any]:
    """The figures of a contest, for a report."""
    return {
        "calls": tally.calls,
        "under a lease": tally.leased_calls,
        "killed": tally.killed,
        "cuts": tally.cuts,
        "of the room": f"{tally.share:.1%}",
    }
