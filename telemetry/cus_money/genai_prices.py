"""Prices beyond our table, from the data that genai-prices ships in its wheel (ruling M5).

It is asked once for a model and its answer is turned into an entry of our own table's shape,
so that every call is priced by the same integers. It knows names by patterns, some of them
mere prefixes; an answer is taken only if the name is one that it spells out, followed by
nothing but a date or a version.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
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
    TieredPrices,
)

from aos_sdk.cus_cost import CusModelPricing
from integrations.cus_providers.registry import PROVIDERS

VERSION = f"genai-prices {version('genai-prices')}"
_KINDS = {
    "input_mtok": "input",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write_5m",
    "input_audio_mtok": "audio_in",
    "output_mtok": "output",
    "output_audio_mtok": "audio_out",
}
# Bedrock's inference profiles name a region before the model.
_REGION = re.compile(r"\A(?:us|us-gov|eu|apac|jp|au|ca|global)\.")
_SUFFIX = re.compile(r"(?:[-@](?:20\d{2}-?\d{2}-?\d{2}|latest)|-v\d+(?::\d+)?)\Z")


def genai_pricing(
    model: str, provider: str, at: datetime, *, base_url: str | None = None
) -> CusModelPricing | None:
    """What genai-prices says a model of a provider cost at a time; None if it does not know.

    `provider` is ours (`openai`, `bedrock`, …) or, as records may name it, theirs (`mistral`).
    """
    info = _find(model, provider, base_url)
    if info is None:
        return None
    return _converted(info, info.get_prices(at))


@lru_cache(maxsize=4_096)
def _find(model: str, provider: str, base_url: str | None) -> ModelInfo | None:
    for name, url in _places(provider, base_url):
        try:
            _, info = get_snapshot().find_provider_model(model, None, name, url)
        except LookupError:
            continue
        if _is_spelled_out(model, info):
            return info
    return None


def _places(provider: str, base_url: str | None) -> list[tuple[str | None, str | None]]:
    """Where to look in genai-prices: (its provider's name, None) or (None, an address)."""
    ours = PROVIDERS.get(provider)
    if ours is None:
        return [(provider, None)] if provider in known_providers() else []
    if ours.price_names:
        return [(name, None) for name in ours.price_names]
    return [(None, base_url)] if base_url else []


def known_providers() -> set[str]:
    """The names of the providers whose prices genai-prices knows."""
    return {provider.id for provider in get_snapshot().providers}


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


_conversions: dict[int, tuple[ModelPrice, CusModelPricing | None]] = {}


def _converted(info: ModelInfo, prices: ModelPrice) -> CusModelPricing | None:
    # By identity: the snapshot holds each price once, for as long as the process lives.
    known = _conversions.get(id(prices))
    if known is None:
        known = _conversions[id(prices)] = prices, _convert(info, prices)
    return known[1]


def _convert(info: ModelInfo, prices: ModelPrice) -> CusModelPricing | None:
    entry = _entry(prices)
    if "input" not in entry and "output" not in entry:
        return None  # Billed by the request or the image: nothing that tokens could price.
    about = {"provider": "", "context_window": info.context_window}
    return CusModelPricing.from_data(info.id, about, entry | {"source": VERSION})


def _entry(prices: ModelPrice) -> dict[str, Any]:
    """An entry of our table's shape, dollars per million tokens, longer inputs nested inside."""
    priced = {
        ours: price
        for theirs, ours in _KINDS.items()
        if (price := getattr(prices, theirs, None)) is not None
    }
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
