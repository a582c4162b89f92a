"""The prices of one model, and what a call costs at them (rulings M1 to M4, M7, M8).

All arithmetic is on integers: a rate is kept as whole millionths of a microcent a token, so sums
are exact and only the call's total is rounded, upwards, once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from aos_sdk.cus_fields import TOKEN_NAMES
from aos_sdk.cus_pricing.decimals import with_own_decimals

# Rates are integers of 1e-6 microcent; the cheapest price so far, $0.0025 a million, is 250,000.
RATE_SCALE: Final = 1_000_000
_RATE_PER_DOLLAR: Final = 100 * RATE_SCALE  # $1 a million tokens = 100 microcents a token
_UNIT_RATE_PER_DOLLAR: Final = 100_000 * RATE_SCALE  # $1 a thousand units = 100,000 microcents each

INPUT_KINDS: Final = ("cached", "cache_write_5m", "cache_write_1h", "audio_in", "image_in")
OUTPUT_KINDS: Final = ("reasoning", "audio_out")
# A price a call, of those that use any tokens: the fee of search models.
REQUESTS: Final = "requests"
KINDS: Final = ("input", *INPUT_KINDS, "output", *OUTPUT_KINDS)


class CusTokenCounts(Protocol):
    """A call's counts by name: a usage, a reported usage, a record or a stored row."""

    @property
    def tokens_in(self) -> int: ...
    @property
    def tokens_out(self) -> int: ...
    @property
    def tokens_cached(self) -> int: ...
    @property
    def tokens_cache_write(self) -> int: ...
    @property
    def tokens_cache_write_1h(self) -> int: ...
    @property
    def tokens_reasoning(self) -> int: ...
    @property
    def tokens_audio_in(self) -> int: ...
    @property
    def tokens_audio_out(self) -> int: ...
    @property
    def tokens_image_in(self) -> int: ...


class CusTokenUsage(NamedTuple):
    """The tokens of one call. Every detail is a part of `tokens_in` or `tokens_out` (ruling M4)."""

    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    tokens_cache_write: int = 0
    tokens_cache_write_1h: int = 0
    tokens_reasoning: int = 0
    tokens_audio_in: int = 0
    tokens_audio_out: int = 0
    tokens_image_in: int = 0
    tokens_total: int | None = None


_NOTHING: Final = with_own_decimals(Decimal)()
# The finest prices that a rate can hold, in dollars: of a million tokens, of a thousand units.
FINEST_PRICE: Final = with_own_decimals(Decimal)("1e-8")
FINEST_UNIT_PRICE: Final = with_own_decimals(Decimal)("1e-11")


class CusCostParts(NamedTuple):
    """The disjoint parts of a call's cost (ruling M8), each in exact microcents.

    `units` is what is not billed by the token: searches, seconds of audio, characters.
    """

    input: Decimal
    cached: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    audio_in: Decimal
    image_in: Decimal
    output: Decimal
    reasoning: Decimal
    audio_out: Decimal
    units: Decimal = _NOTHING


class _Rates:
    """One price list as integers, ready to multiply."""

    __slots__ = ("details", "input", "long_above", "long_rates", "output", "tiers")

    def __init__(self, prices: Mapping[str, Any]) -> None:
        self.input = _rate(prices["input"])
        self.output = _rate(prices["output"])
        self.details = (
            *(_rate(prices.get(kind, prices["input"])) for kind in INPUT_KINDS),
            *(_rate(prices.get(kind, prices["output"])) for kind in OUTPUT_KINDS),
        )
        self.tiers = {
            name: _Rates(_times(prices, tier) if isinstance(tier, str) else tier)
            for name, tier in prices.get("tiers", {}).items()
        }
        long_context = prices.get("long_context")
        self.long_above: int | None = long_context["above"] if long_context else None
        self.long_rates = _Rates(long_context) if long_context else None

    def applying(self, tokens_in: int, tier: str | None) -> "_Rates":
        """The list that bills this call: its tier's if that has one, then by its length."""
        rates = self if tier is None else self.tiers.get(tier, self)
        # Some providers have several steps, each nested in the one before.
        while rates.long_rates is not None and tokens_in > (rates.long_above or 0):
            rates = rates.long_rates
        return rates


def _times(prices: Mapping[str, Any], factor: str) -> dict[str, Any]:
    """A price list at so many times its prices, its long-context prices too; without tiers."""
    scaled: dict[str, Any] = {
        kind: _dollars(prices[kind]) * _dollars(factor) for kind in KINDS if kind in prices
    }
    if long_context := prices.get("long_context"):
        scaled["long_context"] = {"above": long_context["above"], **_times(long_context, factor)}
    return scaled


def _dollars(price: object) -> Decimal:
    """A price as it stands in the data: decimal text, never a float."""
    try:
        dollars = Decimal(price) if isinstance(price, str | Decimal) else None
    except ArithmeticError:
        dollars = None
    if dollars is None or not dollars.is_finite() or dollars < 0:
        message = f"price {price!r} is negative or no decimal text"
        raise ValueError(message)
    return dollars


def _rate(price: object, scale: int = _RATE_PER_DOLLAR) -> int:
    rate = _dollars(price) * scale
    if rate != int(rate):
        message = f"price {price!r} is finer than a rate can hold"
        raise ValueError(message)
    return int(rate)


@dataclass(frozen=True, slots=True)
class CusModelPricing:
    """The prices of one model from one day on, in US dollars per 1,000 tokens, as §11.2 has them.

    A kind without a price of its own holds the price it is billed at. `data` is the entry as it
    stands in the table, in dollars per million tokens: keep it to price the same call again.
    `inner` are the price lists of other models that answer within the call (ruling M8a), by the
    names that its turns have; they are a part of `data`, under `inner`.
    """

    model: str
    provider: str
    input: Decimal
    output: Decimal
    cached: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    effective_from: date | None
    context_window: int | None
    max_output: int | None
    source: str
    data: Mapping[str, Any]
    rates: _Rates = field(repr=False)
    unit_rates: Mapping[str, int] = field(repr=False)
    inner: "Mapping[str, CusModelPricing]" = field(repr=False)

    @classmethod
    @with_own_decimals
    def from_data(
        cls, model: str, about: Mapping[str, Any], prices: Mapping[str, Any]
    ) -> "CusModelPricing":
        """Build one from an entry of the price table, or from an override of the same shape.

        Raises ValueError or KeyError if a price is missing, negative or malformed.
        """
        starts = prices.get("from")

        def per_1k(kind: str) -> Decimal:
            return _dollars(prices.get(kind, prices["input"])) / 1000

        return cls(
            model=model,
            provider=about.get("provider", ""),
            input=per_1k("input"),
            output=_dollars(prices["output"]) / 1000,
            cached=per_1k("cached"),
            cache_write_5m=per_1k("cache_write_5m"),
            cache_write_1h=per_1k("cache_write_1h"),
            effective_from=date.fromisoformat(starts) if starts else None,
            context_window=about.get("context_window"),
            max_output=about.get("max_output"),
            source=prices.get("source", ""),
            data=MappingProxyType(dict(prices)),
            rates=_Rates(prices),
            unit_rates={
                unit: _rate(price, _UNIT_RATE_PER_DOLLAR)
                for unit, price in prices.get("units", {}).items()
            },
            inner={
                name: cls.from_data(name, {}, inner)
                for name, inner in prices.get("inner", {}).items()
            },
        )

    def with_inner(self, inner: "Mapping[str, CusModelPricing]") -> "CusModelPricing":
        """The same prices, with those of the models that answer within the call."""
        if not inner:
            return self
        data = {**self.data, "inner": {name: dict(one.data) for name, one in inner.items()}}
        return replace(self, data=MappingProxyType(data), inner=dict(inner))

    def cost_microcents(
        self,
        usage: CusTokenUsage,
        *,
        tier: str | None = None,
        billed_units: Mapping[str, int] | None = None,
    ) -> int:
        """The exact cost of a call at these prices, rounded up to the next microcent.

        `tier` is the service tier, or `batch`. Units without a price cost nothing. A list that has
        a price of `requests` bills one for the call, unless the units count them. Raises ValueError
        if a count is negative or no integer.
        """
        return -(-self._scaled_cost(usage, tier, billed_units) // RATE_SCALE)

    def cost_of_parts(
        self,
        parts: "Iterable[tuple[CusModelPricing, CusTokenUsage, str | None]]",
        billed_units: Mapping[str, int] | None,
    ) -> int:
        """The cost of a call of several turns, each with its list, tokens and tier; rounded once.

        Units, and the fee of the call, are this list's. Raises as `cost_microcents` does.
        """
        total = tokens = 0
        for pricing, usage, tier in parts:
            total += pricing._token_cost(usage, tier)  # noqa: SLF001 - of this class
            tokens += usage.tokens_in + usage.tokens_out
        return -(-(total + self._units_cost(billed_units, tokens)) // RATE_SCALE)

    def dearest_microcents(self, tokens: int) -> int:
        """What a call of so many tokens costs at most, whatever kinds they are (ruling F3)."""
        rates = self.rates.applying(tokens, None)
        dearest = tokens * max(rates.input, rates.output, *rates.details)
        return -(-(dearest + self._units_cost(None, tokens)) // RATE_SCALE)

    @with_own_decimals
    def parts_microcents(
        self,
        usage: CusTokenUsage,
        *,
        tier: str | None = None,
        billed_units: Mapping[str, int] | None = None,
    ) -> CusCostParts:
        """The same cost in its exact parts; the sum of the parts, rounded up, is the cost."""
        _check(usage)
        rates = self.rates.applying(usage.tokens_in, tier)
        by_kind = (rates.input, *rates.details[:5], rates.output, *rates.details[5:])
        costs = [count * rate for count, rate in zip(disjoint_kinds(usage), by_kind, strict=True)]
        costs.append(self._units_cost(billed_units, usage.tokens_in + usage.tokens_out))
        return CusCostParts._make(Decimal(cost) / RATE_SCALE for cost in costs)

    def _scaled_cost(
        self, usage: CusTokenUsage, tier: str | None, billed_units: Mapping[str, int] | None
    ) -> int:
        """Cost in millionths of a microcent."""
        total = self._token_cost(usage, tier)
        if billed_units or REQUESTS in self.unit_rates:
            total += self._units_cost(billed_units, usage.tokens_in + usage.tokens_out)
        return total

    def _token_cost(self, usage: CusTokenUsage, tier: str | None) -> int:
        # Unrolled: most calls of today come this way.
        _check(usage)
        rates = self.rates
        if tier is not None or rates.long_rates is not None:
            rates = rates.applying(usage.tokens_in, tier)
        plain, cached, write_5m, write_1h, audio, image, said, reasoning, spoken = disjoint_kinds(
            usage
        )
        r_cached, r_write_5m, r_write_1h, r_audio, r_image, r_reasoning, r_spoken = rates.details
        total = plain * rates.input + cached * r_cached + said * rates.output
        total += write_5m * r_write_5m + write_1h * r_write_1h + reasoning * r_reasoning
        return total + audio * r_audio + image * r_image + spoken * r_spoken

    def _units_cost(self, billed_units: Mapping[str, int] | None, tokens: int) -> int:
        total = 0
        if tokens and REQUESTS not in (billed_units or ()):
            total = self.unit_rates.get(REQUESTS, 0)
        for unit, count in (billed_units or {}).items():
            rate = self.unit_rates.get(unit)
            if rate is not None:
                _check_count(unit, count)
                total += count * rate
        return total


def _check(usage: CusTokenUsage) -> None:
    a, b, c, d, e, f, g, h, i, _ = usage
    if (
        type(a) is type(b) is type(c) is type(d) is type(e) is int
        and type(f) is type(g) is type(h) is type(i) is int
        and a | b | c | d | e | f | g | h | i >= 0
    ):
        return
    for name, count in zip(TOKEN_NAMES, usage, strict=False):
        _check_count(name, count)


def _check_count(name: str, count: object) -> None:
    # A bool is an int to Python, and a mistake here.
    if type(count) is not int or count < 0:
        message = f"{name} must be an integer of 0 or more, not {count!r}"
        raise ValueError(message)


def disjoint_kinds(usage: CusTokenUsage) -> tuple[int, int, int, int, int, int, int, int, int]:
    """Split a call's tokens into disjoint kinds, in the order of `CusCostParts` (ruling M8).

    Cached audio can be reported twice, as cached and as audio; it is billed as cached. So where
    the details exceed their whole, audio gives way first, then images. Details that still exceed
    it (a provider's slip, flagged by the server) leave 0 plain tokens.
    """
    tokens_in, tokens_out, cached, write, write_1h, reasoning, audio_in, audio_out, image, _ = usage
    if write_1h > write:
        write = write_1h
    plain_in = tokens_in - cached - write - audio_in - image
    if plain_in < 0:
        audio_in, image = without_overlap(-plain_in, audio_in, image)
        plain_in = 0
    plain_out = tokens_out - reasoning - audio_out
    return (
        plain_in,
        cached,
        write - write_1h,
        write_1h,
        audio_in,
        image,
        plain_out if plain_out > 0 else 0,
        reasoning,
        audio_out,
    )


def without_overlap(surplus: int, audio: int, image: int) -> tuple[int, int]:
    """Audio and image tokens less a surplus that was counted as cached as well."""
    from_audio = min(surplus, audio)
    return audio - from_audio, image - min(surplus - from_audio, image)
