"""What a tenant's own price may say: amounts, and a percentage of the list (ruling M5c)."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError

KINDS = (
    "input",
    "cached",
    "cache_write_5m",
    "cache_write_1h",
    "audio_in",
    "image_in",
    "output",
    "reasoning",
    "audio_out",
)
# "90" is 10 % off everything that the list prices.
PERCENT = "percent_of_list"
MOST_PERCENT = 1_000
_NAMES = (*KINDS, PERCENT, "tiers", "units")
# Up to a million dollars per million tokens, down to what a rate can hold.
_PRICE = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,8})?")
_PERCENT = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4})?")
# As providers' tiers and a record's billed units are named.
_NAME = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,49}")
_MOST_NAMES = 50


def checked_prices(prices: Any) -> dict[str, Any]:
    """The prices as they were given. Raises ValidationError, which says what is wrong.

    Amounts are texts: US dollars per million tokens for each of `KINDS`, also in `tiers` (by the
    tier's name), and per thousand in `units` (by the unit's name). `percent_of_list` is a text,
    too: what everything that is not named costs, in percent of the list's price.
    """
    given = _names_checked(prices, _NAMES, "Prices are an object of kinds and dollars.")
    if not given:
        raise _refused("Name at least one price, or a percentage of the list.")
    checked: dict[str, Any] = _amounts(given, "")
    if PERCENT in given:
        checked[PERCENT] = _percent(given[PERCENT])
    if "tiers" in given:
        checked["tiers"] = {
            tier: _tier(tier, amounts) for tier, amounts in _named("tiers", given["tiers"]).items()
        }
    if "units" in given:
        units = _named("units", given["units"])
        checked["units"] = {unit: _amount(unit, price) for unit, price in units.items()}
    return checked


def needs_list(prices: Mapping[str, Any]) -> bool:
    """Whether the prices can bill a call only together with the list's (ruling M4)."""
    return not {"input", "output"} <= set(prices)


def _tier(tier: str, amounts: Any) -> dict[str, str]:
    given = _names_checked(amounts, KINDS, f"Tier {tier} is an object of kinds and dollars.")
    if not given:
        raise _refused(f"Name at least one price of tier {tier}.")
    return _amounts(given, f" in tier {tier}")


def _amounts(given: Mapping[str, Any], where: str) -> dict[str, str]:
    return {kind: _amount(f"{kind}{where}", given[kind]) for kind in KINDS if kind in given}


def _amount(what: str, price: Any) -> str:
    if isinstance(price, str) and _PRICE.fullmatch(price):
        return price
    hint = "a text with dollars per million tokens, such as '2.50' (at most 8 decimals)"
    raise _refused(f"The price of {what} must be {hint}.")


def _percent(percent: Any) -> str:
    is_decimal = isinstance(percent, str) and _PERCENT.fullmatch(percent)
    if is_decimal and Decimal(percent) <= MOST_PERCENT:
        return str(percent)
    hint = f"a text from '0' to '{MOST_PERCENT}', such as '90' for 10 % off (at most 4 decimals)"
    raise _refused(f"The percentage of the list must be {hint}.")


def _names_checked(given: Any, known: Iterable[str], otherwise: str) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise _refused(otherwise)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise _refused(f"Unknown: {', '.join(unknown)}. Known are {', '.join(known)}.")
    return given


def _named(what: str, given: Any) -> Mapping[str, Any]:
    """What is given by name, where the names are the provider's."""
    if not isinstance(given, dict) or not 0 < len(given) <= _MOST_NAMES:
        raise _refused(f"The {what} are an object of 1 to {_MOST_NAMES} names and their prices.")
    for name in given:
        if not _NAME.fullmatch(name):
            raise _refused(
                f"{what.capitalize()} are named in small letters, such as 'batch' or 'searches'."
            )
    return given


def _refused(text: str) -> ValidationError:
    return ValidationError({"prices": text})
