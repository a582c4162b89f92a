"""What a call costs, in cents and in exact microcents (§11.3, §11.4, rulings M1 to M8)."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypedDict, Unpack

from aos_sdk.cus_fields import TOKEN_NAMES
from aos_sdk.cus_pricing.decimals import with_own_decimals
from aos_sdk.cus_pricing.places import NOWHERE, CusPlace
from aos_sdk.cus_pricing.rates import RATE_SCALE, CusTokenCounts
from aos_sdk.cus_pricing.rates import CusCostParts as CusCostParts
from aos_sdk.cus_pricing.rates import CusModelPricing as CusModelPricing
from aos_sdk.cus_pricing.rates import CusTokenUsage as CusTokenUsage
from aos_sdk.cus_pricing.table import TABLE_VERSION, plain_rates
from aos_sdk.cus_pricing.table import CusPricingTable as CusPricingTable
from aos_sdk.cus_pricing.table import CusUnknownModel as CusUnknownModel
from aos_sdk.cus_pricing.table import canonical_name as canonical_name
from aos_sdk.cus_pricing.table import get_model_pricing as get_model_pricing
from aos_sdk.cus_pricing.table import get_pricing_version as get_pricing_version
from aos_sdk.cus_pricing.turns import Turns, inner_models, microcents_with_turns

MICROCENTS_PER_CENT: Final = 1_000_000


def cents_of(microcents: int) -> int:
    """Microcents as cents, rounded up (ruling M2)."""
    return -(-microcents // MICROCENTS_PER_CENT)


_ZERO: Final = 0


class CusCallDetails(TypedDict, total=False):
    """What prices a call beside its model and its two token counts.

    `service_tier` is the tier that served the call (`batch`, `flex`, `priority`, …), `at` when it
    started, `billed_units` what is billed otherwise than by tokens, e.g. `{"searches": 2}`.
    """

    tokens_cached: int
    tokens_cache_write: int
    tokens_cache_write_1h: int
    tokens_reasoning: int
    tokens_audio_in: int
    tokens_audio_out: int
    tokens_image_in: int
    service_tier: str | None
    batch: bool
    at: datetime | date | None
    billed_units: Mapping[str, int] | None


class CusCostBreakdown(TypedDict):
    """A priced call in full. Only the totals are rounded, so the parts add up (ruling M7).

    What is not billed by the token is in `units_cost_cents`, neither input nor output.
    """

    model: str
    input_cost_cents: Decimal
    output_cost_cents: Decimal
    units_cost_cents: Decimal
    total_cost_cents: int
    total_cost_microcents: int
    parts_microcents: CusCostParts
    pricing_version: str


class CusPricedCall(NamedTuple):
    """What a call costs and what says so.

    `cost_microcents` is rounded up to the next microcent, `cost_cents` to the next cent (M2, M3).
    """

    cost_cents: int
    cost_microcents: int
    pricing_version: str
    source: str


def price_call(  # noqa: PLR0913 - what a price depends on, each by its name
    model: str,
    usage: CusTokenUsage,
    *,
    service_tier: str | None = None,
    batch: bool = False,
    at: datetime | date | None = None,
    billed_units: Mapping[str, int] | None = None,
    place: CusPlace = NOWHERE,
    turns: Turns | None = None,
) -> CusPricedCall | None:
    """Price one call from the table, or answer None if it does not know the model.

    `at` is when the call started (default: now), `place` who billed it and where (ruling M5a),
    `turns` are its model turns (ruling M8a). Raises ValueError for a bad count.
    """
    call = _Billed(model, "batch" if batch else service_tier, at, billed_units, place, turns)
    try:
        microcents = _microcents(usage, call)
    except CusUnknownModel:
        return None
    return CusPricedCall(cents_of(microcents), microcents, TABLE_VERSION, "table")


_counts: Final = attrgetter(*TOKEN_NAMES)


def _is_text(usage: CusTokenCounts) -> bool:
    """Whether a call has no tokens but of text, and none written to a cache.

    Identity with 0 tells 0 from False and 0.0, which are refused elsewhere.
    """
    return (
        usage.tokens_cache_write
        is usage.tokens_cache_write_1h
        is usage.tokens_audio_in
        is usage.tokens_audio_out
        is usage.tokens_image_in
        is _ZERO
    )


def cost_of_call(
    model: str,
    usage: CusTokenCounts,
    service_tier: str | None,
    billed_units: Mapping[str, int] | None,
    at: datetime | int,
    *,
    place: CusPlace = NOWHERE,
    turns: Turns | None = None,
) -> tuple[int, str] | None:
    """Cents and pricing version as `price_call` has them, in a fraction of its time for most calls.

    `at` is when the call started, also as nanoseconds since the epoch. Raises ValueError for a bad
    count, and OverflowError or OSError for a moment that no calendar has.
    """
    if not billed_units and not turns and place.region is None and _is_text(usage):
        plain = _plain_microcents(model, usage, service_tier)
        if plain is not None:
            return cents_of(plain), TABLE_VERSION
    priced = price_call(
        model,
        CusTokenUsage._make((*_counts(usage), None)),
        service_tier=service_tier,
        at=datetime.fromtimestamp(at // 1_000_000_000, UTC) if isinstance(at, int) else at,
        billed_units=billed_units,
        place=place,
        turns=turns,
    )
    return None if priced is None else (priced.cost_cents, priced.pricing_version)


def _plain_microcents(model: str, usage: CusTokenCounts, tier: str | None) -> int | None:
    """The cost of a call of text, cached or not, thought or not, at a model's plain rates."""
    plain = plain_rates.get(model)
    tokens_in, tokens_out = usage.tokens_in, usage.tokens_out
    cached, reasoning = usage.tokens_cached, usage.tokens_reasoning
    if plain is None or not (
        type(tokens_in) is type(tokens_out) is type(cached) is type(reasoning) is int
    ):
        return None
    rate_in, rate_cached, rate_out, rate_reasoning, longest, tiers = plain
    uncached, answered = tokens_in - cached, tokens_out - reasoning
    if cached | reasoning | uncached | answered < 0 or tokens_in > longest or tier in tiers:
        return None
    cost_in = uncached * rate_in + cached * rate_cached
    return -(-(cost_in + answered * rate_out + reasoning * rate_reasoning) // RATE_SCALE)


def calculate_cost_microcents(  # noqa: PLR0913 - the kinds of tokens that providers bill
    model: str,
    tokens_in: int,
    tokens_out: int,
    *,
    tokens_cached: int = 0,
    tokens_cache_write: int = 0,
    tokens_cache_write_1h: int = 0,
    tokens_reasoning: int = 0,
    tokens_audio_in: int = 0,
    tokens_audio_out: int = 0,
    tokens_image_in: int = 0,
    service_tier: str | None = None,
    batch: bool = False,
    at: datetime | date | None = None,
    billed_units: Mapping[str, int] | None = None,
) -> int:
    """Exact cost of a call in microcents (1e-6 cent), rounded up to the next one (ruling M3).

    A tier without prices of its own costs the plain price. Raises CusUnknownModel (a ValueError)
    for a model without a price, and ValueError for a count that is negative or no integer.
    """
    usage = CusTokenUsage(
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        tokens_cached=tokens_cached,
        tokens_cache_write=tokens_cache_write,
        tokens_cache_write_1h=tokens_cache_write_1h,
        tokens_reasoning=tokens_reasoning,
        tokens_audio_in=tokens_audio_in,
        tokens_audio_out=tokens_audio_out,
        tokens_image_in=tokens_image_in,
    )
    tier = "batch" if batch else service_tier
    return _microcents(usage, _Billed(model, tier, at, billed_units))


class _Billed(NamedTuple):
    """What a call's price depends on beside its tokens."""

    model: str
    tier: str | None = None
    at: datetime | date | None = None
    billed_units: Mapping[str, int] | None = None
    place: CusPlace = NOWHERE
    turns: Turns | None = None

    def pricing(self, model: str) -> CusModelPricing | None:
        return get_model_pricing(
            model, self.at, provider=self.place.provider, region=self.place.region
        )


def _microcents(usage: CusTokenUsage, call: _Billed) -> int:
    # Nearly every call is a plain one, and it is on its caller's clock.
    plain_place = call.place.region is None and not call.turns
    if plain_place and not call.billed_units and _is_text(usage):
        plain = _plain_microcents(call.model, usage, call.tier)
        if plain is not None:
            return plain
    pricing = call.pricing(call.model)
    if pricing is None:
        raise CusUnknownModel(call.model)
    inner = {model: call.pricing(model) for model in inner_models(call.turns, call.model)}
    return microcents_with_turns(
        pricing.with_inner({model: one for model, one in inner.items() if one is not None}),
        usage,
        tier=call.tier,
        billed_units=call.billed_units,
        turns=call.turns,
    )


def calculate_cost(
    model: str, tokens_in: int, tokens_out: int, **details: Unpack[CusCallDetails]
) -> int:
    """Cost of a call in cents, rounded up to the next cent once, on its total (ruling M2).

    Takes and raises what `calculate_cost_microcents` does.
    """
    return cents_of(calculate_cost_microcents(model, tokens_in, tokens_out, **details))


@with_own_decimals
def calculate_cost_breakdown(
    model: str, tokens_in: int, tokens_out: int, **details: Unpack[CusCallDetails]
) -> CusCostBreakdown:
    """The cost of a call with all its parts (§11.5); input and output in exact cents.

    Takes and raises what `calculate_cost_microcents` does.
    """
    microcents = calculate_cost_microcents(model, tokens_in, tokens_out, **details)
    pricing = get_model_pricing(model, details.get("at"))
    if pricing is None:
        raise CusUnknownModel(model)
    counts: dict[str, Any] = {name: details.get(name, 0) for name in TOKEN_NAMES[2:]}
    usage = CusTokenUsage(tokens_in, tokens_out, **counts)
    tier = "batch" if details.get("batch") else details.get("service_tier")
    parts = pricing.parts_microcents(usage, tier=tier, billed_units=details.get("billed_units"))
    return {
        "model": pricing.model,
        "input_cost_cents": sum(parts[:6], Decimal()) / MICROCENTS_PER_CENT,
        "output_cost_cents": sum(parts[6:9], Decimal()) / MICROCENTS_PER_CENT,
        "units_cost_cents": parts.units / MICROCENTS_PER_CENT,
        "total_cost_cents": cents_of(microcents),
        "total_cost_microcents": microcents,
        "parts_microcents": parts,
        "pricing_version": TABLE_VERSION,
    }


def estimate_cost(model: str, tokens_in: int, tokens_out: int | None = None) -> int:
    """What a call will cost, in cents, before it is made: all its tokens plain, none cached.

    Without `tokens_out` (the call's own maximum) the model's maximum output counts (ruling F3).
    Raises CusUnknownModel, also if the model's maximum is needed and not known.
    """
    if tokens_out is None:
        pricing = get_model_pricing(model)
        if pricing is None or pricing.max_output is None:
            raise CusUnknownModel(model)
        tokens_out = pricing.max_output
    return calculate_cost(model, tokens_in, tokens_out)


def format_cost(cents: int) -> str:
    """Cents as dollars for people: `$1.05`. Raises ValueError for anything but an integer."""
    if type(cents) is not int:
        message = f"cents must be an integer, not {cents!r}"
        raise ValueError(message)
    dollars, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}${dollars}.{rest:02d}"
