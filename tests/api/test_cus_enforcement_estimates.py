"""Checks over HTTP: what a call may cost where the program tells nothing or little (ruling F3)."""

from datetime import UTC, datetime, timedelta

import pytest

from aos_sdk.cus_cost import CusTokenUsage, get_model_pricing
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_prices.models import CusPriceOverride
from telemetry.cus_holds.models import CusEnforcementHold
from tests.api.cus_checks import FAR_AWAY, codes, govern
from tests.cus_factories import (
    SdkClient,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_missing_estimate_is_the_most_that_the_model_can_do(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, default_model="gpt-4o-mini", **FAR_AWAY)
    sdk.check("named", estimated_tokens=None, estimated_cost_cents=None)
    sdk.check("unnamed", model=None, estimated_tokens=None, estimated_cost_cents=None)

    for call_id, model in (("named", "gpt-4o"), ("unnamed", "gpt-4o-mini")):
        pricing = get_model_pricing(model)
        assert pricing
        assert pricing.context_window
        assert pricing.max_output
        hold = CusEnforcementHold.objects.get(call_id=call_id)
        assert hold.tokens == pricing.context_window + pricing.max_output
        most = CusTokenUsage(pricing.context_window, pricing.max_output)
        assert hold.microcents == pricing.cost_microcents(most)
        assert hold.cents == -(-hold.microcents // 1_000_000)


@pytest.mark.parametrize(
    ("cents", "microcents", "held"),
    [(0, None, (1, 1_000_000)), (None, 0, (1, 1)), (0, 0, (1, 1)), (2, 0, (2, 1)), (0, 9, (1, 9))],
)
def test_an_estimate_of_nothing_counts_as_the_least_that_a_call_can_cost(
    sdk: SdkClient,
    integration: CusIntegration,
    cents: int | None,
    microcents: int | None,
    held: tuple[int, int],
) -> None:
    govern(integration, **FAR_AWAY)
    sdk.check(estimated_tokens=0, estimated_cost_cents=cents, estimated_cost_microcents=microcents)

    hold = CusEnforcementHold.objects.get()
    assert (hold.cents, hold.microcents, hold.tokens) == (*held, 1)


def test_estimates_of_nothing_use_the_room_up(sdk: SdkClient, integration: CusIntegration) -> None:
    govern(integration, budget_limit_cents=3)

    results = [sdk.check(estimated_cost_cents=0).json()["result"] for _ in range(4)]

    assert results == ["allowed", "allowed", "allowed", "blocked"]


def test_tokens_without_a_cost_are_priced_at_the_dearest_rate(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, **FAR_AWAY)
    sdk.check(estimated_tokens=1_000, estimated_cost_cents=None)

    hold = CusEnforcementHold.objects.get()
    assert (hold.microcents, hold.cents) == (1_000_000, 1)  # $10 a million, gpt-4o's output


def test_a_tenants_own_price_decides_from_its_moment_on(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    govern(integration, **FAR_AWAY)
    now = datetime.now(UTC)
    for dollars, start in (("20", now - timedelta(days=1)), ("90", now + timedelta(days=1))):
        CusPriceOverride.objects.create(
            tenant=integration.tenant, model="gpt-4o", valid_from=start,
            prices={"input": "1", "output": dollars},
        )  # fmt: skip

    sdk.check(estimated_tokens=1_000, estimated_cost_cents=None)

    assert CusEnforcementHold.objects.get().microcents == 2_000_000


@pytest.mark.parametrize("asked", [{}, {"model": None}])
def test_an_unpriced_model_is_stopped_by_a_budget_unless_it_is_allowed(
    sdk: SdkClient, integration: CusIntegration, asked: dict[str, None]
) -> None:
    unknown = {"model": "nobody-knows", "estimated_cost_cents": None} | asked
    assert sdk.check(**unknown).json()["result"] == "allowed"
    govern(integration, budget_limit_cents=100)
    assert codes(sdk.check(**unknown)) == ["model_unpriced"]
    govern(integration, enforcement_level="warn")
    assert sdk.check(**unknown).json()["result"] == "warned"
    govern(integration, enforcement_level="block", allow_unpriced=True)
    assert sdk.check(**unknown).json()["result"] == "allowed"
