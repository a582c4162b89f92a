"""Which of a tenant's own prices a call has, and what it changes of the list's (ruling M5c)."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_prices.models import CusPriceOverride
from integrations.cus_prices.service import CusPriceOverrideService
from telemetry.cus_corrections.cost_audit import difference
from telemetry.cus_corrections.repricing import corrected_microcents, reprice
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_money.models import CusKeptPrice
from telemetry.cus_money.own_prices import forget_overrides
from tests.cus_factories import SdkClient, make_integration, record

pytestmark = pytest.mark.django_db
LAST_WEEK = timezone.now() - timedelta(days=7)


def own_price(
    tenant: CusTenant, model: str, prices: dict[str, Any] | str, **price: Any
) -> CusPriceOverride:
    """Append a price; a text is the dollars of a million tokens in and out."""
    if isinstance(prices, str):
        prices = {"input": prices, "output": prices}
    values: dict[str, Any] = {"model": model, "prices": prices, "valid_from": LAST_WEEK} | price
    appended = CusPriceOverrideService(tenant).append(**values)
    forget_overrides()
    return appended


def report(sdk: SdkClient, **fields: Any) -> CusLLMUsage:
    sent = record(**({"cost_cents": None} | fields))
    assert sdk.report(sent).status_code == 201
    return CusLLMUsage.objects.get(call_id=sent["call_id"])


def dollars(sdk: SdkClient, **fields: Any) -> float:
    """What a million tokens of a plain call cost."""
    row = report(sdk, **({"tokens_in": 1_000, "tokens_out": 0} | fields))
    return row.cost_microcents / 100_000


# --- Names --------------------------------------------------------------------------------------


def test_each_name_of_a_model_has_its_own_price(sdk: SdkClient, tenant: CusTenant) -> None:
    own_price(tenant, "claude-opus-4-6", "4")
    own_price(tenant, "global.anthropic.claude-opus-4-6-v1", "5")
    own_price(tenant, "eu.anthropic.claude-opus-4-6-v1", "6")

    assert dollars(sdk, model="claude-opus-4-6") == 4
    assert dollars(sdk, model="global.anthropic.claude-opus-4-6-v1") == 5
    assert dollars(sdk, model="eu.anthropic.claude-opus-4-6-v1") == 6
    assert dollars(sdk, model="jp.anthropic.claude-opus-4-6-v1") == 4  # by its canonical name


def test_a_price_of_a_dated_name_prices_that_name_alone(sdk: SdkClient, tenant: CusTenant) -> None:
    own_price(tenant, "gpt-4o-2024-08-06", "0.01")

    assert dollars(sdk, model="gpt-4o-2024-08-06") == 0.01
    assert dollars(sdk, model="gpt-4o") == 2.5
    assert dollars(sdk, model="gpt-4o-2024-11-20") == 2.5


def test_the_name_as_asked_goes_before_the_name_that_answered(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    own_price(tenant, "gpt-4o", "3")
    own_price(tenant, "gpt-4o-2024-08-06", "4")
    own_price(tenant, "prod-chat", "5")

    answered = {"model": "gpt-4o-2024-08-06"}
    assert dollars(sdk, **answered, model_requested="prod-chat") == 5
    assert dollars(sdk, **answered, model_requested="other-chat") == 4
    assert dollars(sdk, model="gpt-4o-2024-11-20", model_requested="other-chat") == 3


def test_a_name_goes_before_a_scope(sdk: SdkClient, integration: CusIntegration) -> None:
    own_price(integration.tenant, "gpt-4o", "3", integration_id=integration.id)
    own_price(integration.tenant, "gpt-4o-2024-08-06", "4")

    assert dollars(sdk, model="gpt-4o-2024-08-06") == 4


# --- Scopes -------------------------------------------------------------------------------------


def test_a_limit_goes_before_a_wider_one_whenever_it_was_made(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    tenant, earlier = integration.tenant, LAST_WEEK - timedelta(days=1)
    call = {"provider": "deepseek", "host": "api.deepseek.com"}
    own_price(tenant, "gpt-4o", "1")
    assert dollars(sdk, **call) == 1
    own_price(tenant, "gpt-4o", "2", provider="deepseek", valid_from=earlier)
    assert dollars(sdk, **call) == 2
    own_price(tenant, "gpt-4o", "3", host="api.deepseek.com", valid_from=earlier)
    assert dollars(sdk, **call) == 3
    own_price(tenant, "gpt-4o", "4", integration_id=integration.id, valid_from=earlier)
    assert dollars(sdk, **call) == 4


def test_a_limit_holds_other_calls_off(sdk: SdkClient, integration: CusIntegration) -> None:
    tenant = integration.tenant
    own_price(tenant, "gpt-4o", "2", provider="azure_openai")
    own_price(tenant, "gpt-4o", "3", host="eu.api.openai.com")
    own_price(tenant, "gpt-4o", "4", integration_id=make_integration(tenant).id)

    assert dollars(sdk) == 2.5
    assert dollars(sdk, host="api.openai.com") == 2.5
    assert dollars(sdk, host="EU.api.openai.com") == 3
    assert dollars(sdk, provider="azure_openai") == 2


def test_the_provider_of_a_record_that_names_none_is_the_integrations(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    own_price(tenant, "gpt-4o", "2", provider="openai")

    assert dollars(sdk) == 2
    assert dollars(sdk, provider="deepseek") == 2.5


def test_of_one_limit_the_latest_price_that_holds_counts(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    now = timezone.now()
    for days, price in ((-5, "2"), (-3, "3"), (1, "4")):
        moment = now + timedelta(days=days)
        own_price(integration.tenant, "gpt-4o", price, provider="openai", valid_from=moment)

    def at(days: int) -> float:
        return dollars(sdk, timestamp=(now - timedelta(days=days)).isoformat())

    assert [at(6), at(4), at(2)] == [2.5, 2, 3]


# --- What a price changes -----------------------------------------------------------------------


def test_a_percentage_of_the_list_holds_for_all_that_the_list_prices(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    calls: list[dict[str, Any]] = [
        {"model": "gpt-4o", "tokens_cached": 900},
        {"model": "gpt-4o", "service_tier": "batch"},
        {"model": "gpt-4o", "service_tier": "priority", "tokens_cached": 500},
        {"model": "gpt-4o", "billed_units": {"searches": 10}},
        {"model": "gpt-5.4", "tokens_in": 300_000, "service_tier": "flex"},
        {"model": "claude-sonnet-4-5", "tokens_cache_write": 800, "tokens_cache_write_1h": 300},
    ]
    listed = [report(sdk, **call).cost_microcents for call in calls]
    for model in {call["model"] for call in calls}:
        own_price(tenant, model, {"percent_of_list": "90"})

    rows = [report(sdk, **call) for call in calls]

    assert [row.pricing for row in rows] == ["override"] * len(calls)
    # Both are rounded up to the microcent.
    tenths = [-(-cost * 9 // 10) for cost in listed]
    assert [row.cost_microcents for row in rows] == tenths


def test_what_a_price_does_not_name_is_the_lists(sdk: SdkClient, tenant: CusTenant) -> None:
    calls: list[dict[str, Any]] = [
        {"tokens_cached": 1_000},
        {"service_tier": "priority"},
        {"service_tier": "batch"},
        {"billed_units": {"searches": 10}, "tokens_in": 0},
    ]
    only_in = {"tokens_in": 1_000, "tokens_out": 0}
    listed = [report(sdk, **(only_in | call)).cost_microcents for call in calls]
    own_price(tenant, "gpt-4o", {"input": "2"})

    assert dollars(sdk) == 2
    assert [report(sdk, **(only_in | call)).cost_microcents for call in calls] == listed


def test_a_price_names_single_tiers_and_units(sdk: SdkClient, tenant: CusTenant) -> None:
    own_price(
        tenant,
        "gpt-4o",
        {
            "percent_of_list": "50",
            "tiers": {"batch": {"input": "1"}, "scale": {"input": "9"}},
            "units": {"searches": "8", "containers": "30"},
        },
    )

    assert dollars(sdk) == 1.25
    assert dollars(sdk, service_tier="batch") == 1
    output = {"tokens_in": 0, "tokens_out": 1_000}
    assert dollars(sdk, **output, service_tier="batch") == 2.5  # half of the list's batch
    assert dollars(sdk, service_tier="scale") == 9
    assert dollars(sdk, **output, service_tier="scale") == 5  # half of the list's plain
    units = {"searches": 10, "file_searches": 10, "containers": 1}
    row = report(sdk, tokens_in=0, tokens_out=0, billed_units=units)
    assert row.cost_microcents == 8_000_000 + 1_250_000 + 3_000_000


def test_a_percentage_follows_the_list_of_the_calls_moment(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    own_price(tenant, "mistral-large-latest", {"percent_of_list": "200"}, provider="mistral")

    row = report(sdk, model="mistral-large-latest", provider="mistral")

    assert row.price_id
    kept = CusKeptPrice.objects.get(id=row.price_id)
    assert kept.source == "override"
    assert kept.data["over"].startswith("genai_prices genai-prices ")


def test_a_price_that_only_changes_the_list_prices_nothing_without_it(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    own_price(tenant, "gpt-4o", {"percent_of_list": "90"})

    # A gateway's own model answered what was asked for as gpt-4o.
    assert report(sdk, model="house-model", model_requested="gpt-4o").pricing == "unknown"
    own_price(tenant, "house-model", "3")
    row = report(sdk, model="house-model", model_requested="gpt-4o")
    assert (row.pricing, row.cost_microcents) == ("override", 1_500 * 300)


def test_without_a_list_price_other_kinds_cost_plain_input_and_output(
    tenant: CusTenant,
) -> None:
    sdk = SdkClient.of(make_integration(tenant, provider_type="custom"))
    own_price(tenant, "our-llama", {"input": "1", "output": "2", "units": {"images": "40"}})

    row = report(
        sdk, model="our-llama", tokens_in=1_000, tokens_cached=900, tokens_out=1_000,
        tokens_reasoning=500, service_tier="batch", billed_units={"images": 2},
    )  # fmt: skip

    assert row.cost_microcents == 1_000 * 100 + 1_000 * 200 + 2 * 4_000_000


def test_a_price_of_before_replaces_the_list_as_it_did(sdk: SdkClient, tenant: CusTenant) -> None:
    CusPriceOverride.objects.create(
        tenant=tenant, model="gpt-4o", valid_from=LAST_WEEK, prices={"input": "2", "output": "8"}
    )
    forget_overrides()

    row = report(sdk, tokens_cached=900, service_tier="batch", billed_units={"searches": 10})

    assert row.cost_microcents == 1_000 * 200 + 500 * 800
    assert row.price_id
    # The same content, so the same id, as such a price had in earlier releases.
    assert CusKeptPrice.objects.get(id=row.price_id).data == {"input": "2", "output": "8"}


@pytest.mark.parametrize("percent", ["33.3333", "0", "100", "1000"])
def test_a_percentage_of_any_fineness_prices_to_the_microcent(
    sdk: SdkClient, tenant: CusTenant, percent: str
) -> None:
    listed = report(sdk, tokens_cached=7).cost_microcents
    own_price(tenant, "gpt-4o", {"percent_of_list": percent})

    cost = report(sdk, tokens_cached=7).cost_microcents

    assert abs(cost - listed * float(percent) / 100) <= 1


def test_a_list_price_is_looked_for_at_each_address_of_the_tenants_integrations(
    tenant: CusTenant,
) -> None:
    price = {"percent_of_list": "90"}
    make_integration(tenant, provider_type="custom")
    with pytest.raises(ValidationError, match="The list has no price of this model"):
        own_price(tenant, "llama-3.3-70b-versatile", price)
    make_integration(
        tenant, provider_type="custom", config={"base_url": "https://api.groq.com/openai/v1"}
    )

    assert own_price(tenant, "llama-3.3-70b-versatile", price).prices == price


# --- Kept, verified, repriced -------------------------------------------------------------------


def test_what_an_own_price_came_to_is_kept_and_verified(sdk: SdkClient, tenant: CusTenant) -> None:
    own = own_price(tenant, "gpt-4o", {"percent_of_list": "90", "units": {"searches": "1"}})

    row = report(sdk, service_tier="priority", tokens_cached=100, billed_units={"searches": 3})

    assert (row.pricing, row.pricing_version) == ("override", str(own.id))
    assert row.price_id
    kept = CusKeptPrice.objects.get(id=row.price_id)
    assert kept.data["cached"] == "1.125"
    assert kept.data["tiers"]["priority"]["input"] == "3.825"
    assert difference(row) is None


def test_repricing_finds_the_price_of_the_calls_own_integration(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sibling = make_integration(integration.tenant)
    rows = [report(sdk), report(SdkClient.of(sibling))]
    own_price(
        integration.tenant, "gpt-4o", {"percent_of_list": "90"}, integration_id=integration.id
    )
    start, end = LAST_WEEK, timezone.now() + timedelta(minutes=1)

    (done,) = reprice("gpt-4o", start, end)

    assert done.adjusted == 1
    assert [corrected_microcents(row) for row in rows] == [675_000, 750_000]


# --- Budgets ------------------------------------------------------------------------------------


def counted(row: CusLLMUsage) -> tuple[int | None, int]:
    """What budgets count of a call: rounded cents, and exact microcents."""
    return row.counted_cents, row.cost_microcents


def test_a_dearer_price_raises_what_a_rounded_budget_counts_and_a_cheaper_does_not_lower_it(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    call = {"tokens_in": 100_000, "tokens_out": 0, "cost_cents": 25}
    assert counted(report(sdk, **call)) == (25, 25_000_000)
    own_price(tenant, "gpt-4o", {"percent_of_list": "200"})
    assert counted(report(sdk, **call)) == (50, 50_000_000)
    later: datetime = LAST_WEEK + timedelta(days=1)
    own_price(tenant, "gpt-4o", {"percent_of_list": "10"}, valid_from=later)
    assert counted(report(sdk, **call)) == (25, 2_500_000)


# --- What hostile and odd records must not do ---------------------------------------------------


def test_absurd_units_at_absurd_prices_cost_as_much_as_can_be_stored(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    own_price(tenant, "gpt-4o", {"input": "1", "output": "1", "units": {"searches": "100000"}})

    row = report(sdk, model="gpt-4o", billed_units={"searches": 2**31 - 1})
    assert row.cost_microcents == 2**63 - 1
    assert difference(row) is None


def test_turns_of_the_calls_own_model_cost_what_the_call_would(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    own_price(tenant, "prod-chat", "5")
    by_own_price = {"model": "claude-opus-4-6", "model_requested": "prod-chat"}
    by_genai_prices = {"model": "mistral-large-latest", "provider": "mistral"}

    for call in (by_own_price, by_genai_prices):
        whole = {**call, "tokens_in": 1_000, "tokens_out": 0}
        plain = report(sdk, **whole)
        turned = report(sdk, **whole, turns=[{"tokens_in": 1_000, "model": call["model"]}])
        assert plain.cost_microcents > 0
        assert (turned.cost_microcents, turned.unpriced_units) == (plain.cost_microcents, None)


def test_prices_of_five_inner_models_are_kept_and_more_are_named(sdk: SdkClient) -> None:
    models = ["gpt-4o", "gpt-4o-mini", "o1", "o3", "gpt-4.1", "gpt-4.1-mini", "gpt-5"]
    turns = [{"tokens_in": 1, "model": model} for model in models]

    row = report(sdk, model="claude-opus-4-6", tokens_in=7, tokens_out=0, turns=turns)
    assert row.unpriced_units == ["tokens of gpt-4.1-mini", "tokens of gpt-5"]
    assert row.price_id
    assert len(CusKeptPrice.objects.get(id=row.price_id).data["inner"]) == 5


def test_a_limit_to_a_provider_holds_for_whom_the_host_belongs_to(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    own_price(tenant, "deepseek-chat", "9", provider="deepseek")
    call = {"model": "deepseek-chat", "provider": "openai"}

    assert dollars(sdk, **call, host="api.deepseek.com") == 9
    assert dollars(sdk, **call, host="api.openai.com") != 9


def test_a_host_that_grows_in_small_letters_is_dropped_and_the_call_stored(
    sdk: SdkClient,
) -> None:
    row = report(sdk, host="\u0130" * 255)
    assert (row.host, row.flags) == (None, ["dropped:host", "cost_filled"])
