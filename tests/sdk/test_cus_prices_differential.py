"""Our prices beside those of genai-prices, for every model that both know, at several dates.

Both were made from the providers' pages, by different people; where they differ, the reason stands
in `EXPLAINED`. A difference without a reason, and a reason without a difference, fail.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache

import pytest
from genai_prices.data import providers
from genai_prices.types import ModelInfo, Provider, Usage

from aos_sdk import CusTokenUsage, get_model_pricing
from aos_sdk.cus_pricing import table as cus_price_table

# What a probe is made of, for us and for them: a thousand tokens of one kind, or 300,000.
KINDS = {
    "input": ("tokens_in", "input_tokens"),
    "cached": ("tokens_cached", "cache_read_tokens"),
    "cache_write": ("tokens_cache_write", "cache_write_tokens"),
    "cache_write_1h": ("tokens_cache_write_1h", "cache_write_1h_tokens"),
    "audio_in": ("tokens_audio_in", "input_audio_tokens"),
    "image_in": ("tokens_image_in", "input_image_tokens"),
    "output": ("tokens_out", "output_tokens"),
    "audio_out": ("tokens_audio_out", "output_audio_tokens"),
}
LENGTHS = (1_000, 300_000)
DATES = [
    datetime(2025, 3, 1, tzinfo=UTC),
    datetime(2026, 1, 17, tzinfo=UTC),
    datetime(2026, 7, 1, tzinfo=UTC),
    datetime(2026, 8, 1, tzinfo=UTC),
    datetime(2026, 9, 1, tzinfo=UTC),
    datetime(2026, 11, 1, tzinfo=UTC),
]
# They know no prices of tiers before this; ours hold as long as the plain price does.
TIERS_SINCE = datetime(2026, 10, 14, tzinfo=UTC)
TIERS = {"openai": ("batch", "flex", "priority", "fast"), "anthropic": ("batch", "fast")}

# (model, tier, kind); a `*` stands for any. Each with the reason why ours stands.
EXPLAINED = {
    ("o1-mini", "*", "*"): "ours is the documented table's price; it was cut to $1.10/$4.40",
    ("claude-3-5-haiku", "*", "*"): "ours is the documented table's price; it was cut to $0.80/$4",
    ("claude-opus-4", "batch", "*"): "they leave out the batch price of retired models",
    ("claude-opus-4-1", "batch", "*"): "they leave out the batch price of retired models",
    ("claude-sonnet-4", "batch", "*"): "they leave out the batch price of retired models",
    ("claude-3-5-sonnet", "batch", "*"): "they leave out the batch price of retired models",
    ("claude-3-7-sonnet", "batch", "*"): "they leave out the batch price of retired models",
    ("claude-3-opus", "batch", "*"): "they leave out the batch price of retired models",
    ("claude-3-sonnet", "batch", "*"): "they leave out the batch price of retired models",
    ("claude-3-haiku", "batch", "*"): "they leave out the batch price of retired models",
    ("gpt-4.1", "batch", "cached"): "no cached price in a batch: plain batch input (M4)",
    ("gpt-4.1-mini", "batch", "cached"): "no cached price in a batch: plain batch input (M4)",
    ("gpt-4.1-nano", "batch", "cached"): "no cached price in a batch: plain batch input (M4)",
    ("o3", "batch", "cached"): "no cached price in a batch: plain batch input (M4)",
    ("o4-mini", "batch", "cached"): "no cached price in a batch: plain batch input (M4)",
    ("gpt-4o-audio-preview", "*", "audio_in"): "they bill its audio as text",
    ("gpt-4o-audio-preview", "*", "audio_out"): "they bill its audio as text",
    ("gpt-4o-audio-preview-2024-10-01", "*", "audio_in"): "they bill its audio as text",
    ("gpt-4o-audio-preview-2024-10-01", "*", "audio_out"): "they bill its audio as text",
    ("gpt-4o-mini-audio-preview", "*", "audio_in"): "they bill its audio as text",
    ("gpt-4o-mini-audio-preview", "*", "audio_out"): "they bill its audio as text",
    ("gpt-4o-mini-search-preview", "*", "*"): "they take it for gpt-4o-mini, which has discounts",
    ("chatgpt-image-latest", "batch", "*"): "they leave out the batch price of its name",
    ("gpt-5.5-pro", "batch", "*"): "they leave out the batch price of long contexts",
    ("gpt-5.6-cyber", "*", "*"): "they leave out its price of long contexts",
    ("text-embedding-*", "batch", "*"): "they leave out the batch price of embeddings",
    ("gpt-5.6-*", "*", "cache_write_1h"): "they know no price of OpenAI's 12-hour cache writes",
    ("gpt-6*", "*", "cache_write_1h"): "they know no price of OpenAI's 12-hour cache writes",
}

Difference = tuple[str, str, str]


def _provider(name: str) -> Provider:
    return next(provider for provider in providers if provider.id == name)


def _compared() -> Iterator[tuple[Difference, Decimal, Decimal]]:
    """Everything that both can price: what it is, our dollars and theirs."""
    for name in cus_price_table.model_names():
        about = cus_price_table.about_model(name)
        provider = _provider(about["provider"])
        for alias in (name, *about.get("aliases", ())):
            theirs = provider.find_model(alias)
            for tier in ("", *TIERS[provider.id]) if theirs else ():
                assert theirs is not None
                for kind, tokens, at in _probes(tier):
                    ours = _our_dollars(alias, kind, tokens, tier, at)
                    key = (name, tier, kind)
                    yield key, ours, _their_dollars(theirs, provider, kind, tokens, tier, at)


def _probes(tier: str) -> Iterator[tuple[str, int, datetime]]:
    for at in DATES:
        if not tier or at >= TIERS_SINCE:
            for kind in KINDS:
                for tokens in LENGTHS:
                    yield kind, tokens, at


def _our_dollars(model: str, kind: str, tokens: int, tier: str, at: datetime) -> Decimal:
    usage = dict.fromkeys(("tokens_in", "tokens_out"), 0)
    usage["tokens_out" if "out" in kind else "tokens_in"] = tokens
    usage[KINDS[kind][0]] = tokens
    if kind == "cache_write_1h":
        usage["tokens_cache_write"] = tokens
    pricing = get_model_pricing(model, at)
    assert pricing is not None
    parts = pricing.parts_microcents(CusTokenUsage(**usage), tier=tier or None)
    # Without the fee of a call, which is a unit.
    return sum(parts[:-1], Decimal()) / 10**8


def _their_dollars(
    model: ModelInfo, provider: Provider, kind: str, tokens: int, tier: str, at: datetime
) -> Decimal:
    usage = dict.fromkeys(("input_tokens", "output_tokens"), 0)
    usage["output_tokens" if "out" in kind else "input_tokens"] = tokens
    usage[KINDS[kind][1]] = tokens
    if kind == "cache_write_1h":
        usage["cache_write_tokens"] = tokens
    if "out" in kind and "image" in model.id:
        # What our table calls an image model's output.
        usage = {"input_tokens": 0, "output_tokens": tokens, "output_image_tokens": tokens}
    context = {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
    if provider.id == "anthropic" and tier == "fast":
        context = {"speed": "fast"}
    return model.calc_price(
        Usage(**usage),
        provider,
        genai_request_timestamp=at,
        price_context=context if tier else None,
    ).total_price


@cache
def _differences() -> dict[Difference, set[tuple[Decimal, Decimal]]]:
    found = defaultdict(set)
    for key, ours, theirs in _compared():
        if ours != theirs:
            found[key].add((ours, theirs))
    return dict(found)


def _explains(reason: Difference, difference: Difference) -> bool:
    model, tier, kind = reason
    named = difference[0].startswith(model[:-1]) if model.endswith("*") else difference[0] == model
    return named and tier in ("*", difference[1]) and kind in ("*", difference[2])


def test_every_difference_is_explained() -> None:
    unexplained = {
        difference: costs
        for difference, costs in _differences().items()
        if not any(_explains(reason, difference) for reason in EXPLAINED)
    }
    assert not unexplained


@pytest.mark.parametrize("reason", EXPLAINED)
def test_every_explanation_explains_something(reason: Difference) -> None:
    assert any(_explains(reason, difference) for difference in _differences())


def test_nearly_all_of_the_table_was_compared() -> None:
    known = [
        name
        for name in cus_price_table.model_names()
        if _provider(cus_price_table.about_model(name)["provider"]).find_model(name)
    ]
    assert len(known) > 0.85 * len(cus_price_table.model_names())
