"""Programs that race for limits at scopes: `python -m tests.trust.cus_limits_racers '{…}'`.

One process loads all code and starts the others by forking, so that they share its memory. They
begin at one moment. Each has holders, which are threads that check or take leases, and one thread
that lets calls land. Some processes are killed in the midst of it. Standard output tells, a JSON
object a line, what each process that lived to its end was told, and how many were killed.
"""

import gc
import itertools
import json
import multiprocessing
import os
import queue
import random
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import django

TOKENS_A_CENT = 10
_DEAREST = 3
# Longer than any wait of a race.
_SOON = 600.0
_BURST = 6
_LANDING = 25
# How often all processes together report, on average: checks and leases are to race.
_REPORTS_PER_SECOND = 50
SESSIONS, AGENTS, USERS, MODELS = ("s1", "s2", "s3"), ("a1", "a2"), ("u1", "u2"), ("m1", "m2")


def names_of(draw: random.Random) -> dict[str, Any]:
    """What a call names."""
    return {
        "session_id": draw.choice(SESSIONS),
        "agent_id": draw.choice(AGENTS),
        "end_user": draw.choice(USERS),
        "model": draw.choice(MODELS),
    }


class Holder:
    """A thread's calls: by leases of what its calls name, and by checks."""

    def __init__(
        self,
        ids: tuple[str, str],
        seed: str,
        landing: "queue.Queue[Any]",
        calls_to_live: Iterator[int],
    ) -> None:
        """`ids` are the tenant's and the integration's. `calls_to_live` counts down for all holders of
        the process; at 0 the process is killed.
        """
        self._ids = uuid.UUID(ids[0]), uuid.UUID(ids[1])
        self._random = random.Random(seed)
        self._landing = landing
        self._calls_to_live = calls_to_live
        self._holder_id = f"holder-{uuid.uuid4()}"
        self.told: Counter[str] = Counter()

    def live(self, calls: int) -> None:
        """Make so many calls, whatever each is told."""
        while calls > 0:
            names = names_of(self._random)
            lease = self._lend(names) if self._random.random() < 0.5 else None
            burst = min(_BURST, calls)
            for _ in range(burst):
                self._call(names, self._random.randint(1, _DEAREST), lease)
                if next(self._calls_to_live) == 0:
                    # As an out-of-memory killer does it: whatever the other threads are at.
                    os.kill(os.getpid(), signal.SIGKILL)
            if lease and self._random.random() < 0.8:
                self._return(lease)
            calls -= burst

    def _caller(self) -> Any:
        from enforcement.cus_checks.keys import Caller

        return Caller(*self._ids, time.monotonic() + _SOON)

    def _call(self, names: dict[str, Any], cents: int, lease: Any) -> None:
        from tests.cus_factories import record

        tokens = cents * TOKENS_A_CENT
        call = record(
            call_id=str(uuid.uuid4()), cost_cents=cents, tokens_in=tokens, tokens_out=0, **names
        )
        if lease and lease.take(cents):
            amounts = {"cents": cents, "microcents": cents * 10**6, "tokens": tokens}
            call |= {"lease_id": str(lease.id), "reserved": amounts}
            self.told["leased"] += 1
        elif not self._admitted(call["call_id"], names, cents):
            return
        self.told["cents"] += cents
        self._landing.put(call)

    def _admitted(self, call_id: str, names: dict[str, Any], cents: int) -> bool:
        from enforcement.cus_checks.requests import CheckRequest
        from enforcement.cus_checks.service import CusEnforcementService

        asked = CheckRequest(
            call_id=call_id,
            estimated_cost_cents=cents,
            estimated_cost_microcents=cents * 10**6,
            estimated_tokens=cents * TOKENS_A_CENT,
            **names,
        )
        decision = CusEnforcementService(self._caller()).check(asked).decision
        reason = decision.reasons[0]
        if decision.degraded:
            self.told["without evidence"] += 1
        refused = f"refused by {reason.scope or reason.code}"
        self.told["checked" if decision.admits else refused] += 1
        return decision.admits

    def _lend(self, names: dict[str, Any]) -> Any:
        from enforcement.cus_checks.lending_requests import CallEstimate, LeaseRequest, LeaseScopes
        from enforcement.cus_checks.lending_service import CusLendingService

        asked = LeaseRequest(
            holder_id=self._holder_id,
            estimate=CallEstimate(_DEAREST, _DEAREST * 10**6, _DEAREST * TOKENS_A_CENT),
            is_durable=True,
            scopes=LeaseScopes(**names),
        )
        found = CusLendingService(self._caller()).lease(asked).lease
        return _Lease(found.id, found.lent) if found else None

    def _return(self, lease: "_Lease") -> None:
        from enforcement.cus_checks.lending_service import CusLendingService

        for _ in range(100):
            if CusLendingService(self._caller()).end(lease.id, lease.aside):
                return
            time.sleep(0.01)


class _Lease:
    def __init__(self, lease_id: uuid.UUID, lent: Any) -> None:
        self.id, self._left = lease_id, lent
        self.aside = lent._replace(cents=0, microcents=0, tokens=0, calls=0)

    def take(self, cents: int) -> bool:
        call = self._left._make((cents, cents * 10**6, cents * TOKENS_A_CENT, 1))
        if any(left < needed for left, needed in zip(self._left, call, strict=True)):
            return False
        self._left = call._make(a - b for a, b in zip(self._left, call, strict=True))
        self.aside = call._make(a + b for a, b in zip(self.aside, call, strict=True))
        return True


def _land(key: str, pause: float, landing: "queue.Queue[Any]", told: Counter[str]) -> None:
    """Report calls as they come, until None comes, and count what the product accepted.

    `pause`: the most seconds between two reports.
    """
    from django.db import connections

    from tests.cus_factories import SdkClient

    sdk = SdkClient(key)
    over = False
    while not over:
        # At any time, or all processes would report at once.
        time.sleep(random.uniform(0, pause))
        calls = [landing.get()]
        while len(calls) < _LANDING and not landing.empty():
            calls.append(landing.get())
        over = None in calls
        if records := [call for call in calls if call is not None]:
            answer = sdk.report_batch(*records)
            assert answer.status_code == 200, answer.content
            told["landed"] += answer.json()["accepted"]
            # Kept, the connections of all processes would take gigabytes of the server's memory.
            connections.close_all()


def _race(orders: dict[str, Any], number: int, turn: Any, start: Any) -> None:
    """The life of a process: it connects when its turn comes, and begins when all have."""
    threading.excepthook = _fail
    with turn:
        _connect()
    start.wait()
    landing: queue.Queue[Any] = queue.Queue()
    integration, key = orders["integrations"][number % len(orders["integrations"])]
    told: Counter[str] = Counter()
    pause = 2 * orders["processes"] / _REPORTS_PER_SECOND
    lander = threading.Thread(target=_land, args=(key, pause, landing, told))
    lander.start()
    calls_to_live = itertools.count(_calls_to_live(orders, number), -1)
    holders = [
        Holder(
            (orders["tenant"], integration),
            f"{orders['seed']} {number} {one}",
            landing,
            calls_to_live,
        )
        for one in range(orders["holders"])
    ]
    threads = [threading.Thread(target=one.live, args=(orders["calls"],)) for one in holders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    landing.put(None)
    lander.join()
    _tell(sum((one.told for one in holders), told))


def _calls_to_live(orders: dict[str, Any], number: int) -> int:
    """After how many calls a process is killed; -1 for a process that lives to its end."""
    if number >= orders["killed"]:
        return -1
    share = random.Random(f"{orders['seed']} {number}").uniform(0.1, 0.8)
    return int(share * orders["calls"] * orders["holders"])


def _connect() -> None:
    from enforcement.cus_reading.decider import decider_pool

    soon = time.monotonic() + _SOON
    decider_pool().run(lambda connection: connection.rows("SELECT 1"), take_by=soon, end_by=soon)


def _load() -> None:
    """Load what processes need, for all of them, and let no garbage collection copy it."""
    django.setup()
    from django.test.utils import setup_test_environment

    from enforcement.cus_checks import lending_service, service  # noqa: F401
    from telemetry.cus_money.genai_prices import known_providers
    from tests.cus_factories import SdkClient

    # Else the product refuses the name of the test client's host.
    setup_test_environment()
    # A request without a key loads routes and middleware, and asks no database.
    assert SdkClient("").report_batch().status_code == 401
    known_providers()
    _be_patient()
    gc.collect()
    gc.freeze()


def _be_patient() -> None:
    """A machine that is busy makes no check late: limits refuse calls here, not deadlines."""
    from enforcement.cus_checks import locked
    from enforcement.cus_reading import connection

    locked._READ_SECONDS = locked._TABLE_LOCK_SECONDS = _SOON
    for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
        connection._SERVER_SETTINGS[name] = f"{_SOON:.0f}s"


def _fail(failed: threading.ExceptHookArgs) -> None:
    """End the process: without one of its threads it would show less than it says."""
    threading.__excepthook__(failed)
    sys.stderr.flush()
    os._exit(1)


def _tell(counts: Counter[str]) -> None:
    sys.stdout.write(f"{json.dumps(counts)}\n")
    sys.stdout.flush()


def main(orders: dict[str, Any]) -> None:
    """Start all processes and wait for them."""
    _load()
    fork = multiprocessing.get_context("fork")
    turn, start = fork.Lock(), fork.Barrier(orders["processes"], timeout=_SOON)
    processes = [
        fork.Process(target=_race, args=(orders, number, turn, start))
        for number in range(orders["processes"])
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    ends = Counter(process.exitcode for process in processes)
    _tell(Counter(killed=ends.pop(-signal.SIGKILL, 0)))
    sys.exit(0 if set(ends) == {0} else 1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
