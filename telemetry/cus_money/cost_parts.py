"""How the cost of a stored call came about: its kinds of tokens, each at its price."""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from aos_sdk.cus_cost import CusTokenUsage
from aos_sdk.cus_pricing.rates import disjoint_kinds
from telemetry.cus_money.billed_usage import BilledUsage, Priceable, counted_units
from telemetry.cus_money.models import CusKeptPrice
from telemetry.cus_money.pricing import kept_pricing

_MICROCENTS_PER_DOLLAR = 100_000_000
_A_MILLION = 1_000_000
_KINDS = (
    *("input", "cached input", "cache write", "cache write (1 h)", "audio input", "image input"),
    *("output", "reasoning", "audio output"),
)
OTHER_UNITS = "other units"


class CostPart(NamedTuple):
    """A kind of tokens: how many, US dollars a million, and exact microcents.

    `tokens` and `dollars_per_million` are None for what is not billed by the token.
    """

    kind: str
    tokens: int | None
    dollars_per_million: Decimal | None
    microcents: Decimal


def cost_parts(call: Priceable, price: CusKeptPrice) -> list[CostPart] | None:
    """The disjoint parts of a call's cost; None for a call of several turns, each with its list."""
    used = BilledUsage.of(call)
    if used.turns:
        return None
    pricing = kept_pricing(price.id)
    units = counted_units(used.units)
    amounts = pricing.parts_microcents(used.tokens, tier=used.tier, billed_units=units)
    return list(_parts(used.tokens, amounts))


def _parts(tokens: CusTokenUsage, amounts: tuple[Decimal, ...]) -> Iterator[CostPart]:
    *by_kind, units = amounts
    for kind, count, amount in zip(_KINDS, disjoint_kinds(tokens), by_kind, strict=True):
        if count:
            dollars = amount / count * _A_MILLION / _MICROCENTS_PER_DOLLAR
            yield CostPart(kind, count, dollars, amount)
    if units:
        yield CostPart(OTHER_UNITS, None, None, units)
