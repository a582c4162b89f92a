"""What sample calls cost without and with a tenant's own price: shown before it is appended."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from aos_sdk.cus_cost import CusModelPricing, CusTokenUsage
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_prices.models import CusPriceOverride
from integrations.cus_prices.price_list import SampleCall
from integrations.cus_providers.registry import PROVIDERS
from telemetry.cus_money.own_prices import own_price_of, prices_in
from telemetry.cus_money.price_changes import effective_pricing
from telemetry.cus_money.pricing import AppliedPrice, BilledCall, CusPricer

_PLAIN = CusTokenUsage(tokens_in=10_000, tokens_out=1_000)
_CACHED = CusTokenUsage(tokens_in=10_000, tokens_out=1_000, tokens_cached=8_000)
_UNITS = 10


class TenantPriceList:
    """Answers for the list (`integrations.cus_prices.price_list.PriceList`)."""

    def knows(self, override: CusPriceOverride) -> bool:
        """Whether the list has a price of the override's model, from its moment on."""
        return any(listed for _, _, listed in _listed(override))

    def sample_calls(self, override: CusPriceOverride) -> list[SampleCall]:
        """What sample calls cost before and after the override, for each tier that has a price.

        Before is what the tenant's other prices make of the call, at the moment from which the
        override holds.
        """
        places = list(_listed(override))
        pricer, call, listed = next((place for place in places if place[2]), places[0])
        before = pricer.price_at(call, override.valid_from)
        after = effective_pricing(own_price_of(override), listed)
        return list(_samples(before.pricing if before else None, after))


def _listed(
    override: CusPriceOverride,
) -> Iterator[tuple[CusPricer, BilledCall, AppliedPrice | None]]:
    """Where calls that the override prices may go, and what the list says of them there."""
    earlier = CusPriceOverride.objects.filter(tenant_id=override.tenant_id)
    if isinstance(override.created_at, datetime):  # it is stored
        earlier = earlier.filter(created_at__lt=override.created_at)
    own = prices_in(earlier)
    for integration in _integrations(override):
        pricer = CusPricer(
            override.tenant_id,
            integration.provider_type,
            base_url=integration.config.get("base_url"),
            integration_id=integration.id,
            own=own,
        )
        call = BilledCall(override.model, provider=override.provider, host=override.host)
        yield pricer, call, pricer.listed_price(call, override.valid_from)


def _integrations(override: CusPriceOverride) -> list[CusIntegration]:
    """The integrations whose calls the override may price, one of each provider and address.

    A tenant may append prices before it has integrations.
    """
    if override.integration:
        return [override.integration]
    own = CusIntegration.objects.filter(tenant_id=override.tenant_id, deleted_at__isnull=True)
    found = {(one.provider_type, one.config.get("base_url")): one for one in own.order_by("id")}
    missing = PROVIDERS.keys() - {provider for provider, _ in found}
    return [*found.values(), *(CusIntegration(provider_type=one) for one in sorted(missing))]


def _samples(before: CusModelPricing | None, after: CusModelPricing | None) -> Iterator[SampleCall]:
    known = [pricing.data for pricing in (before, after) if pricing]
    for tier in (None, *_names(known, "tiers")):
        for text, usage in _calls(known, tier):
            yield SampleCall(tier, text, *(_cost(one, usage, tier) for one in (before, after)))
    for unit in _names(known, "units"):
        text = f"{_UNITS} {unit.replace('_', ' ')}"
        yield SampleCall(None, text, *(_units_cost(one, unit) for one in (before, after)))


def _cost(pricing: CusModelPricing | None, usage: CusTokenUsage, tier: str | None) -> int | None:
    return pricing.cost_microcents(usage, tier=tier) if pricing else None


def _units_cost(pricing: CusModelPricing | None, unit: str) -> int | None:
    if pricing is None or unit not in pricing.unit_rates:
        return None
    return pricing.cost_microcents(CusTokenUsage(), billed_units={unit: _UNITS})


def _calls(known: list[Mapping[str, Any]], tier: str | None) -> Iterator[tuple[str, CusTokenUsage]]:
    yield "10,000 tokens in, 1,000 out", _PLAIN
    yield "10,000 tokens in, of them 8,000 cached, 1,000 out", _CACHED
    if above := max((_long_above(data, tier) for data in known), default=0):
        text = f"{above + 1_000:,} tokens in (long context), 1,000 out"
        yield text, CusTokenUsage(tokens_in=above + 1_000, tokens_out=1_000)


def _long_above(data: Mapping[str, Any], tier: str | None) -> int:
    """From how many tokens on a tier's long-context price holds; 0 where it has none."""
    tiers = data.get("tiers", {})
    # A factor on the plain price has the plain price's steps.
    entry = tiers[tier] if isinstance(tiers.get(tier), dict) else data
    above: int = entry.get("long_context", {}).get("above", 0)
    return above


def _names(known: list[Mapping[str, Any]], part: str) -> list[str]:
    return list(dict.fromkeys(name for data in known for name in data.get(part, {})))
