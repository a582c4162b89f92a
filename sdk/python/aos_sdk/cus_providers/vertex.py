"""Google's Vertex AI, called with clients of Anthropic's package."""

from typing import Final

from aos_sdk.cus_providers.provider import CusProviderInfo

PROVIDER: Final = CusProviderInfo(
    key="vertex",
    client_classes=("BaseVertexClient",),
    host_ends=("aiplatform.googleapis.com",),
    paths=(b":rawPredict", b":streamRawPredict"),
)
