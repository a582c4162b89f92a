"""Which price a call has on the server: the tenant's own, the table's, genai-prices', or none.

Whatever priced a row is kept, addressed by its content (ruling M6), so that the row can be
priced again after any upgrade.
"""

import hashlib
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import msgspec

from aos_sdk.cus_cost import (
    MICROCENTS_PER_CENT,
    CusModelPricing,
    CusTokenUsage,
    canonical_name,
    get_model_pricing,
    get_pricing_version,
)
from aos_sdk.cus_wire import INT32_MAX
from integrations.cus_prices.models import CusPriceOverride
from telemetry.cus_money.genai_prices import VERSION as GENAI_VERSION
from telemetry.cus_money.genai_prices import genai_pricing
from telemetry.cus_money.models import CusKeptPrice, PriceSource

Source = PriceSource
# A tenant's new price is used this much later at the latest.
_OVERRIDES_SECONDS = 2.0


@dataclass(frozen=True)
class AppliedPrice:
    """A price with where it came from. `id` stands for all of it, content and all."""

    id: uuid.UUID
    source: str
    version: str
    pricing: CusModelPricing


class BilledCall(NamedTuple):
    """What a price is looked up by (rulings M5a and M5c).

    `provider` is None where the record names none; `host` is the host alone; `region` is the
    provider's word for where it bills the call.
    """

    model: str
    model_requested: str | None = None
    provider: str | None = None
    host: str | None = None
    region: str | None = None

    @classmethod
    def of(cls, call: "BilledFacts") -> "BilledCall":
        """The facts of a record or of a stored row."""
        return cls(call.model, call.model_requested, call.provider, call.host, call.region)


class BilledFacts(Protocol):
    """A record or a stored row, by which a price is looked up."""

    @property
    def model(self) -> str: ...
    @property
    def model_requested(self) -> str | None: ...
    @property
    def provider(self) -> str | None: ...
    @property
    def host(self) -> str | None: ...
    @property
    def region(self) -> str | None: ...


class Priceable(Protocol):
    """What a call's cost depends on, in a record as in a stored row."""

    tokens_in: int
    tokens_out: int
    tokens_cached: int
    tokens_cache_write: int
    tokens_cache_write_1h: int
    tokens_reasoning: int
    tokens_audio_in: int
    tokens_audio_out: int
    tokens_image_in: int
    tokens_total: int | None
    service_tier: str | None
    billed_units: dict[str, Any] | None


_tokens = attrgetter(*CusTokenUsage._fields)


def microcents_of(call: Priceable, pricing: CusModelPricing) -> int:
    """What a call costs at a price, rounded up once, to the microcent (ruling M3)."""
    usage = CusTokenUsage._make(_tokens(call))
    return pricing.cost_microcents(
        usage, tier=call.service_tier, billed_units=counted_units(call.billed_units)
    )


def in_cents(microcents: int) -> int:
    """Microcents in cents, rounded up (ruling M2)."""
    return -(-microcents // MICROCENTS_PER_CENT)


class CusPricer:
    """Finds prices for the calls of one tenant's integration, in one batch."""

    def __init__(
        self,
        tenant_id: uuid.UUID,
        provider_type: str,
        *,
        base_url: str | None = None,
        own: "Sequence[OwnPrice] | None" = None,
    ) -> None:
        """`own`: the tenant's own prices, where the caller has just read them."""
        self.provider_type = provider_type
        self.base_url = base_url
        self._own = _overrides(tenant_id) if own is None else own

    def price_at(self, call: BilledCall, at: datetime) -> AppliedPrice | None:
        """The price of a call that started then; None if no price is known (ruling M5)."""
        own = self._override(call.model, at)
        if own is not None:
            return own
        listed = get_model_pricing(call.model, at)
        if listed is not None:
            return _applied(Source.TABLE, get_pricing_version(), listed)
        provider = call.provider or self.provider_type
        beyond = genai_pricing(call.model, provider, at, base_url=self.base_url)
        return _applied(Source.GENAI_PRICES, GENAI_VERSION, beyond) if beyond else None

    def _override(self, model: str, at: datetime) -> AppliedPrice | None:
        if not self._own:
            return None
        wanted = {model, canonical_name(model) or model}
        for override in self._own:
            if override.valid_from <= at and override.names & wanted:
                return override.price
        return None


@dataclass(frozen=True)
class OwnPrice:
    """A tenant's own price of a model, under all its names, from a moment on."""

    valid_from: datetime
    names: frozenset[str]
    price: AppliedPrice


_overrides_known: dict[uuid.UUID, tuple[float, list[OwnPrice]]] = {}


def _overrides(tenant_id: uuid.UUID) -> list[OwnPrice]:
    """A tenant's own prices, the latest moment first, read anew every other second."""
    read_at, known = _overrides_known.get(tenant_id, (0.0, []))
    if time.monotonic() - read_at < _OVERRIDES_SECONDS:
        return known
    stored = CusPriceOverride.objects.filter(tenant_id=tenant_id).order_by("-valid_from")
    known = own_prices(stored.values_list("id", "model", "prices", "valid_from"))
    _overrides_known[tenant_id] = time.monotonic(), known
    return known


def forget_overrides() -> None:
    """Read the tenants' own prices anew at the next call."""
    _overrides_known.clear()


def own_prices(
    rows: Iterable[tuple[uuid.UUID, str, dict[str, Any], datetime]],
) -> list[OwnPrice]:
    """A tenant's own prices from their id, model, prices and moment, in the order given."""
    return [_own_price(*row) for row in rows]


def _own_price(
    override_id: uuid.UUID, model: str, prices: dict[str, Any], valid_from: datetime
) -> OwnPrice:
    pricing = CusModelPricing.from_data(model, {}, prices)
    version = str(override_id)
    names = {model, canonical_name(model) or model}
    content = _content_id(Source.OVERRIDE, version, pricing)
    price = AppliedPrice(content, Source.OVERRIDE, version, pricing)
    return OwnPrice(valid_from, frozenset(names), price)


# A price is one object for as long as its table is loaded, so its identity finds it quickly;
# held here, no other object can come to have it.
_applied_known: dict[tuple[int, str], tuple[CusModelPricing, AppliedPrice]] = {}
_MAX_APPLIED = 20_000


def _applied(source: str, version: str, pricing: CusModelPricing) -> AppliedPrice:
    key = (id(pricing), version)
    known = _applied_known.get(key)
    if known is not None:
        return known[1]
    if len(_applied_known) >= _MAX_APPLIED:
        _applied_known.clear()
    price = AppliedPrice(_content_id(source, version, pricing), source, version, pricing)
    _applied_known[key] = pricing, price
    return price


def _content_id(source: str, version: str, pricing: CusModelPricing) -> uuid.UUID:
    content = {
        "source": str(source),
        "version": version,
        "model": pricing.model,
        "data": dict(pricing.data),
    }
    digest = hashlib.sha256(msgspec.json.encode(content, order="deterministic")).digest()
    return uuid.UUID(bytes=digest[:16])


_kept_here: set[uuid.UUID] = set()


def keep_prices(prices: Iterable[AppliedPrice]) -> None:
    """Keep prices that have not been kept yet, before the rows that they priced are stored."""
    new = {price.id: price for price in prices if price.id not in _kept_here}
    if not new:
        return
    CusKeptPrice.objects.bulk_create(
        (
            CusKeptPrice(
                id=price.id,
                source=price.source,
                model=price.pricing.model,
                version=price.version,
                data=dict(price.pricing.data),
            )
            # In the order of their key, so that two processes can't deadlock.
            for _, price in sorted(new.items())
        ),
        ignore_conflicts=True,
    )
    _kept_here.update(new)


def forget_kept() -> None:
    """Look in the database again whether a price is kept."""
    _kept_here.clear()
    _kept_pricing.cache_clear()
    _pricings_of_version.cache_clear()


def kept_pricing(price_id: uuid.UUID) -> CusModelPricing:
    """The price kept under an id. Raises CusKeptPrice.DoesNotExist."""
    return _kept_pricing(price_id)


@lru_cache(maxsize=4_096)
def _kept_pricing(price_id: uuid.UUID) -> CusModelPricing:
    kept = CusKeptPrice.objects.get(id=price_id)
    return CusModelPricing.from_data(kept.model, {}, kept.data)


def pricings_of_version(model: str, version: str) -> list[CusModelPricing]:
    """What a model cost in a version of the table, as far as this server has kept it.

    More than one where the price changed at a date within that version.
    """
    return _pricings_of_version(canonical_name(model) or model, version)


@lru_cache(maxsize=4_096)
def _pricings_of_version(model: str, version: str) -> list[CusModelPricing]:
    kept = CusKeptPrice.objects.filter(source=Source.TABLE, model=model, version=version)
    return [CusModelPricing.from_data(price.model, {}, price.data) for price in kept]


def counted_units(billed_units: dict[str, Any] | None) -> dict[str, int] | None:
    """Those of a record's billed units that are counts like any other."""
    if not billed_units:
        return None
    return {
        name: count
        for name, count in billed_units.items()
        if type(count) is int and 0 <= count <= INT32_MAX
    }
