"""What a call counts for here whose estimate only the server can tell: never nothing (ruling F3)."""

from functools import cache
from typing import Final

from aos_sdk.cus_cost import CusModelPricing, CusTokenUsage, cents_of, get_model_pricing
from aos_sdk.cus_enforcing.asked import CusAsked
from aos_sdk.cus_enforcing.run_budget import CusRunUse
from aos_sdk.cus_pricing.table import model_names

# Of so many tokens, models' prices are compared.
_MANY_TOKENS: Final = 1_000_000


def assumed_use(asked: CusAsked, default_model: str | None) -> CusRunUse:
    """The call's own estimate; where it says none, the most that its model can do, by the list.

    A model without a price counts as the integration's default model, or else as the dearest one
    that the list knows.
    """
    cents = asked.list_cents if asked.cents is None else asked.cents
    if cents is None and asked.microcents is not None:
        cents = cents_of(asked.microcents)
    if cents is not None and asked.tokens is not None:
        return CusRunUse(cents, asked.tokens)
    names = filter(None, (asked.model, default_model))
    known = (pricing for name in names if (pricing := get_model_pricing(name)) is not None)
    pricing = next(known, None) or _dearest()
    most = CusTokenUsage(pricing.context_window or 0, pricing.max_output or 0)
    tokens = most.tokens_in + most.tokens_out if asked.tokens is None else asked.tokens
    if cents is None:
        cents = cents_of(_cost(pricing, most, asked.tokens))
    return CusRunUse(cents, tokens)


def _cost(pricing: CusModelPricing, most: CusTokenUsage, tokens: int | None) -> int:
    """Microcents of so many tokens; where these are unknown of the most, or of the dearest unit."""
    if tokens is not None:
        return pricing.dearest_microcents(tokens)
    units = (
        pricing.cost_microcents(CusTokenUsage(), billed_units={unit: 1})
        for unit in pricing.unit_rates
    )
    return pricing.cost_microcents(most) or max(units, default=0)


@cache
def _dearest() -> CusModelPricing:
    """The price of the dearest model of the list, by its tokens."""
    known = (pricing for name in model_names() if (pricing := get_model_pricing(name)) is not None)
    return max(known, key=lambda pricing: pricing.dearest_microcents(_MANY_TOKENS))
