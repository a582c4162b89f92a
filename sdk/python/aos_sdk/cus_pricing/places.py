"""Where a call was billed, and what its provider adds for that place (ruling M5a).

Bedrock and Vertex bill regional names and endpoints dearer than global ones, OpenAI its regional
hosts, Azure its data zones. A name says so itself (`eu.anthropic.…`, an ARN, `projects/…`), or the
call's provider and region do. The factors are data: `regions` in `cus_prices.json`.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from aos_sdk.cus_pricing.decimals import with_own_decimals
from aos_sdk.cus_pricing.rates import KINDS

_BEDROCK: Final = re.compile(
    r"(?:arn:aws[a-z-]*:bedrock:(?P<arn>[a-z0-9-]*):.*/)?"
    r"(?:(?:bedrock|converse)/)*"
    r"(?:(?P<profile>[a-z]{2,6}(?:-gov)?)\.)?(?:anthropic|openai)\."
)
_VERTEX: Final = re.compile(r"projects/[^/]+/locations/(?P<location>[^/]+)/")
PLAIN: Final = "1"


class CusPlace(NamedTuple):
    """Who bills a call, and the provider's word for the region; None where both are unknown."""

    provider: str | None = None
    region: str | None = None


NOWHERE: Final = CusPlace()


def place_in_name(model: str) -> CusPlace:
    """What a model's name says of its place: a regional prefix, an ARN, a resource path."""
    if named := _VERTEX.match(model):
        return CusPlace("vertex", named["location"])
    if named := _BEDROCK.match(model):
        return CusPlace("bedrock", named["profile"] or named["arn"] or None)
    return NOWHERE


def place_of(*models: str | None, provider: str | None, region: str | None) -> CusPlace:
    """The place of a call: a region in one of its model's names wins over the call's own."""
    told = CusPlace(provider, region)
    for place in map(place_in_name, filter(None, models)):
        if place.region:
            return place
        if place.provider:
            told = CusPlace(place.provider, region)
    return told


def factor_of(rules: Sequence[Mapping[str, Any]], model: str, place: CusPlace) -> str:
    """How many times a model's plain prices it costs in a place, as decimal text.

    `model` is the table's name. The first pattern that fits the region counts.
    """
    if place.region is None:
        return PLAIN
    for rule in rules:
        if rule["provider"] == place.provider and model in rule["models"]:
            patterns: Mapping[str, str] = rule["factors"]
            fitting = (
                factor for name, factor in patterns.items() if fnmatchcase(place.region, name)
            )
            return next(fitting, PLAIN)
    return PLAIN


@with_own_decimals
def scaled_entry(entry: Mapping[str, Any], factor: str) -> dict[str, Any]:
    """An entry of the table at so many times its token prices; units cost the same everywhere."""
    scaled = dict(entry)
    for kind in KINDS:
        if kind in entry:
            price = Decimal(entry[kind]) * Decimal(factor)
            scaled[kind] = format(price.normalize(), "f")
    if "long_context" in entry:
        scaled["long_context"] = scaled_entry(entry["long_context"], factor)
    if "tiers" in entry:
        # A tier that is a factor on the plain price follows it.
        scaled["tiers"] = {
            name: tier if isinstance(tier, str) else scaled_entry(tier, factor)
            for name, tier in entry["tiers"].items()
        }
    return scaled
