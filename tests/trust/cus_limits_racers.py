"""Programs that race for limits at scopes: `python -m tests.trust.cus_limits_racers '{…}'`.

One process starts the others by forking. Each has holders, which are threads that check or take
leases, and one thread that lets calls land. Some processes are killed in the midst of it. Standard
output tells, a JSON object a line, what each process that lived to its end was told.
"""

import json
import os
import queue
import random
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from typing import Any

import django

TOKENS_A_CENT = 10
_DEAREST = 3
_SOON = 600.0
_BURST = 6
_LANDING = 25
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
        self, tenant: str, integration: str, seed: str, landing: "queue.Queue[Any]"
    ) -> None:
        self._ids = (uuid.UUID(tenant), uuid.UUID(integration))
        self._random = random.Random(seed)
        self._landing = landing
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
        self.told["checked" if decision.admits else reason.scope or str(reason.code)] += 1
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


def _land(key: str, landing: "queue.Queue[Any]") -> None:
    """Report calls as they come, until None comes."""
    from tests.cus_factories import SdkClient

    sdk = SdkClient(key)
    over = False
    while not over:
        calls = [landing.get()]
        while len(calls) < _LANDING and not landing.empty():
            calls.append(landing.get())
        over = None in calls
        if records := [call for call in calls if call is not None]:
            answer = sdk.report_batch(*records)
            assert answer.status_code == 200, answer.content


def _race(orders: dict[str, Any], number: int) -> None:
    landing: queue.Queue[Any] = queue.Queue()
    integration, key = orders["integrations"][number % len(orders["integrations"])]
    lander = threading.Thread(target=_land, args=(key, landing))
    lander.start()
    holders = [
        Holder(orders["tenant"], integration, f"{orders['seed']} {number} {one}", landing)
        for one in range(orders["holders"])
    ]
    threads = [threading.Thread(target=one.live, args=(orders["calls"],)) for one in holders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    landing.put(None)
    lander.join()
    told = sum((one.told for one in holders), Counter[str]())
    sys.stdout.write(f"{json.dumps(told)}\n")
    sys.stdout.flush()


def main(orders: dict[str, Any]) -> None:
    """Start all processes, kill some, and wait for the others."""
    django.setup()
    # What children need is imported once.
    from enforcement.cus_checks import lending_service, service  # noqa: F401
    from tests import cus_factories  # noqa: F401

    children = []
    for number in range(orders["processes"]):
        child = os.fork()
        if not child:
            _race(orders, number)
            os._exit(0)
        children.append(child)
    draw = random.Random(orders["seed"])
    doomed = children[: orders["killed"]]
    for child in doomed:
        time.sleep(draw.uniform(0.5, orders["dying_seconds"]))
        os.kill(child, signal.SIGKILL)
    failed = [child for child in children if os.waitpid(child, 0)[1] and child not in doomed]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
