"""Checks, leases, returns, landings and deaths at once never pass a limit (ruling F5c).

The tests know what programs do, and count it themselves: what was admitted, by whomever, never costs
more than the limit. Beside them an auditor sees each moment as the database has it.
"""

import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from django.db import connections

from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.lending_requests import CallEstimate, LeaseRequest, OverLease, SetAside
from enforcement.cus_checks.lending_service import CusLendingService
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.service import CusEnforcementService
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.models import CusEnforcementHold, CusEnforcementLease
from telemetry.cus_holds.sweeping import sweep
from telemetry.cus_money.amounts import LeaseAmounts
from tests.conftest import _superuser, as_if
from tests.cus_factories import SdkClient, record
from tests.trust.cus_audit import holds_findings
from tests.trust.cus_real_product import Row

pytestmark = pytest.mark.django_db(transaction=True)

SOON = 60.0
LIMIT_CENTS = 600
LIMIT_TOKENS = 50_000
DEAREST = 6
TOKENS_A_CENT = 80
# What the limits are about, as one statement sees it.
TAKEN = """
SELECT coalesce(sum(cents), 0), coalesce(sum(tokens), 0) FROM (
    SELECT counted_cents AS cents, tokens_in + tokens_out AS tokens FROM cus_period_totals
    UNION ALL SELECT cents, tokens FROM cus_enforcement_holds
    UNION ALL SELECT cents, tokens FROM cus_enforcement_leases
) AS taken
"""


@dataclass
class Ledger:
    """What programs know together: what all admitted calls cost, each exactly its estimate."""

    cents: int = 0
    leased_calls: int = 0
    checked_calls: int = 0
    refused: int = 0
    dead: int = 0
    findings: list[str] = field(default_factory=list)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def note(self, **more: int) -> None:
        with self._counting:
            for name, number in more.items():
                setattr(self, name, getattr(self, name) + number)
            if self.cents > LIMIT_CENTS:
                self.findings.append(f"{self.cents} cents were admitted")


@dataclass
class _Lease:
    id: uuid.UUID
    left: LeaseAmounts
    aside: LeaseAmounts = field(default_factory=LeaseAmounts)

    def take(self, cents: int) -> bool:
        call = LeaseAmounts(cents, cents * 10**6, cents * TOKENS_A_CENT, 1)
        if any(left < needed for left, needed in zip(self.left, call, strict=True)):
            return False
        self.left = LeaseAmounts._make(a - b for a, b in zip(self.left, call, strict=True))
        self.aside = LeaseAmounts._make(a + b for a, b in zip(self.aside, call, strict=True))
        return True


class Program:
    """A holder: takes leases and checks, lets calls land late or never, and dies at random."""

    def __init__(self, integration: CusIntegration, ledger: Ledger, number: int) -> None:
        self.integration, self.ledger = integration, ledger
        self.sdk = SdkClient.of(integration)
        self.random = random.Random(number)
        self.number = number
        self._begin()

    def _begin(self) -> None:
        self.holder_id = f"{self.number}-{uuid.uuid4()}"
        self.lease: _Lease | None = None
        self.over: list[_Lease] = []
        self.spent: SetAside | None = None
        self.waiting: list[dict[str, Any]] = []

    def live(self, steps: int) -> None:
        try:
            for _ in range(steps):
                self._step()
            self._end()
        finally:
            connections.close_all()

    def _step(self) -> None:
        match self.random.randrange(12):
            case 0 | 1:
                self._renew()
            case 2 | 3:
                self._land(self.random.randrange(1, 4))
            case 4:
                sweep()
            case 6:
                self._ask_for_all()
            case 5 if self.random.random() < 0.2:
                self.ledger.note(dead=1)
                self._begin()
            case _:
                self._call(self.random.randrange(1, DEAREST + 1))

    def _call(self, cents: int) -> None:
        reserved = {"cents": cents, "microcents": cents * 10**6, "tokens": cents * TOKENS_A_CENT}
        call = record(
            call_id=str(uuid.uuid4()),
            cost_cents=cents,
            tokens_in=cents * TOKENS_A_CENT,
            tokens_out=0,
        )
        if self.lease and self.lease.take(cents):
            self.ledger.note(cents=cents, leased_calls=1)
            call |= {"lease_id": str(self.lease.id), "reserved": reserved}
        elif self._checked(call["call_id"], cents):
            self.ledger.note(cents=cents, checked_calls=1)
        else:
            self.ledger.note(refused=1)
            return
        self.waiting.append(call)

    def _ask_for_all(self) -> None:
        """A check of all that is free, which whoever takes any of it meanwhile would pass beyond.

        Its call costs a cent.
        """
        with connections["default"].cursor() as cursor:
            cursor.execute(TAKEN)
            free = LIMIT_CENTS - int(cursor.fetchone()[0])
        call_id = str(uuid.uuid4())
        if free > 1 and self._checked(call_id, free):
            self.ledger.note(cents=free, checked_calls=1)
            self.ledger.note(cents=1 - free)
            self.sdk.report(record(call_id=call_id, cost_cents=1, tokens_in=80, tokens_out=0))

    def _checked(self, call_id: str, cents: int) -> bool:
        asked = CheckRequest(
            call_id=call_id,
            estimated_cost_cents=cents,
            estimated_cost_microcents=cents * 10**6,
            estimated_tokens=cents * TOKENS_A_CENT,
        )
        decision = CusEnforcementService(self._caller()).check(asked).decision
        if decision.degraded:
            self.ledger.findings.append("a check was answered without evidence")
        return decision.admits

    def _renew(self) -> None:
        if self.lease:
            self.over.append(self.lease)
        asked = LeaseRequest(
            holder_id=self.holder_id,
            estimate=CallEstimate(DEAREST, DEAREST * 10**6, DEAREST * TOKENS_A_CENT),
            returns=[OverLease(one.id, SetAside(*one.aside)) for one in self.over],
            running=[call["call_id"] for call in self.waiting],
            keep=[one.id for one in self.over],
            is_durable=self.number % 2 == 0,
            spent=self.spent,
        )
        found = CusLendingService(self._caller()).lease(asked)
        self.over = [one for one in self.over if one.id not in found.returned]
        if self.lease:
            self.spent = SetAside(*self.lease.aside)
        self.lease = _Lease(found.lease.id, found.lease.lent) if found.lease else None

    def _land(self, count: int) -> None:
        landing, self.waiting = self.waiting[:count], self.waiting[count:]
        if landing:
            self.sdk.report_batch(*landing)

    def _end(self) -> None:
        if self.lease:
            self.over.append(self.lease)
        while self.over:
            one = self.over[-1]
            if CusLendingService(self._caller()).end(one.id, one.aside):
                self.over.pop()
        self._land(len(self.waiting))

    def _caller(self) -> Caller:
        return Caller(self.integration.tenant_id, self.integration.id, time.monotonic() + SOON)


def audit(connection: "psycopg.Connection[Row]") -> list[str]:
    """What is wrong at this moment."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = connection.execute(TAKEN).fetchone()
        assert row
        cents, tokens = row
        found = holds_findings(connection)
    if cents > LIMIT_CENTS or tokens > LIMIT_TOKENS:
        found.append(f"{cents} cents and {tokens} tokens are used, held and leased")
    return found


def test_whatever_programs_do_at_once_no_limit_is_passed_and_all_of_it_can_be_used(
    integration: CusIntegration,
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(
        budget_limit_cents=LIMIT_CENTS, token_limit_month=LIMIT_TOKENS
    )
    ledger = Ledger()
    programs = [Program(integration, ledger, number) for number in range(6)]
    with (
        _superuser(str(connections["default"].settings_dict["NAME"])) as auditor,
        ThreadPoolExecutor(len(programs)) as threads,
    ):
        living = [threads.submit(one.live, 120) for one in programs]
        while not all(one.done() for one in living):
            ledger.findings += audit(auditor)
        for one in living:
            one.result()
        ledger.findings += audit(auditor)

        assert ledger.findings == []
        assert ledger.leased_calls > 20
        assert ledger.checked_calls > 20
        assert ledger.dead > 0

        # The room of the dead returns when their calls can run no more; then all of it is used.
        for table in ("leases", "holds"):
            as_if(f"UPDATE cus_enforcement_{table} SET expires_at = now()")
        sweep()
        assert not CusEnforcementLease.objects.exists()
        assert not CusEnforcementHold.objects.exists()
        last = Program(integration, ledger, 100)
        used = auditor.execute(TAKEN).fetchone()
        assert used
        free = LIMIT_CENTS - int(str(used[0]))
        assert last._checked("the rest", free) == (free > 0)
        assert not last._checked("one more", 1)
        assert audit(auditor) == []
