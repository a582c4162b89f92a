"""Budgets in code: what a session may use in all, whichever processes name it."""

from typing import Any

import pytest
from psycopg.errors import InsufficientPrivilege, RestrictViolation

from enforcement.cus_checks.requests import RunBudget
from enforcement.cus_checks.rounds import Verdict
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import SdkClient, record
from tests.cus_limits import make_limit
from tests.enforcement.test_cus_boundaries import as_decider
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


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cus_run_limits SET cents = 101",
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
