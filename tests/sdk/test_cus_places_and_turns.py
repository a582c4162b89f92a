"""What a call costs by its place, its model turns and what is billed beside tokens (M5a, M5b, M8a)."""

from typing import Any

import pytest

from aos_sdk import CusTokenUsage, get_model_pricing, price_call
from aos_sdk.cus_cost import cost_of_call
from aos_sdk.cus_counting.anthropic_usage import anthropic_usage
from aos_sdk.cus_counting.openai_usage import openai_usage
from aos_sdk.cus_pricing.places import CusPlace
from aos_sdk.cus_pricing.table import depends_on_region
from aos_sdk.cus_pricing.turns import has_unknown_tier, turns_add_up, unpriced_units

USAGE = CusTokenUsage(tokens_in=100_000)
_CENTS = 1_000_000  # microcents


def _dollars(model: str, *, provider: str | None = None, region: str | None = None) -> float:
    priced = price_call(model, USAGE, place=CusPlace(provider, region))
    assert priced is not None
    return priced.cost_microcents / (10 * _CENTS)


# https://aws.amazon.com/bedrock/pricing/ and https://cloud.google.com/vertex-ai/generative-ai/pricing,
# 28 November 2026: Claude from Sonnet 4.5, Haiku 4.5 and Opus 4.5 on, 10 % more than global.
@pytest.mark.parametrize(
    ("model", "provider", "region", "dollars"),
    [
        ("claude-sonnet-4-6", "anthropic", None, 3.0),
        ("global.anthropic.claude-sonnet-4-6-v1:0", None, None, 3.0),
        ("global.anthropic.claude-sonnet-4-6-v1:0", "bedrock", "eu-west-1", 3.0),
        ("eu.anthropic.claude-sonnet-4-6-v1:0", None, None, 3.3),
        ("eu.anthropic.claude-sonnet-4-6-v1:0", "bedrock", "global", 3.3),
        ("us-gov.anthropic.claude-opus-5", None, None, 6.0),
        ("anthropic.claude-sonnet-4-6-v1:0", None, None, 3.0),
        ("anthropic.claude-sonnet-4-6-v1:0", "bedrock", "us-east-1", 3.3),
        ("claude-sonnet-4-6", "bedrock", "apac", 3.3),
        ("claude-sonnet-4-6", "vertex", "global", 3.0),
        ("claude-sonnet-4-6", "vertex", "europe-west1", 3.3),
        ("claude-sonnet-4-6", "vertex", "eu", 3.3),
        ("eu.anthropic.claude-sonnet-4-20250514-v1:0", None, None, 3.0),
        ("gpt-5.5", "openai", None, 5.0),
        ("gpt-5.5", "openai", "eu", 5.5),
        ("gpt-4o", "openai", "eu", 2.5),
        ("gpt-4o", "azure_openai", "eu", 2.75),
        ("gpt-4o", "azure_openai", "eastus", 2.5),
    ],
)
def test_a_place_that_the_provider_bills_dearer_costs_more(
    model: str, provider: str | None, region: str | None, dollars: float
) -> None:
    assert _dollars(model, provider=provider, region=region) == dollars


def test_an_arn_and_a_resource_name_say_their_region() -> None:
    arn = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-6-v1:0"
    path = "projects/p/locations/europe-west1/publishers/anthropic/models/claude-sonnet-4-6"

    assert (_dollars(arn), _dollars(path)) == (3.3, 3.3)


def test_a_region_raises_every_kind_tier_and_long_context_and_no_unit() -> None:
    plain = get_model_pricing("claude-sonnet-4-5")
    there = get_model_pricing("claude-sonnet-4-5", provider="vertex", region="us-east5")
    assert plain is not None
    assert there is not None
    usage = CusTokenUsage(
        tokens_in=300_000, tokens_out=100, tokens_cached=50, tokens_cache_write=1000
    )

    for tier in (None, "batch"):
        cost = plain.cost_microcents(usage, tier=tier)
        assert there.cost_microcents(usage, tier=tier) == -(-cost * 11 // 10)
    assert there.unit_rates == plain.unit_rates


def test_the_plain_way_and_the_full_way_price_a_place_alike() -> None:
    there = CusPlace("bedrock", "eu")

    assert cost_of_call("claude-sonnet-4-6", USAGE, None, None, 0, place=there) == (
        33,
        "2026-11-28",
    )
    assert cost_of_call("eu.anthropic.claude-sonnet-4-6", USAGE, None, None, 0) == (
        33,
        "2026-11-28",
    )


def test_models_say_whether_their_price_depends_on_a_region() -> None:
    assert depends_on_region("claude-opus-5", "bedrock")
    assert not depends_on_region("claude-opus-5", "anthropic")
    assert not depends_on_region("claude-opus-4", "bedrock")
    assert not depends_on_region("nobody-knows", "bedrock")


def _iteration(kind: str, tokens_in: int, tokens_out: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "input_tokens": tokens_in, "output_tokens": tokens_out, **more}


def test_a_long_context_tier_applies_to_each_turn_and_not_to_their_sum() -> None:
    usage = anthropic_usage(
        {
            "input_tokens": 300_000,
            "output_tokens": 200,
            "iterations": [
                _iteration("message", 150_000, 100),
                _iteration("message", 150_000, 100),
            ],
        }
    )
    priced = price_call("claude-sonnet-4-5", usage.tokens, turns=usage.turns)
    as_one = price_call("claude-sonnet-4-5", usage.tokens)

    assert priced is not None
    assert as_one is not None
    assert priced.cost_microcents == 300_000 * 300 + 200 * 1_500
    assert as_one.cost_microcents == 300_000 * 600 + 200 * 2_250


def test_an_advisor_is_a_turn_of_its_own_model_and_a_part_of_the_totals() -> None:
    usage = anthropic_usage(
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "iterations": [
                _iteration("message", 10, 5, model="claude-haiku-4-5"),
                _iteration("advisor_message", 1_000, 20, model="claude-opus-4-6"),
            ],
        }
    )
    assert (usage.tokens_in, usage.tokens_out) == (1_010, 25)
    assert usage.turns
    priced = price_call("claude-haiku-4-5-20251001", usage.tokens, turns=usage.turns)

    assert priced is not None
    assert priced.cost_microcents == 10 * 100 + 5 * 500 + 1_000 * 500 + 20 * 2_500


def test_an_inner_model_that_nobody_knows_is_named() -> None:
    pricing = get_model_pricing("claude-haiku-4-5")
    assert pricing is not None
    usage = CusTokenUsage(tokens_in=30)
    own: dict[str, Any] = {"tokens_in": 10}
    turns = [own, {"tokens_in": 20, "model": "claude-unheard-of"}]

    assert unpriced_units(pricing, usage, None, turns) == ["tokens of claude-unheard-of"]


def test_turns_that_do_not_add_up_leave_the_call_priced_as_one() -> None:
    turns = [{"tokens_in": 150_000}, {"tokens_in": 150_001}]
    usage = CusTokenUsage(tokens_in=300_000)
    priced = price_call("claude-sonnet-4-5", usage, turns=turns)

    assert not turns_add_up(turns, usage)
    assert priced is not None
    assert priced.cost_microcents == 300_000 * 600


def test_thinking_is_a_part_of_the_turns_of_a_message() -> None:
    usage = anthropic_usage(
        {
            "input_tokens": 20,
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 45},
            "iterations": [_iteration("message", 10, 20), _iteration("message", 10, 30)],
        }
    )

    assert usage.turns
    assert turns_add_up(usage.turns, usage.tokens)


def _response(**more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
    return {"object": "response", "status": "completed", "usage": usage, "output": [], **more}


def _read(response: dict[str, Any]) -> Any:
    return openai_usage(response, response["usage"])


def test_an_image_tool_is_a_turn_of_its_image_model() -> None:
    response = _response(
        tools=[{"type": "image_generation", "model": "gpt-image-1.5"}],
        tool_usage={
            "image_gen": {
                "input_tokens": 50,
                "input_tokens_details": {"image_tokens": 30, "text_tokens": 20},
                "output_tokens": 1_000,
                "total_tokens": 1_050,
            },
            "web_search": {"num_requests": 0},
        },
    )
    usage = _read(response)

    assert (usage.tokens_in, usage.tokens_out, usage.tokens_total) == (150, 1_010, 1_160)
    assert usage.billed_units is None
    priced = price_call("gpt-5.4", usage.tokens, service_tier="priority", turns=usage.turns)
    alone = price_call("gpt-5.4", CusTokenUsage(100, 10), service_tier="priority")
    assert priced is not None
    assert alone is not None
    drawn = 20 * 500 + 30 * 800 + 1_000 * 3_200
    assert priced.cost_microcents == alone.cost_microcents + drawn


def test_an_image_tool_without_its_models_name_is_a_unit_without_a_price() -> None:
    drawn = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    usage = _read(_response(tool_usage={"image_gen": drawn}))
    pricing = get_model_pricing("gpt-5.4")

    assert usage.billed_units == {"image_tool_tokens": 3}
    assert pricing is not None
    assert unpriced_units(pricing, usage.tokens, usage.billed_units) == ["image_tool_tokens"]


@pytest.mark.parametrize(
    ("tool", "unit", "microcents"),
    [
        ("web_search", "searches", 1_000_000),
        ("web_search_preview_2025_03_11", "searches_preview", 2_500_000),
    ],
)
def test_a_search_is_billed_by_its_kind(tool: str, unit: str, microcents: int) -> None:
    search = {"type": "web_search_call", "action": {"type": "search"}}
    usage = _read(_response(tools=[{"type": tool}], output=[search]))
    pricing = get_model_pricing("gpt-4.1")

    assert usage.billed_units == {unit: 1}
    assert pricing is not None
    nothing = CusTokenUsage()
    assert pricing.cost_microcents(nothing, billed_units=usage.billed_units) == microcents


def test_a_container_is_billed_once_and_by_its_size() -> None:
    ran = {"type": "code_interpreter_call", "container_id": "c"}
    tool = {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}}
    usage = _read(_response(tools=[tool], output=[ran, ran]))
    pricing = get_model_pricing("gpt-5")

    assert usage.billed_units == {"containers_4g": 1}
    assert pricing is not None
    nothing = CusTokenUsage()
    assert pricing.cost_microcents(nothing, billed_units=usage.billed_units) == 12 * _CENTS


def test_a_search_model_has_a_fee_a_call_and_a_call_without_tokens_has_none() -> None:
    usage = CusTokenUsage(tokens_in=1)
    priced = price_call("gpt-4o-search-preview", usage)
    failed = price_call("gpt-4o-search-preview", CusTokenUsage())
    quick = cost_of_call("gpt-4o-search-preview", usage, None, None, 0)

    assert priced is not None
    assert failed is not None
    assert priced.cost_microcents == 2_500_000 + 250
    assert failed.cost_microcents == 0
    assert quick == (3, "2026-11-28")


def test_units_without_a_price_are_named_in_order_and_priced_or_absent_ones_are_not() -> None:
    pricing = get_model_pricing("claude-opus-5")
    assert pricing is not None
    units = {"searches": 2, "fetches": 3, "zeppelins": 1, "apples": 1.5, "none": 0, "word": "x"}

    assert unpriced_units(pricing, CusTokenUsage(), units) == ["apples", "zeppelins"]


def test_a_tier_that_the_list_does_not_have_is_unknown() -> None:
    pricing = get_model_pricing("gpt-5")
    assert pricing is not None

    assert not any(has_unknown_tier(pricing, tier) for tier in (None, "default", "flex", "batch"))
    assert has_unknown_tier(pricing, "scale")
    assert has_unknown_tier(pricing, None, [{"tokens_in": 1, "service_tier": "scale"}])
