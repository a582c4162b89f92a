"""Every provider that the SDK knows. To add one: a file beside this, and its module twice below."""

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
    """The provider of this host; None if no provider serves the host."""
    return next((provider for provider in PROVIDERS if provider.serves(host)), None)
