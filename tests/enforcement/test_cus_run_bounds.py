"""How many budgets in code there are: idle ones make room, and a flood of sessions costs others nothing."""

import uuid
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from pytest_django import Settings

from enforcement.cus_checks import runs
from enforcement.cus_checks.lending_service import Lending
from enforcement.cus_checks.requests import RunBudget
from enforcement.cus_checks.rounds import Verdict
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.limit_models import CusLimitTotals, CusRunLimit, CusRunLimitCount
from telemetry.cus_holds.sweeping import sweep_limits
from tests.conftest import as_if
from tests.cus_factories import SdkClient, make_integration, record
from tests.enforcement.test_cus_scoped_leases import lend
from tests.enforcement.test_cus_scoped_limits import check, check_all, said

pytestmark = pytest.mark.django_db(transaction=True)
BUDGET = {"run": RunBudget(cents=100)}
MOST = 5


@pytest.fixture(autouse=True)
def _few(settings: Settings) -> None:
    settings.CUS_QUOTA_RUN_LIMITS = MOST


def run(integration: CusIntegration, session: str, cost: int = 40, **names: Any) -> Verdict:
    fields = {"session_id": session, **BUDGET, **names}
    return check(integration, f"{session}-{uuid.uuid4()}", cost, **fields)


def idle(integration: CusIntegration, *sessions: str) -> None:
    """Budgets of sessions whose calls do not run, the first the least recently used."""
    for session in sessions:
        # As in another process, which tells the database that the budget is used.
        runs.forget_runs()
        run(integration, session, reserve=False)


def sessions_of(integration: CusIntegration) -> set[str]:
    rows = CusRunLimit.objects.filter(integration_id=integration.id)
    return set(rows.values_list("session_id", flat=True))


def test_the_least_recently_used_budget_makes_room_for_a_new_one(
    integration: CusIntegration,
) -> None:
    idle(integration, "a", "b", "c", "d", "e", "f")
    assert sessions_of(integration) == {"b", "c", "d", "e", "f"}
    idle(integration, "b", "g")
    assert sessions_of(integration) == {"b", "d", "e", "f", "g"}


def test_a_budget_that_was_dropped_starts_from_evidence_when_it_is_named_again(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    run(integration, "a", reserve=False)
    sdk.report(record(cost_cents=80, session_id="a"))
    assert CusLimitTotals.objects.filter(value="a").exists()
    idle(integration, "b", "c", "d", "e", "f")
    assert "a" not in sessions_of(integration)
    assert not CusLimitTotals.objects.filter(value="a").exists()
    # The process that named it before learns that it is gone.
    refused = run(integration, "a")
    assert said(refused) == ("blocked", "estimate_exceeds_room", "session_id", "a")
    assert refused.facts.limits[0].used == 80


def test_a_lease_is_of_a_budget_that_was_dropped_meanwhile(integration: CusIntegration) -> None:
    def lent() -> Lending:
        return lend(integration, {"session_id": "a"}, run=RunBudget(cents=100))

    assert lent().lease
    CusRunLimit.objects.filter(session_id="a").delete()
    assert runs._started.has(integration.id, "a", BUDGET["run"])
    lease = lent().lease
    assert lease
    assert [slice_["value"] for slice_ in lease.slices] == ["a"]


def test_budgets_with_running_calls_stay_and_a_new_one_is_told_the_bound(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    for number in range(MOST):
        assert run(integration, f"s-{number}").decision.admits
    refused = run(integration, "new").decision
    assert (str(refused.result), refused.reasons[0].code) == ("throttled", "contention")
    assert "has 5 budgets in code" in refused.reasons[0].message
    assert (refused.reasons[0].limit_type, refused.retry_after_seconds) == ("runs", 1)
    assert sessions_of(integration) == {f"s-{number}" for number in range(MOST)}
    assert not lend(integration, {"session_id": "new"}, run=RunBudget(cents=100)).lease
    # Others in the same round, and sessions that are known, are decided.
    known, other, new = check_all(
        integration,
        ("known", 1, {"session_id": "s-0", **BUDGET}),
        ("other", 1, {}),
        ("again", 1, {"session_id": "new", **BUDGET}),
    )
    assert known.decision.admits
    assert other.decision.admits
    assert not new.decision.admits
    call_id = next(iter(_held_calls(integration, "s-1")))
    sdk.report(record(call_id=call_id, cost_cents=1, session_id="s-1"))
    assert run(integration, "new").decision.admits


def _held_calls(integration: CusIntegration, session: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT call_id FROM cus_enforcement_holds"
            " WHERE integration_id = %s AND names->>'session_id' = %s",
            [integration.id, session],
        )
        return [call_id for (call_id,) in cursor.fetchall()]


def test_a_budget_of_which_a_lease_lives_stays(integration: CusIntegration) -> None:
    assert lend(integration, {"session_id": "leased"}, run=RunBudget(cents=100)).lease
    idle(integration, "b", "c", "d", "e", "f", "g")
    assert "leased" in sessions_of(integration)


def test_a_budget_that_a_person_has_raised_stays(integration: CusIntegration) -> None:
    idle(integration, "raised", "b")
    rows = CusRunLimit.objects.filter(session_id="raised")
    rows.update(raised_cents=200, raised_at=F("created_at"))
    idle(integration, "c", "d", "e", "f", "g")
    assert sessions_of(integration) == {"raised", "d", "e", "f", "g"}


def test_a_flood_that_the_planner_does_not_know_of_yet_makes_room_in_time(
    integration: CusIntegration, settings: Settings
) -> None:
    number = settings.CUS_QUOTA_RUN_LIMITS = 100_000
    whose = f"'{integration.tenant_id}', '{integration.id}'"
    as_if(
        f"""INSERT INTO cus_run_limits (tenant_id, integration_id, session_id, limit_id, used_at)
            SELECT {whose}, 's-' || n, gen_random_uuid(), now() - n * interval '1 second'
            FROM generate_series(1, {number}) AS n""",
        f"INSERT INTO cus_run_limit_counts VALUES ({whose}, {number})",
    )
    assert run(integration, "new").decision.admits
    assert CusRunLimit.objects.filter(integration_id=integration.id).count() < number
    oldest = CusRunLimit.objects.filter(session_id=f"s-{number}")
    assert not oldest.exists()


def test_a_bound_that_was_lowered_is_kept_from_the_next_budget_on(
    integration: CusIntegration, settings: Settings
) -> None:
    idle(integration, "a", "b", "c", "d")
    settings.CUS_QUOTA_RUN_LIMITS = 2
    idle(integration, "e")
    assert sessions_of(integration) == {"d", "e"}


def test_without_a_bound_there_may_be_any_number(
    integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_QUOTA_RUN_LIMITS = 0
    idle(integration, *"abcdefgh")
    assert len(sessions_of(integration)) == 8


def test_each_integration_has_a_bound_of_its_own(integration: CusIntegration) -> None:
    other = make_integration(integration.tenant)
    idle(other, "other")
    idle(integration, "a", "b", "c", "d", "e", "f")
    assert sessions_of(other) == {"other"}


def test_the_number_is_counted_again_by_the_sweeper(integration: CusIntegration) -> None:
    idle(integration, "a", "b", "c")
    CusRunLimit.objects.filter(session_id="a").delete()
    assert CusRunLimitCount.objects.get(integration_id=integration.id).live == 3
    sweep_limits()
    assert CusRunLimitCount.objects.get(integration_id=integration.id).live == 2


def test_a_flood_of_sessions_makes_a_process_forget_no_other_integrations_budgets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "_MAX_KNOWN", 10)
    started, quiet, loud = runs._Started(), uuid.uuid4(), uuid.uuid4()
    budget = RunBudget(cents=1)
    started.add(quiet, "quiet", budget)
    for number in range(50):
        started.add(loud, f"s-{number}", budget)
    assert started.has(quiet, "quiet", budget)
    assert started.has(loud, "s-49", budget)
    assert not started.has(loud, "s-0", budget)
