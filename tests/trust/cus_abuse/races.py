"""Races in which holders, siblings and reporters lie at random (rulings F5c, M3a).

After each race, what is counted and held must be what honest arithmetic over the accepted
reports and admissions gives; and each admission is audited by what callers saw.
"""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from threading import Barrier, Lock

from tests.trust.cus_abuse.audit import STORED, Asked, Logged, Race, Reported, admission_findings
from tests.trust.cus_abuse.money import counted_cents
from tests.trust.cus_abuse.outcome import Outcome, Size
from tests.trust.cus_abuse.product import AttackedProduct
from tests.trust.cus_audit import findings as ledger_findings
from tests.trust.cus_check_races import integration_of, reported
from tests.trust.cus_door import Door
from tests.trust.cus_race_callers import CHECK, answer_name, asked

_RACES = 1_000
_REPORT = "/api/v1/cus/telemetry/llm-usage"
_HOLDERS, _SIBLINGS, _REPORTERS = 7, 2, 1
_ROOM_CENTS = 60
# So much is used that every admission is a warning, which the log keeps with its facts.
_USED_BEFORE_CENTS = 10_000
_TOKENS_OF_A_CENT = 4_000
_LOAD = (429, 503)
_ATTEMPTS = 20
_HELD = """
SELECT coalesce(sum(cents), 0)::bigint FROM cus_enforcement_holds
WHERE integration_id = %s AND expires_at > now()
"""
_LOGGED = """
SELECT call_id, facts FROM cus_enforcement_decisions
WHERE integration_id = %s AND starts_with(call_id, %s) AND result IN ('allowed', 'warned')
    AND decided_by = 'server' AND NOT degraded
"""


def lying_races(product: AttackedProduct, size: Size) -> Outcome:
    """1,000 races of ten callers for 60 cents of room."""
    races = LyingRaces(product, seed="lies")
    number = size.of(_RACES, 1)
    with races.callers():
        for race in range(number):
            races.race(f"race-{race}")
            size.say(f"{race + 1:,} races: {dict(races.told)}")
    races.close_books()
    return Outcome(races.figures(), races.findings[:10])


class LyingRaces:
    """One integration's holders and reporters, and the programs of a sibling of it."""

    def __init__(self, product: AttackedProduct, seed: str) -> None:
        self.product = product
        self.told: Counter[str] = Counter()
        self.findings: list[str] = []
        self._races = self._missing_cents = self._audited = 0
        self._random = random.Random(seed)
        self._own, self._sibling = product.new_tenant()["keys"]
        self._lock = Lock()
        self._sibling_cents = 0

    @contextmanager
    def callers(self) -> Iterator[None]:
        """Within it there are the threads and connections that races need."""
        number = _HOLDERS + _SIBLINGS + _REPORTERS
        with ThreadPoolExecutor(number) as pool:
            self._pool, self._start = pool, Barrier(number)
            keys = [self._own] * _HOLDERS + [self._sibling] * _SIBLINGS + [self._own] * _REPORTERS
            self._doors = [self.product.door(0, key) for key in keys]
            answer = self._doors[0].post(_REPORT, reported("before", _USED_BEFORE_CENTS))
            assert answer.status == STORED, str(answer)
            try:
                yield
            finally:
                for door in self._doors:
                    door.close()

    def race(self, name: str) -> None:
        """One race, and its audit."""
        race = self._begin()
        calls = [f"{name}-{number}" for number in range(2 * _HOLDERS)]
        doors = iter(self._doors)
        scripts: list[Callable[[], None]] = []
        for number, door in enumerate(itertools.islice(doors, _HOLDERS)):
            mine = calls[2 * number : 2 * number + 2]
            scripts.append(Holder(race, door, self._spawn()).script(mine))
        for door in itertools.islice(doors, _SIBLINGS):
            scripts.append(self._sibling_script(door, calls, self._spawn()))
        for door in doors:
            scripts.append(
                Holder(race, door, self._spawn()).reports([f"{name}-unasked-{n}" for n in range(2)])
            )
        for done in [self._pool.submit(self._together, script) for script in scripts]:
            done.result()
        self._races += 1
        self._audit(name, race)

    def close_books(self) -> None:
        """At the end: the sibling's money, and rows, ledger and totals against each other."""
        counted = counted_cents(self.product, self._sibling)
        if counted != self._sibling_cents:
            self._find(
                f"the sibling's reports come to {self._sibling_cents}, {counted} are counted"
            )
        for finding in ledger_findings(self.product.database):
            self._find(finding)

    def figures(self) -> str:
        """What the races came to."""
        answers = ", ".join(f"{count:,} {answer}" for answer, count in self.told.most_common(6))
        return (
            f"{self._races:,} races: {answers}; {self._audited:,} admissions audited,"
            f" {len(self.findings):,} findings, {self._missing_cents:,} reported cents missing"
        )

    def _begin(self) -> Race:
        used, held = self._standing()
        limit = used + held + _ROOM_CENTS
        self.product.set_limits(self._own, budget_limit_cents=limit)
        return Race(limit, used, held)

    def _standing(self) -> tuple[int, int]:
        row = self.product.database.execute(_HELD, [integration_of(self._own)]).fetchone()
        assert row
        return counted_cents(self.product, self._own), int(row[0])

    def _together(self, script: Callable[[], None]) -> None:
        self._start.wait(30)
        script()

    def _spawn(self) -> random.Random:
        """Chance of a caller's own: threads take turns as they like, their choices stay."""
        return random.Random(self._random.random())

    def _sibling_script(
        self, door: Door, calls: Sequence[str], chance: random.Random
    ) -> Callable[[], None]:
        """Report and ask under calls of the other integration; a guess is right each time."""
        guesses = chance.sample(calls, 4)

        def lie() -> None:
            for call in guesses:
                if chance.random() < 0.5:
                    door.post(CHECK, asked(call, 0))
                cents = chance.choice((0, 0, 0, 3))
                answer = _report(door, reported(call, cents, tokens_in=0))
                with self._lock:
                    self.told[f"sibling {answer}"] += 1
                    self._sibling_cents += cents if answer == STORED else 0

        return lie

    def _audit(self, name: str, race: Race) -> None:
        self.told.update(one.result for one in race.asked)
        for one in race.asked:
            if one.result == "degraded":
                self._find(f"{one.call_id} was let in without evidence")
        for call in _unsettled(race):
            self._find(f"{call} was reported and never plainly accepted")
        used, held = self._standing()
        if used != race.used_after():
            self._missing_cents += race.used_after() - used
            self._find(f"{name}: {race.used_after()} cents were reported, {used} are counted")
        if held != race.held_after():
            self._find(f"{name}: {race.held_after()} cents must be held, {held} are")
        logged = [integration_of(self._own), f"{name}-"]
        rows = self.product.database.execute(_LOGGED, logged).fetchall()
        log = [Logged(str(call), facts) for call, facts in rows]
        self._audited += len(log)
        for finding in admission_findings(race, log):
            self._find(finding)

    def _find(self, text: str) -> None:
        self.findings.append(text)


def _unsettled(race: Race) -> list[str]:
    """Calls that were reported, and none of whose reports was accepted."""
    settled = {one.call_id for one in race.reported if one.status == STORED}
    return sorted({one.call_id for one in race.reported} - settled)


class Holder:
    """A program with a key of the integration, honest or not."""

    def __init__(self, race: Race, door: Door, chance: random.Random) -> None:
        self._race = race
        self._door = door
        self._chance = chance

    def script(self, calls: Sequence[str]) -> Callable[[], None]:
        """Ask for each call, and then tell the truth of it, or not, or nothing."""

        def run() -> None:
            for call in calls:
                self._live(call)

        return run

    def reports(self, calls: Sequence[str]) -> Callable[[], None]:
        """Report calls without a check."""

        def run() -> None:
            for call in calls:
                self._report(call, self._chance.randint(0, 20))

        return run

    def _live(self, call: str) -> None:
        estimate = self._chance.randint(0, 20)
        let_in = self._ask(call, estimate)
        if self._chance.random() < 0.1:
            let_in = self._ask(call, estimate + self._chance.randint(0, 9)) or let_in
        if not let_in and self._chance.random() < 0.8:
            return
        # Some refused calls run all the same: the money that they report counts.
        time.sleep(self._chance.uniform(0, 0.003))
        self._tell(call, max(estimate, 1))

    def _tell(self, call: str, estimate: int) -> None:
        cents = self._chance.randint(1, estimate)
        way = self._chance.choices(
            ("honest", "understated", "overstated", "silent", "twice", "contradictory"),
            (40, 20, 10, 10, 10, 10),
        )[0]
        if way == "silent":
            return
        if way == "understated":
            self._report(call, 0, tokens_in=cents * _TOKENS_OF_A_CENT)
            return
        self._report(call, cents + (25 if way == "overstated" else 0))
        if way == "twice":
            self._report(call, cents)
        elif way == "contradictory":
            self._report(call, 0, tokens_in=2)

    def _ask(self, call: str, cents: int) -> bool:
        """Ask, again where too many ask at once, as an SDK does (ruling F6a)."""
        for _ in range(_ATTEMPTS):
            asked_ = self._ask_once(call, cents)
            if asked_.result != "contention":
                break
            time.sleep(self._chance.uniform(0.005, 0.03))
        return asked_.admitted

    def _ask_once(self, call: str, cents: int) -> Asked:
        sent = time.monotonic()
        try:
            result = answer_name(self._door.post(CHECK, asked(call, cents)))
        except (OSError, HTTPException) as error:
            result = f"no answer ({type(error).__name__})"
        asked_ = Asked(call, sent, time.monotonic(), result, max(cents, 1))
        self._race.asked.append(asked_)
        return asked_

    def _report(self, call: str, cents: int, tokens_in: int = 1) -> None:
        sent = time.monotonic()
        status = _report(self._door, reported(call, cents, tokens_in=tokens_in))
        # The server's own price of so many tokens, rounded up.
        own = -(-tokens_in // _TOKENS_OF_A_CENT)
        report = Reported(call, sent, time.monotonic(), status, max(cents, own))
        self._race.reported.append(report)


def _report(door: Door, body: bytes) -> int:
    """Send a report until it is answered by more than "later"."""
    status = 0
    for _ in range(_ATTEMPTS):
        status = door.post(_REPORT, body).status
        if status not in _LOAD:
            break
        time.sleep(0.05)
    return status
