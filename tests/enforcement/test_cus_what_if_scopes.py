"""A replay knows limits at scopes, and decides by them as the live ladder did."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aos_sdk.cus_limit_scopes import CusCallNames
from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_reading.known_limits import KnownLimit
from enforcement.cus_what_if.at_scopes import LimitsAtScopes
from enforcement.cus_what_if.in_flight import GivenUp
from enforcement.cus_what_if.models import CusSimulation
from enforcement.cus_what_if.report import RESULTS
from enforcement.cus_what_if.report_limits import LimitsOfReport
from enforcement.cus_what_if.service import run_simulation
from enforcement.cus_what_if.windows import CalendarCount
from integrations.cus_lifecycle.limits import Window
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_clock import database_now
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_evidence.partitions import make_partitions
from telemetry.cus_money.amounts import Amounts
from tests.conftest import as_if
from tests.cus_factories import SdkClient, correct, record, unmeasured
from tests.cus_limits import make_limit
from tests.enforcement.cus_limits_machine import STARTS, clock_of_limits, move, now
from tests.enforcement.test_cus_scoped_limits import check
from tests.enforcement.test_cus_what_if import (
    earlier,
    outcome_told,
    outcomes,
    results,
    simulation_of,
)

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

# Scope, value, tag: None is each value.
LIMITS: list[tuple[str, str | None, str, dict[str, Any]]] = [
    ("agent_id", None, "", {"unit": "cents", "window": "day", "amount": 75}),
    ("agent_id", "writer", "", {"unit": "cents", "window": "day", "amount": 60, "basis": "exact"}),
    ("session_id", None, "", {"unit": "cents", "window": "life", "amount": 200}),
    ("end_user", None, "", {"unit": "tokens", "window": "month", "amount": 31_000}),
    ("tag", None, "team", {"unit": "cents", "window": "week", "amount": 260}),
    ("model", "gpt-4o-mini", "", {"unit": "tokens", "window": "minute", "amount": 3_000}),
    ("integration", "", "", {"unit": "calls", "window": "minute", "amount": 6}),
    ("tenant", "", "", {"unit": "cents", "window": "month", "amount": 750}),
]
_DECISIONS = CusEnforcementDecision._meta.db_table
OWN = {"rate_limit_tpm": 6_000, "rate_limit_rpd": 18}


class LiveTraffic:
    """Calls of some agents, sessions, people and teams, one after the other, at the moved clock."""

    def __init__(self, integration: CusIntegration, sdk: SdkClient) -> None:
        self.integration = integration
        self.sdk = sdk
        self.decided: list[tuple[str, Result]] = []
        # Refusals by the scope and window of the limit that decided; without a scope its own limits.
        self.refused_by: Counter[tuple[str | None, str | None]] = Counter()
        self._random = random.Random(3)

    def pass_by(self) -> None:
        """Bursts of eight calls, ten seconds apart, about every nine hours."""
        number = 0
        for burst in range(30):
            move(STARTS[0] + timedelta(hours=9 * burst))
            for _ in range(8):
                number += 1
                self._call(f"call-{number}", f"session-{burst // 3}")
                move(now() + timedelta(seconds=7))

    def _call(self, call_id: str, session: str) -> None:
        pick = self._random.choice
        names: dict[str, Any] = {
            "agent_id": pick(["writer", "reader", "critic"]),
            "session_id": session,
            "end_user": pick(["ann", "bob"]),
            "tags": [f"team={pick(['red', 'blue'])}", "stage=live"],
        }
        model, cents = pick(["gpt-4o", "gpt-4o-mini"]), self._random.randint(2, 30)
        asked = names | {"model": model, "estimated_tokens": cents * 90}
        decision = check(self.integration, call_id, cents, at=now(), **asked).decision
        self.decided.append((call_id, decision.result))
        if not decision.admits:
            first = decision.reasons[0]
            self.refused_by[first.scope or first.limit_type, first.window] += 1
        move(now() + timedelta(seconds=3))
        if not decision.admits and pick([True, False]):
            # Nobody reports this refusal: only the decision knows of it.
            return
        spent = self._random.randint(1, cents + 3) if decision.admits else 0
        told = outcome_told(decision, spent)
        began = (now() - timedelta(seconds=3)).isoformat()
        body = record(call_id=call_id, model=model, timestamp=began, **names, **told)
        assert self.sdk.report(body).status_code == 201


@pytest.fixture
def clock() -> Iterator[None]:
    with clock_of_limits():
        made = make_partitions(STARTS[0], table=_DECISIONS)
        yield
        as_if(*(f"DROP TABLE {month.partition_of(_DECISIONS)}" for month in made))


def test_single_file_traffic_is_decided_again_by_limits_at_scopes_as_the_live_ladder_did(
    clock: None, integration: CusIntegration, sdk: SdkClient
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(**OWN)
    for scope, value, tag, fields in LIMITS:
        make_limit(integration, scope, value, tag=tag, valid_from=STARTS[0], **fields)
    live = LiveTraffic(integration, sdk)
    live.pass_by()
    # The log's own time is that of the machine's clock.
    as_if(f"UPDATE {_DECISIONS} SET created_at = evaluated_at")

    again = outcomes(simulation_of(integration))

    assert [(one.call.call_id, one.decision.result) for one in again] == live.decided
    assert [one for one in again if one.cause] == []
    seen = Counter(result for _, result in live.decided)
    assert min(seen[result] for result in RESULTS) >= 5, seen
    assert {scope for scope, _ in live.refused_by} >= {*(one[0] for one in LIMITS), "rpd"}
    # A part of the days knows of the time before what these days do not show.
    some = outcomes(simulation_of(integration, days=7))
    assert [(one.call.call_id, one.decision.result) for one in some] == live.decided[-len(some) :]
    assert 100 < len(some) < len(again)


# --- What is tried, and what counts -------------------------------------------------------------


def calls_of(sdk: SdkClient, *agents: str, cents: int = 10, **fields: Any) -> None:
    for agent in agents:
        sdk.report(record(cost_cents=cents, agent_id=agent, **fields))


def decided(simulation: CusSimulation) -> list[str]:
    return [result for _, result in results(simulation)]


def test_the_permanent_limits_of_now_hold_over_all_days_unless_others_are_proposed(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    calls_of(sdk, "a", "a", "b", "a")
    assert decided(simulation_of(integration)) == ["allowed"] * 4
    make_limit(integration, "agent_id", None, amount=15)
    make_limit(integration, "agent_id", "b", amount=5)

    blocked, allowed = "blocked", "allowed"
    assert decided(simulation_of(integration)) == [allowed, blocked, blocked, blocked]
    assert decided(simulation_of(integration, scoped_limits=[])) == [allowed] * 4
    tried = [{"scope": "agent_id", "unit": "calls", "window": "minute", "amount": 2}]
    assert decided(simulation_of(integration, scoped_limits=tried)) == [
        allowed, allowed, allowed, "throttled",
    ]  # fmt: skip


def test_temporary_and_disabled_limits_are_not_replayed(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    later = database_now() + timedelta(days=1)
    make_limit(integration, "agent_id", None, amount=5, valid_until=later)
    make_limit(integration, "agent_id", "a", amount=5, enabled=False)
    make_limit(integration, "integration", "", amount=1_000, valid_until=later)
    calls_of(sdk, "a", "a")

    assert decided(simulation_of(integration)) == ["allowed"] * 2
    # So an increase that holds now does not hide the budget that somebody tries.
    assert decided(simulation_of(integration, budget_limit_cents=15)) == ["allowed", "blocked"]


def test_a_call_that_would_run_now_takes_of_its_scope_what_such_calls_cost(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    make_limit(integration, "agent_id", None, amount=20)
    for call, cents in (("ran", 15), ("refused", 16), ("after", 10)):
        if sdk.check(call, estimated_cost_cents=cents, agent_id="a").json()["result"] == "allowed":
            sdk.report(record(call_id=call, cost_cents=5, agent_id="a"))

    # Nobody reported the refused call: the decision alone tells its agent.
    assert decided(simulation_of(integration)) == ["allowed", "blocked", "allowed"]
    tried = {"scope": "agent_id", "unit": "cents", "window": "month"}
    assert decided(simulation_of(integration, scoped_limits=[tried | {"amount": 21}])) == [
        "allowed", "allowed", "allowed",
    ]  # fmt: skip
    # 5 used, 5 for the refused call: no room for 10 more.
    assert decided(simulation_of(integration, scoped_limits=[tried | {"amount": 19}]))[1] == (
        "blocked"
    )


def test_settlements_and_corrections_count_for_a_scope_from_when_they_came(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    of = {"session_id": "s", "cost_cents": None}
    sdk.report(unmeasured(call_id="unknown", session_id="s"))
    sdk.report(record(call_id="beside", **of))
    sdk.report(record(call_id="unknown", operation="responses", **of))
    sdk.report(record(call_id="after", **of))
    correct(CusLLMUsage.objects.get(call_id="after"), by_microcents=5_000_000)
    sdk.report(record(call_id="last", **of))
    sdk.report(record(call_id="other", session_id="t", cost_cents=None))

    def by(amount: int) -> list[tuple[str, str]]:
        tried = {"scope": "session_id", "unit": "cents", "window": "life", "basis": "exact"}
        return results(simulation_of(integration, scoped_limits=[tried | {"amount": amount}]))

    assert by(6) == [
        ("unknown", "blocked"), ("beside", "allowed"), ("after", "allowed"), ("last", "blocked"),
        ("other", "allowed"),
    ]  # fmt: skip
    assert by(8)[-2:] == [("last", "warned"), ("other", "allowed")]


def test_all_that_a_session_used_before_the_first_day_counts(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    sdk.report(record(call_id="before", cost_cents=9, session_id="s", tags=["team=red"]))
    earlier(integration, 50 * 24 * 3600)
    sdk.report(record(call_id="again", cost_cents=1, session_id="s"))
    sdk.report(record(call_id="another", cost_cents=1, session_id="t"))
    tried = {"scope": "session_id", "unit": "cents", "window": "life", "amount": 9}

    for named in ({}, {"value": "s"}):
        simulation = simulation_of(integration, days=1, scoped_limits=[tried | named])
        assert results(simulation) == [("again", "blocked"), ("another", "allowed")]


def test_the_report_tells_what_each_limit_decided_and_by_which_values(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "agent_id", None, amount=15)
    make_limit(integration, "tenant", "", amount=1_000)
    calls_of(sdk, "a", "a", "b", "b", "b")

    done = run_simulation(simulation_of(integration).id)

    assert done
    assert done.result
    (decided,) = done.result["limits"]
    assert decided["limit_id"] == str(limit.id)
    assert (decided["limit"], decided["scope"], decided["value"]) == (None, "agent_id", None)
    assert (decided["blocked"]["calls"], decided["blocked"]["counted_cents"]) == (3, 30)
    assert [(one["value"], one["calls"]) for one in decided["refused_values"]] == [
        ("b", 2), ("a", 1),
    ]  # fmt: skip
    (note,) = done.result["notes"]
    assert note.startswith("A limit of the tenant was replayed over the calls of this integration")


def test_own_limits_of_tokens_a_minute_and_calls_a_day_are_replayed(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    calls_of(sdk, "a", "b", "c")

    assert decided(simulation_of(integration, rate_limit_tpm=3_500)) == [
        "allowed", "allowed", "throttled",
    ]  # fmt: skip
    assert decided(simulation_of(integration, rate_limit_rpd=1)) == [
        "allowed", "throttled", "throttled",
    ]  # fmt: skip


# --- Memory -------------------------------------------------------------------------------------

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def limit_of_each(scope: str, window: str, unit: str = "calls") -> KnownLimit:
    counted = (scope, "", None, unit, window)
    return KnownLimit("0", *counted, 5, "rounded", "blocked", 80, True, 0.0, None)


def held_values(count: Any) -> int:
    """How many values a count remembers, in whatever it keeps them."""
    return max(len(kept) for kept in vars(count).values() if hasattr(kept, "__len__"))


@pytest.mark.parametrize("window", ["minute", "day", "month", "life"])
def test_a_replay_remembers_the_values_of_the_present_window_alone_and_at_most_so_many(
    window: str,
) -> None:
    scopes = LimitsAtScopes([limit_of_each("session_id", window)], NOON, most_values=1_000)
    most = 0
    for number in range(20_000):
        names = CusCallNames(session_id=f"session-{number}")
        at = NOON + timedelta(seconds=number)
        counting = scopes.counting(names)
        scopes.admit(counting, at, Amounts(1, 1, 1))
        scopes.land(counting, at, at, Amounts(1, 1, 1), Amounts(1, 1, 1))
        most = max(most, held_values(scopes._counts["0"]))

    assert most <= 1_001
    assert (scopes.forgotten > 0) == (window != "minute")


def test_a_flood_of_values_within_a_minute_is_remembered_in_part() -> None:
    scopes = LimitsAtScopes([limit_of_each("session_id", "minute")], NOON, most_values=1_000)
    hold = Amounts(5, 5, 5)
    for number in range(3_000):
        counting = scopes.counting(CusCallNames(session_id=f"session-{number}"))
        scopes.admit(counting, NOON, hold)
        scopes.land(counting, NOON, NOON, hold, Amounts(1, 1, 1))
    early, late = (CusCallNames(session_id=f"session-{number}") for number in (0, 2_999))
    # The record of a call comes whose value is forgotten.
    scopes.land(scopes.counting(early), NOON, NOON, hold, Amounts(1, 1, 1))

    assert held_values(scopes._counts["0"]) <= 1_000
    assert scopes.forgotten == 2_000
    taken = [scopes.facts(scopes.counting(one), one, NOON)[0] for one in (early, late)]
    assert [(fact.used, fact.held) for fact in taken] == [(0, 0), (1, 0)]


def test_calls_that_took_nothing_of_a_minute_are_forgotten_like_others() -> None:
    scopes = LimitsAtScopes([limit_of_each("agent_id", "minute", "cents")], NOON)
    names = CusCallNames(agent_id="free of charge")
    counting = scopes.counting(names)
    for seconds, spent in ((0, 3), (1, 0), (2, 0)):
        at = NOON + timedelta(seconds=seconds)
        scopes.admit(counting, at, None)
        scopes.land(counting, at, at, None, Amounts(spent, spent, spent))
    later = NOON + timedelta(minutes=2)

    assert scopes.facts(counting, names, later)[0].used == 0
    assert held_values(scopes._counts["0"]) == 0


def test_the_value_that_is_forgotten_is_the_one_that_rested_longest() -> None:
    count = CalendarCount(Window.LIFE, NOON, most_values=4)
    for value in ("busy", "a", "b", "c", "busy", "d"):
        count.add(value, 1)

    assert count.taken("busy", NOON) == (2, 0)
    assert count.taken("a", NOON) == (0, 0)
    assert count.forgotten == 2
    (note,) = LimitsOfReport(()).notes(GivenUp(values=count.forgotten))
    assert "2 times a value was forgotten" in note
