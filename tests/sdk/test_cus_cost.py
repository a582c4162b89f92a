"""The price table and its arithmetic (§11, rulings M1 to M8)."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import ROUND_UP, Decimal, DefaultContext, localcontext
from typing import Any

import pytest

from aos_sdk import (
    CusPricingTable,
    CusTokenUsage,
    CusUnknownModel,
    calculate_cost,
    calculate_cost_breakdown,
    calculate_cost_microcents,
    estimate_cost,
    format_cost,
    get_model_pricing,
    get_pricing_version,
    price_call,
)
from aos_sdk.cus_pricing import table as cus_price_table

THE_TABLE_OF_11_5 = [
    ("gpt-4o", 1_000, 500, 1, "0.75"),
    ("gpt-4o-mini", 10_000, 5_000, 1, "0.45"),
    ("claude-sonnet-4", 1_000, 500, 2, "1.05"),
    ("claude-opus-4", 1_000, 500, 6, "5.25"),
    ("o1", 1_000, 500, 5, "4.5"),
]
THE_PRICES_OF_11_2 = {
    "gpt-4o": ("0.0025", "0.010"),
    "gpt-4o-mini": ("0.00015", "0.0006"),
    "gpt-4-turbo": ("0.01", "0.03"),
    "o1": ("0.015", "0.06"),
    "o1-mini": ("0.003", "0.012"),
    "claude-opus-4": ("0.015", "0.075"),
    "claude-sonnet-4": ("0.003", "0.015"),
    "claude-3-5-sonnet": ("0.003", "0.015"),
    "claude-3-5-haiku": ("0.001", "0.005"),
}


@pytest.mark.parametrize(("model", "tokens_in", "tokens_out", "cents", "exact"), THE_TABLE_OF_11_5)
def test_a_call_costs_what_the_table_says_rounded_up_once(
    model: str, tokens_in: int, tokens_out: int, cents: int, exact: str
) -> None:
    breakdown = calculate_cost_breakdown(model, tokens_in, tokens_out)
    assert calculate_cost(model, tokens_in, tokens_out) == cents
    assert calculate_cost_microcents(model, tokens_in, tokens_out) == int(Decimal(exact) * 10**6)
    assert breakdown["input_cost_cents"] + breakdown["output_cost_cents"] == Decimal(exact)
    assert breakdown["total_cost_cents"] == cents
    assert breakdown["pricing_version"] == "2026-11-28"


@pytest.mark.parametrize(("model", "prices"), THE_PRICES_OF_11_2.items())
def test_the_nine_models_have_their_documented_prices(model: str, prices: tuple[str, str]) -> None:
    pricing = get_model_pricing(model)
    assert pricing is not None
    assert (pricing.input, pricing.output) == (Decimal(prices[0]), Decimal(prices[1]))


def test_the_table_shows_its_version_and_its_models_by_provider() -> None:
    assert CusPricingTable.TABLE_VERSION == get_pricing_version() == "2026-11-28"
    assert CusPricingTable.OPENAI_PRICING["gpt-4o"].output == Decimal("0.01")
    assert CusPricingTable.ANTHROPIC_PRICING["claude-opus-4"].input == Decimal("0.015")
    assert "gpt-4o" not in CusPricingTable.ANTHROPIC_PRICING


def test_gpt_4o_mini_is_not_gpt_4o() -> None:
    assert calculate_cost_microcents("gpt-4o-mini", 1_000, 0) == 15_000
    assert calculate_cost_microcents("gpt-4o", 1_000, 0) == 250_000


@pytest.mark.parametrize("bad", [-1, 1.0, 0.0, True, False, "1", None])
@pytest.mark.parametrize("kind", CusTokenUsage._fields[:9])
def test_a_count_that_is_negative_or_no_integer_is_refused(kind: str, bad: Any) -> None:
    tokens: dict[str, Any] = {"tokens_in": 10, "tokens_out": 10, kind: bad}
    with pytest.raises(ValueError, match=kind):
        calculate_cost("gpt-4o", **tokens)


def test_a_call_without_tokens_is_free() -> None:
    assert calculate_cost("gpt-4o", 0, 0) == 0


def test_one_token_costs_a_whole_cent_but_not_a_whole_cent_of_microcents() -> None:
    assert calculate_cost("gpt-4o-mini", 1, 0) == 1
    assert calculate_cost_microcents("gpt-4o-mini", 1, 0) == 15


def test_an_exact_cent_is_not_rounded_up() -> None:
    assert calculate_cost_microcents("gpt-4o", 4_000, 0) == 1_000_000
    assert calculate_cost("gpt-4o", 4_000, 0) == 1
    assert calculate_cost("gpt-4o", 4_001, 0) == 2


def test_a_cached_token_of_seven_and_a_half_microcents_is_rounded_on_the_total_alone() -> None:
    assert calculate_cost_microcents("gpt-4o-mini", 2, 0, tokens_cached=2) == 15
    assert calculate_cost_microcents("gpt-4o-mini", 1, 0, tokens_cached=1) == 8
    parts = calculate_cost_breakdown("gpt-4o-mini", 1, 0, tokens_cached=1)["parts_microcents"]
    assert parts.cached == Decimal("7.5")


def test_details_are_parts_of_their_whole_and_never_counted_twice() -> None:
    breakdown = calculate_cost_breakdown(
        "claude-sonnet-4",
        1_000,
        100,
        tokens_cached=500,
        tokens_cache_write=300,
        tokens_cache_write_1h=100,
        tokens_reasoning=40,
    )
    parts = breakdown["parts_microcents"]
    assert parts.input == 200 * 300
    assert parts.cached == 500 * 30
    assert parts.cache_write_5m == 200 * 375
    assert parts.cache_write_1h == 100 * 600
    assert parts.reasoning + parts.output == 100 * 1_500
    assert sum(parts) == breakdown["total_cost_microcents"]


def test_details_beyond_their_whole_never_make_a_cost_negative() -> None:
    assert calculate_cost_microcents("gpt-4o", 10, 0, tokens_cached=30) == 30 * 125


def test_cached_audio_is_billed_as_cached_and_not_as_audio_too() -> None:
    breakdown = calculate_cost_breakdown(
        "gpt-realtime", 100, 0, tokens_cached=80, tokens_audio_in=50, tokens_image_in=10
    )
    parts = breakdown["parts_microcents"]
    assert [parts.input, parts.cached] == [0, 80 * 40]
    assert [parts.audio_in, parts.image_in] == [10 * 3_200, 10 * 500]
    assert sum(parts) == breakdown["total_cost_microcents"]


def test_a_kind_without_a_price_is_billed_as_plain_tokens() -> None:
    plain = calculate_cost_microcents("gpt-4-turbo", 100, 50)
    assert calculate_cost_microcents("gpt-4-turbo", 100, 50, tokens_cached=60) == plain


def test_a_batch_costs_half_and_an_unpriced_tier_costs_the_plain_price() -> None:
    plain = calculate_cost_microcents("gpt-4o", 1_000, 500)
    assert calculate_cost_microcents("gpt-4o", 1_000, 500, batch=True) * 2 == plain
    assert calculate_cost_microcents("gpt-4o", 1_000, 500, service_tier="batch") * 2 == plain
    assert calculate_cost_microcents("gpt-4o", 1_000, 500, service_tier="default") == plain


@pytest.mark.parametrize(
    ("model", "tier", "times"),
    [
        ("gpt-5", "flex", "0.5"),
        ("gpt-5", "priority", "2"),
        ("gpt-6.1-sol", "ultrafast", "6"),
        ("claude-opus-5", "fast", "2"),
        ("claude-opus-5", "us", "1.1"),
        ("claude-opus-5", "batch_us", "0.55"),
    ],
)
def test_a_tier_has_its_own_price(model: str, tier: str, times: str) -> None:
    plain = calculate_cost_microcents(model, 1_000, 500, tokens_cached=100)
    dear = calculate_cost_microcents(model, 1_000, 500, tokens_cached=100, service_tier=tier)
    assert dear == plain * Decimal(times)


def test_a_long_call_in_a_batch_costs_half_the_long_price() -> None:
    long = calculate_cost_microcents("gpt-6-sol", 272_001, 10)
    assert long == 272_001 * 400 + 10 * 1_500
    assert calculate_cost_microcents("gpt-6-sol", 272_001, 10, batch=True) * 2 == long


def test_what_is_not_billed_by_the_token_is_a_part_of_the_cost() -> None:
    units = {"searches": 3, "fetches": 7}
    breakdown = calculate_cost_breakdown("claude-sonnet-4", 1_000, 500, billed_units=units)
    assert breakdown["units_cost_cents"] == 3
    assert breakdown["total_cost_microcents"] == 3_000_000 + 1_050_000
    assert breakdown["total_cost_cents"] == 5
    assert calculate_cost_microcents("whisper-1", 0, 0, billed_units={"seconds": 60}) == 600_000


@pytest.mark.parametrize("bad", [-1, 1.5, True, None])
def test_units_that_are_no_count_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="searches"):
        calculate_cost("gpt-4o", 1, 1, billed_units={"searches": bad})


def test_both_lifetimes_of_a_cache_write_have_their_price_at_openai_too() -> None:
    parts = calculate_cost_breakdown(
        "gpt-6.1-terra", 100, 0, tokens_cache_write=60, tokens_cache_write_1h=20
    )["parts_microcents"]
    assert [parts.cache_write_5m, parts.cache_write_1h] == [40 * 125, 20 * 250]


def test_enormous_counts_stay_exact() -> None:
    assert calculate_cost_microcents("gpt-4o", 10**24 + 1, 0) == 250 * (10**24 + 1)


@pytest.fixture
def a_model_with_a_history(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    long = {"above": 100, "input": "4.00", "output": "8.00"}
    prices: list[dict[str, Any]] = [
        {"input": "1.00", "output": "2.00"},
        {"from": "2026-03-01", "input": "2.00", "output": "4.00", "long_context": long},
    ]
    monkeypatch.setitem(cus_price_table._MODELS, "aged", {"provider": "openai", "prices": prices})
    monkeypatch.setitem(cus_price_table._CANONICAL, "aged", "aged")
    yield "aged"
    cus_price_table._remembered.pop("aged", None)
    cus_price_table._history.cache_clear()


def test_a_past_call_is_priced_by_its_own_date(a_model_with_a_history: str) -> None:
    before = datetime(2026, 2, 28, 23, 59, tzinfo=UTC)
    assert calculate_cost_microcents(a_model_with_a_history, 1, 0, at=before) == 100
    assert calculate_cost_microcents(a_model_with_a_history, 1, 0, at=date(2026, 3, 1)) == 200


def test_a_long_input_is_billed_at_the_long_context_price(a_model_with_a_history: str) -> None:
    day = date(2026, 4, 1)
    assert calculate_cost_microcents(a_model_with_a_history, 100, 1, at=day) == 100 * 200 + 400
    assert calculate_cost_microcents(a_model_with_a_history, 101, 1, at=day) == 101 * 400 + 800


def test_a_program_that_counts_in_two_digits_pays_the_same() -> None:
    def costs() -> list[Any]:
        cus_price_table._history.cache_clear()
        return [
            (price_call(name, CusTokenUsage(123_457, 7_919)), get_model_pricing(name))
            for name in cus_price_table._MODELS
        ] + [calculate_cost_breakdown("gpt-4o", 123_457, 7_919, tokens_cached=3_571)]

    expected = costs()
    with localcontext(prec=2, rounding=ROUND_UP, Emax=9, Emin=-1):
        found = costs()
    assert repr(found) == repr(expected)
    # What threads and new contexts begin with can be a program's own, too.
    with pytest.MonkeyPatch.context() as defaults:
        defaults.setattr(DefaultContext, "prec", 2)
        defaults.setattr(DefaultContext, "rounding", ROUND_UP)
        found = costs()
    assert repr(found) == repr(expected)


def test_an_estimate_without_a_maximum_takes_the_models_own() -> None:
    assert estimate_cost("gpt-4o", 1_000, 500) == 1
    assert estimate_cost("gpt-4o", 1_000) == calculate_cost("gpt-4o", 1_000, 16_384)
    with pytest.raises(CusUnknownModel):
        estimate_cost("nobody-knows", 1_000)


def test_a_cost_reads_as_dollars() -> None:
    assert [format_cost(cents) for cents in (0, 5, 105, 123_456, -5)] == [
        "$0.00",
        "$0.05",
        "$1.05",
        "$1234.56",
        "-$0.05",
    ]
    with pytest.raises(ValueError, match="integer"):
        format_cost(1.5)  # type: ignore[arg-type]  # on purpose


def test_a_priced_call_says_what_priced_it() -> None:
    priced = price_call("gpt-4o", CusTokenUsage(1_000, 500), service_tier="default")
    assert priced == (1, 750_000, "2026-11-28", "table")
