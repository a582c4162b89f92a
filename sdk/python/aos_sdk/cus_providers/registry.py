"""Every provider that the SDK knows. A new one is a file beside this and its place in the list."""

from collections.abc import Mapping
from typing import Final

from aos_sdk.cus_providers import anthropic, azure_openai, bedrock, openai, vertex
from aos_sdk.cus_providers.provider import CusPackage, CusProviderInfo

PROVIDERS: Final[tuple[CusProviderInfo, ...]] = tuple(
    module.PROVIDER for module in (openai, anthropic, azure_openai, bedrock, vertex)
)
PACKAGES: Final[Mapping[str, CusPackage]] = {
    provider.package.name: provider.package for provider in PROVIDERS if provider.package
}
