"""System check: each provider's prices can be found."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from integrations.cus_providers.provider import Provider
from integrations.cus_providers.registry import PROVIDERS


@register(Tags.models)
def check_price_names(**_kwargs: Any) -> list[CheckMessage]:
    """genai-prices knows every provider by the names that we have for it."""
    return [
        Error(text, hint="Correct price_names in the provider's file.", id="cus.E005")
        for provider in PROVIDERS.values()
        for text in _problems(provider)
    ]


def _problems(provider: Provider) -> Iterator[str]:
    from telemetry.cus_money.genai_prices import known_providers

    for name in provider.price_names:
        if name not in known_providers():
            yield f"genai-prices has no provider {name}, by which {provider.key} is to be priced."
    base_url = provider.config_keys.get("base_url")
    if not provider.price_names and not (base_url and base_url.is_required):
        yield (
            f"The provider {provider.key} has no prices: it has no price_names, and no base_url "
            "by which to find them."
        )
