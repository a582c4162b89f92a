"""A replay decides as the live ladder did, and by other limits as these would have."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError

from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.service import CusEnforcementService
from enforcement.cus_rules.precedence import Decision
from enforcement.cus_what_if.evidence import reading
from enforcement.cus_what_if.models import CusSimulation
from enforcement.cus_what_if.replay import Cause, Outcome
from enforcement.cus_what_if.report import RESULTS
from enforcement.cus_what_if.service import (
    CusWhatIfService,
    evidence_of,
    outcomes_of,
    run_simulation,
)
from integrations.cus_lifecycle.limits import month_of
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_clock import database_now
from telemetry.cus_evidence.models import CusLLMUsage
from tests.conftest import as_if
from tests.cus_factories import SdkClient, correct, record, unmeasured

pytestmark = pytest.mark.django_db(transaction=True)

LIMITS = {"budget_limit_cents": 1_200, "token_limit_month": 150_000, "rate_limit_rpm": 4}


def outcome_told(decision: Decision, cents: int) -> dict[str, Any]:
    """What the record of a call says of its check, and of what it spent."""
    words = {Result.ALLOWED: "allowed", Result.WARNED: "warned"}
    return {
        "policy_result": words.get(decision.result, "blocked"),
        "tokens_in": cents * 60,
        "tokens_out": cents * 20,
        "cost_cents": cents,
    }


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
        told = outcome_told(decision, spent)
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
    integration: CusIntegration,
    days: int = 30,
    scoped_limits: list[dict[str, Any]] | None = None,
    **proposed: Any,
) -> CusSimulation:
    integration.refresh_from_db()
    # Only one may wait at a time.
    CusSimulation.objects.all().delete()
    service = CusWhatIfService(integration.tenant)
    return service.ask(integration, days=days, proposed=proposed, scoped_limits=scoped_limits)


def outcomes(simulation: CusSimulation) -> list[Outcome]:
    with reading() as connection:
        return list(outcomes_of(simulation, evidence_of(simulation, connection)))


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
    assert min(seen[result] for result in RESULTS) >= 5, seen


# --- What counts, and when ----------------------------------------------------------------------


def earlier(integration: CusIntegration, seconds: float) -> None:
    """Move all that happened so far back in time, so that a simulation has it behind it."""
    shift = f"- interval '{seconds} seconds'"
    of = f"WHERE integration_id = '{integration.id}'"
    as_if(
        f"UPDATE cus_llm_usage SET created_at = created_at {shift}, admitted_at = admitted_at"
        f" {shift}, occurred_at = occurred_at {shift} {of}",
        f"UPDATE cus_enforcement_decisions SET evaluated_at = evaluated_at {shift} {of}",
    )


def results(simulation: CusSimulation) -> list[tuple[str, str]]:
    return [(one.call.call_id, one.decision.result.value) for one in outcomes(simulation)]


def test_proposed_limits_decide_of_calls_that_no_limit_bound_then(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    for name in "abcd":
        sdk.report(record(call_id=name, cost_cents=10))

    assert results(simulation_of(integration, budget_limit_cents=25)) == [
        ("a", "allowed"), ("b", "allowed"), ("c", "blocked"), ("d", "blocked"),
    ]  # fmt: skip
    warns = simulation_of(integration, budget_limit_cents=25, enforcement_level="warn")
    assert [result for _, result in results(warns)] == ["allowed", "allowed", "warned", "warned"]
    assert {result for _, result in results(simulation_of(integration))} == {"allowed"}


def test_calls_that_ran_at_once_are_held_for_beside_each_other(
    limited: CusIntegration, sdk: SdkClient
) -> None:
    for name in "abc":
        sdk.check(name, estimated_cost_cents=10)
    for name in "abc":
        sdk.report(record(call_id=name, cost_cents=1))

    again = outcomes(simulation_of(limited, budget_limit_cents=25))

    assert [one.decision.result.value for one in again] == ["allowed", "allowed", "blocked"]
    assert [one.cause for one in again] == [None, None, Cause.IN_FLIGHT]


def test_a_degraded_or_unchecked_call_names_that_as_the_cause(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    sdk.report(record(call_id="away", cost_cents=10, degraded=True))
    sdk.report(record(call_id="unasked", cost_cents=10))

    again = outcomes(simulation_of(integration, budget_limit_cents=5))

    assert [(one.call.call_id, one.cause) for one in again] == [
        ("away", Cause.DEGRADED), ("unasked", Cause.UNCHECKED),
    ]  # fmt: skip


def test_a_call_that_was_refused_runs_within_a_higher_limit_and_costs_what_such_calls_cost(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=20)
    sdk.check("ran", estimated_cost_cents=15)
    sdk.report(record(call_id="ran", cost_cents=5))
    assert sdk.check("refused", estimated_cost_cents=16).json()["result"] == "blocked"
    sdk.check("after", estimated_cost_cents=10)
    sdk.report(record(call_id="after", cost_cents=5))

    assert results(simulation_of(integration)) == [
        ("ran", "allowed"), ("refused", "blocked"), ("after", "allowed"),
    ]  # fmt: skip
    # 5 used, 5 for the refused call as for the one before it: room for 10 of 21, but not of 19.
    higher = simulation_of(integration, budget_limit_cents=21)
    assert results(higher) == [("ran", "allowed"), ("refused", "allowed"), ("after", "allowed")]
    done = run_simulation(higher.id)
    assert done
    assert done.result
    assert done.result["would_run_now"]["calls"] == 1
    assert done.result["would_run_now"]["counted_cents"] == 16


def test_a_call_that_is_let_in_at_its_first_attempt_is_not_decided_again(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(rate_limit_rpm=1)
    sdk.check("first")
    sdk.report(record(call_id="first"))
    assert sdk.check("second").json()["result"] == "throttled"
    earlier(integration, 61)
    assert sdk.check("second").json()["result"] == "allowed"
    sdk.report(record(call_id="second"))

    assert results(simulation_of(integration)) == [
        ("first", "allowed"), ("second", "throttled"), ("second", "allowed"),
    ]  # fmt: skip
    assert results(simulation_of(integration, rate_limit_rpm=5)) == [
        ("first", "allowed"), ("second", "allowed"),
    ]  # fmt: skip


def test_settlements_and_corrections_count_from_when_they_came(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    sdk.report(unmeasured(call_id="unknown"))
    sdk.report(record(call_id="beside", cost_cents=None))
    sdk.report(record(call_id="unknown", operation="responses", cost_cents=None))
    sdk.report(record(call_id="after", cost_cents=None))
    correct(CusLLMUsage.objects.get(call_id="after"), by_microcents=5_000_000)
    sdk.report(record(call_id="last", cost_cents=None))

    # The unmeasured call counts as the most that it may use, so it is refused, and its settlement
    # counts nothing. The correction of 5 cents leaves the last call no room.
    exact: dict[str, Any] = {"budget_basis": "exact"}
    assert results(simulation_of(integration, budget_limit_cents=6, **exact)) == [
        ("unknown", "blocked"), ("beside", "allowed"), ("after", "allowed"), ("last", "blocked"),
    ]  # fmt: skip
    assert results(simulation_of(integration, budget_limit_cents=8, **exact))[-1] == (
        "last",
        "warned",
    )


def test_the_months_earlier_usage_counts_although_its_calls_are_not_judged(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    sdk.report(record(call_id="before", cost_cents=9))
    days = 2 * 24 * 3600
    month, _ = month_of(database_now())
    if (database_now() - month).total_seconds() < days:
        pytest.skip("the month has just begun")
    earlier(integration, days)
    sdk.report(record(call_id="now", cost_cents=1))

    assert results(simulation_of(integration, days=1, budget_limit_cents=9)) == [("now", "blocked")]


def test_an_unpriced_model_is_refused_by_a_proposed_budget(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    sdk.report(record(call_id="a", model="nobody-knows", cost_cents=None))

    again = outcomes(simulation_of(integration, budget_limit_cents=100))

    assert [one.decision.reasons[0].code for one in again] == ["model_unpriced"]


def test_evidence_is_read_by_a_role_that_cannot_read_analytics() -> None:
    with reading() as connection:
        assert connection.execute("SELECT count(*) FROM cus_llm_usage").fetchone() == (0,)
    with pytest.raises(OperationalError), reading() as connection:
        connection.execute("SELECT count(*) FROM cus_usage_daily")
