"""Which price a call has on the server: the tenant's own, the table's, genai-prices', or none.

Whatever priced a row is kept, addressed by its content (ruling M6), so that the row can be
priced again after any upgrade.
"""

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, Protocol

import msgspec

from aos_sdk.cus_cost import (
    CusModelPricing,
    canonical_name,
    get_model_pricing,
    get_pricing_version,
)
from aos_sdk.cus_pricing.places import CusPlace
from aos_sdk.cus_pricing.turns import Turns, inner_models
from telemetry.cus_money.billed_usage import Turned, turns_of
from telemetry.cus_money.billing_places import billing_place, provider_of, regional_name
from telemetry.cus_money.models import CusKeptPrice, PriceSource
from telemetry.cus_money.own_prices import OwnPrice, OwnPrices, stored_prices
from telemetry.cus_money.price_changes import effective_pricing

Source = PriceSource
# A call's price is kept with the lists of its inner models, so their number is bounded: without a bound,
# each report could add megabytes of prices. `unpriced_units` names the models beyond it.
_MOST_INNER_MODELS = 5
# Whose prices the table has.
_TABLE_PROVIDERS = frozenset({"openai", "anthropic", "azure", "aws", "google"})


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
    # The models of turns that another model answered (ruling M8a).
    inner: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        call: "BilledFacts",
        measured: Turned | None = None,
        *,
        turns: Turns | None = None,
    ) -> "BilledCall":
        """The facts of a record or of a stored row.

        `measured` says which model answered, in which turns, where the row itself does not: the
        settlement of a call. `turns` are the answer's, where the caller has read them.
        """
        answer = measured or call
        inner: tuple[str, ...] = ()
        if answer.turns:
            inner = inner_models(turns or turns_of(answer), answer.model)[:_MOST_INNER_MODELS]
        return cls(answer.model, call.model_requested, call.provider, call.host, call.region, inner)


class BilledFacts(Turned, Protocol):
    """A record or a stored row, by which a price is looked up."""

    @property
    def model_requested(self) -> str | None: ...
    @property
    def provider(self) -> str | None: ...
    @property
    def host(self) -> str | None: ...
    @property
    def region(self) -> str | None: ...


class CusPricer:
    """Finds prices for the calls of one tenant's integration, in one batch."""

    def __init__(
        self,
        tenant_id: uuid.UUID,
        provider_type: str,
        *,
        base_url: str | None = None,
        integration_id: uuid.UUID | None = None,
        own: Sequence[OwnPrice] | None = None,
    ) -> None:
        """`own`: the tenant's own prices, the latest first, where the caller has just read them."""
        self.provider_type = provider_type
        self.base_url = base_url
        self._own = OwnPrices(stored_prices(tenant_id) if own is None else own, integration_id)

    def price_at(self, call: BilledCall, at: datetime) -> AppliedPrice | None:
        """The price of a call that started then; None if no price is known (rulings M5 and M5c)."""
        price = self._price_at(call, at)
        if price is None or not call.inner:
            return price
        found = {
            model: self._price_at(call._replace(model=model, model_requested=None), at)
            for model in call.inner
        }
        return _with_inner(price, {model: one.pricing for model, one in found.items() if one})

    def _price_at(self, call: BilledCall, at: datetime) -> AppliedPrice | None:
        listed = self.listed_price(call, at)
        if not self._own:
            return listed
        fitting = self._own.fitting(call, provider_of(call, self.provider_type), at)
        own = (_own_price(price, listed) for price in fitting)
        return next(filter(None, own), listed)

    def listed_price(self, call: BilledCall, at: datetime) -> AppliedPrice | None:
        """What a call costs where the tenant has no price of its own (rulings M5 and M5a).

        The table's prices are those of the models' makers and of the clouds that serve them; where
        another provider answered, genai-prices is asked first.
        """
        place = billing_place(call, self.provider_type)
        if place.provider not in _TABLE_PROVIDERS and _is_known_beyond(place.provider):
            return self._beyond(call, place, at) or self._table(call, place, at)
        return self._table(call, place, at) or self._beyond(call, place, at)

    def _table(self, call: BilledCall, place: CusPlace, at: datetime) -> AppliedPrice | None:
        listed = get_model_pricing(call.model, at, provider=place.provider, region=place.region)
        return _applied(Source.TABLE, get_pricing_version(), listed) if listed else None

    def _beyond(self, call: BilledCall, place: CusPlace, at: datetime) -> AppliedPrice | None:
        from telemetry.cus_money.genai_prices import VERSION, genai_pricing

        provider = place.provider or self.provider_type
        found = (
            genai_pricing(name, provider, at, base_url=self.base_url, host=call.host)
            for name in dict.fromkeys((regional_name(call.model, place), call.model))
        )
        beyond = next(filter(None, found), None)
        return _applied(Source.GENAI_PRICES, VERSION, beyond) if beyond else None

    def possible_prices(self, model: str, at: datetime) -> list[AppliedPrice]:
        """The prices that a call may have which asks for a model, before it is made.

        More than one where own prices are limited to a host or a provider, or are for a dated name
        of the model: who answers is known afterwards. Empty if no price is known.
        """
        listed = self.listed_price(BilledCall(model), at)
        own, instead_of_list = self._own.possible(model, at, lambda own: _own_price(own, listed))
        return own if instead_of_list or listed is None else [*own, listed]


def _is_known_beyond(provider: str | None) -> bool:
    """Whether genai-prices has prices of the provider.

    It is loaded here, and not with this module: most workers and commands price no call, and start
    sooner and smaller without it.
    """
    from telemetry.cus_money.genai_prices import known_providers

    return provider in known_providers()


def _own_price(own: OwnPrice, listed: AppliedPrice | None) -> AppliedPrice | None:
    pricing = effective_pricing(own, listed)
    return _applied(Source.OVERRIDE, str(own.id), pricing) if pricing else None


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


def _with_inner(price: AppliedPrice, inner: dict[str, CusModelPricing]) -> AppliedPrice:
    """A price with those of the models that answered within the call, all kept as one."""
    if not inner:
        return price
    pricing = price.pricing.with_inner(inner)
    content = _content_id(price.source, price.version, pricing)
    return AppliedPrice(content, price.source, price.version, pricing)


def _content_id(source: str, version: str, pricing: CusModelPricing) -> uuid.UUID:
    content = {
        "source": str(source),
        "version": version,
        "model": pricing.model,
        "data": dict(pricing.data),
    }
    digest = hashlib.sha256(msgspec.json.encode(content, order="deterministic")).digest()
    return uuid.UUID(bytes=digest[:16])


# Senders name the models of turns, so there may be as many prices as combinations of models.
_MAX_KEPT_HERE = 50_000
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
    if len(_kept_here) + len(new) > _MAX_KEPT_HERE:
        _kept_here.clear()
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
