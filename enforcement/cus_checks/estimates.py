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
from telemetry.cus_money.amounts import LEAST, MOST, Amounts
from telemetry.cus_money.estimates import most_tokens
from telemetry.cus_money.own_prices import OwnPrice
from telemetry.cus_money.pricing import CusPricer, in_cents


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

    Where more than one price may turn out to be the call's, the dearest counts.
    The check's own numbers are raised to the least that a call can cost: one cent (ruling M2), one
    microcent, one token (ruling F3a).
    """
    asked = _raised(asked)
    model = asked.model or integration["default_model"]
    possible = _possible_pricings(model, integration, tenant, at)
    most = most_tokens(model, possible[0] if possible else None, at)
    tokens = asked.tokens if asked.tokens is not None else most and sum(most)
    microcents = _microcents(asked, possible, most)
    cents = asked.cents
    if cents is None:
        cents = in_cents(microcents or 0)
    # A named model must have a price; otherwise its record would count as no cost.
    priced = microcents is not None and (model is None or bool(possible))
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
    asked: Asked, possible: Sequence[CusModelPricing], most: tuple[int, int] | None
) -> int | None:
    if asked.microcents is not None:
        return asked.microcents
    if asked.cents is not None:
        return asked.cents * MICROCENTS_PER_CENT
    if not possible:
        return None
    if asked.tokens is not None:
        tokens = asked.tokens
        return max(pricing.dearest_microcents(tokens) for pricing in possible)
    if most is None:
        return None
    usage = CusTokenUsage(*most)
    return max(pricing.cost_microcents(usage) for pricing in possible)


def _possible_pricings(
    model: str | None, integration: Mapping[str, Any], tenant: uuid.UUID, at: datetime
) -> list[CusModelPricing]:
    if model is None:
        return []
    pricer = CusPricer(
        tenant,
        integration["provider_type"],
        base_url=integration["base_url"],
        integration_id=uuid.UUID(integration["id"]),
        own=_own(integration["overrides"]),
    )
    return [price.pricing for price in pricer.possible_prices(model, at)]


@lru_cache(maxsize=1_024)
def _own(text: str | None) -> Sequence[OwnPrice]:
    return msgspec.json.decode(text, type=list[OwnPrice]) if text else ()
