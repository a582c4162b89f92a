"""What a call costs, from one price table that SDK and server share (§11, rulings M1 to M8).

All arithmetic is on integers: a rate is kept as whole millionths of a microcent a token, so sums
are exact and only the call's total is rounded, upwards, once. To add a model or a new price, add
it to `cus_prices.json`; nothing here changes. An entry there is a list of prices, oldest first;
each but the first says `from` which day (UTC) it holds. Its kinds are `input`, `cached`,
`cache_write_5m`, `cache_write_1h`, `audio_in`, `image_in`, `output`, `reasoning`, `audio_out`; a
kind without a price is billed as plain input or output (ruling M4). `long_context` (`above` so
many input tokens) and `tiers` (`batch`, `flex`, `priority`) hold whole price lists of the same
shape that take the place of the plain one.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypedDict, Unpack

MICROCENTS_PER_CENT: Final = 1_000_000
# Rates are integers of 1e-6 microcent; the cheapest price so far, $0.0001 a million, is 10,000.
_RATE_SCALE: Final = 1_000_000
_RATE_PER_DOLLAR: Final = 100 * _RATE_SCALE  # $1 a million tokens = 100 microcents a token

_INPUT_KINDS: Final = ("cached", "cache_write_5m", "cache_write_1h", "audio_in", "image_in")
_OUTPUT_KINDS: Final = ("reasoning", "audio_out")
_MAX_REMEMBERED_NAMES: Final = 4_096
_ZERO: Final = 0

_PREFIX: Final = re.compile(
    r"(?:(?:openai|anthropic|azure|bedrock|vertex_ai)/)*(?:[a-z]{2,6}(?:-gov)?\.)?(?:anthropic\.|openai\.)"
    r"|(?:(?:openai|anthropic|azure|bedrock|vertex_ai)/)+"
)
_SUFFIX: Final = re.compile(
    r"(?:[-@](?:20[0-9]{2}(-?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12][0-9]|3[01])|latest)"
    r"|-v[0-9]+(?::[0-9]+)?)\Z"
)


class CusUnknownModel(ValueError):
    """No price is known for this model, and none is guessed (ruling M5)."""

    def __init__(self, model: object) -> None:
        super().__init__(f"no price is known for model {model!r}; add it to the price table")
        self.model = model


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


# A `CusTokenUsage` or a bare tuple in its order: making a tuple is five times cheaper.
_Usage = tuple[int, int, int, int, int, int, int, int, int, int | None]


class CusCallDetails(TypedDict, total=False):
    """What may be said of a call beside its model and its two token counts, to price it."""

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


class CusCostParts(NamedTuple):
    """The disjoint parts of a call's cost (ruling M8), each in exact microcents."""

    input: Decimal
    cached: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    audio_in: Decimal
    image_in: Decimal
    output: Decimal
    reasoning: Decimal
    audio_out: Decimal


class CusCostBreakdown(TypedDict):
    """A priced call in full. Only the totals are rounded, so the parts add up (ruling M7)."""

    model: str
    input_cost_cents: Decimal
    output_cost_cents: Decimal
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


class _Rates:
    """One price list as integers, ready to multiply."""

    __slots__ = ("details", "input", "long_above", "long_rates", "output", "tiers")

    def __init__(self, prices: Mapping[str, Any]) -> None:
        self.input = _rate(prices["input"])
        self.output = _rate(prices["output"])
        self.details = (
            *(_rate(prices.get(kind, prices["input"])) for kind in _INPUT_KINDS),
            *(_rate(prices.get(kind, prices["output"])) for kind in _OUTPUT_KINDS),
        )
        self.tiers = {name: _Rates(tier) for name, tier in prices.get("tiers", {}).items()}
        long_context = prices.get("long_context")
        self.long_above: int | None = long_context["above"] if long_context else None
        self.long_rates = _Rates(long_context) if long_context else None

    def applying(self, tokens_in: int, tier: str | None) -> "_Rates":
        """The list that bills this call: its tier's if that has one, then by its length."""
        rates = self if tier is None else self.tiers.get(tier, self)
        if rates.long_rates is None or tokens_in <= (rates.long_above or 0):
            return rates
        return rates.long_rates


def _rate(dollars_per_million: str) -> int:
    rate = Decimal(dollars_per_million) * _RATE_PER_DOLLAR
    if rate < 0 or rate != int(rate):
        message = f"price {dollars_per_million!r} is negative or finer than a rate can hold"
        raise ValueError(message)
    return int(rate)


@dataclass(frozen=True, slots=True)
class CusModelPricing:
    """The prices of one model from one day on, in US dollars per 1,000 tokens, as §11.2 has them.

    A kind without a price of its own holds the price it is billed at. `data` is the entry as it
    stands in the table, in dollars per million tokens: keep it to price the same call again.
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

    @classmethod
    def from_data(
        cls, model: str, about: Mapping[str, Any], prices: Mapping[str, Any]
    ) -> "CusModelPricing":
        """Build one from an entry of the price table, or from an override of the same shape.

        Raises ValueError or KeyError if a price is missing, negative or malformed.
        """
        starts = prices.get("from")

        def per_1k(kind: str) -> Decimal:
            return Decimal(prices.get(kind, prices["input"])) / 1000

        return cls(
            model=model,
            provider=about.get("provider", ""),
            input=per_1k("input"),
            output=per_1k("output"),
            cached=per_1k("cached"),
            cache_write_5m=per_1k("cache_write_5m"),
            cache_write_1h=per_1k("cache_write_1h"),
            effective_from=date.fromisoformat(starts) if starts else None,
            context_window=about.get("context_window"),
            max_output=about.get("max_output"),
            source=prices.get("source", ""),
            data=MappingProxyType(dict(prices)),
            rates=_Rates(prices),
        )

    @property
    def is_plain(self) -> bool:
        """Whether it holds at any time and for any length of input."""
        return self.effective_from is None and self.rates.long_rates is None

    def cost_microcents(self, usage: _Usage, *, tier: str | None = None) -> int:
        """The exact cost of a call at these prices, rounded up to the next microcent.

        `tier` is the service tier, or `batch`. Raises ValueError if a token count is negative or
        no integer.
        """
        return -(-_scaled_cost(self.rates, usage, tier) // _RATE_SCALE)

    def parts_microcents(self, usage: CusTokenUsage, *, tier: str | None = None) -> CusCostParts:
        """The same cost in its exact parts; the sum of the parts, rounded up, is the cost."""
        _check(usage)
        rates = self.rates.applying(usage.tokens_in, tier)
        by_kind = (rates.input, *rates.details[:5], rates.output, *rates.details[5:])
        costs = (count * rate for count, rate in zip(_kinds(usage), by_kind, strict=True))
        return CusCostParts._make(Decimal(cost) / _RATE_SCALE for cost in costs)


_History = tuple[CusModelPricing, ...]


def _load_table() -> tuple[str, dict[str, _History]]:
    text = Path(__file__).with_name("cus_prices.json").read_text(encoding="utf-8")
    # A price that somebody wrote as a number must not become a float on its way here.
    table = json.loads(text, parse_float=Decimal)
    models = {
        model: tuple(CusModelPricing.from_data(model, about, prices) for prices in about["prices"])
        for model, about in table["models"].items()
    }
    return table["version"], models


_VERSION, _MODELS = _load_table()
_remembered: dict[str, _History] = {}
# Of those, the ones with a single price for any time and any length: what most calls need.
_plain_rates: dict[str, tuple[int, int, Mapping[str, _Rates]]] = {}


def _newest_of(provider: str) -> Mapping[str, CusModelPricing]:
    found = {
        name: prices[-1] for name, prices in _MODELS.items() if prices[-1].provider == provider
    }
    return MappingProxyType(found)


class CusPricingTable:
    """The price table: its version, and the newest prices of each provider's models by name."""

    TABLE_VERSION: Final[str] = _VERSION
    OPENAI_PRICING: Final[Mapping[str, CusModelPricing]] = _newest_of("openai")
    ANTHROPIC_PRICING: Final[Mapping[str, CusModelPricing]] = _newest_of("anthropic")


def _find(model: str) -> _History:
    """Look a name up by ruling M5, never by a mere prefix; empty if nobody knows it."""
    name = model
    known = _MODELS.get(name)
    if known is None:
        prefix = _PREFIX.match(name)
        name = name[prefix.end() :] if prefix else name
    # At most a date and a version follow a name, in either order.
    for _ in range(3):
        if name in _MODELS:
            return _MODELS[name]
        suffix = _SUFFIX.search(name)
        if suffix is None:
            return ()
        name = name[: suffix.start()]
    return ()


def _remember(model: str) -> _History:
    # Names come from callers, so what we remember of them is bounded.
    if len(_remembered) >= _MAX_REMEMBERED_NAMES:
        _remembered.clear()
        _plain_rates.clear()
    found = _find(model)
    if found:
        _remembered[model] = found
    if len(found) == 1 and found[0].is_plain:
        rates = found[0].rates
        _plain_rates[model] = (rates.input, rates.output, rates.tiers)
    return found


def _at(history: _History, at: datetime | date | None) -> CusModelPricing | None:
    """The price that held on a day (UTC; None is now). A call before the first price has none."""
    if at is None:
        at = datetime.now(UTC)
    day = at.astimezone(UTC).date() if isinstance(at, datetime) else at
    for pricing in reversed(history):
        if pricing.effective_from is None or pricing.effective_from <= day:
            return pricing
    return None


def get_model_pricing(model: str, at: datetime | date | None = None) -> CusModelPricing | None:
    """The prices of a model at a time (default: now), or None for a model nobody knows."""
    history = _remembered.get(model) or _remember(model)
    if not history:
        return None
    newest = history[-1]
    return newest if newest.effective_from is None else _at(history, at)


def get_pricing_version() -> str:
    """The version of the price table, to be recorded with what it priced (ruling M6)."""
    return _VERSION


def _check(usage: _Usage) -> None:
    for name, count in zip(CusTokenUsage._fields[:9], usage, strict=False):
        # A bool is an int to Python, and a mistake here.
        if type(count) is not int or count < 0:
            message = f"{name} must be an integer of 0 or more, not {count!r}"
            raise ValueError(message)


def _kinds(usage: _Usage) -> tuple[int, ...]:
    """Split a call's tokens into disjoint kinds, in the order of `CusCostParts` (ruling M8).

    Details that exceed their whole (a provider's slip, flagged by the server) leave 0 for it.
    """
    tokens_in, tokens_out, cached, write, write_1h, reasoning, audio_in, audio_out, image, _ = usage
    return (
        max(tokens_in - cached - write - audio_in - image, 0),
        cached,
        max(write - write_1h, 0),
        write_1h,
        audio_in,
        image,
        max(tokens_out - reasoning - audio_out, 0),
        reasoning,
        audio_out,
    )


def _scaled_cost(rates: _Rates, usage: _Usage, tier: str | None) -> int:
    """Cost in millionths of a microcent."""
    _check(usage)
    rates = rates.applying(usage[0], tier)
    plain_in, *details_in, plain_out, reasoning, audio_out = _kinds(usage)
    total = plain_in * rates.input + plain_out * rates.output
    for count, rate in zip((*details_in, reasoning, audio_out), rates.details, strict=True):
        total += count * rate
    return total


def price_call(
    model: str,
    usage: CusTokenUsage,
    *,
    service_tier: str | None = None,
    batch: bool = False,
    at: datetime | date | None = None,
) -> CusPricedCall | None:
    """Price one call from the table, or answer None if it does not know the model.

    `at` is when the call started (default: now). Raises ValueError for a bad token count.
    """
    tokens_in, tokens_out, cached, write, write_1h, reasoning, audio_in, audio_out, image, _ = usage
    try:
        microcents = calculate_cost_microcents(
            model,
            tokens_in,
            tokens_out,
            tokens_cached=cached,
            tokens_cache_write=write,
            tokens_cache_write_1h=write_1h,
            tokens_reasoning=reasoning,
            tokens_audio_in=audio_in,
            tokens_audio_out=audio_out,
            tokens_image_in=image,
            service_tier=service_tier,
            batch=batch,
            at=at,
        )
    except CusUnknownModel:
        return None
    return CusPricedCall(-(-microcents // MICROCENTS_PER_CENT), microcents, _VERSION, "table")


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
) -> int:
    """Exact cost of a call in microcents (1e-6 cent), rounded up to the next one (ruling M3).

    Raises CusUnknownModel (a ValueError) for a model without a price, and ValueError for a token
    count that is negative or no integer.
    """
    # Nearly every call is a plain one, and it is on its caller's clock. Identity with 0 tells it
    # from False and 0.0, which are refused below; an OR is negative if any of its integers is.
    plain = _plain_rates.get(model)
    if (
        plain is not None
        and tokens_cached is tokens_cache_write is tokens_cache_write_1h is _ZERO
        and tokens_reasoning is tokens_audio_in is tokens_audio_out is tokens_image_in is _ZERO
        and type(tokens_in) is type(tokens_out) is int
        and tokens_in | tokens_out >= 0
        and service_tier not in plain[2]
        and not batch
    ):
        return -(-(tokens_in * plain[0] + tokens_out * plain[1]) // _RATE_SCALE)
    pricing = get_model_pricing(model, at)
    if pricing is None:
        raise CusUnknownModel(model)
    usage = (
        tokens_in,
        tokens_out,
        tokens_cached,
        tokens_cache_write,
        tokens_cache_write_1h,
        tokens_reasoning,
        tokens_audio_in,
        tokens_audio_out,
        tokens_image_in,
        None,
    )
    return pricing.cost_microcents(usage, tier="batch" if batch else service_tier)


def calculate_cost(
    model: str, tokens_in: int, tokens_out: int, **details: Unpack[CusCallDetails]
) -> int:
    """Cost of a call in cents, rounded up to the next cent once, on its total (ruling M2).

    Takes and raises what `calculate_cost_microcents` does.
    """
    microcents = calculate_cost_microcents(model, tokens_in, tokens_out, **details)
    return -(-microcents // MICROCENTS_PER_CENT)


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
    counts = {name: details.get(name, 0) for name in CusTokenUsage._fields[2:9]}
    usage = CusTokenUsage(tokens_in, tokens_out, **counts)  # type: ignore[arg-type]
    tier = "batch" if details.get("batch") else details.get("service_tier")
    parts = pricing.parts_microcents(usage, tier=tier)
    return {
        "model": pricing.model,
        "input_cost_cents": sum(parts[:6], Decimal()) / MICROCENTS_PER_CENT,
        "output_cost_cents": sum(parts[6:], Decimal()) / MICROCENTS_PER_CENT,
        "total_cost_cents": -(-microcents // MICROCENTS_PER_CENT),
        "total_cost_microcents": microcents,
        "parts_microcents": parts,
        "pricing_version": _VERSION,
    }


def estimate_cost(model: str, tokens_in: int, tokens_out: int | None = None) -> int:
    """What a call may cost at most, in cents, before it is made.

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
