"""Amazon Bedrock, called with clients of the other providers' packages."""

from typing import Final

from aos_sdk.cus_providers.provider import CusProviderInfo

PROVIDER: Final = CusProviderInfo(
    key="bedrock",
    client_classes=(
        "BaseBedrockClient",
        "AnthropicBedrock",
        "AsyncAnthropicBedrock",
        "AnthropicBedrockMantle",
        "AsyncAnthropicBedrockMantle",
    ),
    host_starts=("bedrock-runtime",),
    paths=(b"/invoke", b"/invoke-with-response-stream"),
)
