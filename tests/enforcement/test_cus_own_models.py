"""A check reads those of its tenant's own prices that can apply to it, and misses none."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from enforcement.cus_authority import known_state
from enforcement.cus_own_models import OwnModels, remember_models
from integrations.cus_accounts.models import CusTenant
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_prices.service import CusPriceOverrideService
from telemetry.cus_holds.models import CusEnforcementHold
from tests.cus_factories import SdkClient, make_tenant

LAST_WEEK = datetime.now(UTC) - timedelta(days=7)


def price(tenant: CusTenant, model: str, dollars: int, at: datetime = LAST_WEEK) -> None:
    """The tenant's own price of a million tokens in or out, from a moment on."""
    prices = {"input": str(dollars), "output": str(dollars)}
    CusPriceOverrideService(tenant).append(model=model, prices=prices, valid_from=at)


def held(sdk: SdkClient, call_id: str, model: str | None = "gpt-4o") -> int:
    """Dollars that a million tokens are held at."""
    sdk.check(call_id, model=model, estimated_tokens=1_000_000, estimated_cost_cents=None)
    return CusEnforcementHold.objects.get(call_id=call_id).cents // 100


def test_models_are_found_by_the_tenants_name_and_by_the_tables() -> None:
    own = OwnModels(1, "gpt-4o", {"gpt-4o": frozenset({"gpt-4o", "azure/gpt-4o"})})

    assert own.named(["gpt-4o"]) == own.named([None]) == ["azure/gpt-4o", "gpt-4o"]
    assert own.named(["gpt-4o-2024-08-06"]) == ["azure/gpt-4o", "gpt-4o"]
    assert own.named(["gpt-4o-mini", "nobody-knows"]) == []


def test_a_price_of_any_name_is_kept_under_both(integration: CusIntegration) -> None:
    own = remember_models(integration.id, 3, None, ["openai/gpt-4o", "our-own"])

    assert own.named(["gpt-4o"]) == own.named(["openai/gpt-4o"]) == ["openai/gpt-4o"]
    assert own.named(["our-own"]) == ["our-own"]
    assert own.named([None]) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("limited")
def test_a_price_acts_on_the_next_check_under_whatever_name_it_was_given(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    assert held(sdk, "before") == 10  # the table's, for gpt-4o's output

    price(integration.tenant, "openai/gpt-4o", 50)
    assert held(sdk, "prefixed") == 50
    price(integration.tenant, "gpt-4o", 70, LAST_WEEK + timedelta(days=1))
    assert held(sdk, "plain") == held(sdk, "dated", "gpt-4o-2024-08-06") == 70
    price(integration.tenant, "gpt-4o", 90, datetime.now(UTC) + timedelta(days=1))
    assert held(sdk, "not-yet") == 70


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("limited")
def test_a_call_that_names_no_model_has_the_price_of_the_default_of_now(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    price(integration.tenant, "gpt-4o", 50)
    price(integration.tenant, "gpt-4o-mini", 60)
    service = CusIntegrationService(integration.tenant)
    for model, dollars in (("gpt-4o", 50), ("gpt-4o-mini", 60)):
        service.change(integration.id, default_model=model)
        assert held(sdk, f"as-{model}", None) == dollars


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("limited")
def test_prices_of_other_models_moments_and_tenants_are_not_read(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    price(make_tenant(), "gpt-4o", 99)
    price(integration.tenant, "gpt-4o-mini", 60)
    for days in range(3):
        price(integration.tenant, "gpt-4o", 50 + days, LAST_WEEK + timedelta(days=days))

    assert held(sdk, "call") == 52

    known = known_state(integration.id)
    assert known
    read = msgspec.json.decode(known.row["overrides"])
    assert [(model, prices["output"]) for _, model, prices, _ in read] == [("gpt-4o", "52")]
    # The configuration that SDKs ask for has all of them.
    config = sdk.client.get("/api/v1/cus/enforcement/config").json()
    assert len(config["overrides"]) == 4
