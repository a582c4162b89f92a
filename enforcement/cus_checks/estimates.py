"""Estimate a call's cost before the call: an estimate is never 0 (rulings F3 and F3a)."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import msgspec

from aos_sdk.cus_cost import (
    MICROCENTS_PER_CENT,
    CusModelPricing,
    CusTokenUsage,
    cents_of,
)
from enforcement.cus_reading.known_models import NOTHING_KNOWN, KnownModels
from integrations.cus_providers.registry import PROVIDERS
from telemetry.cus_money.amounts import LEAST, MOST, Amounts
from telemetry.cus_money.estimates import most_tokens
from telemetry.cus_money.own_prices import OwnPrice
from telemetry.cus_money.pricing import CusPricer

_NAMES_ARE_OWN = frozenset(key for key, one in PROVIDERS.items() if one.names_are_own)


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
    asked: Asked,
    integration: Mapping[str, Any],
    tenant: uuid.UUID,
    at: datetime,
    models: KnownModels = NOTHING_KNOWN,
) -> Estimate:
    """Estimate a call by the check's own numbers, else by the most that its model can do.

    Where more than one price or model may turn out to be the call's, the dearest counts. A model
    whose output was learned writes at most that (ruling F3b), if the integration says so.
    The check's own numbers are raised to the least that a call can cost: one cent (ruling M2), one
    microcent, one token (ruling F3a).
    """
    asked = _raised(asked)
    pricer = _Pricer(integration, tenant, at)
    found = [
        _estimated(asked, model, pricer, _learned(asked, integration, models))
        for model in _estimated_as(asked.model, integration, models, pricer)
    ]
    return reduce(_dearer, found)


def _estimated(asked: Asked, model: str | None, pricer: "_Pricer", learned: int | None) -> Estimate:
    possible = pricer.possible(model)
    most = most_tokens(model, possible[0] if possible else None, pricer.at)
    if most is not None and learned is not None:
        most = (most[0], min(most[1], learned))
    tokens = asked.tokens if asked.tokens is not None else most and sum(most)
    microcents = _microcents(asked, possible, most)
    cents = asked.cents
    if cents is None:
        cents = cents_of(microcents or 0)
    # A named model must have a price; otherwise its record would count as no cost.
    priced = microcents is not None and (model is None or bool(possible))
    amounts = Amounts(*(min(amount, MOST) for amount in (cents, microcents or 0, tokens or 0)))
    return Estimate(amounts, priced, tokens is not None)


def _dearer(one: Estimate, other: Estimate) -> Estimate:
    """The larger of each amount: any of the models may answer."""
    return Estimate(
        one.amounts.at_least(other.amounts),
        one.priced and other.priced,
        one.tokens_known and other.tokens_known,
    )


def _estimated_as(
    asked: str | None, integration: Mapping[str, Any], models: KnownModels, pricer: "_Pricer"
) -> Sequence[str | None]:
    """The models that may answer to a name: itself if it has a price, else those that did of late.

    A name that nobody has answered to yet is taken for the default model, if the account's owner
    gives the names: elsewhere the default model says nothing of an unknown one.
    """
    default: str | None = integration["default_model"]
    wanted = [asked or default]
    if asked and integration["provider_type"] in _NAMES_ARE_OWN:
        wanted.append(default)
    for name in filter(None, wanted):
        if pricer.possible(name):
            return [name]
        if answering := [
            model for model in models.answering.get(name, ()) if pricer.possible(model)
        ]:
            return answering
    return wanted[:1]


def _learned(asked: Asked, integration: Mapping[str, Any], models: KnownModels) -> int | None:
    name = asked.model or integration["default_model"]
    if name is None or integration["estimate_basis"] != "learned":
        return None
    return models.learned_tokens(name)


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


class _Pricer:
    """The prices that calls of an integration may have at a moment."""

    def __init__(self, integration: Mapping[str, Any], tenant: uuid.UUID, at: datetime) -> None:
        self.at = at
        self._pricer = CusPricer(
            tenant,
            integration["provider_type"],
            base_url=integration["base_url"],
            integration_id=uuid.UUID(integration["id"]),
            own=_own(integration["overrides"]),
        )
        self._found: dict[str, list[CusModelPricing]] = {}

    def possible(self, model: str | None) -> Sequence[CusModelPricing]:
        """The prices of a model; none for a call that names none, and for one that nobody knows."""
        if model is None:
            return ()
        if model not in self._found:
            prices = self._pricer.possible_prices(model, self.at)
            self._found[model] = [price.pricing for price in prices]
        return self._found[model]


@lru_cache(maxsize=1_024)
def _own(text: str | None) -> Sequence[OwnPrice]:
    return msgspec.json.decode(text, type=list[OwnPrice]) if text else ()
