"""Amounts at the end of what columns hold harm nobody but who reports them."""

import pytest

from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_clock import database_now
from telemetry.cus_money.amounts import MOST
from telemetry.cus_signals.limits import limit_families
from telemetry.cus_watching.limit_readings import watch_limits
from tests.cus_factories import SdkClient
from tests.cus_limits import make_limit
from integrations.cus_limits.uses import uses_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("scope", ["agent_id", "tenant"])
@pytest.mark.parametrize("basis", ["rounded", "exact"])
@pytest.mark.parametrize("unit", ["cents", "tokens"])
def test_a_limit_is_shown_whatever_a_program_says_that_its_calls_will_cost(
    integration: CusIntegration, sdk: SdkClient, basis: str, unit: str, scope: str
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(enforcement_level="visibility")
    limit = make_limit(
        integration, scope, None if scope == "agent_id" else "", basis=basis, unit=unit
    )
    for name in ("one", "two", "three"):
        answer = sdk.check(
            name, estimated_cost_cents=MOST, estimated_tokens=MOST, agent_id="huge"
        )
        assert answer.json()["result"] == "allowed", answer.json()

    (use,) = uses_of([limit], 2)[limit.id].fullest
    assert use.taken
    assert [family for family in limit_families(database_now())]
    assert watch_limits(database_now())
