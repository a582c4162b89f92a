"""Every provider that the SDK knows. A new one is a file beside this and its place in the list."""

from collections.abc import Mapping
from typing import Final

from aos_sdk.cus_providers import (
    anthropic,
    azure_openai,
    bedrock,
    cerebras,
    cohere,
    deepseek,
    fireworks,
    google,
    groq,
    mistral,
    moonshotai,
    openai,
    openrouter,
    perplexity,
    together,
    vertex,
    x_ai,
    zai,
)
from aos_sdk.cus_providers.provider import CusPackage, CusProviderInfo

PROVIDERS: Final[tuple[CusProviderInfo, ...]] = tuple(
    module.PROVIDER
    for module in (
        openai,
        anthropic,
        azure_openai,
        bedrock,
        vertex,
        cerebras,
        cohere,
        deepseek,
        fireworks,
        google,
        groq,
        mistral,
        moonshotai,
        openrouter,
        perplexity,
        together,
        x_ai,
        zai,
    )
)
PACKAGES: Final[Mapping[str, CusPackage]] = {
    provider.package.name: provider.package for provider in PROVIDERS if provider.package
}


def provider_of_host(host: str) -> CusProviderInfo | None:
    """The provider whose calls go to this host; None for a host that belongs to none of them."""
    return next((provider for provider in PROVIDERS if provider.serves(host)), None)
