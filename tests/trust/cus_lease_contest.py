"""Processes with leases that race for the last of a budget, while much goes wrong (F5a, F5c).

Processes are killed and stopped at random, their clocks differ by ten minutes, some use their leases
long after the end, and their way to the server is cut. Meanwhile used, held and leased amounts together never exceed the limit; in the end no
more was spent than the limit, and nearly all of it.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from tests.e2e.cus_served import ROOT
from tests.trust.cus_check_races import integration_of, reported
from tests.trust.cus_cut_wire import Wire
from tests.trust.cus_findings import Findings
from tests.trust.cus_real_product import RealProduct

_MICROCENTS = 1_000_000
# Of gpt-4o's input.
_TOKENS_A_CENT = 4_000
_OFFSETS = (0.0, 600.0, -600.0)
# Every so many-th process has a clock for its leases that is slow, so that a lease of 5 s is used for
# 8. Such a process also waits between calls, or its leases would be used up before their end.
_SLOW_EVERY, _SLOW_PACE, _SLOW_PAUSE = 4, 0.6, 5.3
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
_LANDED_OF = """
SELECT count(*) FROM cus_llm_usage WHERE integration_id = %s AND admitted_at < %s
"""
# What a limit lacks, a call lacks for as long as it runs: a few hundredths of a second.
_LOOK_SECONDS = 0.01
# A successor reports what is in its spool at once, and again after a fault within seconds.
_REPORTS_SECONDS = 5.0


@dataclass
class ContestTally(Findings):
    """What came of a contest, in microcents, and what must not have been.

    `calls` and `spent` are of calls that were reported.
    """

    room: int = 0
    spent: int = 0
    calls: int = 0
    leased_calls: int = 0
    # Calls that began under a lease after its end.
    late_calls: int = 0
    killed: int = 0
    cuts: int = 0

    @property
    def share(self) -> float:
        """How much of the room was spent."""
        return self.spent / self.room


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

    def run(self, seconds: float, lives: float, passed: timedelta | None = None) -> ContestTally:
        """Race for so long with kills, stops and cuts; then let all room return that the dead had,
        within `lives` seconds, and be used.

        `passed` moves the clock on after the race: by so much, all that the dead had grows older.
        """
        self._make_room()
        with self._watched():
            self._programs = [self._start(number) for number in range(self._processes)]
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self._trouble()
                time.sleep(self._random.uniform(0.05, 0.3))
            self._wire.mend()
            if passed:
                self._let_pass(passed)
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
            "late_calls": str(self._folder / "late-calls"),
            "clock_offset": _OFFSETS[number % len(_OFFSETS)],
            "lease_pace": 1.0 if number % _SLOW_EVERY else _SLOW_PACE,
            "pause": 0.0 if number % _SLOW_EVERY else _SLOW_PAUSE,
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
        # A slow process needs its time to use a lease after the end.
        if chance < 0.6 and number % _SLOW_EVERY:
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

    def _let_pass(self, time_passed: timedelta) -> None:
        """Kill all programs, let their successors report the calls of the dead, and move the clock."""
        for number in range(self._processes):
            self._replace(number)
        died = self._moment()
        self._wait_for_reports(_REPORTS_SECONDS)
        with self.product.connect() as connection:
            # The guards of these tables let nothing end before its time.
            connection.execute("SET session_replication_role = replica")
            for table in ("cus_enforcement_holds", "cus_enforcement_leases"):
                connection.execute(
                    f"UPDATE {table} SET expires_at = expires_at - %s"
                    " WHERE integration_id = %s AND taken_at < %s",
                    [time_passed, self._integration, died],
                )

    def _wait_for_reports(self, quiet_seconds: float) -> None:
        """Until nothing has landed for so long that a process admitted that is dead now."""
        died, landed, since = self._moment(), -1, time.monotonic()
        while time.monotonic() - since < quiet_seconds:
            time.sleep(0.2)
            with self.product.connect() as connection:
                row = connection.execute(_LANDED_OF, [self._integration, died]).fetchone()
            assert row
            if row[0] != landed:
                landed, since = int(row[0]), time.monotonic()

    def _moment(self) -> datetime:
        with self.product.connect() as connection:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
        assert row
        moment: datetime = row[0]
        return moment

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
                self.tally.find(f"{left} records were not delivered")

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
                while not over.wait(_LOOK_SECONDS):
                    row = connection.execute(_TAKEN, [self._integration]).fetchone()
                    assert row
                    limit, used, held, leased = map(int, row)
                    if used + held + leased > limit:
                        self.tally.find(
                            f"used {used} + held {held} + leased {leased} > limit {limit}"
                        )

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
        self.tally.late_calls = len((self._folder / "late-calls").read_text().split())
        with self.product.connect() as connection:
            row = connection.execute(_ROWS, [self._integration]).fetchone()
        assert row
        self.tally.leased_calls, self.tally.calls = int(row[0]), int(row[1])
        # Of a killed process the calls that ran at that moment are in no record.
        lost, most = begun - self.tally.calls, self.tally.killed * self._options["threads"]
        if not 0 <= lost <= most:
            self.tally.find(f"{lost} calls have no record, of {self.tally.killed} killed processes")


def describe(tally: ContestTally) -> dict[str, Any]:
    """The figures of a contest, for a report."""
    return {
        "calls": tally.calls,
        "under a lease": tally.leased_calls,
        "begun after its end": tally.late_calls,
        "killed": tally.killed,
        "cuts": tally.cuts,
        "of the room": f"{tally.share:.1%}",
    }
