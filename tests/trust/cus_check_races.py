"""Callers who ask at one moment for more than there is room for (ruling F5)."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any, LiteralString

from tests.trust.cus_caller_process import CallerProcess
from tests.trust.cus_door import Door
from tests.trust.cus_findings import Findings
from tests.trust.cus_race_callers import CHECK, answer_name, asked
from tests.trust.cus_real_product import RealProduct

# From when a race is told to when it starts, so that no process is behind; and in how long
# after that a process may be killed at random.
_HEAD_START_SECONDS = 0.02
_DYING_SECONDS = 0.15
# How often a request of a caller that is gone may be decided after the search for its hold.
_PATIENCE = 5
_REPORT = "/api/v1/cus/telemetry/llm-usage"
# What the cap is about, seen at one instant.
_TAKEN = """
SELECT (SELECT budget_limit_cents FROM cus_integrations WHERE id = %(integration)s),
    (SELECT coalesce(sum(counted_cents), 0) FROM cus_period_totals WHERE integration_id = %(integration)s),
    (SELECT coalesce(sum(cents), 0) FROM cus_enforcement_holds
        WHERE integration_id = %(integration)s)
"""
_HOLDS = "SELECT count(*) FROM cus_enforcement_holds WHERE integration_id = %s AND "
_OF_CALLS = "call_id = ANY (%s)"
_OF_RACE = "expires_at > now() AND starts_with(call_id, %s || '-') AND strpos(call_id, 'again') = 0"
_OF_RACES = "starts_with(call_id, %s)"


@dataclass
class RaceTally(Findings):
    """What the races came to, and what must not have been."""

    races: int = 0
    # Processes that were killed, and of how many calls it is known that they had been let in.
    killed: int = 0
    orphaned: int = 0
    answers: Counter[str] = field(default_factory=Counter)


def integration_of(key: str) -> str:
    """The id of the integration that a key's text names."""
    return key.split(":")[1]


def reported(call_id: str, cents: int = 1, **fields: Any) -> bytes:
    """The body of a report."""
    values = {
        "call_id": call_id, "model": "gpt-4o", "tokens_in": 1, "tokens_out": 0,
        "cost_cents": cents, "timestamp": datetime.now(UTC).isoformat(),
    }  # fmt: skip
    return json.dumps(values | fields).encode()


class CheckRaces:
    """Races of `callers`, threads of `processes`, for room of `room` on one integration.

    Of those who were let in, half are reported at once. In each race a process is killed, by
    turns at any instant and when its callers have been told, so nobody reports theirs: their room
    returns when their holds' life is over. Some callers leave in mid-request besides.
    """

    def __init__(
        self,
        product: RealProduct,
        key: str,
        name: str,
        *,
        callers: int,
        processes: int,
        room: int = 10,
    ) -> None:
        self.product = product
        self.name = name
        self.room = room
        self.tally = RaceTally()
        self._integration = integration_of(key)
        self._door = product.door(1, key)
        self._random = random.Random(name)
        ports = [web.port for web in product.webs]
        self._processes = [
            CallerProcess(ports, key, range(number, callers, processes))
            for number in range(processes)
        ]

    def run(self, races: int, say: Callable[[int], None] = lambda _done: None) -> RaceTally:
        """So many races, one after the other; no caller's process is left."""
        with ExitStack() as stack:
            stack.callback(self._door.close)
            for process in self._processes:
                stack.enter_context(process)
            with self._watched():
                for number in range(races):
                    self._race(f"{self.name}-{number}", number)
                    self.tally.races += 1
                    say(self.tally.races)
        self._sweep()
        return self.tally

    def _race(self, name: str, number: int) -> None:
        self._make_room()
        outcomes, living = self._ask_all(name, number)
        admitted = [call_id for call_id, result in outcomes if result in ("allowed", "warned")]
        self.tally.answers.update(result for _, result in outcomes)
        _, _, held = self._taken()
        # The calls of callers that are gone may have been admitted; only their holds show that.
        if not len(admitted) <= held <= self.room:
            self.tally.find(
                f"{name}: {len(admitted)} were told yes, {held} are held, room {self.room}"
            )
        seen = {result for _, result in outcomes}
        # On a machine that starves, evidence may take longer to read than F6 waits for it.
        if held < self.room and not seen & {"contention", "degraded"}:
            self.tally.find(f"{name}: refused with room left: {held} held; {Counter(seen)}")
        reporting = [call_id for call_id in admitted if call_id in living]
        self.tally.orphaned += len(admitted) - len(reporting)
        landing = reporting[: (len(reporting) + 1) // 2]
        self._land(landing)
        self._expect(f"{name}-full", "blocked" if held == self.room else None)
        self._expect_return(name, self.room - len(landing))

    def _ask_all(self, name: str, number: int) -> tuple[list[tuple[str, str]], set[str]]:
        """Let all ask, and kill a process: what each was told, and the calls of the living."""
        for process in self._processes:
            process.wait_until_ready()
        starts_at = time.monotonic() + _HEAD_START_SECONDS
        # Every other race a process is to die in the midst of it, whatever it has been told.
        dying = self._processes[number // 2 % len(self._processes)] if number % 2 else None
        dies_at = starts_at + self._random.uniform(0, _DYING_SECONDS)
        for process in self._processes:
            process.begin(name, starts_at, dies_at if process is dying else None)
        found = [(one, one.outcomes(dying=one is dying)) for one in self._processes]
        killed = dying or max(found, key=lambda of: _admissions(of[1]))[0]
        killed.replace()
        self.tally.killed += 1
        outcomes = [outcome for _, told_ in found for outcome in told_]
        living = {call_id for one, told_ in found if one is not killed for call_id, _ in told_}
        return outcomes, living

    def _expect_return(self, name: str, room: int) -> None:
        """Once the holds' life is over there is room for so many again, and for no more."""
        for attempt in range(_PATIENCE):
            self._end_holds()
            again = [self._expect(f"{name}-again-{attempt}-{n}", None) for n in range(room + 1)]
            if [result in ("allowed", "warned") for result in again] == [True] * room + [False]:
                return
            # A request of a caller that is gone may only now have been decided; its hold lives.
            if not self._count(_OF_RACE, name):
                break
        self.tally.find(f"{name}: after the holds' life: {again}, where {room} had room")

    def _sweep(self) -> None:
        """Nothing is left of holds whose life is over."""
        self._age_holds()
        self.product.sweep_holds()
        if left := self._count(_OF_RACES, self.name):
            self.tally.find(f"{left} holds are left when all have been swept")

    def _count(self, which: LiteralString, value: object) -> int:
        """How many holds of the integration are so."""
        with self.product.connect() as connection:
            row = connection.execute(_HOLDS + which, [self._integration, value]).fetchone()
        assert row
        return int(row[0])

    def _make_room(self) -> None:
        self._end_holds()
        with self.product.connect() as connection:
            connection.execute(
                "UPDATE cus_integrations SET status = 'enabled', budget_limit_cents = %s + ("
                "SELECT coalesce(sum(counted_cents), 0) FROM cus_period_totals WHERE integration_id = %s"
                ") WHERE id = %s",
                [self.room, self._integration, self._integration],
            )

    def _expect(self, call_id: str, wanted: str | None) -> str:
        for _ in range(20):
            result = answer_name(self._door.post(CHECK, asked(call_id)))
            # No other caller asks now, but an abandoned request may still run.
            if result not in ("contention", "degraded"):
                break
        if wanted and result != wanted:
            self.tally.find(f"{call_id}: {result}, not {wanted}")
        return result

    def _land(self, call_ids: Sequence[str]) -> None:
        for call_id in call_ids:
            answer = self._door.post(_REPORT, reported(call_id))
            if answer.status != 201:
                self.tally.find(f"{call_id}: not stored: {answer}")
        if left := self._count(_OF_CALLS, [*call_ids]):
            self.tally.find(f"{left} holds are left of {call_ids}, which are stored")

    def _age_holds(self) -> None:
        """Let all holds expire, as the superuser: the guards refuse it to other roles."""
        with self.product.connect() as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(
                "UPDATE cus_enforcement_holds SET expires_at = now() WHERE integration_id = %s",
                [self._integration],
            )

    def _end_holds(self) -> None:
        """The life of all holds is over, and they are swept."""
        self._age_holds()
        with self.product.connect() as connection:
            connection.execute(
                "DELETE FROM cus_enforcement_holds WHERE integration_id = %s"
                " AND expires_at <= now()",
                [self._integration],
            )

    def _taken(self) -> tuple[int, int, int]:
        # Those who left in mid-request are answered yet: their holds may come a moment later.
        seen = None
        with self.product.connect() as connection:
            for _ in range(20):
                row = connection.execute(_TAKEN, {"integration": self._integration}).fetchone()
                if row == seen:
                    break
                seen = row
                time.sleep(0.05)
        assert row
        return int(row[0]), int(row[1]), int(row[2])

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Check the cap all the time, while callers run."""
        over = threading.Event()

        def watch() -> None:
            with self.product.connect() as connection:
                while not over.wait(0.002):
                    row = connection.execute(_TAKEN, {"integration": self._integration}).fetchone()
                    assert row
                    if row[0] and row[1] + row[2] > row[0]:
                        self.tally.find(f"used {row[1]} + held {row[2]} > limit {row[0]}")

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def _admissions(outcomes: Sequence[tuple[str, str]]) -> int:
    return sum(result in ("allowed", "warned") for _, result in outcomes)


def ask(door: Door, call_id: str, cents: int = 1) -> tuple[str, float]:
    """One check: what was told, and after how many seconds."""
    started = time.monotonic()
    try:
        answer = answer_name(door.post(CHECK, asked(call_id, cents)))
    except (OSError, HTTPException) as error:
        answer = f"no answer ({type(error).__name__})"
    return answer, time.monotonic() - started
