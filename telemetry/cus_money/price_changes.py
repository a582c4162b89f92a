"""What a tenant's own price makes of the list's price (ruling M5c).

Both are entries of the price table's shape: dollars per million tokens by kind, `tiers`, `units`.
What the tenant's price names is the tenant's, what it does not name stays as the list has it.
"""

import uuid
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from aos_sdk.cus_cost import CusModelPricing
from aos_sdk.cus_pricing.rates import FINEST_PRICE, FINEST_UNIT_PRICE
from integrations.cus_prices.prices import KINDS, PERCENT
from telemetry.cus_money.own_prices import OwnPrice

if TYPE_CHECKING:
    from telemetry.cus_money.pricing import AppliedPrice

_Entry = Mapping[str, Any]
_MAX_KNOWN = 20_000
# By the ids of both, which stand for their content.
_known: dict[tuple[uuid.UUID, uuid.UUID | None], CusModelPricing | None] = {}


def effective_pricing(own: OwnPrice, listed: "AppliedPrice | None") -> CusModelPricing | None:
    """What calls cost by a tenant's own price over the list's price of the same call.

    None if that can't be told: the list has no price, and the tenant's does not name both plain
    input and plain output.
    """
    key = (own.id, listed.id if listed else None)
    if key not in _known:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        _known[key] = _effective(own, listed)
    return _known[key]


def _effective(own: OwnPrice, listed: "AppliedPrice | None") -> CusModelPricing | None:
    if own.replaces_list:
        return CusModelPricing.from_data(own.model, {}, own.prices)
    entry = changed_entry(listed.pricing.data if listed else {}, own.prices)
    if "input" not in entry or "output" not in entry:
        return None
    about: dict[str, Any] = {}
    if listed:
        entry["over"] = f"{listed.source} {listed.version}"
        # An estimate needs to know how much a call can use (ruling F3).
        sizes = listed.pricing
        about = {"context_window": sizes.context_window, "max_output": sizes.max_output}
    return CusModelPricing.from_data(own.model, about, entry)


def changed_entry(listed: _Entry, changes: _Entry) -> dict[str, Any]:
    """The list's entry, a percentage of it if `changes` names one, with the amounts changed.

    A tier that the list has as a factor is spelled out first, so that it stays the list's price
    when the plain price changes. A tier that the list does not have starts as the plain price.
    """
    factor = Decimal(changes.get(PERCENT, "100")) / 100
    entry = _without_day(_scaled(_spelled_out(listed), factor))
    entry |= _kinds_of(changes)
    plain = {name: entry[name] for name in (*KINDS, "long_context") if name in entry}
    tiers = dict(entry.get("tiers", {}))
    for tier, amounts in changes.get("tiers", {}).items():
        tiers[tier] = {**tiers.get(tier, plain), **_kinds_of(amounts)}
    units = {**entry.get("units", {}), **changes.get("units", {})}
    return entry | ({"tiers": tiers} if tiers else {}) | ({"units": units} if units else {})


def _kinds_of(entry: _Entry) -> dict[str, str]:
    return {kind: entry[kind] for kind in KINDS if kind in entry}


def _without_day(entry: dict[str, Any]) -> dict[str, Any]:
    # The day from which the list's price held says nothing of the tenant's.
    return {name: value for name, value in entry.items() if name != "from"}


def _spelled_out(entry: _Entry) -> dict[str, Any]:
    """The entry with price lists in place of the tiers that are factors on the plain price."""
    plain = {name: value for name, value in entry.items() if name in (*KINDS, "long_context")}
    tiers = {
        name: _scaled(plain, Decimal(tier)) if isinstance(tier, str) else tier
        for name, tier in entry.get("tiers", {}).items()
    }
    return {**entry, "tiers": tiers} if tiers else dict(entry)


def _scaled(entry: _Entry, factor: Decimal) -> dict[str, Any]:
    """All prices of an entry times a factor, rounded up to the finest that a rate can hold."""
    scaled: dict[str, Any] = dict(entry)
    for kind in KINDS:
        if kind in entry:
            scaled[kind] = _times(entry[kind], factor, FINEST_PRICE)
    if "long_context" in entry:
        scaled["long_context"] = _scaled(entry["long_context"], factor)
    if "tiers" in entry:
        scaled["tiers"] = {name: _scaled(tier, factor) for name, tier in entry["tiers"].items()}
    if "units" in entry:
        scaled["units"] = {
            unit: _times(price, factor, FINEST_UNIT_PRICE) for unit, price in entry["units"].items()
        }
    return scaled


def _times(price: str, factor: Decimal, finest: Decimal) -> str:
    product = Decimal(price) * factor
    if product % finest:
        product = product.quantize(finest, ROUND_CEILING)
    return format(product.normalize(), "f")
