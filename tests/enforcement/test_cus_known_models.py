"""A check reads those of its tenant's own prices that can apply to it, and misses none."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from enforcement.cus_reading.known_models import KnownModels, models_of
from enforcement.cus_rules.authority import known_state
from integrations.cus_accounts.models import CusTenant
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_prices.service import CusPriceOverrideService
from telemetry.cus_holds.models import CusEnforcementHold
from tests.cus_factories import SdkClient, make_integration, make_tenant

LAST_WEEK = datetime.now(UTC) - timedelta(days=7)


def price(
    tenant: CusTenant, model: str, dollars: int, at: datetime = LAST_WEEK, **limit: Any
) -> None:
    """The tenant's own price of a million tokens in or out, from a moment on."""
    prices = {"input": str(dollars), "output": str(dollars)}
    CusPriceOverrideService(tenant).append(model=model, prices=prices, valid_from=at, **limit)


def held(sdk: SdkClient, call_id: str, model: str | None = "gpt-4o") -> int:
    """Dollars that a million tokens are held at."""
    sdk.check(call_id, model=model, estimated_tokens=1_000_000, estimated_cost_cents=None)
    return CusEnforcementHold.objects.get(call_id=call_id).cents // 100


def test_models_are_found_by_the_tenants_name_and_by_the_tables() -> None:
    own = KnownModels(1, "gpt-4o", {"gpt-4o": frozenset({"gpt-4o", "azure/gpt-4o"})})

    assert own.named(["gpt-4o"]) == own.named([None]) == ["azure/gpt-4o", "gpt-4o"]
    assert own.named(["gpt-4o-2024-08-06"]) == ["azure/gpt-4o", "gpt-4o"]
    assert own.named(["gpt-4o-mini"]) == []


def test_a_name_that_nobody_knows_may_be_estimated_by_who_answered_or_as_the_default() -> None:
    names = {model: frozenset({model}) for model in ("gpt-4o", "gpt-4.1", "gpt-4o-mini")}
    models = KnownModels(1, "gpt-4o", names, {"prod-chat": ["gpt-4.1"]})

    assert models.named(["prod-chat"]) == ["gpt-4.1", "gpt-4o"]
    assert models.named(["unheard-of"]) == ["gpt-4o"]


def test_a_price_of_any_name_is_kept_under_both() -> None:
    read = {"overridden": ["openai/gpt-4o", "our-own"], "answering": [], "outputs": []}
    own = models_of(msgspec.json.encode(read))

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
    assert [(model, prices["output"]) for _, model, prices, *_ in read] == [("gpt-4o", "52")]
    # The configuration that SDKs ask for has all of them.
    config = sdk.client.get("/api/v1/cus/enforcement/config").json()
    assert len(config["overrides"]) == 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("limited")
def test_each_name_of_a_model_is_held_at_its_own_price(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    names = {
        "claude-opus-4-6": 40,
        "global.anthropic.claude-opus-4-6-v1": 50,
        "eu.anthropic.claude-opus-4-6-v1": 60,
    }
    for model, dollars in names.items():
        price(integration.tenant, model, dollars)

    assert {model: held(sdk, model, model) for model in names} == names


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("limited")
def test_the_dearest_price_that_a_call_may_turn_out_to_have_is_held(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    tenant = integration.tenant
    price(tenant, "gpt-4o", 5, host="eu.api.openai.com")
    assert held(sdk, "cheaper-host") == 10  # the list's: the call may go elsewhere
    price(tenant, "gpt-4o", 30, host="api.example.com")
    assert held(sdk, "dearer-host") == 30
    price(tenant, "gpt-4o", 40, provider="azure_openai")
    assert held(sdk, "dearer-provider") == 40
    price(tenant, "gpt-4o", 8)
    assert held(sdk, "tenant") == 40
    # Limited to the integration, it goes before all of them, wherever the call goes.
    price(tenant, "gpt-4o", 6, integration_id=integration.id)
    assert held(sdk, "integration") == 6


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("limited")
def test_a_price_of_the_whole_tenant_takes_the_place_of_the_lists(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    price(integration.tenant, "gpt-4o", 4)
    price(integration.tenant, "gpt-4o", 3, host="eu.api.openai.com")

    assert held(sdk, "call") == 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("limited")
def test_a_price_of_another_integration_is_not_read(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sibling = make_integration(integration.tenant)
    price(integration.tenant, "gpt-4o", 99, integration_id=sibling.id)

    assert held(sdk, "call") == 10
    config = sdk.client.get("/api/v1/cus/enforcement/config").json()
    assert config["overrides"] == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("limited")
def test_a_percentage_of_the_list_is_held_as_it_will_cost(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    CusPriceOverrideService(integration.tenant).append(
        model="gpt-4o", prices={"percent_of_list": "50"}, valid_from=LAST_WEEK
    )

    assert held(sdk, "call") == 5
    sdk.check("all", estimated_tokens=None, estimated_cost_cents=None)
    hold = CusEnforcementHold.objects.get(call_id="all")
    assert hold.tokens == 128_000 + 16_384  # what the model can do is still known
    assert hold.cents == 25  # $1.25 and $5 a million: 16 and 8.192 cents, their sum rounded up
    (override,) = sdk.client.get("/api/v1/cus/enforcement/config").json()["overrides"]
    assert override["prices"] == {"percent_of_list": "50"}
    assert override["replaces_list"] is False
    assert [override[name] for name in ("integration_id", "provider", "host")] == [None] * 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("limited")
def test_each_new_price_raises_the_version_of_the_integrations_configuration(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    url = "/api/v1/cus/enforcement/config"
    before = sdk.client.get(url).json()["config_version"]

    price(integration.tenant, "gpt-4o", 4, host="eu.api.openai.com")

    assert sdk.client.get(url).json()["config_version"] == before + 1
