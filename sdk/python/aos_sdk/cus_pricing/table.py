"""The price table that SDK and server share, and how a model is found in it (§11.2, ruling M5).

To add a model or a new price, add it to `cus_prices.json`; nothing here changes. A model there has
`aliases` (other names of the very same model), `context_window`, `max_output`, the `encoding` of
its tokens (`encoding_assumed` where only its family's is known) and `prices`: a list, oldest first;
each but the first says `from` which day (UTC) it holds, and each says its `source`. Its kinds are
`input`, `cached`, `cache_write_5m`, `cache_write_1h`, `audio_in`, `image_in`, `output`,
`reasoning`, `audio_out`; a kind without a price is billed as plain input or output (ruling M4). Of
the two cache writes, the first is the provider's short lifetime (5 or 30 minutes), the second its
long one (1 or 12 hours). An image model's text output is its `reasoning`, its `output` the image.
`long_context` (`above` so many input tokens) holds a whole price list that takes the place of the
plain one; so do the `tiers` (`batch`, `flex`, `priority`, `fast`, …; `us` is inference in the US
alone), or a factor on the plain one. `units` are prices of what is not billed by the token, in
dollars per thousand; `requests` is a fee a call.

Beside the models, `units` has what all models of a provider share, oldest first and dated alike (a
model's own unit goes before), and `regions` what a provider adds in a region (`places`).
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from aos_sdk.cus_pricing.places import (
    PLAIN,
    factor_of,
    place_in_name,
    place_of,
    scaled_entry,
)
from aos_sdk.cus_pricing.rates import INPUT_KINDS, OUTPUT_KINDS, REQUESTS, CusModelPricing

_MAX_REMEMBERED_NAMES: Final = 4_096

# What may stand before a name: the ways in which Azure, Bedrock, Vertex and routers write it.
_PREFIX: Final = re.compile(
    r"""
    (?:arn:aws[a-z-]*:bedrock:[a-z0-9-]*:[0-9]*:(?:foundation-model|inference-profile)/)?
    (?:projects/[^/]+/locations/[^/]+/)?
    (?:(?: openrouter | openai | anthropic | azure | azure_ai | bedrock | converse | vertex_ai
         | publishers/(?:openai|anthropic)/models | deployments | models )/)*
    (?:(?:[a-z]{2,6}(?:-gov)?\.)?(?:anthropic|openai)\.)?
    """,
    re.VERBOSE,
)
_SUFFIX: Final = re.compile(
    r"(?:[-@](?:20[0-9]{2}(-?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12][0-9]|3[01])|latest)"
    r"|-v[0-9]+(?::[0-9]+)?)\Z"
)
# `ft:gpt-4o-mini-2024-07-18:org::id` at OpenAI, `gpt-4o-mini-2024-07-18.ft-id` at Azure.
_FINE_TUNED: Final = re.compile(r"ft:([^:]+)(?::.*)?\Z|([^:]+)\.ft-[\w-]+\Z")
_DOTTED_CLAUDE: Final = re.compile(r"(?<=[0-9])\.(?=[0-9])")

_History = tuple[CusModelPricing, ...]


def _load() -> dict[str, Any]:
    text = Path(__file__).parents[1].joinpath("cus_prices.json").read_text(encoding="utf-8")
    # A price that stands as a number in the file must not become a float here.
    table: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return table


_TABLE: Final = _load()
TABLE_VERSION: Final[str] = _TABLE["version"]
_MODELS: Final[dict[str, Mapping[str, Any]]] = _TABLE["models"]
_CANONICAL: Final[dict[str, str]] = {name: name for name in _MODELS} | {
    alias: name for name, about in _MODELS.items() for alias in about.get("aliases", ())
}
_remembered: dict[str, _History] = {}


class CusPlainRates(NamedTuple):
    """What most calls are billed at: the rates of a model with one price for any time.

    They hold for up to `longest` tokens in, and for every tier that is not in `tiers`.
    """

    input: int
    cached: int
    output: int
    reasoning: int
    longest: int
    tiers: Mapping[str, object]


# Of the remembered ones, those that have such rates.
plain_rates: dict[str, CusPlainRates] = {}


class CusUnknownModel(ValueError):
    """No price is known for this model, and none is guessed (ruling M5)."""

    def __init__(self, model: object) -> None:
        super().__init__(f"no price is known for model {model!r}; add it to the price table")
        self.model = model


@cache
def _history(name: str, factor: str = PLAIN) -> _History:
    """A model's prices, oldest first, at so many times the plain ones."""
    about = _MODELS[name]
    return tuple(
        CusModelPricing.from_data(
            name, about, entry if factor == PLAIN else scaled_entry(entry, factor)
        )
        for entry in _dated_entries(about)
    )


def _dated_entries(about: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A model's entries with the units of its provider; one more where those units change."""
    prices, shared = about["prices"], _TABLE["units"].get(about["provider"], [])
    for start in sorted({entry.get("from", "") for entry in (*prices, *shared)}):
        entry, units = _entry_on(prices, start), _entry_on(shared, start)
        if entry is None:
            continue
        merged = {**(units["prices"] if units else {}), **entry.get("units", {})}
        dated = {"from": start} if start else {}
        yield {**entry, **dated, **({"units": merged} if merged else {})}


def _entry_on(entries: list[Mapping[str, Any]], day: str) -> Mapping[str, Any] | None:
    begun = [entry for entry in entries if entry.get("from", "") <= day]
    return begun[-1] if begun else None


class _NewestPrices(Mapping[str, CusModelPricing]):
    """A provider's models and their newest prices, read when they are asked for."""

    def __init__(self, provider: str) -> None:
        self._names = [name for name in _MODELS if _MODELS[name]["provider"] == provider]

    def __getitem__(self, name: str) -> CusModelPricing:
        if name not in self._names:
            raise KeyError(name)
        return _history(name)[-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class CusPricingTable:
    """The price table: its version, and the newest prices of each provider's models by name."""

    TABLE_VERSION: Final[str] = TABLE_VERSION
    OPENAI_PRICING: Final[Mapping[str, CusModelPricing]] = _NewestPrices("openai")
    ANTHROPIC_PRICING: Final[Mapping[str, CusModelPricing]] = _NewestPrices("anthropic")


def canonical_name(model: str) -> str | None:
    """The table's own name of a model by ruling M5, never by a mere prefix; None if unknown."""
    if model in _CANONICAL:
        return _CANONICAL[model]
    prefix = _PREFIX.match(model)
    name = model[prefix.end() :] if prefix else model
    if tuned := _FINE_TUNED.match(name):
        name = f"ft:{tuned[1] or tuned[2]}"
    elif name.startswith("claude"):
        name = _DOTTED_CLAUDE.sub("-", name) if name not in _CANONICAL else name
    # At most a date and a version follow a name, in either order.
    for _ in range(3):
        if name in _CANONICAL:
            return _CANONICAL[name]
        suffix = _SUFFIX.search(name)
        if suffix is None:
            return None
        name = name[: suffix.start()]
    return None


def about_model(name: str) -> Mapping[str, Any]:
    """What the table says of a model beside its prices; `name` is one of `model_names`."""
    return _MODELS[name]


def model_names() -> tuple[str, ...]:
    """The table's own names of its models."""
    return tuple(_MODELS)


def _remember(model: str) -> _History:
    # Names come from callers, so what we remember of them is bounded.
    if len(_remembered) >= _MAX_REMEMBERED_NAMES:
        _remembered.clear()
        plain_rates.clear()
    name = canonical_name(model)
    if name is None:
        return ()
    # What the name says of a region is taken from it before the prefix is gone (ruling M5a).
    factor = factor_of(_TABLE["regions"], name, place_in_name(model))
    found = _remembered[model] = _history(name, factor)
    newest = found[-1]
    if len(found) == 1 and newest.effective_from is None and REQUESTS not in newest.unit_rates:
        plain_rates[model] = _plain(found[0])
    return found


def _plain(pricing: CusModelPricing) -> CusPlainRates:
    rates = pricing.rates
    by_kind = dict(zip((*INPUT_KINDS, *OUTPUT_KINDS), rates.details, strict=True))
    return CusPlainRates(
        rates.input,
        by_kind["cached"],
        rates.output,
        by_kind["reasoning"],
        rates.long_above if rates.long_above is not None else sys.maxsize,
        rates.tiers,
    )


def _at(history: _History, at: datetime | date | None) -> CusModelPricing | None:
    """The price that held on a day (UTC; None is now). A call before the first price has none."""
    if at is None:
        at = datetime.now(UTC)
    day = at.astimezone(UTC).date() if isinstance(at, datetime) else at
    for pricing in reversed(history):
        if pricing.effective_from is None or pricing.effective_from <= day:
            return pricing
    return None


def get_model_pricing(
    model: str,
    at: datetime | date | None = None,
    *,
    provider: str | None = None,
    region: str | None = None,
) -> CusModelPricing | None:
    """The prices of a model at a time (default: now), or None for an unknown model.

    `provider` is who bills the call (`bedrock`, `vertex`, `openai`, `azure_openai`), `region` the
    provider's word for where; a region in the model's name goes before (ruling M5a).
    """
    history = _remembered.get(model) or _remember(model)
    if not history:
        return None
    if region is not None:
        history = _in_region(model, history, provider, region)
    newest = history[-1]
    return newest if newest.effective_from is None else _at(history, at)


def _in_region(model: str, history: _History, provider: str | None, region: str) -> _History:
    name = history[0].model
    place = place_of(model, provider=provider, region=region)
    return _history(name, factor_of(_TABLE["regions"], name, place))


def depends_on_region(model: str, provider: str | None) -> bool:
    """Whether a provider bills this model dearer in some region."""
    name = canonical_name(model)
    return any(
        rule["provider"] == provider and name in rule["models"] for rule in _TABLE["regions"]
    )


def get_pricing_version() -> str:
    """The version of the price table, to be recorded with what it priced (ruling M6)."""
    return TABLE_VERSION
