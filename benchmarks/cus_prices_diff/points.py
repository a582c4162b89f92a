"""One price in one list: what ours and the collections' prices are compared by."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from aos_sdk.cus_cost import CusModelPricing, get_model_pricing
from aos_sdk.cus_pricing.rates import INPUT_KINDS, OUTPUT_KINDS, RATE_SCALE

PLAIN: Final = "standard"
# What collections call the price of an image that a model draws; `as_ours` has our word.
IMAGE_OUT: Final = "image_out"
_KINDS: Final = (*INPUT_KINDS, *OUTPUT_KINDS)
_RATE_PER_DOLLAR: Final = 100 * RATE_SCALE  # a million tokens
_UNIT_RATE_PER_DOLLAR: Final = 100_000 * RATE_SCALE  # a thousand units


class Point(NamedTuple):
    """Which price it is: a kind of tokens or a unit, in a tier, for prompts above so many tokens."""

    model: str
    tier: str
    above: int
    kind: str

    def __str__(self) -> str:
        above = f" above {self.above:,}" if self.above else ""
        return f"{self.model} {self.tier}{above} {self.kind}"


class Stated(NamedTuple):
    """What a collection says: US dollars a million tokens, or a thousand units."""

    source: str
    point: Point
    dollars: Decimal


class Difference(NamedTuple):
    """A price that is not ours. `ours` is None where our table has no such price."""

    stated: Stated
    ours: Decimal | None


def as_ours(stated: Iterable[Stated]) -> Iterator[Stated]:
    """Prices by our words for image models: `output` is the image, `reasoning` the text beside it."""
    prices = list(stated)
    draws = {(one.source, one.point.model) for one in prices if one.point.kind == IMAGE_OUT}
    for one in prices:
        if (one.source, one.point.model) in draws:
            kind = {"output": "reasoning", IMAGE_OUT: "output"}.get(one.point.kind, one.point.kind)
            yield one._replace(point=one.point._replace(kind=kind))
        else:
            yield one


def differences(stated: Iterator[Stated], at: datetime) -> Iterator[Difference]:
    """Those of the stated prices that are not ours at a moment."""
    for one in stated:
        ours = price_of(one.point, at)
        if ours != one.dollars:
            yield Difference(one, ours)


def price_of(point: Point, at: datetime) -> Decimal | None:
    """Our price; None for a model, tier or unit that our table does not name."""
    pricing = get_model_pricing(point.model, at)
    if pricing is None:
        return None
    if point.kind in pricing.unit_rates:
        return Decimal(pricing.unit_rates[point.kind]) / _UNIT_RATE_PER_DOLLAR
    return _token_price(pricing, point)


def _token_price(pricing: CusModelPricing, point: Point) -> Decimal | None:
    rates = pricing.rates
    if point.tier != PLAIN:
        if point.tier not in rates.tiers:
            return None
        rates = rates.tiers[point.tier]
    while rates.long_rates is not None and point.above >= (rates.long_above or 0):
        rates = rates.long_rates
    by_kind = {"input": rates.input, "output": rates.output}
    by_kind |= dict(zip(_KINDS, rates.details, strict=True))
    if point.kind not in by_kind:
        return None
    return Decimal(by_kind[point.kind]) / _RATE_PER_DOLLAR
