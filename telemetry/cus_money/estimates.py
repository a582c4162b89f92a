"""What a call may use at most, where its usage or its estimate is missing (rulings F3 and F3a)."""

from datetime import datetime

from aos_sdk.cus_cost import CusModelPricing, CusTokenUsage, cents_of, get_model_pricing
from telemetry.cus_money.amounts import LEAST, MOST, Amounts


def most_tokens(
    model: str | None, pricing: CusModelPricing | None, at: datetime
) -> tuple[int, int] | None:
    """A model's context window and maximum output; a tenant's own price does not say them."""
    for known in (pricing, get_model_pricing(model, at) if model else None):
        if known is not None and known.context_window:
            # What has no output of its own (an embedding) has none to speak of.
            return known.context_window, known.max_output or 0
    return None


def missing_estimate(model: str, pricing: CusModelPricing | None, at: datetime) -> Amounts:
    """What a call may cost and use at most, never 0: all tokens of its model, or its dearest unit.

    A model that is billed by the image, second or character has no tokens to speak of.
    """
    tokens = most_tokens(model, pricing, at) or (0, 0)
    microcents = 0
    if pricing is not None:
        by_unit = (
            pricing.cost_microcents(CusTokenUsage(), billed_units={unit: 1})
            for unit in pricing.unit_rates
        )
        microcents = pricing.cost_microcents(CusTokenUsage(*tokens)) or max(by_unit, default=0)
    amounts = (cents_of(microcents), microcents, sum(tokens))
    return Amounts._make(min(amount, MOST) for amount in amounts).at_least(LEAST)
