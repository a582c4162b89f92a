"""A key without money takes holds without end, so that reading them takes too long."""

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.trust.cus_abuse.outcome import Outcome, Size
from tests.trust.cus_abuse.product import AttackedProduct
from tests.trust.cus_abuse.verdicts import LET_IN, live_holds, verdict
from tests.trust.cus_race_callers import CHECK, asked

_BATCH = "/api/v1/cus/enforcement/batch"
_AT_ONCE = 100
_PROGRAMS = 4
# As many holds as made reading them slower than a check waits, and how long they may take to make.
_MANY_HOLDS = 160_000
_MOST_SECONDS = 75.0
# So long without one more hold, and the flood has met its bound: a share fills up within a second.
_VAIN_SECONDS = 3.0
_BOUND = 10_000
_ONE_DOLLAR_CENTS = 100
_DEAR_CENTS = 99_999
_ESTIMATE_OF_NOTHING = {
    "estimated_tokens": 0,
    "estimated_cost_cents": 0,
    "estimated_cost_microcents": 0,
}


def holds_flood(product: AttackedProduct, size: Size) -> Outcome:
    """Batches of checks that estimate nothing; beside them, calls that no budget has room for."""
    small, large = product.new_tenant()["keys"]
    bound = min(_BOUND, size.of(_BOUND, 300))
    # The bound has a setting by integration once there is one; a test lowers it.
    lowered = {} if bound == _BOUND else _bound_column(product, bound)
    lines, findings = [], []
    for dollars, key, most in (
        (1, small, size.of(_MANY_HOLDS, 500)),
        (150, large, 2 * bound),
    ):
        product.set_limits(key, budget_limit_cents=dollars * _ONE_DOLLAR_CENTS, **lowered)
        flood = HoldsFlood(product, key)
        flood.run(most, size)
        asked_for = size.of(_AT_ONCE, 30)
        dear, quiet = flood.dear_calls(asked_for), flood.refusal()
        held, let_in = live_holds(product, key), sum(dear[word] for word in LET_IN)
        degraded = flood.told["degraded"] + dear["degraded"]
        lines.append(
            f"${dollars} budget: {held:,} live holds, {let_in} of {asked_for} dear calls pass,"
            f" {degraded:,} checks degraded"
        )
        if let_in:
            findings.append(f"{let_in} calls of $999.99 were let in under ${dollars}: {dear}")
        if degraded:
            findings.append(f"{degraded:,} checks were let in without evidence")
        if held > bound:
            findings.append(f"{held:,} live holds, where {bound:,} are the bound")
        if key == large and quiet != "contention":
            findings.append(f"a hold above the bound was told {quiet}, not contention")
    return Outcome("; ".join(lines), findings)


def _bound_column(product: AttackedProduct, bound: int) -> dict[str, int]:
    found = product.database.execute(
        "SELECT 1 FROM information_schema.columns"
        " WHERE table_name = 'cus_integrations' AND column_name = 'max_live_holds'"
    ).fetchone()
    return {"max_live_holds": bound} if found else {}


class HoldsFlood:
    """Programs that ask for holds of one integration as fast as they can. `told`: by verdict."""

    def __init__(self, product: AttackedProduct, key: str) -> None:
        self._product = product
        self._key = key
        self.told: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._let_in_at = 0.0
        self._lock = threading.Lock()

    def run(self, most: int, size: Size) -> None:
        """Until so many holds were let in, or nothing is let in any more."""
        deadline = time.monotonic() + size.seconds(_MOST_SECONDS, 5.0)
        # Not before one was let in: a busy machine may take long for the first.
        self._let_in_at = deadline
        vain = size.seconds(_VAIN_SECONDS, 1.0)
        with self._going_on():
            while time.monotonic() < min(deadline, self._let_in_at + vain):
                with self._lock:
                    so_far = Counter(self.told)
                size.say(f"{so_far.total():,} holds asked for: {dict(so_far)}")
                if sum(so_far[word] for word in LET_IN) >= most:
                    break
                time.sleep(0.05)

    def dear_calls(self, count: int) -> Counter[str]:
        """What so many calls of $999.99 are told while the flood goes on."""
        door, dear = self._product.door(0, self._key), Counter[str]()
        with self._going_on():
            for number in range(count):
                call = f"dear-{self._key[-6:]}-{number}"
                answer = door.post(CHECK, asked(call, _DEAR_CENTS))
                dear[verdict(answer.json()) if answer.status == 200 else str(answer.status)] += 1
        door.close()
        return dear

    def refusal(self) -> str:
        """The answer to one more hold when no other check runs: load has ended, a bound has not."""
        door, said = self._product.door(0, self._key), ""
        for attempt in range(5):
            time.sleep(0.3)
            said = verdict(door.post(CHECK, asked(f"quiet-{self._key[-6:]}-{attempt}", 0)).json())
            if said != "contention":
                break
        door.close()
        return said

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        over = threading.Event()
        programs = [threading.Thread(target=self._ask, args=(over,)) for _ in range(_PROGRAMS)]
        for program in programs:
            program.start()
        try:
            yield
        finally:
            over.set()
            for program in programs:
                program.join()

    def _ask(self, over: threading.Event) -> None:
        door = self._product.door(0, self._key)
        while not over.is_set():
            calls = [f"flood-{self._key[-6:]}-{next(self._numbers)}" for _ in range(_AT_ONCE)]
            body = {"requests": [{"call_id": call, **_ESTIMATE_OF_NOTHING} for call in calls]}
            answer = door.post(_BATCH, json.dumps(body).encode())
            # 429 and 503 are answers to a flood, too.
            decisions = answer.json()["decisions"] if answer.status == 200 else []
            told = Counter(map(verdict, decisions))
            with self._lock:
                self.told.update(told)
                if set(told) & set(LET_IN):
                    self._let_in_at = time.monotonic()
        door.close()
