"""Budgets in code: what a session may use in all, whichever processes name it."""

from typing import Any

import pytest
from django.utils import timezone
from psycopg.errors import InsufficientPrivilege, RestrictViolation

from enforcement.cus_checks.requests import RunBudget
from enforcement.cus_checks.rounds import Verdict
from enforcement.cus_decisions.explain import explain
from enforcement.cus_decisions.models import CusEnforcementDecision
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.limit_models import CusRunLimit
from telemetry.cus_run_budgets.service import CusRunBudgetService
from tests.cus_factories import SdkClient, record
from tests.cus_limits import make_limit
from tests.enforcement.test_cus_boundaries import as_decider
from tests.enforcement.test_cus_scoped_leases import lend
from tests.enforcement.test_cus_scoped_limits import check, said

pytestmark = pytest.mark.django_db(transaction=True)


def run(integration: CusIntegration, call_id: str, cost: int = 40, **budget: int) -> Verdict:
    names: dict[str, Any] = {"run": RunBudget(**budget)} if budget else {}
    return check(integration, call_id, cost, session_id="s", **names)


def test_a_budget_in_code_binds_its_session_in_all_processes(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    assert said(run(integration, "one", cents=100))[0] == "allowed"
    assert said(run(integration, "two"))[0] == "allowed"
    refused = run(integration, "three")
    assert said(refused) == ("blocked", "estimate_exceeds_room", "session_id", "s")
    assert refused.decision.reasons[0].window == "life"
    assert said(check(integration, "four", 40, session_id="other"))[0] == "allowed"
    sdk.report(record(call_id="one", cost_cents=10, session_id="s"))
    assert said(run(integration, "five"))[0] == "allowed"


def test_the_least_budget_in_code_counts(integration: CusIntegration) -> None:
    run(integration, "one", 10, cents=100)
    assert said(run(integration, "two", 50, cents=500))[0] == "allowed"
    assert said(run(integration, "three", 30, cents=80))[0] == "blocked"
    assert said(run(integration, "four", 30, cents=200))[0] == "blocked"


def test_a_budget_in_code_knows_what_the_session_used_before(
    limited: CusIntegration, sdk: SdkClient
) -> None:
    sdk.report(record(cost_cents=50, session_id="s"))
    check(limited, "running", 30, session_id="s")
    assert said(run(limited, "two", 30, cents=100))[0] == "blocked"


def test_a_loop_stops_at_its_dollar(integration: CusIntegration, sdk: SdkClient) -> None:
    ran = 0
    for turn in range(100):
        if run(integration, f"turn-{turn}", 18, cents=100).decision.admits:
            sdk.report(record(call_id=f"turn-{turn}", cost_cents=18, session_id="s"))
            ran += 1
    assert ran == 5


def test_a_run_may_have_budgets_of_each_kind(integration: CusIntegration) -> None:
    assert said(run(integration, "one", 1, calls=1, tokens=1_000))[0] == "allowed"
    found = run(integration, "two", 1)
    assert said(found)[:2] == ("blocked", "session_limit_exceeded")
    assert found.decision.reasons[0].limit_value == 1


def _raise(integration: CusIntegration, cents: int | None) -> None:
    service = CusRunBudgetService(integration)
    service.raise_to("s", cents=cents, reason="To go on.", now=timezone.now())


def test_what_a_person_raised_a_budget_to_holds_whatever_code_says(
    integration: CusIntegration,
) -> None:
    assert run(integration, "one", 90, cents=100).run_raised == {}
    refused = run(integration, "two", 90, cents=100)
    assert said(refused)[0] == "blocked"
    _raise(integration, 200)
    admitted = run(integration, "two", 90, cents=100)
    assert (said(admitted)[0], admitted.run_raised) == ("allowed", {"cents": 200})
    # A smaller amount in code doesn't undo it, and its own limit is kept.
    over = run(integration, "three", 30, cents=50)
    assert said(over)[:2] == ("blocked", "estimate_exceeds_room")
    assert over.decision.reasons[0].limit_value == 200
    assert "$2.00" in over.decision.reasons[0].message
    assert CusRunLimit.objects.get().cents == 50
    assert run(integration, "four", 10).run_raised == {"cents": 200}
    assert check(integration, "other", 10, session_id="t").run_raised is None


def test_an_increase_that_is_taken_back_leaves_what_code_gives(
    integration: CusIntegration,
) -> None:
    run(integration, "one", 90, cents=100)
    _raise(integration, 200)
    _raise(integration, None)
    found = run(integration, "two", 90)
    assert (said(found)[0], found.run_raised) == ("blocked", {})


def test_a_lease_lends_of_what_a_person_raised(integration: CusIntegration) -> None:
    asked: dict[str, Any] = {"scopes": {"session_id": "s"}, "run": RunBudget(cents=100)}
    run(integration, "one", 90, cents=100)
    before = lend(integration, **asked)
    assert (before.lease, before.verdict.run_raised) == (None, {})
    _raise(integration, 1_000)
    after = lend(integration, **asked)
    assert after.lease
    assert after.lease.slices[0]["amount"] == after.lease.lent.cents > 0
    assert after.verdict.run_raised == {"cents": 1_000}


def test_a_refusal_beyond_a_raised_budget_is_explained_from_its_facts(
    integration: CusIntegration,
) -> None:
    run(integration, "one", 90, cents=100)
    _raise(integration, 120)
    run(integration, "two", 90)
    entry = CusEnforcementDecision.objects.get(call_id="two")
    assert entry.facts["limits"][0]["amount"] == 120
    assert explain(entry).identical


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cus_run_limits SET cents = 101",
        "UPDATE cus_run_limits SET raised_cents = 101",
        "UPDATE cus_run_limits SET raised_at = now()",
        "UPDATE cus_run_limits SET cents = NULL",
        "UPDATE cus_run_limits SET session_id = 'other'",
        "UPDATE cus_limit_totals SET cents = 0",
        "DELETE FROM cus_limit_holds",
        "SELECT cus_start_session(gen_random_uuid(), gen_random_uuid(), gen_random_uuid(),"
        " 'session_id', '', 's', 'life')",
        "INSERT INTO cus_run_limits (tenant_id, integration_id, session_id, limit_id)"
        " SELECT tenant_id, integration_id, 'forged', id FROM cus_scoped_limits",
    ],
)
def test_whoever_decides_can_neither_raise_a_budget_nor_forget_what_was_used(
    integration: CusIntegration, statement: str
) -> None:
    make_limit(integration, "agent_id", "a")
    run(integration, "one", cents=100)
    with pytest.raises((RestrictViolation, InsufficientPrivilege)):
        as_decider(lambda one: one.rows(statement))
