"""Prices beyond our table, from the data that genai-prices ships in its wheel (ruling M5).

It is asked once for a model and its answer is turned into an entry of our own table's shape,
so that every call is priced by the same integers. It knows names by patterns, some of them
mere prefixes; an answer is taken only if the name is one that it spells out, followed by
nothing but a date or a version.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    TieredPrices,
)

from aos_sdk.cus_cost import CusModelPricing
from aos_sdk.cus_pricing.rates import FINEST_UNIT_PRICE
from integrations.cus_providers.registry import PROVIDERS

VERSION = f"genai-prices {version('genai-prices')}"
_KINDS = {
    "input_mtok": "input",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_in",
    "input_image_mtok": "image_in",
    "output_reasoning_mtok": "reasoning",
    "output_mtok": "output",
    "output_audio_mtok": "audio_out",
}
# Providers that no integration is of, by their names there.
_THEIR_NAMES = {"vertex": "google"}
_Place = tuple[str | None, str | None]
# What is not billed by the token, and how many of our units are in a thousand of theirs' (a million
# characters, an hour): their price is for that many.
_UNITS = {
    "web_searches_kcount": ("searches", Decimal(1_000)),
    "storage_searches_kcount": ("file_searches", Decimal(1_000)),
    "requests_kcount": ("requests", Decimal(1_000)),
    "input_text_messages_kcount": ("messages", Decimal(1_000)),
    "input_document_kpages": ("pages", Decimal(1_000)),
    "input_annotated_document_kpages": ("annotated_pages", Decimal(1_000)),
    "input_mchars": ("characters", Decimal(1_000_000)),
    "audio_hours": ("seconds", Decimal(3_600)),
    "input_audio_hours": ("seconds", Decimal(3_600)),
}
# Bedrock's inference profiles name a region before the model.
_REGION = re.compile(r"\A(?:us|us-gov|eu|apac|jp|au|ca|global)\.")
_PROCESSING = "processing"
_SUFFIX = re.compile(r"(?:[-@](?:20\d{2}-?\d{2}-?\d{2}|latest)|-v\d+(?::\d+)?)\Z")


def genai_pricing(
    model: str,
    provider: str,
    at: datetime,
    *,
    base_url: str | None = None,
    host: str | None = None,
) -> CusModelPricing | None:
    """What genai-prices says a model of a provider cost at a time; None if it does not know.

    The host that was called goes before `provider`, which is ours (`openai`, `bedrock`, …) or, as
    records may name it, theirs (`mistral`).
    """
    info = _find(model, provider, base_url, host)
    if info is None:
        return None
    return _converted(info, at)


@lru_cache(maxsize=4_096)
def _find(model: str, provider: str, base_url: str | None, host: str | None) -> ModelInfo | None:
    by_host: list[_Place] = [(None, f"https://{host}/")] if host else []
    for name, url in by_host + _places(provider, base_url):
        try:
            _, info = get_snapshot().find_provider_model(model, None, name, url)
        except LookupError:
            continue
        if _is_spelled_out(model, info):
            return info
    return None


def _places(provider: str, base_url: str | None) -> list[_Place]:
    """Where to look in genai-prices: (its provider's name, None) or (None, an address)."""
    provider = _THEIR_NAMES.get(provider, provider)
    ours = PROVIDERS.get(provider)
    if ours is None:
        return [(provider, None)] if provider in known_providers() else []
    if ours.price_names:
        return [(name, None) for name in ours.price_names]
    return [(None, base_url)] if base_url else []


@lru_cache(maxsize=1)
def known_providers() -> frozenset[str]:
    """The names of the providers whose prices genai-prices knows."""
    return frozenset(provider.id for provider in get_snapshot().providers)


def _is_spelled_out(model: str, info: ModelInfo) -> bool:
    spelled = {info.id.lower(), *_names(info.match)}
    name = model.lower()
    local = _REGION.sub("", name)
    candidates = {name, name.rpartition("/")[2], local, f"regional.{local}"}
    for _ in range(2):
        candidates |= {_SUFFIX.sub("", candidate) for candidate in candidates}
    return not candidates.isdisjoint(spelled)


def _names(match: MatchLogic) -> Iterator[str]:
    if isinstance(match, ClauseEquals):
        yield match.equals.lower()
    elif isinstance(match, ClauseOr):
        for clause in match.or_:
            yield from _names(clause)


_conversions: dict[tuple[int, ...], tuple[list[ModelPrice], CusModelPricing | None]] = {}


def _converted(info: ModelInfo, at: datetime) -> CusModelPricing | None:
    plain = info.get_prices(at)
    # By identity: the snapshot holds each price once, for as long as the process lives. A tier's is
    # made anew each time, so what it is made of stands for it.
    prices = [plain, *(variant.prices for variant in _variants(info, at))]
    key = tuple(map(id, prices))
    known = _conversions.get(key)
    if known is None:
        known = _conversions[key] = prices, _convert(info, plain, _tiers(info, at))
    return known[1]


def _variants(info: ModelInfo, at: datetime) -> list[PriceVariant]:
    """The prices of a model's ways of processing (batch, flex, …) that hold at a time."""
    return [
        variant
        for variant in info.price_variants or ()
        if variant.when.keys() == {_PROCESSING}
        and (variant.constraint is None or variant.constraint.active(at))
    ]


def _tiers(info: ModelInfo, at: datetime) -> dict[str, ModelPrice]:
    named = dict.fromkeys(str(variant.when[_PROCESSING]) for variant in _variants(info, at))
    return {name: info.get_prices(at, {_PROCESSING: name}) for name in named}


def _convert(
    info: ModelInfo, plain: ModelPrice, tiers: Mapping[str, ModelPrice]
) -> CusModelPricing | None:
    entry, units = _entry(plain), _units(plain)
    if not entry and not units:
        return None
    # What is billed by the request or the second has tokens for nothing.
    entry = entry or {"input": "0", "output": "0"}
    priced = {name: tier for name, price in tiers.items() if (tier := _entry(price))}
    entry |= ({"tiers": priced} if priced else {}) | ({"units": units} if units else {})
    about = {"provider": "", "context_window": info.context_window}
    return CusModelPricing.from_data(info.id, about, entry | {"source": VERSION})


def _units(prices: ModelPrice) -> dict[str, str]:
    """Prices of a thousand units, in dollars, rounded down to the finest that a rate can hold.

    A call's cost is rounded up, so that whole hours cost what they say.
    """
    units: dict[str, str] = {}
    for theirs, (ours, many) in _UNITS.items():
        price = getattr(prices, theirs, None)
        if isinstance(price, Decimal):
            thousand = price * 1_000 / many
            units[ours] = format(thousand.quantize(FINEST_UNIT_PRICE, ROUND_FLOOR).normalize(), "f")
    return units


def _entry(prices: ModelPrice) -> dict[str, Any]:
    """An entry of our table's shape, dollars per million tokens, longer inputs nested inside."""
    priced = {
        ours: price
        for theirs, ours in _KINDS.items()
        if (price := getattr(prices, theirs, None)) is not None
    }
    if (image := getattr(prices, "output_image_mtok", None)) is not None:
        # As in our table: an image model's output is its image, what it writes its reasoning.
        priced["reasoning"] = priced.get("output", image)
        priced["output"] = image
    starts = sorted(
        {
            tier.start
            for price in priced.values()
            if isinstance(price, TieredPrices)
            for tier in price.tiers
        }
    )
    entry: dict[str, Any] = {}
    for above in [*reversed(starts), None]:
        longer = {"long_context": entry} if entry else {}
        entry = {kind: str(_price_above(price, above)) for kind, price in priced.items()}
        entry |= {"input": entry.get("input", "0"), "output": entry.get("output", "0")}
        entry |= longer
        if above is not None:
            entry["above"] = above
    return entry if priced.keys() & {"input", "output"} else {}


def _price_above(price: Decimal | TieredPrices, above: int | None) -> Decimal:
    if not isinstance(price, TieredPrices):
        return price
    reached = [tier.price for tier in price.tiers if above is not None and tier.start <= above]
    return reached[-1] if reached else price.base
