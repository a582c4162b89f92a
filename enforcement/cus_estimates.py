"""Estimate a call's cost before the call: an estimate is never 0 (rulings F3 and F3a)."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from aos_sdk.cus_cost import (
    MICROCENTS_PER_CENT,
    CusModelPricing,
    CusTokenUsage,
)
from telemetry.cus_money.amounts import MOST, Amounts
from telemetry.cus_money.estimates import LEAST, most_tokens
from telemetry.cus_money.pricing import BilledCall, CusPricer, OwnPrice, in_cents, own_prices


class Asked(NamedTuple):
    """The fields of a check that describe its call. None means not given."""

    model: str | None = None
    tokens: int | None = None
    cents: int | None = None
    microcents: int | None = None


class Estimate(NamedTuple):
    """The amounts to hold for a call, and whether a price and a token count are known."""

    amounts: Amounts
    priced: bool
    tokens_known: bool


def estimate(
    asked: Asked, integration: Mapping[str, Any], tenant: uuid.UUID, at: datetime
) -> Estimate:
    """Estimate a call by the check's own numbers, else by the most that its model can do.

    The check's own numbers are raised to the least that a call can cost: one cent (ruling M2), one
    microcent, one token (ruling F3a).
    """
    asked = _raised(asked)
    model = asked.model or integration["default_model"]
    pricing = _pricing(model, integration, tenant, at)
    most = most_tokens(model, pricing, at)
    tokens = asked.tokens if asked.tokens is not None else most and sum(most)
    microcents = _microcents(asked, pricing, most)
    cents = asked.cents
    if cents is None:
        cents = in_cents(microcents or 0)
    # A named model must have a price; otherwise its record would count as no cost.
    priced = microcents is not None and (model is None or pricing is not None)
    amounts = Amounts(*(min(amount, MOST) for amount in (cents, microcents or 0, tokens or 0)))
    return Estimate(amounts, priced, tokens is not None)


def _raised(asked: Asked) -> Asked:
    def least(estimate: int | None, bound: int) -> int | None:
        return None if estimate is None else max(estimate, bound)

    return Asked(
        asked.model,
        least(asked.tokens, LEAST.tokens),
        least(asked.cents, LEAST.cents),
        least(asked.microcents, LEAST.microcents),
    )


def _microcents(
    asked: Asked, pricing: CusModelPricing | None, most: tuple[int, int] | None
) -> int | None:
    if asked.microcents is not None:
        return asked.microcents
    if asked.cents is not None:
        return asked.cents * MICROCENTS_PER_CENT
    if pricing is None:
        return None
    if asked.tokens is not None:
        return pricing.dearest_microcents(asked.tokens)
    if most is None:
        return None
    return pricing.cost_microcents(CusTokenUsage(*most))


def _pricing(
    model: str | None, integration: Mapping[str, Any], tenant: uuid.UUID, at: datetime
) -> CusModelPricing | None:
    if model is None:
        return None
    pricer = CusPricer(
        tenant,
        integration["provider_type"],
        base_url=integration["base_url"],
        own=_own(integration["overrides"]),
    )
    price = pricer.price_at(BilledCall(model), at)
    return price.pricing if price else None


@lru_cache(maxsize=1_024)
def _own(text: str | None) -> Sequence[OwnPrice]:
    if not text:
        return ()
    rows = msgspec.json.decode(text, type=list[tuple[uuid.UUID, str, dict[str, Any], datetime]])
    return own_prices(rows)
