"""Leases beside limits at scopes: what is lent, to whom, and what remains for others."""

from typing import Any

import pytest
from django.db.models import Sum

from enforcement.cus_checks.lending_requests import CallEstimate, LeaseRequest, LeaseScopes
from enforcement.cus_checks.lending_service import CusLendingService, Lending
from enforcement.cus_checks.requests import RunBudget
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from telemetry.cus_holds.limit_models import CusLimitHolds
from tests.cus_factories import SdkClient, record, set_aside
from tests.cus_limits import change_limit, make_limit
from tests.enforcement.test_cus_leases import caller_of
from tests.enforcement.test_cus_scoped_limits import check, said

pytestmark = pytest.mark.django_db(transaction=True)


def lend(integration: CusIntegration, scopes: dict[str, Any] | None, **fields: Any) -> Lending:
    asked = LeaseRequest(
        holder_id="holder",
        estimate=CallEstimate(cents=5),
        is_durable=True,
        scopes=None if scopes is None else LeaseScopes(**scopes),
        **fields,
    )
    return CusLendingService(caller_of(integration)).lease(asked)


def leased(limit: CusScopedLimit) -> int:
    sums = CusLimitHolds.objects.filter(limit_id=limit.id)
    return int(sums.aggregate(sum=Sum("leased_cents"))["sum"] or 0)


def test_a_lease_lends_of_each_limit_that_applies_and_counts_as_leased_there(
    integration: CusIntegration,
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=10_000)
    session = make_limit(integration, "session_id", None, window="life", amount=80)
    model = make_limit(integration, "model", "gpt-4o", amount=1_000)
    other = make_limit(integration, "session_id", "other", amount=1_000)
    lease = lend(integration, {"session_id": "s", "model": "gpt-4o"}).lease
    assert lease
    assert lease.lent.cents == 20
    assert [slice_["limit_id"] for slice_ in lease.slices] == [
        "budget_limit_cents",
        str(session.id),
        str(model.id),
    ]
    assert lease.slices[1] == {
        "limit_id": str(session.id),
        "unit": "cents",
        "amount": 20,
        "value": "s",
        "window": "life",
    }
    assert (leased(session), leased(model), leased(other)) == (20, 20, 0)
    assert said(check(integration, "one", 61, session_id="s"))[0] == "blocked"
    assert said(check(integration, "two", 60, session_id="s"))[0] == "allowed"


def test_a_holder_that_knows_no_scopes_gets_a_lease_only_without_such_limits(
    integration: CusIntegration,
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=10_000)
    assert lend(integration, None).lease
    limit = make_limit(integration, "session_id", None)
    assert not lend(integration, None).lease
    assert lend(integration, {}).lease
    change_limit(limit, enabled=False)
    assert lend(integration, None).lease


def test_a_limit_without_room_gives_no_lease(integration: CusIntegration) -> None:
    make_limit(integration, "session_id", "s", amount=30)
    assert not lend(integration, {"session_id": "s"}).lease
    assert not lend(integration, {"session_id": "t"}).lease


def test_a_landed_call_lowers_what_is_leased_and_a_return_gives_back_the_rest(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "session_id", "s", amount=1_000)
    lease = lend(integration, {"session_id": "s"}).lease
    assert lease
    amounts = set_aside(cents=5, microcents=5_000_000, tokens=10)
    del amounts["calls"]
    sdk.report(record(cost_cents=4, session_id="s", lease_id=str(lease.id), reserved=amounts))
    assert leased(limit) == lease.lent.cents - 5
    sdk.end_lease(str(lease.id), set_aside(cents=5, microcents=5_000_000, tokens=10, calls=1))
    assert leased(limit) == 0
    assert said(check(integration, "rest", 996, session_id="s"))[0] == "allowed"


def test_a_limit_that_is_made_later_counts_the_leases_that_live(
    integration: CusIntegration,
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=10_000)
    lease = lend(integration, {"session_id": "s"}).lease
    assert lease
    limit = make_limit(integration, "session_id", "s")
    assert leased(limit) == lease.lent.cents
    assert leased(make_limit(integration, "session_id", None, window="day")) == lease.lent.cents


def test_a_lease_of_a_session_is_bound_by_its_budget_in_code(integration: CusIntegration) -> None:
    run = RunBudget(cents=60)
    lease = lend(integration, {"session_id": "s"}, run=run).lease
    assert lease
    assert lease.lent.cents == 20
    assert said(check(integration, "one", 41, session_id="s"))[0] == "blocked"
    assert not lend(integration, {"session_id": "s"}, run=RunBudget(cents=25)).lease


def test_a_lease_of_a_limit_of_the_tenant_leaves_less_to_others(
    integration: CusIntegration,
) -> None:
    limit = make_limit(integration, "tenant", "", amount=100)
    lease = lend(integration, {}).lease
    assert lease
    assert leased(limit) == lease.lent.cents == 20
    assert said(check(integration, "one", 81))[0] == "blocked"
