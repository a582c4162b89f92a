"""Many writers deliver the same events again and again, some of them altered, come what may.

Each event has eight variants: the original, and seven that contradict it in one field. What
every delivery was answered is kept, so that in the end the variant that is stored decides
what was right to answer: `accepted` at most once, `duplicate` for the same, `conflict` for
every other.
"""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg

from tests.trust.cus_audit import findings
from tests.trust.cus_door import Answer, Door
from tests.trust.cus_findings import Findings
from tests.trust.cus_real_product import RealProduct

_BATCH = "/api/v1/cus/telemetry/llm-usage/batch"
_SINGLE = "/api/v1/cus/telemetry/llm-usage"
_MODELS = ("gpt-4o", "gpt-4o-mini", "claude-opus-4", "o3", "nobody-knows")
# What each variant contradicts the original in.
_ALTERED = (
    None,
    "tokens_in",
    "tokens_out",
    "cost_cents",
    "latency_ms",
    "model",
    "timestamp",
    "error_code",
)
VARIANTS = len(_ALTERED)
_BITS = {"accepted": 1, "duplicate": 2, "conflict": 4, "rejected": 8}
_ACCEPTED, _DUPLICATE, _CONFLICT, _REJECTED = _BITS.values()
# Longer than any request waits before it is told that PostgreSQL is away.
_TOLD_SECONDS = 60.0


class Events:
    """A fixed set of events, whose records depend on nothing but their number."""

    def __init__(self, count: int, *, seed: int) -> None:
        self.count = count
        self._seed = seed
        self._start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)

    def call_id(self, event: int) -> str:
        return f"e{self._seed}-{event}"

    def variant(self, event: int, variant: int) -> dict[str, Any]:
        """The fields that say which variant a row is."""
        blocked = event % 50 == 7
        values: dict[str, Any] = {
            "model": _MODELS[event % len(_MODELS)],
            "tokens_in": 0 if blocked else 100 + event * 7919 % 5000,
            "tokens_out": 0 if blocked else 1 + event * 104_729 % 900,
            "cost_cents": 0 if blocked else event % 12,
            "latency_ms": event % 3000,
            "error_code": "cus_throttled" if blocked else "timeout" if event % 31 == 3 else None,
            "timestamp": (self._start + timedelta(milliseconds=event % 3_600_000)).isoformat(),
        }
        match _ALTERED[variant]:
            case None:
                pass
            case "model":
                values["model"] = "gpt-4.1"
            case "error_code":
                values["error_code"] = "altered"
            case "timestamp":
                moved = self._start + timedelta(milliseconds=event % 3_600_000 + 1)
                values["timestamp"] = moved.isoformat()
            case str(number):
                values[number] += 1
        return values

    def record(self, event: int, variant: int) -> dict[str, Any]:
        """What is sent; the parts of its tokens depend on the event alone."""
        blocked = event % 50 == 7
        return self.variant(event, variant) | {
            "call_id": self.call_id(event),
            "policy_result": "blocked" if blocked else "allowed",
            "tokens_cached": 0 if blocked else event % 90,
            "tokens_cache_write": 0 if blocked else event % 11,
            "tokens_reasoning": event % 97 if event % 5 == 3 else 0,
            "tokens_audio_in": event % 3,
            "tokens_audio_out": event % 2,
            "tokens_image_in": event % 7,
            "session_id": f"s{event % 100}",
            "metadata": {"n": event},
        }

    def plan(self, deliveries: int, altered: float) -> list[int]:
        """Every event at least once, in a random order; `altered` is that part of it.

        A delivery is `event * VARIANTS + variant`. What is altered is a replay: no event's
        first place in the plan.
        """
        rng = random.Random(self._seed)
        replays = deliveries - self.count
        contradictions = int(deliveries * altered)
        events = [rng.randrange(self.count) for _ in range(replays)]
        plan = [event * VARIANTS for event in range(self.count)]
        plan += [
            event * VARIANTS + (rng.randrange(1, VARIANTS) if number < contradictions else 0)
            for number, event in enumerate(events)
        ]
        rng.shuffle(plan)
        return self._originals_first(plan)

    def _originals_first(self, plan: list[int]) -> list[int]:
        early: dict[int, int] = {}
        seen = bytearray(self.count)
        for place, delivery in enumerate(plan):
            event, variant = divmod(delivery, VARIANTS)
            if seen[event]:
                continue
            if variant:
                early.setdefault(event, place)
                continue
            seen[event] = 1
            if event in early:
                other = early[event]
                plan[other], plan[place] = plan[place], plan[other]
        return plan


@dataclass(frozen=True)
class Mishaps:
    """What goes wrong, and when: parts of the plan that have been delivered by then."""

    database_kills: Sequence[float] = ()
    worker_kills: Sequence[float] = ()
    server_kills: Sequence[float] = ()
    outage_seconds: float = 0.0
    # Whether PostgreSQL stays away until a writer has been told: a request waits for it for seconds.
    outage_until_told: bool = False
    aborts: float = 0.0


@dataclass
class Result(Findings):
    """What was seen. `findings` are what must not be."""

    deliveries: int = 0
    seconds: float = 0.0
    rows: int = 0
    conflicts: int = 0
    audits: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        rate = self.deliveries / self.seconds if self.seconds else 0
        seen = ", ".join(f"{count:,} {what}" for what, count in sorted(self.seen.items()))
        return (
            f"{self.deliveries:,} deliveries in {self.seconds:.0f} s ({rate:,.0f}/s),"
            f" {self.rows:,} rows, {self.conflicts:,} conflicts, {self.audits} audits"
            f"{'; ' if seen else ''}{seen}"
        )


class Writer(threading.Thread):
    """Delivers its part of the plan, each batch until it is acknowledged."""

    def __init__(self, number: int, run: "Run", plan: list[int], key: str) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self.done = 0
        self.conflicts = 0
        # By delivery which answers it had, by event how often it was accepted.
        self.answers = bytearray(run.events.count * VARIANTS)
        self.accepted = bytearray(run.events.count)
        self._number = number
        self._run = run
        self._plan = plan
        self._rng = random.Random(number)
        self._doors = [run.product.door(web, key) for web in range(len(run.product.webs))]

    def run(self) -> None:
        try:
            while self.done < len(self._plan):
                self._run.wait_for_mishaps()
                size = self._rng.choice(self._run.batch_sizes)
                batch = self._plan[self.done : self.done + size]
                self._deliver(batch)
                self.done += len(batch)
        except _GaveUp:
            self._run.result.find(f"{self.name} was not done in time")
        finally:
            for door in self._doors:
                door.close()

    def _deliver(self, batch: list[int]) -> None:
        events = self._run.events
        records = [events.record(*divmod(delivery, VARIANTS)) for delivery in batch]
        single = len(batch) == 1
        body = msgspec.json.encode(records[0] if single else {"records": records})
        path = _SINGLE if single else _BATCH
        attempt = self._rng.randrange(100)
        while True:
            self._run.check_time()
            attempt += 1
            answer = self._post(self._doors[attempt % len(self._doors)], path, body)
            if answer is None:
                time.sleep(0.05)
            elif answer.status in (429, 503):
                self._wait(answer)
            else:
                self._note(batch, answer, single=single)
                return

    def _post(self, door: Door, path: str, body: bytes) -> Answer | None:
        seen = self._run.result.seen
        try:
            if self._rng.random() < self._run.mishaps.aborts:
                seen["abandoned"] += 1
                door.abandon(path, body, self._rng.choice((0.5, 1.0)))
                return None
            return door.post(path, body)
        except (OSError, http.client.HTTPException):
            seen["broken off"] += 1
            return None

    def _wait(self, answer: Answer) -> None:
        self._run.result.seen[str(answer.status)] += 1
        wait = answer.headers.get("retry-after", "")
        if not (answer.is_json and wait.isdecimal()):
            self._run.result.find(f"no JSON or no Retry-After: {answer} {dict(answer.headers)}")
        # A customer waits that long; here the sooner the next try, the harder the test.
        time.sleep(self._rng.uniform(0.05, 0.3))

    def _note(self, batch: list[int], answer: Answer, *, single: bool) -> None:
        expected = (200, 201, 409) if single else (200,)
        if answer.status not in expected or not answer.is_json:
            self._run.result.find(f"an answer that must not be: {answer}")
            return
        receipt = answer.json()
        statuses = _single_status(answer) if single else _statuses(receipt, len(batch))
        if statuses is None:
            self._run.result.find(f"an answer that does not add up: {answer}")
            return
        for delivery, (status, blamed) in zip(batch, statuses, strict=True):
            self.answers[delivery] |= _BITS[status]
            event, variant = divmod(delivery, VARIANTS)
            if status == "accepted":
                self.accepted[event] = min(self.accepted[event] + 1, 255)
            if status == "conflict":
                self.conflicts += 1
                altered = _ALTERED[variant]
                if not blamed or (altered and altered not in blamed):
                    self._run.result.find(f"{altered} was altered, the answer names {blamed}")


# When it comes, and what comes.
_Mishap = tuple[float, Callable[[], None]]


class _GaveUp(Exception):
    """The time is over."""


class Run:
    """One plan, its writers, and the mishaps between; call `execute` in the main thread."""

    def __init__(
        self,
        product: RealProduct,
        events: Events,
        keys: Sequence[str],
        *,
        mishaps: Mishaps,
        batch_sizes: Sequence[int] = (1, 10, 100, 500, 500),
        seconds: float = 60.0,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.product = product
        self.events = events
        self.keys = keys
        self.mishaps = mishaps
        self.batch_sizes = batch_sizes
        self.result = Result()
        self._seconds = seconds
        self._say = say
        self._deadline = 0.0
        self._deliveries = 0
        self._open_until = 0.0
        self._writers: list[Writer] = []

    def check_time(self) -> None:
        """Raises when a writer should stop, done or not."""
        if time.monotonic() > self._deadline:
            raise _GaveUp

    def wait_for_mishaps(self) -> None:
        """Returns at once, unless a mishap that is due has not come yet."""
        while self._progress() > self._open_until:
            self.check_time()
            time.sleep(0.01)

    def execute(self, deliveries: int, *, writers: int, altered: float) -> Result:
        """Deliver all of it, kill what is to be killed, and compare what is stored."""
        started = time.monotonic()
        self._deadline = started + self._seconds
        self._deliveries = deliveries
        self._writers = self._make_writers(self.events.plan(deliveries, altered), writers)
        due = self._due()
        self._open(due)
        for writer in self._writers:
            writer.start()
        self._watch(due)
        for writer in self._writers:
            writer.join()
        self.result.seconds = time.monotonic() - started
        self.result.deliveries = sum(writer.done for writer in self._writers)
        self.result.conflicts = sum(writer.conflicts for writer in self._writers)
        self._compare()
        return self.result

    def _make_writers(self, plan: list[int], count: int) -> list[Writer]:
        """Each has one key, as a program has; an event is of one integration."""
        parts = len(self.keys)
        mine = [[d for d in plan if d // VARIANTS % parts == part] for part in range(parts)]
        each = count // parts
        return [
            Writer(number, self, mine[number % parts][number // parts :: each], key)
            for number in range(each * parts)
            for key in [self.keys[number % parts]]
        ]

    # --- While they write ------------------------------------------------------------------------

    def _watch(self, due: "list[_Mishap]") -> None:
        next_audit = time.monotonic() + 1
        while any(writer.is_alive() for writer in self._writers):
            if due and self._progress() >= due[0][0]:
                _, mishap = due.pop(0)
                self._open(due)
                mishap()
            if time.monotonic() > next_audit:
                # A tenth of the time at most: it reads every row.
                next_audit = time.monotonic() + max(1.0, 10 * self._audit())
                self._say(f"{self._progress():5.1%}  {dict(self.result.seen)}")
            time.sleep(0.01)
        if due:
            self.result.find(f"{len(due)} mishaps never came")

    def _progress(self) -> float:
        return sum(writer.done for writer in self._writers) / self._deliveries

    def _open(self, due: "list[_Mishap]") -> None:
        # Writers go on into a mishap, but not so far that it could come too late.
        self._open_until = due[0][0] + 0.05 if due else 1.0

    def _due(self) -> "list[_Mishap]":
        plans = (
            (self.mishaps.database_kills, self._kill_database),
            (self.mishaps.worker_kills, self._kill_worker),
            (self.mishaps.server_kills, self._kill_server),
        )
        due = [(at, mishap) for moments, mishap in plans for at in moments]
        return sorted(due, key=lambda item: item[0])

    def _kill_database(self) -> None:
        self.result.seen["database kills"] += 1
        self.product.kill_database()
        acknowledged = self._acknowledged()
        time.sleep(self.mishaps.outage_seconds)
        if self.mishaps.outage_until_told:
            self._wait_until_told()
        self.product.start_database()
        self._check_kept(acknowledged)

    def _wait_until_told(self) -> None:
        before, deadline = self.result.seen["503"], time.monotonic() + _TOLD_SECONDS
        while self.result.seen["503"] == before and time.monotonic() < deadline:
            time.sleep(0.01)

    def _acknowledged(self) -> set[str]:
        """The calls that were acknowledged as stored."""
        answered = bytes(_ACCEPTED | _DUPLICATE | _CONFLICT if bit else 0 for bit in range(256))
        found: set[str] = set()
        for writer in self._writers:
            answers = bytes(writer.answers).translate(answered)
            place = answers.find(_ACCEPTED | _DUPLICATE | _CONFLICT)
            while place >= 0:
                event = place // VARIANTS
                found.add(self.events.call_id(event))
                place = answers.find(_ACCEPTED | _DUPLICATE | _CONFLICT, (event + 1) * VARIANTS)
        return found

    def _check_kept(self, acknowledged: set[str]) -> None:
        with self.product.connect() as connection:
            stored = {name for (name,) in connection.execute("SELECT call_id FROM cus_llm_usage")}
        lost = acknowledged - stored
        if lost:
            self.result.find(f"{len(lost)} acknowledged calls lost by a kill: {sorted(lost)[:3]}")

    def _kill_worker(self) -> None:
        self.result.seen["worker kills"] += 1
        number = self.result.seen["worker kills"] % len(self.product.webs)
        self.product.webs[number].kill_worker()
        self.product.restart_web(number)

    def _kill_server(self) -> None:
        self.result.seen["web server kills"] += 1
        self.product.restart_web(self.result.seen["web server kills"] % len(self.product.webs))

    def _audit(self) -> float:
        """Compare rows, ledger and totals as they are just now; the seconds that it took."""
        started = time.monotonic()
        try:
            with self.product.connect() as connection:
                found = findings(connection)
        except psycopg.OperationalError:
            return 0.0
        self.result.audits += 1
        for finding in found:
            self.result.find(f"while they wrote: {finding}")
        return time.monotonic() - started

    # --- Afterwards ------------------------------------------------------------------------------

    def _compare(self) -> None:
        with self.product.connect() as connection:
            for finding in findings(connection):
                self.result.find(finding)
        stored = self._stored_variants()
        answers, accepted = self._all_answers()
        for event in range(self.events.count):
            self._compare_event(event, stored.get(event, -1), answers, accepted[event])

    def _stored_variants(self) -> dict[int, int]:
        """By event which of its variants is stored. Notes rows that are none."""
        prefix = self.events.call_id(0)[:-1]
        found: dict[int, int] = {}
        with self.product.connect() as connection:
            rows = connection.execute(
                "SELECT call_id, model, tokens_in, tokens_out, cost_cents, latency_ms, error_code,"
                " occurred_at FROM cus_llm_usage WHERE starts_with(call_id, %s)",
                [prefix],
            )
            for call_id, *values in rows:
                event = int(call_id.removeprefix(prefix))
                self.result.rows += 1
                if event in found:
                    self.result.find(f"{call_id} is stored twice")
                found[event] = self._variant_of(event, values)
        if self.result.rows != self.events.count:
            self.result.find(f"{self.result.rows:,} rows for {self.events.count:,} events")
        return found

    def _variant_of(self, event: int, values: list[Any]) -> int:
        *numbers, occurred_at = values
        for variant in range(VARIANTS):
            fields = self.events.variant(event, variant)
            moment = datetime.fromisoformat(fields.pop("timestamp"))
            if [*fields.values()] == numbers and moment == occurred_at:
                return variant
        self.result.find(f"what is stored of event {event} was never sent: {values}")
        return -1

    def _all_answers(self) -> tuple[list[int], list[int]]:
        every = [writer.answers for writer in self._writers]
        answers = [0] * (self.events.count * VARIANTS)
        for given in every:
            for place, bits in enumerate(given):
                if bits:
                    answers[place] |= bits
        accepted = [
            sum(counts) for counts in zip(*(w.accepted for w in self._writers), strict=True)
        ]
        return answers, accepted

    def _compare_event(self, event: int, stored: int, answers: list[int], accepted: int) -> None:
        name = self.events.call_id(event)
        if accepted > 1:
            self.result.find(f"{name} was accepted {accepted} times")
        if not answers[event * VARIANTS]:
            self.result.find(f"{name} was never acknowledged")
        for variant in range(VARIANTS):
            right = _ACCEPTED | _DUPLICATE if variant == stored else _CONFLICT
            wrong = answers[event * VARIANTS + variant] & ~right
            if wrong:
                self.result.find(
                    f"{name} is stored as variant {stored}; variant {variant} got answers {wrong:b}"
                )


def _single_status(answer: Answer) -> list[tuple[str, str | None]] | None:
    if answer.status == 409:
        return [("conflict", ", ".join(error["attr"] for error in answer.json()["errors"]))]
    status = answer.json()["status"]
    right = "accepted" if answer.status == 201 else "duplicate"
    return [(status, None)] if status == right else None


def _statuses(receipt: dict[str, Any], sent: int) -> list[tuple[str, str | None]] | None:
    """What became of each record of a batch; None if the answer contradicts itself."""
    statuses: list[tuple[str, str | None]] = [("accepted", None)] * sent
    for result in receipt["results"]:
        statuses[result["index"]] = (result["status"], result["attr"])
    counts = Counter(status for status, _ in statuses)
    counted = {
        "total": sent,
        "accepted": counts["accepted"],
        "duplicates": counts["duplicate"],
        "conflicts": counts["conflict"],
        "rejected": counts["rejected"],
    }
    return statuses if all(receipt[name] == count for name, count in counted.items()) else None
