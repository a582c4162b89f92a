"""Print what the installed genai-prices says of OpenAI's and Anthropic's models, as JSON.

Runs in a process of its own, with the newest genai-prices before the product's.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from genai_prices.data_snapshot import get_snapshot

_PROVIDERS = ("openai", "anthropic")


def _prices(model: Any, now: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "standard", vars(model.get_prices(now))
    for variant in getattr(model, "price_variants", None) or ():
        if variant.constraint is None or variant.constraint.active(now):
            (tier,) = variant.when.values() if len(variant.when) == 1 else (None,)
            if tier not in (None, "default"):
                yield tier, vars(variant.prices)


def _plain(price: Any) -> Any:
    if hasattr(price, "tiers"):
        return [[0, str(price.base)], *([tier.start, str(tier.price)] for tier in price.tiers)]
    return [[0, str(price)]]


def main() -> None:
    now = datetime.now(UTC)
    found = [
        {"model": model.id, "tier": tier, "key": key, "steps": _plain(price)}
        for provider in get_snapshot().providers
        if provider.id in _PROVIDERS
        for model in provider.models
        for tier, prices in _prices(model, now)
        for key, price in prices.items()
        if price is not None
    ]
    print(json.dumps(found))  # noqa: T201 - the program's answer


main()
