"""Integrations that race for the limits of their tenant pass none, and use all of their room."""

import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import pytest
from django.db import connections

from enforcement.cus_checks.lending_requests import CallEstimate, LeaseRequest, LeaseScopes
from enforcement.cus_checks.lending_service import CusLendingService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from telemetry.cus_holds.models import CusEnforcementHold
from telemetry.cus_money.amounts import LeaseAmounts
from tests.conftest import _superuser
from tests.cus_factories import SdkClient, make_integration, record
from tests.cus_limits import change_limit, make_limit
from tests.enforcement.test_cus_leases import caller_of
from tests.enforcement.test_cus_scoped_limits import check
from tests.trust.cus_real_product import Row

pytestmark = pytest.mark.django_db(transaction=True)

# Of each limit of a tenant, in the amount that it binds: what it allots or integrations took beyond
# that, what they took, and its amount. Windows are those that no test outlives.
STANDING: Final = """
WITH parts AS (
    SELECT scoped.id, scoped.amount * CASE scoped.basis WHEN 'exact' THEN 1000000 ELSE 1 END AS most,
        part.integration_id, part.taken, part.allotted
    FROM cus_scoped_limits AS scoped LEFT JOIN LATERAL (
        SELECT integration_id, CASE WHEN scoped.unit = 'calls' THEN calls
            WHEN scoped.basis = 'exact' THEN microcents ELSE cents END AS taken, 0 AS allotted
        FROM cus_limit_totals WHERE limit_id = scoped.id
            AND ("window" <> 'minute' OR start > now() - interval '60 seconds')
        UNION ALL
        SELECT integration_id, CASE WHEN scoped.unit = 'calls' THEN held_calls + leased_calls
            WHEN scoped.basis = 'exact' THEN held_microcents + leased_microcents
            ELSE held_cents + leased_cents END, 0
        FROM cus_limit_holds WHERE limit_id = scoped.id
            AND ("window" <> 'minute' OR start > now() - interval '60 seconds')
        UNION ALL
        SELECT integration_id, 0, amount FROM cus_limit_allotments WHERE limit_id = scoped.id
    ) AS part ON true WHERE scoped.scope = 'tenant'
), each AS (
    SELECT id, most, integration_id, coalesce(sum(taken), 0) AS taken,
        coalesce(sum(allotted), 0) AS allotted
    FROM parts GROUP BY id, most, integration_id
)
SELECT id, sum(greatest(taken, allotted)), sum(taken), most FROM each GROUP BY id, most
"""


def standing(auditor: "psycopg.Connection[Row]") -> list[tuple[int, int, int]]:
    """Of each limit at this moment: allotted or taken, taken, and the amount."""
    rows = auditor.execute(STANDING).fetchall()
    return [(int(str(a)), int(str(b)), int(str(c))) for _, a, b, c in rows]


@contextmanager
def audited() -> Iterator["psycopg.Connection[Row]"]:
    with _superuser(str(connections["default"].settings_dict["NAME"])) as auditor:
        yield auditor


@pytest.fixture
def integrations(integration: CusIntegration, settings: Any) -> list[CusIntegration]:
    """Four integrations of a tenant, whose checks this process does not turn away."""
    settings.CUS_CHECKS_PER_SECOND = settings.CUS_CHECK_REQUESTS_AT_ONCE = 0
    return [integration, *(make_integration(integration.tenant) for _ in range(3))]


class Racer:
    """A thread's calls of one integration: by checks, and by leases that it returns."""

    def __init__(self, integration: CusIntegration, seed: str) -> None:
        self.integration = integration
        self.random = random.Random(seed)
        self.sdk = SdkClient.of(integration)
        self.told: Counter[str] = Counter()

    def run(self, calls: int) -> None:
        try:
            for _ in range(calls):
                self.call(self.random.randint(1, 5))
                if self.random.random() < 0.1:
                    self.lend()
        finally:
            connections.close_all()

    def call(self, cents: int) -> None:
        call_id = str(uuid.uuid4())
        verdict = check(self.integration, call_id, cents, estimated_cost_microcents=cents * 10**6)
        assert not verdict.decision.degraded
        self.told[str(verdict.decision.reasons[0].code)] += 1
        if verdict.decision.admits:
            self.told["admitted"] += 1
            if self.random.random() < 0.5:
                cost = self.random.randint(0, cents)
                self.sdk.report(record(call_id=call_id, cost_cents=cost))

    def lend(self) -> None:
        asked = LeaseRequest(
            holder_id=str(uuid.uuid4()),
            estimate=CallEstimate(2, 2 * 10**6, 10),
            is_durable=True,
            scopes=LeaseScopes(),
        )
        service = CusLendingService(caller_of(self.integration))
        if lease := service.lease(asked).lease:
            self.told["leased"] += 1
            service.end(lease.id, LeaseAmounts())


def race(
    integrations: Sequence[CusIntegration], auditor: "psycopg.Connection[Row]", calls: int
) -> Counter[str]:
    """What two threads of each integration were told; meanwhile no limit is passed."""
    racers = [Racer(one, f"{place}") for place, one in enumerate([*integrations, *integrations])]
    with ThreadPoolExecutor(len(racers)) as threads:
        running = [threads.submit(racer.run, calls) for racer in racers]
        while not all(one.done() for one in running):
            for allotted, _, most in standing(auditor):
                assert allotted <= most
        for one in running:
            one.result()
    return sum((racer.told for racer in racers), Counter[str]())


def use_the_rest(integrations: Sequence[CusIntegration], limit: CusScopedLimit) -> None:
    """Calls of a cent run in each integration in turn until it is refused."""
    for integration in integrations:
        for _ in range(limit.amount + 1):
            call_id = str(uuid.uuid4())
            if not check(integration, call_id, 1, estimated_cost_microcents=10**6).decision.admits:
                break


def deadlocks(auditor: "psycopg.Connection[Row]") -> Any:
    return auditor.execute(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    ).fetchall()


def test_integrations_that_race_pass_no_limit_of_their_tenant_and_use_all_of_it(
    integrations: list[CusIntegration],
) -> None:
    limit = make_limit(integrations[0], "tenant", "", window="day", amount=600)
    with audited() as auditor:
        told = race(integrations, auditor, calls=60)
        assert told["admitted"] > 100
        assert told["leased"] > 0
        assert told["contention"] == 0
        use_the_rest(integrations[1:], limit)
        ((allotted, taken, most),) = standing(auditor)
        assert (allotted, taken) == (most, most)


def test_calls_a_minute_of_all_integrations_are_never_too_many(
    integrations: list[CusIntegration],
) -> None:
    make_limit(
        integrations[0],
        "tenant",
        "",
        unit="calls",
        window="minute",
        amount=150,
        result="throttled",
    )
    with audited() as auditor:
        told = race(integrations, auditor, calls=50)
    assert told["rate_limit_exceeded"] > 0
    assert told["admitted"] >= 100


def test_refills_of_several_limits_at_once_do_not_block_each_other(
    integrations: list[CusIntegration],
) -> None:
    first = integrations[0]
    make_limit(first, "tenant", "", window="month", amount=400)
    make_limit(first, "tenant", "", window="life", basis="exact", amount=380)
    make_limit(first, "tenant", "", unit="calls", window="minute", amount=130)
    with audited() as auditor:
        before = deadlocks(auditor)
        told = race(integrations, auditor, calls=50)
        assert told["admitted"] > 50
        assert told["contention"] == 0
        assert deadlocks(auditor) == before


def test_a_limit_that_changes_under_load_binds_from_its_change_on(
    integrations: list[CusIntegration],
) -> None:
    limit = make_limit(integrations[0], "tenant", "", window="day", amount=1_000)
    with audited() as auditor, ThreadPoolExecutor(len(integrations)) as threads:
        racers = [Racer(one, f"changed {one.name}") for one in integrations]
        running = [threads.submit(racer.run, 80) for racer in racers]
        for amount in (150, 200, 250, 120, 400):
            change_limit(limit, amount=amount, enabled=True)
            _, since, _ = standing(auditor)[0]
            for _ in range(10):
                allotted, taken, most = standing(auditor)[0]
                assert most == amount
                assert allotted <= max(most, taken)
                assert taken <= max(most, since)
                time.sleep(0.02)
            if amount == 250:
                change_limit(limit, enabled=False)
                time.sleep(0.1)
        for one in running:
            one.result()
        change_limit(limit, amount=1_500)
        use_the_rest(integrations, limit)
        assert standing(auditor)[0][:2] == (1_500, 1_500)


def test_in_a_random_history_a_call_is_admitted_exactly_if_the_limit_has_room(
    integrations: list[CusIntegration],
) -> None:
    draw = random.Random("history")
    limit = make_limit(integrations[0], "tenant", "", window="month", amount=200)
    racers = [Racer(one, f"history {place}") for place, one in enumerate(integrations)]
    most = limit.amount
    with audited() as auditor:
        for step in range(250):
            racer, cents = draw.choice(racers), draw.randint(1, 12)
            _, before, _ = standing(auditor)[0]
            match draw.choice(("check", "check", "check", "land", "land", "lend", "change")):
                case "check":
                    admits = check(racer.integration, f"call-{step}", cents).decision.admits
                    assert admits == (before + cents <= most)
                case "land":
                    land_one(racer, draw)
                case "lend":
                    racer.lend()
                case "change":
                    most = draw.randint(max(before - 30, 50), before + 80)
                    change_limit(limit, amount=most)
            allotted, taken, _ = standing(auditor)[0]
            assert allotted <= max(most, taken)


def land_one(racer: Racer, draw: random.Random) -> None:
    """A call that runs ends, and costs at most what was held for it."""
    running = CusEnforcementHold.objects.filter(integration_id=racer.integration.id)
    if hold := running.order_by("call_id").first():
        cost = draw.randint(0, hold.cents)
        racer.sdk.report(record(call_id=hold.call_id, cost_cents=cost))
