"""Which price a call has on the server, and that it is kept for ever (rulings M5 to M7)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from aos_sdk.cus_cost import CusModelPricing, CusTokenUsage, get_pricing_version
from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_prices.service import CusPriceOverrideService
from telemetry.cus_evidence.models import CusLifetimeTotals, CusLLMUsage
from telemetry.cus_money.billed_usage import microcents_of
from telemetry.cus_money.genai_prices import VERSION, genai_pricing
from telemetry.cus_money.models import CusKeptPrice
from telemetry.cus_money.own_prices import forget_overrides
from telemetry.cus_money.pricing import kept_pricing
from tests.cus_factories import SdkClient, make_integration, make_tenant, record

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def _report(sdk: SdkClient, **fields: Any) -> CusLLMUsage:
    sent = record(**({"cost_cents": None} | fields))
    assert sdk.report(sent).status_code == 201
    return CusLLMUsage.objects.get(call_id=sent["call_id"])


def _override(tenant: CusTenant, model: str, days_ago: int = 1, **prices: str) -> None:
    CusPriceOverrideService(tenant).append(
        model=model,
        prices={"input": "1", "output": "2"} | prices,
        valid_from=timezone.now() - timedelta(days=days_ago),
    )
    forget_overrides()


def test_cached_tokens_are_counted_once_and_at_their_own_price(sdk: SdkClient) -> None:
    row = _report(sdk, model="gpt-4o-mini", tokens_in=1000, tokens_cached=900, tokens_out=0)

    assert Decimal(row.cost_microcents) == 100 * 15 + 900 * Decimal("7.5")
    assert row.flags == ["cost_filled"]


def test_a_dated_name_is_priced_as_its_model_and_never_as_a_shorter_one(sdk: SdkClient) -> None:
    mini = _report(sdk, model="gpt-4o-mini-2024-07-18", tokens_in=1000, tokens_out=0)
    large = _report(sdk, model="gpt-4o-2024-08-06", tokens_in=1000, tokens_out=0)

    assert (mini.cost_microcents, large.cost_microcents) == (15_000, 250_000)


def test_a_row_names_the_price_that_priced_it_and_the_price_is_kept(sdk: SdkClient) -> None:
    row = _report(sdk, tokens_cached=100)

    assert row.price_id
    kept = CusKeptPrice.objects.get(id=row.price_id)
    assert (kept.source, kept.version) == ("table", get_pricing_version())
    assert kept.model == "gpt-4o"
    assert microcents_of(row, kept_pricing(row.price_id)) == row.cost_microcents


def test_a_price_is_kept_once_however_many_calls_it_priced(sdk: SdkClient) -> None:
    for _ in range(3):
        _report(sdk)
    _report(sdk, model="gpt-4o-mini")

    assert CusKeptPrice.objects.count() == 2


def test_a_kept_price_cannot_come_to_mean_something_else(sdk: SdkClient) -> None:
    row = _report(sdk)

    assert row.price_id
    with pytest.raises(IntegrityError), transaction.atomic():
        CusKeptPrice.objects.create(
            id=row.price_id, source="table", model="gpt-4o", version="x", data={}
        )


def test_a_tenants_own_price_goes_before_the_tables(sdk: SdkClient, tenant: CusTenant) -> None:
    _override(tenant, "gpt-4o")

    row = _report(sdk, model="gpt-4o-2024-08-06", tokens_in=10, tokens_out=10)

    assert (row.pricing, row.cost_microcents) == ("override", 10 * 100 + 10 * 200)
    assert row.price_id
    kept = CusKeptPrice.objects.get(id=row.price_id).data
    assert (kept["input"], kept["output"]) == ("1", "2")


def test_a_tenants_own_price_is_no_other_tenants(sdk: SdkClient, tenant: CusTenant) -> None:
    _override(make_tenant(), "gpt-4o")

    assert _report(sdk).pricing == "table"


def test_a_call_has_the_price_of_its_own_moment(sdk: SdkClient, tenant: CusTenant) -> None:
    _override(tenant, "gpt-4o", days_ago=10, input="1")
    _override(tenant, "gpt-4o", days_ago=2, input="3")

    def input_price(days_ago: int) -> int:
        moment = timezone.now() - timedelta(days=days_ago)
        row = _report(sdk, tokens_in=1, tokens_out=0, timestamp=moment.isoformat())
        return row.cost_microcents

    assert [input_price(days) for days in (20, 5, 1)] == [250, 100, 300]


def test_a_model_of_a_custom_provider_can_have_a_price_of_its_own(tenant: CusTenant) -> None:
    sdk = SdkClient.of(make_integration(tenant, provider_type="custom"))
    _override(tenant, "our-llama")

    assert _report(sdk, model="our-llama").pricing == "override"
    assert _report(sdk, model="our-llama-2").pricing == "unknown"


def test_beyond_the_table_genai_prices_answers_with_its_version(tenant: CusTenant) -> None:
    bedrock = SdkClient.of(make_integration(tenant, provider_type="bedrock"))

    row = _report(bedrock, model="amazon.nova-pro-v1:0", tokens_in=1000, tokens_out=1000)

    assert (row.pricing, row.pricing_version) == ("genai_prices", VERSION)
    assert row.cost_microcents == 1000 * 80 + 1000 * 320
    assert _report(bedrock, model="us.anthropic.claude-sonnet-4-20250514-v1:0").pricing == "table"


def test_an_openai_compatible_server_is_known_by_its_address_or_not_at_all(
    tenant: CusTenant,
) -> None:
    somewhere = make_integration(tenant, provider_type="custom")
    deepseek = make_integration(
        tenant, provider_type="custom", config={"base_url": "https://api.deepseek.com/v1"}
    )

    assert _report(SdkClient.of(somewhere), model="deepseek-chat").pricing == "unknown"
    assert _report(SdkClient.of(deepseek), model="deepseek-chat").pricing == "genai_prices"
    named = _report(SdkClient.of(somewhere), model="deepseek-chat", provider="deepseek")
    assert named.pricing == "genai_prices"


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o-mini-foo", "openai"),
        ("gpt-4o-ultra", "openai"),
        ("gpt-4o-mini-foo", "azure_openai"),
        ("claude-opus-4-99", "anthropic"),
        ("amazon.nova-pro-plus-v1:0", "bedrock"),
        ("", "openai"),
        ("\\", "nobody"),
    ],
)
def test_a_name_that_only_begins_like_a_known_one_has_no_price(model: str, provider: str) -> None:
    assert genai_pricing(model, provider, NOW) is None


def test_steps_of_longer_inputs_are_priced_as_genai_prices_does() -> None:
    pricing = genai_pricing("gemini-2.5-pro", "google", NOW)

    assert pricing
    short = pricing.cost_microcents(CusTokenUsage(200_000, 0))
    long = pricing.cost_microcents(CusTokenUsage(200_001, 0))
    assert (short, long) == (200_000 * 125, 200_001 * 250)


def test_several_steps_are_taken_one_after_the_other() -> None:
    entry = {
        "input": "1",
        "output": "1",
        "long_context": {
            "above": 10,
            "input": "2",
            "output": "1",
            "long_context": {"above": 20, "input": "3", "output": "1"},
        },
    }
    pricing = CusModelPricing.from_data("m", {}, entry)

    costs = [pricing.cost_microcents(CusTokenUsage(tokens, 0)) for tokens in (10, 11, 21)]
    assert costs == [10 * 100, 11 * 200, 21 * 300]


def test_a_cost_by_the_version_that_the_sender_used_is_no_mismatch(sdk: SdkClient) -> None:
    CusKeptPrice.objects.create(
        id="00000000-0000-0000-0000-000000000001",
        source="table",
        model="gpt-4o",
        version="2025-01-01",
        data={"input": "50", "output": "100"},
    )

    by_old = _report(sdk, cost_cents=10, pricing_version="2025-01-01")
    by_none = _report(sdk, cost_cents=10, pricing_version="2024-01-01")
    wrong = _report(sdk, cost_cents=11, pricing_version="2025-01-01")

    assert by_old.flags == []
    assert by_none.flags == wrong.flags == ["cost_mismatch"]


def test_mismatches_and_unpriced_calls_are_counted(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    _report(sdk, cost_cents=99)
    _report(sdk, model="nobody-knows")
    _report(sdk, tokens_total=7)

    totals = CusLifetimeTotals.objects.filter(integration_id=integration.id)
    assert sum(total.cost_mismatches for total in totals) == 1
    assert sum(total.unpriced for total in totals) == 1
    assert sum(total.tokens_mismatches for total in totals) == 1


def test_what_is_billed_by_the_unit_is_priced_and_absurd_counts_are_not(sdk: SdkClient) -> None:
    searched = _report(sdk, tokens_in=0, tokens_out=0, billed_units={"searches": 3})
    absurd = _report(sdk, tokens_in=0, tokens_out=0, billed_units={"searches": 2**62})

    assert searched.cost_microcents == 3_000_000
    assert absurd.cost_microcents == 0


def test_a_cost_too_large_for_its_column_is_cut_there_and_exact_beside_it(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    _override(tenant, "gpt-4o", input="999999")

    row = _report(sdk, tokens_in=2**31 - 1, tokens_out=0)

    assert row.cost_cents == 2**31 - 1
    assert row.cost_microcents == (2**31 - 1) * 99_999_900


def _dollars(row: CusLLMUsage) -> Decimal:
    return Decimal(row.cost_microcents) / 100_000_000


@pytest.mark.parametrize(
    ("facts", "dollars"),
    [
        ({"model_requested": "eu.anthropic.claude-opus-5", "provider": "bedrock"}, "0.55"),
        ({"model_requested": "global.anthropic.claude-opus-5", "region": "eu-west-1"}, "0.50"),
        ({"provider": "bedrock", "region": "eu-west-1"}, "0.55"),
        ({"host": "bedrock-runtime.us-east-1.amazonaws.com"}, "0.55"),
        ({"host": "europe-west1-aiplatform.googleapis.com"}, "0.55"),
        ({"host": "aiplatform.googleapis.com"}, "0.50"),
        ({"provider": "anthropic"}, "0.50"),
    ],
)
def test_a_call_costs_what_its_provider_bills_in_its_region(
    sdk: SdkClient, facts: dict[str, str], dollars: str
) -> None:
    row = _report(sdk, model="claude-opus-5", tokens_in=100_000, tokens_out=0, **facts)

    assert _dollars(row) == Decimal(dollars)
    assert row.price_id
    assert microcents_of(row, kept_pricing(row.price_id)) == row.cost_microcents


def test_a_regional_host_of_openai_is_dearer_whatever_the_record_says_of_its_region(
    sdk: SdkClient,
) -> None:
    row = _report(sdk, model="gpt-5.5", host="eu.api.openai.com", tokens_in=100_000, tokens_out=0)

    assert _dollars(row) == Decimal("0.55")


@pytest.mark.parametrize(
    ("host", "model"),
    [
        ("api.deepseek.com", "deepseek-chat"),
        ("api.groq.com", "llama-3.3-70b-versatile"),
        ("openrouter.ai", "openai/gpt-4o-mini"),
    ],
)
def test_who_answered_follows_from_the_host_though_the_program_names_another(
    sdk: SdkClient, host: str, model: str
) -> None:
    row = _report(sdk, model=model, host=host, provider="openai")

    assert (row.pricing, row.pricing_version) == ("genai_prices", VERSION)
    assert row.cost_microcents > 0


def test_turns_are_priced_one_by_one_and_can_be_recomputed(sdk: SdkClient) -> None:
    turn = {"tokens_in": 150_000, "tokens_out": 100}
    advice = {"model": "claude-opus-4-6", "tokens_in": 1_000, "tokens_out": 10}

    row = _report(
        sdk,
        model="claude-sonnet-4-5",
        tokens_in=301_000,
        tokens_out=210,
        turns=[turn, turn, advice],
    )

    own = 300_000 * 300 + 200 * 1_500
    assert row.cost_microcents == own + 1_000 * 500 + 10 * 2_500
    assert row.flags == ["cost_filled"]
    assert row.price_id
    assert microcents_of(row, kept_pricing(row.price_id)) == row.cost_microcents


def test_an_inner_model_can_have_a_price_of_the_tenants_own(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    _override(tenant, "our-advisor", input="7")
    turns = [{"tokens_in": 1}, {"tokens_in": 1, "model": "our-advisor"}]

    row = _report(sdk, model="claude-opus-5", tokens_in=2, tokens_out=0, turns=turns)

    assert row.cost_microcents == 500 + 700
    assert row.unpriced_units is None


def test_turns_that_do_not_add_up_are_flagged_and_the_call_is_priced_as_one(
    sdk: SdkClient,
) -> None:
    row = _report(
        sdk, model="gpt-4o", tokens_in=10, tokens_out=0, turns=[{"tokens_in": 4}, {"tokens_in": 5}]
    )

    assert "turns_mismatch" in row.flags
    assert row.cost_microcents == 2_500


def test_units_and_inner_models_without_a_price_are_named_and_the_rest_is_counted(
    sdk: SdkClient,
) -> None:
    row = _report(
        sdk,
        model="claude-opus-5",
        tokens_in=2,
        tokens_out=0,
        turns=[{"tokens_in": 1}, {"tokens_in": 1, "model": "unheard-of"}],
        billed_units={"searches": 1, "zeppelins": 3, "free": 0, "huge": 2**40},
    )

    assert row.unpriced_units == ["huge", "tokens of unheard-of", "zeppelins"]
    assert (row.pricing, row.cost_microcents) == ("table", 500 + 1_000_000)


def test_a_tier_without_a_price_is_flagged_and_costs_the_plain_price(sdk: SdkClient) -> None:
    strange = _report(sdk, model="gpt-5", tokens_in=100, tokens_out=0, service_tier="scale")
    flex = _report(sdk, model="gpt-5", tokens_in=100, tokens_out=0, service_tier="flex")
    plain = _report(sdk, model="gpt-5", tokens_in=100, tokens_out=0, service_tier="default")

    assert "unknown_tier" in strange.flags
    assert "unknown_tier" not in flex.flags + plain.flags
    assert strange.cost_microcents == plain.cost_microcents == 2 * flex.cost_microcents


def test_genai_prices_answers_are_used_whole() -> None:
    searching = genai_pricing("sonar", "perplexity", NOW)
    hearing = genai_pricing("whisper-large-v3", "groq", NOW)
    batched = genai_pricing("openai/gpt-oss-120b", "groq", NOW)

    assert searching is not None
    one_token = CusTokenUsage(tokens_in=1)
    assert searching.cost_microcents(one_token) > 1_200_000  # $12 a thousand requests
    assert hearing is not None
    # $0.111 an hour
    assert hearing.cost_microcents(CusTokenUsage(), billed_units={"seconds": 3_600}) == 11_100_000
    assert batched is not None
    usage = CusTokenUsage(tokens_in=1_000_000)
    assert batched.cost_microcents(usage, tier="batch") * 2 == batched.cost_microcents(usage)
