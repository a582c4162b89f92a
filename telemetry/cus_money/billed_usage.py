"""What a call is billed for, as price lists read it: tokens, tier, units and turns."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import msgspec

from aos_sdk.cus_cost import CusModelPricing, CusTokenUsage
from aos_sdk.cus_pricing.rates import CusTokenCounts
from aos_sdk.cus_pricing.turns import (
    Turns,
    has_unknown_tier,
    microcents_with_turns,
    same_model,
    turns_add_up,
    unpriced_units,
)
from aos_sdk.cus_wire import INT32_MAX
from telemetry.cus_money.amounts import MOST


class Turned(Protocol):
    """A record, a stored row or a settlement: which model answered, and in which turns."""

    @property
    def model(self) -> str: ...
    @property
    def turns(self) -> Sequence[Any] | None: ...


class Priceable(Turned, CusTokenCounts, Protocol):
    """What a call's cost depends on, in a record as in a stored row."""

    @property
    def tokens_total(self) -> int | None: ...
    @property
    def service_tier(self) -> str | None: ...
    @property
    def billed_units(self) -> dict[str, Any] | None: ...


_tokens = attrgetter(*CusTokenUsage._fields)


class BilledUsage(NamedTuple):
    """What a call used: of a record, a stored row or a settlement. `turns` is None without turns."""

    tokens: CusTokenUsage
    tier: str | None
    units: dict[str, Any] | None
    turns: Turns | None

    @classmethod
    def of(cls, call: Priceable) -> "BilledUsage":
        """What a call used, read once for all that is asked of a price."""
        turns = turns_of(call) if call.turns else None
        return cls(CusTokenUsage._make(_tokens(call)), call.service_tier, call.billed_units, turns)

    def microcents(self, pricing: CusModelPricing) -> int:
        """What the call costs at a price, rounded up once, to the microcent (ruling M3).

        At most what a column can hold: absurd counts at absurd prices must not cost the record its
        place.
        """
        units = counted_units(self.units)
        cost = microcents_with_turns(
            pricing, self.tokens, tier=self.tier, billed_units=units, turns=self.turns
        )
        return min(cost, MOST)

    def unpriced(self, pricing: CusModelPricing) -> list[str] | None:
        """What is billed and the price does not say, sorted; None if nothing (ruling M5b)."""
        if not self.units and not self.turns:
            return None
        units = {
            # A count beyond reason has no cost here.
            unit: count if type(count) is not int or count <= INT32_MAX else float(count)
            for unit, count in (self.units or {}).items()
        }
        return unpriced_units(pricing, self.tokens, units, self.turns) or None

    def flags(self, pricing: CusModelPricing | None) -> list[str]:
        """What is to be said of how the call was priced.

        `turns_mismatch`: its turns do not add up, it was priced as one (ruling M8a).
        `unknown_tier`: it names a service tier without a price, it was priced at the plain one.
        """
        flags = []
        if self.turns and not turns_add_up(self.turns, self.tokens):
            flags.append("turns_mismatch")
        if pricing is not None and has_unknown_tier(pricing, self.tier, self.turns):
            flags.append("unknown_tier")
        return flags


def turns_of(call: Turned) -> Turns:
    """The turns of a record, a stored row or a settlement, as the price rules read them."""
    turns: list[dict[str, Any]] = msgspec.to_builtins(call.turns or ())
    for turn in turns:
        # A turn that names the call's own model is billed as the call is: perhaps by an own price, or
        # by a list that has the model under another name.
        if turn.get("model") and same_model(turn["model"], call.model):
            del turn["model"]
    return turns


def microcents_of(call: Priceable, pricing: CusModelPricing) -> int:
    """What a stored call costs at a price, in microcents."""
    return BilledUsage.of(call).microcents(pricing)


def counted_units(billed_units: dict[str, Any] | None) -> dict[str, int] | None:
    """Those of a record's billed units that are counts like any other."""
    if not billed_units:
        return None
    return {
        name: count
        for name, count in billed_units.items()
        if type(count) is int and 0 <= count <= INT32_MAX
    }
