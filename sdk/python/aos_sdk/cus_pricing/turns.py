"""The model turns of a call, priced one by one (ruling M8a).

A turn is a mapping as records carry it: `model` (an inner model's; without it the call's own),
`service_tier` (without it the call's), and kinds of tokens by the names of `CusTokenUsage`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from aos_sdk.cus_fields import TOKEN_NAMES
from aos_sdk.cus_pricing.rates import CusModelPricing, CusTokenUsage
from aos_sdk.cus_pricing.table import canonical_name

Turns = Sequence[Mapping[str, Any]]
# What providers call the tier without a price of its own.
PLAIN_TIERS: Final = frozenset({"", "auto", "default", "standard", "standard_only", "on_demand"})


def usage_of_turn(turn: Mapping[str, Any]) -> CusTokenUsage:
    """The tokens of one turn."""
    return CusTokenUsage(*(turn.get(name, 0) for name in TOKEN_NAMES))


def turns_add_up(turns: Turns, usage: CusTokenUsage) -> bool:
    """Whether the turns' tokens are the call's, kind by kind."""
    kinds = zip(*(usage_of_turn(turn)[: len(TOKEN_NAMES)] for turn in turns), strict=True)
    return tuple(map(sum, kinds)) == usage[: len(TOKEN_NAMES)]


def inner_models(turns: Turns | None, model: str) -> tuple[str, ...]:
    """The models that turns name beside the call's own, each once, in order."""
    named = (turn.get("model") for turn in turns or ())
    return tuple(dict.fromkeys(name for name in named if name and not same_model(name, model)))


def same_model(model: str, other: str) -> bool:
    """Whether two names are of one model; names that the table does not know must be equal."""
    return model == other or (canonical_name(model) or model) == canonical_name(other)


def microcents_with_turns(
    pricing: CusModelPricing,
    usage: CusTokenUsage,
    *,
    tier: str | None = None,
    billed_units: Mapping[str, int] | None = None,
    turns: Turns | None = None,
) -> int:
    """The exact cost of a call, rounded up once, in microcents.

    Each turn is billed by its own prompt's length, tier and model; the models must be in
    `pricing.inner`, or the turn costs nothing and `unpriced_units` names it. Turns that do not add
    up to the call are left aside, and the call is priced as one.
    """
    if not turns or not turns_add_up(turns, usage):
        return pricing.cost_microcents(usage, tier=tier, billed_units=billed_units)
    parts = (
        (listed, usage_of_turn(turn), turn.get("service_tier") or tier)
        for turn, listed in _listed(pricing, turns)
        if listed is not None
    )
    return pricing.cost_of_parts(parts, billed_units)


def _listed(
    pricing: CusModelPricing, turns: Turns
) -> Iterator[tuple[Mapping[str, Any], CusModelPricing | None]]:
    """Each turn with its price list; None for an inner model without a known price."""
    for turn in turns:
        model: str = turn.get("model") or ""
        is_own = not model or (model not in pricing.inner and same_model(model, pricing.model))
        yield turn, pricing if is_own else pricing.inner.get(model)


def unpriced_units(
    pricing: CusModelPricing,
    usage: CusTokenUsage,
    billed_units: Mapping[str, Any] | None,
    turns: Turns | None = None,
) -> list[str]:
    """The names of what is billed and has no price here, sorted (ruling M5b).

    Units by their names, and `tokens of MODEL` for turns of an inner model without a price.
    """
    names = {
        unit
        for unit, count in (billed_units or {}).items()
        if not (type(count) is int and unit in pricing.unit_rates) and _is_billed(count)
    }
    if turns and turns_add_up(turns, usage):
        names |= {
            f"tokens of {turn['model']}" for turn, listed in _listed(pricing, turns) if not listed
        }
    return sorted(names)


def _is_billed(count: object) -> bool:
    return isinstance(count, int | float) and not isinstance(count, bool) and count > 0


def has_unknown_tier(
    pricing: CusModelPricing, tier: str | None, turns: Turns | None = None
) -> bool:
    """Whether a call or one of its turns names a service tier that the list has no price of.

    Such a call costs the plain price.
    """
    named = [(pricing, tier)]
    for turn, listed in _listed(pricing, turns or ()):
        named.append((listed or pricing, turn.get("service_tier")))
    return any(
        tier is not None and tier not in PLAIN_TIERS and tier not in listed.rates.tiers
        for listed, tier in named
    )
