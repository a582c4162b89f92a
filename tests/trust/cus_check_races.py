"""Callers who ask at one moment for more than there is room for (ruling F5)."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any

from tests.trust.cus_real_product import Answer, Door, RealProduct

CHECK = "/api/v1/cus/enforcement/check"
_REPORT = "/api/v1/cus/telemetry/llm-usage"
# What the cap is about, seen at one instant.
_TAKEN = """
SELECT (SELECT budget_limit_cents FROM cus_integrations WHERE id = %(integration)s),
    (SELECT coalesce(sum(cost_cents), 0) FROM cus_period_totals WHERE integration_id = %(integration)s),
    (SELECT coalesce(sum(cents), 0) FROM cus_enforcement_holds
        WHERE integration_id = %(integration)s AND expires_at > now())
"""


@dataclass
class RaceTally:
    """What the races came to, and what must not have been."""

    races: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def integration_of(key: str) -> str:
    """The id of the integration that a key's text names."""
    return key.split(":")[1]


def asked(call_id: str, cents: int = 1) -> bytes:
    """The body of a check."""
    return json.dumps(
        {"call_id": call_id, "estimated_tokens": 1, "estimated_cost_cents": cents}
    ).encode()


def reported(call_id: str, cents: int = 1, **fields: Any) -> bytes:
    """The body of a report."""
    values = {
        "call_id": call_id, "model": "gpt-4o", "tokens_in": 1, "tokens_out": 0,
        "cost_cents": cents, "timestamp": datetime.now(UTC).isoformat(),
    }  # fmt: skip
    return json.dumps(values | fields).encode()


class CheckRaces:
    """Races of `callers` for room of `room` on one integration, again and again.

    Of those who were let in, half are reported at once; the others' programs were killed, and
    their room returns when their holds' life is over. `killed` callers leave in mid-request.
    """

    def __init__(
        self, product: RealProduct, key: str, name: str, *, callers: int, room: int = 10
    ) -> None:
        self.product = product
        self.name = name
        self.room = room
        self.tally = RaceTally()
        self._integration = integration_of(key)
        self._doors = [product.door(number, key) for number in range(callers)]
        self._start = threading.Barrier(callers)

    def run(self, races: int, say: Callable[[int], None] = lambda _done: None) -> RaceTally:
        """So many races, one after the other."""
        with ThreadPoolExecutor(len(self._doors)) as pool, self._watched():
            for number in range(races):
                self._race(pool, f"{self.name}-{number}")
                self.tally.races += 1
                say(self.tally.races)
        for door in self._doors:
            door.close()
        return self.tally

    def _race(self, pool: ThreadPoolExecutor, name: str) -> None:
        self._make_room()
        killed = range(0, len(self._doors), 9)
        outcomes = list(
            pool.map(
                lambda n: self._ask(f"{name}-{n}", n, killed=n in killed), range(len(self._doors))
            )
        )
        admitted = [call_id for call_id, result in outcomes if result in ("allowed", "warned")]
        for _, result in outcomes:
            self.tally.answers[result] += 1
        _, _, held = self._taken()
        # Those who left in mid-request may have been let in, and nobody knows but the hold.
        if not len(admitted) <= held <= self.room:
            self._find(f"{name}: {len(admitted)} were told yes, {held} are held, room {self.room}")
        seen = {result for _, result in outcomes}
        # On a machine that starves, evidence may take longer to read than F6 waits for it.
        if held < self.room and not seen & {"contention", "degraded"}:
            self._find(f"{name}: refused with room left: {held} held; {Counter(seen)}")
        self._land(admitted[::2])
        self._expect(f"{name}-full", "blocked" if held == self.room else None)
        self._end_holds()
        left = self.room - len(admitted[::2])
        again = [self._expect(f"{name}-again-{n}", None) for n in range(left + 1)]
        if [result in ("allowed", "warned") for result in again] != [True] * left + [False]:
            self._find(f"{name}: after the holds' life: {again}, where {left} had room")

    def _make_room(self) -> None:
        with self.product.connect() as connection:
            connection.execute(
                "DELETE FROM cus_enforcement_holds WHERE integration_id = %s", [self._integration]
            )
            connection.execute(
                "UPDATE cus_integrations SET status = 'enabled', budget_limit_cents = %s + ("
                "SELECT coalesce(sum(cost_cents), 0) FROM cus_period_totals WHERE integration_id = %s"
                ") WHERE id = %s",
                [self.room, self._integration, self._integration],
            )

    def _ask(self, call_id: str, number: int, *, killed: bool) -> tuple[str, str]:
        self._start.wait(60)
        door = self._doors[number]
        if killed:
            door.abandon(CHECK, asked(call_id), 1.0)
            return call_id, "left"
        return call_id, told(door.post(CHECK, asked(call_id)))

    def _expect(self, call_id: str, wanted: str | None) -> str:
        for _ in range(20):
            result = told(self._doors[1].post(CHECK, asked(call_id)))
            # Nobody else asks now; but a request that was left behind may still be at work.
            if result not in ("contention", "degraded"):
                break
        if wanted and result != wanted:
            self._find(f"{call_id}: {result}, not {wanted}")
        return result

    def _land(self, call_ids: Sequence[str]) -> None:
        for call_id in call_ids:
            answer = self._doors[1].post(_REPORT, reported(call_id))
            if answer.status != 201:
                self._find(f"{call_id}: not stored: {answer}")

    def _end_holds(self) -> None:
        with self.product.connect() as connection:
            connection.execute(
                "UPDATE cus_enforcement_holds SET expires_at = now() WHERE integration_id = %s",
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
        """Look at the cap all the while, whoever is at work."""
        over = threading.Event()

        def watch() -> None:
            with self.product.connect() as connection:
                while not over.wait(0.002):
                    row = connection.execute(_TAKEN, {"integration": self._integration}).fetchone()
                    assert row
                    if row[0] and row[1] + row[2] > row[0]:
                        self._find(f"used {row[1]} + held {row[2]} > limit {row[0]}")

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _find(self, text: str) -> None:
        if len(self.tally.findings) < 20:
            self.tally.findings.append(text)


def told(answer: Answer) -> str:
    """The result; for contention its reason, for anything but a verdict the answer itself."""
    if answer.status != 200:
        return str(answer)
    verdict = answer.json()
    if verdict["degraded"]:
        return "degraded"
    code = verdict["reasons"][0]["code"]
    return code if code in ("contention", "state_unknown") else str(verdict["result"])


def ask(door: Door, call_id: str, cents: int = 1) -> tuple[str, float]:
    """One check: what was told, and after how many seconds."""
    started = time.monotonic()
    try:
        answer = told(door.post(CHECK, asked(call_id, cents)))
    except (OSError, HTTPException) as error:
        answer = f"no answer ({type(error).__name__})"
    return answer, time.monotonic() - started
