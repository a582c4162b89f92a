"""What holds of every cost, whatever the model and the tokens (rulings M1 to M4, M7, M8)."""

import ast
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos_sdk import (
    CusModelPricing,
    CusTokenUsage,
    calculate_cost,
    calculate_cost_breakdown,
    calculate_cost_microcents,
    cus_cost,
    get_model_pricing,
)
from aos_sdk.cus_pricing import rates as cus_pricing
from aos_sdk.cus_pricing import table as cus_price_table

MODELS = st.sampled_from(cus_price_table.model_names())
TIERS = st.sampled_from([None, "default", "batch", "flex", "priority", "fast", "us", "nonsense"])
COUNTS = st.integers(0, 2_000_000)
KINDS_IN = ("tokens_cached", "tokens_cache_write", "tokens_audio_in", "tokens_image_in")
KINDS_OUT = ("tokens_reasoning", "tokens_audio_out")


@st.composite
def usages(draw: st.DrawFn) -> dict[str, int]:
    """A call's tokens as a provider reports them: every detail a part of its whole."""
    usage = {kind: draw(COUNTS) for kind in (*KINDS_IN, *KINDS_OUT)}
    usage["tokens_cache_write_1h"] = draw(st.integers(0, usage["tokens_cache_write"]))
    usage["tokens_in"] = draw(COUNTS) + sum(usage[kind] for kind in KINDS_IN)
    usage["tokens_out"] = draw(COUNTS) + sum(usage[kind] for kind in KINDS_OUT)
    return usage


ANY_USAGE = st.fixed_dictionaries(dict.fromkeys(CusTokenUsage._fields[:9], COUNTS))


@given(MODELS, usages() | ANY_USAGE, TIERS)
def test_the_parts_add_up_to_the_exact_cost(
    model: str, usage: dict[str, Any], tier: str | None
) -> None:
    breakdown = calculate_cost_breakdown(model, **usage, service_tier=tier)
    exact = sum(breakdown["parts_microcents"], Decimal())
    cents = breakdown["input_cost_cents"] + breakdown["output_cost_cents"]
    assert cents + breakdown["units_cost_cents"] == exact / 10**6
    assert breakdown["total_cost_microcents"] == exact.to_integral_value(ROUND_CEILING)
    assert breakdown["total_cost_cents"] == (exact / 10**6).to_integral_value(ROUND_CEILING)


@given(MODELS, usages(), TIERS)
def test_the_cost_is_that_of_a_bill_written_out_by_hand(
    model: str, usage: dict[str, Any], tier: str | None
) -> None:
    billed = calculate_cost_microcents(model, **usage, service_tier=tier)
    assert 0 <= billed - _by_hand(model, usage, tier) < 1


def _by_hand(model: str, usage: dict[str, int], tier: str | None) -> Decimal:
    """Dollars a million times tokens, straight from the data, without the code under test."""
    pricing = get_model_pricing(model)
    assert pricing is not None
    prices, factor = dict(pricing.data), Decimal(1)
    tiered = prices.get("tiers", {}).get(tier)
    if isinstance(tiered, str):
        factor = Decimal(tiered)
    elif tiered is not None:
        prices = tiered
    long = prices.get("long_context")
    if long and usage["tokens_in"] > long["above"]:
        prices = long
    short_write = usage["tokens_cache_write"] - usage["tokens_cache_write_1h"]
    lines = {
        "cached": usage["tokens_cached"],
        "cache_write_5m": short_write,
        "cache_write_1h": usage["tokens_cache_write_1h"],
        "audio_in": usage["tokens_audio_in"],
        "image_in": usage["tokens_image_in"],
        "input": usage["tokens_in"] - sum(usage[kind] for kind in KINDS_IN),
        "reasoning": usage["tokens_reasoning"],
        "audio_out": usage["tokens_audio_out"],
        "output": usage["tokens_out"] - sum(usage[kind] for kind in KINDS_OUT),
    }
    total = Decimal()
    for kind, count in lines.items():
        plain = "output" if kind in ("reasoning", "audio_out") else "input"
        total += count * Decimal(prices.get(kind, prices[plain])) * 100
    return total * factor + _fee(pricing, usage)


def _fee(pricing: CusModelPricing, usage: dict[str, int]) -> Decimal:
    """What a call costs besides, in microcents: dollars a thousand calls, if it used any tokens."""
    fee = Decimal(pricing.data.get("units", {}).get("requests", "0")) * 100_000
    return fee if usage["tokens_in"] or usage["tokens_out"] else Decimal()


@given(MODELS, usages(), TIERS, st.sampled_from(CusTokenUsage._fields[:9]), st.integers(1, 10**6))
def test_more_tokens_of_any_kind_never_cost_less(
    model: str, usage: dict[str, Any], tier: str | None, kind: str, more: int
) -> None:
    grown = dict(usage)
    # A detail grows with its whole, and an hour's cache write is a cache write.
    wholes = {
        "tokens_in": (),
        "tokens_out": (),
        "tokens_cache_write_1h": ("tokens_in", "tokens_cache_write"),
        **dict.fromkeys(KINDS_IN, ("tokens_in",)),
        **dict.fromkeys(KINDS_OUT, ("tokens_out",)),
    }
    for name in (kind, *wholes[kind]):
        grown[name] += more
    before = calculate_cost_microcents(model, **usage, service_tier=tier)
    assert calculate_cost_microcents(model, **grown, service_tier=tier) >= before


@given(MODELS, usages(), usages(), TIERS)
def test_two_calls_cost_at_most_a_microcent_more_than_their_sum(
    model: str, one: dict[str, Any], other: dict[str, Any], tier: str | None
) -> None:
    pricing = get_model_pricing(model)
    assert pricing is not None
    both = {kind: one[kind] + other[kind] for kind in one}
    apart = sum(calculate_cost_microcents(model, **u, service_tier=tier) for u in (one, other))
    together = calculate_cost_microcents(model, **both, service_tier=tier)
    fee = _fee(pricing, one) + _fee(pricing, other) - _fee(pricing, both)
    assert apart - together <= 1 + fee
    if pricing.rates.long_rates is None:  # else a longer input can be dearer a token
        assert apart >= together


@given(usages())
def test_a_batch_costs_half_where_the_table_says_so(usage: dict[str, Any]) -> None:
    for model in cus_price_table.model_names():
        pricing = get_model_pricing(model)
        assert pricing is not None
        if pricing.data.get("tiers", {}).get("batch") == "0.5":
            plain = pricing.parts_microcents(_tuple(usage))
            batch = pricing.parts_microcents(_tuple(usage), tier="batch")
            assert sum(batch) * 2 == sum(plain), model
            assert calculate_cost(model, **usage, batch=True) <= calculate_cost(model, **usage)


def _tuple(usage: dict[str, int]) -> CusTokenUsage:
    return CusTokenUsage(**usage)


@given(MODELS, usages() | ANY_USAGE, TIERS)
def test_integers_go_in_and_integers_come_out(
    model: str, usage: dict[str, Any], tier: str | None
) -> None:
    assert type(calculate_cost_microcents(model, **usage, service_tier=tier)) is int
    assert type(calculate_cost(model, **usage, service_tier=tier)) is int


@given(usages() | ANY_USAGE)
def test_the_kinds_are_disjoint_and_add_up_to_what_was_reported(usage: dict[str, int]) -> None:
    kinds = cus_pricing.disjoint_kinds(_tuple(usage))
    assert min(kinds) >= 0
    write = max(usage["tokens_cache_write"], usage["tokens_cache_write_1h"])
    details_out = usage["tokens_reasoning"] + usage["tokens_audio_out"]
    assert sum(kinds[:6]) == max(usage["tokens_in"], usage["tokens_cached"] + write)
    assert sum(kinds[6:]) == max(usage["tokens_out"], details_out)


@pytest.mark.parametrize("module", [cus_cost, cus_pricing, cus_price_table])
def test_the_arithmetic_knows_no_float(module: Any) -> None:
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float))
        assert not (isinstance(node, ast.Name) and node.id in ("float", "round"))
        assert not isinstance(getattr(node, "op", None), ast.Div) or _divides_decimals(node)


def _divides_decimals(node: ast.AST) -> bool:
    """Two integers divided give a float, so every division must begin with a Decimal."""
    assert isinstance(node, ast.BinOp)
    dividend = ast.unparse(node.left)
    return (
        dividend.startswith(("Decimal(", "_dollars(", "sum(", "parts.")) and "len" not in dividend
    )


def test_an_override_of_a_tenant_is_priced_like_the_table() -> None:
    prices = {"input": "1.00", "output": "2.00", "tiers": {"batch": "0.5"}}
    pricing = CusModelPricing.from_data("custom", {}, prices)
    assert pricing.cost_microcents(CusTokenUsage(10, 10)) == 3_000
    assert pricing.cost_microcents(CusTokenUsage(10, 10), tier="batch") == 1_500


@pytest.mark.parametrize("bad", ["-1", "x", "", "NaN", "Infinity", "0.000000001", 1.5, True, None])
@pytest.mark.parametrize("kind", ["input", "output", "cached"])
def test_a_price_that_is_no_price_is_refused(kind: str, bad: Any) -> None:
    with pytest.raises(ValueError, match="price"):
        CusModelPricing.from_data("x", {}, {"input": "1.00", "output": "1.00", kind: bad})


def test_an_entry_without_an_output_price_is_refused() -> None:
    with pytest.raises(KeyError):
        CusModelPricing.from_data("x", {}, {"input": "1.00"})
