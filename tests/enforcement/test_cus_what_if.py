"""A replay decides as the live ladder did, and by other limits as these would have."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.service import CusEnforcementService
from enforcement.cus_what_if.evidence import Evidence, reading
from enforcement.cus_what_if.models import CusSimulation
from enforcement.cus_what_if.replay import Cause, Outcome
from enforcement.cus_what_if.service import CusWhatIfService, outcomes_of, run_simulation
from integrations.cus_lifecycle.limits import month_of
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_clock import database_now
from telemetry.cus_evidence.models import CusLLMUsage
from tests.conftest import as_if
from tests.cus_factories import SdkClient, correct, record, unmeasured

pytestmark = pytest.mark.django_db(transaction=True)

LIMITS = {"budget_limit_cents": 1_200, "token_limit_month": 150_000, "rate_limit_rpm": 4}


class LiveMonth:
    """A program's traffic of 30 days, one call after the other, as checks and ingest had it."""

    def __init__(self, integration: CusIntegration, sdk: SdkClient) -> None:
        self.integration = integration
        self.sdk = sdk
        self.decided: list[tuple[str, Result]] = []
        self._now = database_now()
        self._month, _ = month_of(self._now)
        self._random = random.Random(7)

    def moments(self) -> Iterator[datetime]:
        """Bursts of eight calls, ten seconds apart, about twice a day."""
        begin = self._now - timedelta(days=29, hours=12)
        for burst in range(36):
            at = begin + timedelta(hours=19.5 * burst)
            for number in range(8):
                yield at + timedelta(seconds=10 * number)

    def pass_by(self) -> None:
        """Make the calls: check, run if admitted, report."""
        for number, at in enumerate(self.moments()):
            self._call(f"call-{number}", at)

    def _call(self, call_id: str, at: datetime) -> None:
        cents = self._random.randint(2, 40)
        asked = CheckRequest(
            call_id, "gpt-4o", estimated_tokens=cents * 90, estimated_cost_cents=cents
        )
        caller = Caller(self.integration.tenant_id, self.integration.id, time.monotonic())
        decision = CusEnforcementService(caller, at=at).check(asked).decision
        self.decided.append((call_id, decision.result))
        spent = self._random.randint(1, cents + 3) if decision.admits else 0
        words = {Result.ALLOWED: "allowed", Result.WARNED: "warned"}
        told = {
            "policy_result": words.get(decision.result, "blocked"),
            "tokens_in": spent * 60,
            "tokens_out": spent * 20,
            "cost_cents": spent,
        }
        self._land(record(call_id=call_id, timestamp=at.isoformat(), **told), at)

    def _land(self, told: dict[str, Any], at: datetime) -> None:
        """Report a call as if its record had come three seconds after it began."""
        came = at + timedelta(seconds=3)
        is_past = came < self._month
        if is_past:
            self._move_totals(month_of(came)[0], self._month)
        assert self.sdk.report(told).status_code == 201
        as_if(
            f"UPDATE cus_llm_usage SET created_at = '{came.isoformat()}'"
            f" WHERE call_id = '{told['call_id']}'"
        )
        if is_past:
            self._move_totals(self._month, month_of(came)[0])

    def _move_totals(self, month: datetime, to: datetime) -> None:
        as_if(
            f"UPDATE cus_period_totals SET period = '{to:%Y-%m-%d}'"
            f" WHERE period = '{month:%Y-%m-%d}'"
        )


def simulation_of(
    integration: CusIntegration, days: int = 30, **proposed: Any
) -> CusSimulation:
    integration.refresh_from_db()
    service = CusWhatIfService(integration.tenant)
    return service.ask(integration, days=days, proposed=proposed)


def outcomes(simulation: CusSimulation) -> list[Outcome]:
    with reading() as connection:
        evidence = Evidence(
            connection,
            tenant_id=simulation.tenant_id,
            integration_id=simulation.integration_id,
            since=simulation.since,
            until=simulation.until,
        )
        return list(outcomes_of(simulation, evidence))


def test_a_month_of_single_file_traffic_is_decided_again_as_the_live_ladder_did(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(**LIMITS)
    live = LiveMonth(integration, sdk)
    live.pass_by()

    again = outcomes(simulation_of(integration))

    assert [(one.call.call_id, one.decision.result) for one in again] == live.decided
    assert [one for one in again if one.cause] == []
    seen = Counter(result for _, result in live.decided)
    assert min(seen[result] for result in ("allowed", "warned", "throttled", "blocked")) >= 5, seen
