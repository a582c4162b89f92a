"""Who billed a call, and in which region, from the facts that its record has (ruling M5a)."""

from functools import lru_cache
from typing import TYPE_CHECKING

from aos_sdk.cus_pricing.places import CusPlace, place_in_name, place_of
from aos_sdk.cus_pricing.table import depends_on_region
from aos_sdk.cus_providers.registry import provider_of_host

if TYPE_CHECKING:
    from telemetry.cus_money.pricing import BilledCall

# How Bedrock's global names and regional ones are told apart in genai-prices.
_GLOBAL = "global"


# Programs repeat themselves, and to read a name for its region takes longer than to price a call.
@lru_cache(maxsize=4_096)
def billing_place(call: "BilledCall", provider_type: str) -> CusPlace:
    """The provider of a call and its region; `provider_type` is the integration's.

    The host that was called decides the provider; an unknown host belongs to the
    integration, whatever the record names. A region in a model's name wins over the record's.
    """
    region = call.region or (_served(call.host)[1] if call.host else None)
    provider = provider_of(call, provider_type)
    return place_of(call.model_requested, call.model, provider=provider, region=region)


def provider_of(call: "BilledCall", provider_type: str) -> str:
    """The provider that answered: by the host, else as the record says, else the integration's."""
    served_by = _served(call.host)[0] if call.host else None
    return served_by or call.provider or provider_type


def lacks_place(call: "BilledCall", provider_type: str) -> bool:
    """Whether a call's price depends on a region that nothing of its record tells.

    Rows of before records told hosts and regions: a call by a cloud that bills its regions dearer
    is at the plain price, which may be too low.
    """
    place = billing_place(call, provider_type)
    if place.region is not None or (place.provider == "openai" and call.host):
        return False
    return depends_on_region(call.model, place.provider)


@lru_cache(maxsize=4_096)
def _served(host: str) -> tuple[str | None, str | None]:
    info = provider_of_host(host)
    if info is None:
        return None, None
    return info.key, info.region_of_host(host) if info.region_of_host else None


def regional_name(model: str, place: CusPlace) -> str:
    """The name by which genai-prices knows a model of Bedrock's in a region."""
    if place.provider != "bedrock" or place.region is None or place_in_name(model).region:
        return model
    if not place_in_name(model).provider:
        return model
    return f"{_GLOBAL if place.region == _GLOBAL else 'regional'}.{model}"
