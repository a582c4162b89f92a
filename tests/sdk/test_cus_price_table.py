"""The data file of prices, and how a model is found in it (§11.2, ruling M5)."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta, Struct, field

from aos_sdk import (
    CusPricingTable,
    CusTokenUsage,
    CusUnknownModel,
    calculate_cost,
    get_model_pricing,
    price_call,
)
from aos_sdk.cus_pricing import table as cus_price_table

Money = Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]{2,8}$")]
Factor = Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?$")]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.:-]*$", max_length=100)]
Count = Annotated[int, Meta(ge=0)]
Unit = Annotated[str, Meta(pattern=r"^[a-z_]+[0-9]*g?$")]
UnitPrice = Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]{2,5}$")]
Source = Annotated[str, Meta(pattern=r"^https://")]


class PriceList(Struct, forbid_unknown_fields=True, kw_only=True):
    input: Money
    output: Money
    cached: Money | None = None
    cache_write_5m: Money | None = None
    cache_write_1h: Money | None = None
    audio_in: Money | None = None
    image_in: Money | None = None
    reasoning: Money | None = None
    audio_out: Money | None = None


class LongContext(PriceList, forbid_unknown_fields=True, kw_only=True):
    above: Annotated[int, Meta(ge=1_000)]


class Tier(PriceList, forbid_unknown_fields=True, kw_only=True):
    long_context: LongContext | None = None


class Prices(Tier, forbid_unknown_fields=True, kw_only=True):
    source: Source
    starts: date | None = field(name="from", default=None)
    tiers: dict[Unit, Factor | Tier] = {}
    units: dict[Unit, UnitPrice] = {}


class Model(Struct, forbid_unknown_fields=True, kw_only=True):
    provider: Annotated[str, Meta(pattern=r"^(openai|anthropic)$")]
    context_window: Count | None
    max_output: Count | None
    prices: Annotated[list[Prices], Meta(min_length=1)]
    aliases: list[Name] = []
    encoding: str | None = None
    encoding_assumed: bool = False


class SharedUnits(Struct, forbid_unknown_fields=True, kw_only=True):
    source: Source
    checked: date
    prices: dict[Unit, UnitPrice]
    starts: date | None = field(name="from", default=None)


class Regions(Struct, forbid_unknown_fields=True):
    provider: Annotated[str, Meta(pattern=r"^(openai|azure_openai|bedrock|vertex)$")]
    checked: date
    source: Source
    factors: dict[str, Factor]
    models: list[Name]


class Table(Struct, forbid_unknown_fields=True):
    version: Annotated[str, Meta(pattern=r"^20\d\d-\d\d-\d\d$")]
    currency: Annotated[str, Meta(pattern=r"^USD$")]
    unit: str
    units: dict[str, list[SharedUnits]]
    regions: list[Regions]
    models: dict[Name, Model]


def _text() -> str:
    path = Path(cus_price_table.__file__).parents[1] / "cus_prices.json"
    return path.read_text(encoding="utf-8")


def test_the_data_file_keeps_its_schema() -> None:
    table = msgspec.json.decode(_text(), type=Table)
    assert table.version == CusPricingTable.TABLE_VERSION
    assert len(table.models) > 130


def test_no_model_or_alias_is_named_twice() -> None:
    pairs: list[str] = []
    json.loads(_text(), object_pairs_hook=lambda found: pairs.extend(k for k, _ in found))
    table = msgspec.json.decode(_text(), type=Table)
    names = [*table.models, *(alias for model in table.models.values() for alias in model.aliases)]
    assert len(names) == len(set(names))
    assert all(pairs.count(name) == 1 for name in table.models)


def test_the_prices_of_a_model_begin_in_order_and_the_oldest_with_the_model() -> None:
    for name, model in msgspec.json.decode(_text(), type=Table).models.items():
        assert model.prices[0].starts is None, name
        starts = [prices.starts for prices in model.prices[1:] if prices.starts is not None]
        assert len(starts) == len(model.prices) - 1, name
        assert starts == sorted(set(starts)), name


def test_every_price_of_every_model_can_be_held_exactly() -> None:
    for view in (CusPricingTable.OPENAI_PRICING, CusPricingTable.ANTHROPIC_PRICING):
        for name in view:
            assert cus_price_table._history(name)[-1].model == name
            assert view[name].input >= 0


def test_what_is_cached_is_never_dearer_and_what_is_written_never_cheaper_than_input() -> None:
    for name in cus_price_table.model_names():
        for pricing in cus_price_table._history(name):
            assert pricing.cached <= pricing.input <= pricing.cache_write_5m, name
            assert pricing.cache_write_5m <= pricing.cache_write_1h or "1h" not in pricing.data
            assert pricing.output >= pricing.input or not pricing.output or "audio" in name, name


def test_anthropics_caches_cost_what_its_multipliers_say() -> None:
    for pricing in CusPricingTable.ANTHROPIC_PRICING.values():
        if "cached" in pricing.data and pricing.model != "claude-3-haiku":
            assert pricing.cache_write_5m == pricing.input * Decimal("1.25"), pricing.model
            assert pricing.cache_write_1h == pricing.input * 2, pricing.model


def test_the_views_show_a_providers_models() -> None:
    view = CusPricingTable.OPENAI_PRICING
    assert len(view) == len(list(view))
    assert "claude-opus-4" not in view
    with pytest.raises(KeyError):
        _ = view["claude-opus-4"]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-4o-latest", "gpt-4o"),
        ("gpt-35-turbo", "gpt-3.5-turbo"),
        ("gpt-3.5-turbo-0125", "gpt-3.5-turbo"),
        ("gpt-4-0613", "gpt-4"),
        ("openai/gpt-4o", "gpt-4o"),
        ("azure/gpt-4o-2024-11-20", "gpt-4o"),
        ("openai/deployments/gpt-4o-mini", "gpt-4o-mini"),
        ("openrouter/openai/gpt-5-mini", "gpt-5-mini"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-sonnet-4@20250514", "claude-sonnet-4"),
        ("claude-sonnet-4-0", "claude-sonnet-4"),
        ("claude-opus-4-1-20250805", "claude-opus-4-1"),
        ("claude-opus-4-5", "claude-opus-4-5"),
        ("anthropic.claude-opus-4-20250514-v1:0", "claude-opus-4"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4"),
        ("eu.anthropic.claude-3-5-sonnet-20240620-v1:0", "claude-3-5-sonnet"),
        ("apac.anthropic.claude-3-haiku-20240307-v1:0", "claude-3-haiku"),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        ("us-gov.anthropic.claude-3-7-sonnet-20250219-v1:0", "claude-3-7-sonnet"),
        ("bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/"
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "claude-sonnet-4",
        ),
        (
            "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-opus-4-20250514-v1:0",
            "claude-opus-4",
        ),
        ("anthropic.claude-v2:1", "claude-2.1"),
        ("anthropic.claude-instant-v1", "claude-instant"),
        ("claude-3-5-sonnet-v2@20241022", "claude-3-5-sonnet"),
        ("publishers/anthropic/models/claude-opus-4@20250514", "claude-opus-4"),
        (
            "projects/p-1/locations/us-east5/publishers/anthropic/models/claude-opus-4@20250514",
            "claude-opus-4",
        ),
        ("vertex_ai/claude-3-5-haiku@20241022", "claude-3-5-haiku"),
        ("anthropic/claude-3.5-sonnet", "claude-3-5-sonnet"),
        ("openrouter/anthropic/claude-opus-4.1", "claude-opus-4-1"),
        ("anthropic/claude-4.5-sonnet", "claude-sonnet-4-5"),
        ("claude-2.1", "claude-2.1"),
        ("ft:gpt-4o-mini-2024-07-18:org::id", "ft:gpt-4o-mini"),
        ("ft:gpt-4o-mini:org:name:id:ckpt-step-90", "ft:gpt-4o-mini"),
        ("ft:gpt-3.5-turbo-0125:org::id", "ft:gpt-3.5-turbo"),
        ("gpt-4o-mini-2024-07-18.ft-0123abc", "ft:gpt-4o-mini"),
        ("omni-moderation-latest", "omni-moderation"),
    ],
)
def test_a_known_name_is_found_behind_a_prefix_and_a_dated_suffix(name: str, model: str) -> None:
    pricing = get_model_pricing(name)
    assert pricing is not None
    assert pricing.model == model


@pytest.mark.parametrize(
    "name",
    [
        "o1-ultra",
        "claude-opus-4-9",
        "claude-opus-4-5-mini",
        "claude-sonnet-4-1",
        "gpt-4o-audio",
        "gpt-4o-",
        "gpt-4o-2024-13-06",
        "gpt-4o-2024-08-06-evil",
        "gpt-4o\n",
        "gpt-4o-20240806\n",
        "ft:gpt-5:org::id",
        "ft:gpt-4",
        "ft:",
        "ft:gpt-4o-mini:\n",
        "groq/gpt-4o",
        "evilanthropic.claude-opus-4",
        "anthropic/claude-3.7-sonnet:free",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
        "GPT",
        "GPT-4O",
        "",
        "openai/",
    ],
)
def test_a_mere_prefix_is_no_price(name: str) -> None:
    assert get_model_pricing(name) is None
    assert price_call(name, CusTokenUsage(1, 1)) is None
    with pytest.raises(CusUnknownModel):
        calculate_cost(name, 1, 1)


def test_a_price_that_was_cut_holds_from_its_day_on() -> None:
    before, after = (
        get_model_pricing("gpt-5.6-sol", day) for day in (date(2026, 8, 20), date(2026, 8, 21))
    )
    assert before
    assert before.input == Decimal("0.005")
    assert after
    assert after.input == Decimal("0.004")


def test_names_from_callers_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cus_price_table, "_MAX_REMEMBERED_NAMES", 3)
    monkeypatch.setattr(cus_price_table, "_remembered", {})
    for day in range(10, 30):
        assert get_model_pricing(f"gpt-4o-2024-08-{day}") is not None
    assert len(cus_price_table._remembered) <= 3
