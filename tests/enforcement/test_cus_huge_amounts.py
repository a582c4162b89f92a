"""Amounts at the end of what columns hold keep nobody from seeing limits, their own or another's."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from enforcement.cus_what_if.service import run_simulation
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.uses import uses_of
from telemetry.cus_clock import database_now
from telemetry.cus_delivery.sequences import fold_sequences
from telemetry.cus_money.amounts import MOST
from telemetry.cus_watching.limit_readings import watch_limits
from tests.conftest import as_if
from tests.cus_factories import BATCH, SdkClient, browser_of, make_integration, record, unmeasured
from tests.cus_limits import make_limit
from tests.enforcement.test_cus_what_if import simulation_of

pytestmark = pytest.mark.django_db(transaction=True)

OWN = {
    "budget_limit_cents": 100,
    "token_limit_month": 100,
    "rate_limit_tpm": 100,
    "rate_limit_rpd": 100,
}


def hold_the_most(integration: CusIntegration, sdk: SdkClient, *calls: str) -> None:
    """Hold for calls whatever an estimate may be, at a level that lets them all run."""
    CusIntegration.objects.filter(id=integration.id).update(enforcement_level="visibility")
    for name in calls:
        answer = sdk.check(name, estimated_cost_cents=MOST, estimated_tokens=MOST, agent_id="huge")
        assert answer.json()["result"] == "allowed", answer.json()


@pytest.mark.parametrize("scope", ["agent_id", "tenant"])
@pytest.mark.parametrize("basis", ["rounded", "exact"])
@pytest.mark.parametrize("unit", ["cents", "tokens"])
def test_a_limit_is_shown_whatever_a_program_says_that_its_calls_will_cost(
    integration: CusIntegration, sdk: SdkClient, basis: str, unit: str, scope: str
) -> None:
    value = None if scope == "agent_id" else ""
    limit = make_limit(integration, scope, value, basis=basis, unit=unit)
    hold_the_most(integration, sdk, "one", "two", "three")

    (use,) = uses_of([limit], 2)[limit.id].fullest
    assert use.held == MOST
    assert Client().get("/metrics").status_code == 200
    assert watch_limits(database_now())


@pytest.mark.parametrize("basis", ["rounded", "exact"])
def test_people_of_all_tenants_are_told_of_limits_whatever_one_program_says(
    integration: CusIntegration, sdk: SdkClient, basis: str
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(**OWN, budget_basis=basis)
    hold_the_most(integration, sdk, "one", "two", "three")

    assert watch_limits(database_now()) == len(OWN) - 1
    assert Client().get("/metrics").status_code == 200
    for role in ("support", "member"):
        people = browser_of(role, integration.tenant if role == "member" else None)
        assert people.get(reverse("admin:index")).status_code == 200
    assert people.get(f"/api/v1/cus/integrations/{integration.id}/limits").status_code == 200


def test_what_nobody_measured_is_shown_and_replayed_whatever_was_held_for_it(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(**OWN)
    limit = make_limit(integration, "agent_id", None)
    names = ("one", "two", "three")
    hold_the_most(integration, sdk, *names)
    sdk.report_batch(*(unmeasured(call_id=name, agent_id="huge") for name in names))
    as_if("UPDATE cus_period_totals SET shard = (shard + 1) % 8")
    hold_the_most(integration, sdk, "four")
    sdk.report_batch(unmeasured(call_id="four", agent_id="huge"))

    (use,) = uses_of([limit], 2)[limit.id].fullest
    assert use.used == MOST
    people = browser_of("member", integration.tenant)
    assert people.get(f"/api/v1/cus/integrations/{integration.id}/limits").status_code == 200
    assert people.get(reverse("admin:index")).status_code == 200
    assert Client().get("/metrics").status_code == 200
    done = run_simulation(simulation_of(integration, budget_limit_cents=25).id)
    assert done
    assert done.status == "done", done.error
    as_if("UPDATE cus_llm_usage SET created_at = created_at - interval '3 days'")
    done = run_simulation(simulation_of(integration, 1, budget_limit_cents=25).id)
    assert done
    assert done.status == "done", done.error


def test_numbers_of_records_that_a_program_makes_up_keep_nobody_from_reading_metrics(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    for process in "abc":
        records = [record(process_id=process, sequence=2**62 - 1)]
        sdk.client.post(BATCH, {"records": records}, content_type="application/json")
    fold_sequences(timezone.now())

    assert Client().get("/metrics").status_code == 200


@pytest.mark.parametrize("unit", ["cents", "tokens"])
def test_the_largest_limit_of_a_tenant_holds_for_the_largest_estimates(
    integration: CusIntegration, sdk: SdkClient, unit: str
) -> None:
    make_limit(integration, "tenant", "", unit=unit, amount=MOST)
    beside = SdkClient.of(make_integration(integration.tenant))
    most = MOST // 10 * 6
    run = {"cents": MOST, "tokens": MOST, "microcents": MOST, "calls": MOST}

    def result(client: SdkClient, name: str, amount: int) -> str:
        answer = client.check(
            name,
            estimated_cost_cents=amount,
            estimated_cost_microcents=amount,
            estimated_tokens=amount,
            session_id="s",
            run=run,
        )
        assert answer.status_code == 200, answer.content
        return str(answer.json()["result"])

    found = [
        result(client, name, most if name == "most" else MOST - most)
        for client, name in ((sdk, "most"), (beside, "most"), (beside, "rest"), (sdk, "more"))
    ]

    assert found == ["allowed", "blocked", "allowed", "blocked"]
    lease = sdk.lease(cents=MOST, microcents=MOST, tokens=MOST).json()
    assert lease["lease_id"] is None
