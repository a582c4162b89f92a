"""OpenAI's models in Azure, called with clients of OpenAI's package."""

from typing import Any, Final

from aos_sdk.cus_providers.openai import USAGE
from aos_sdk.cus_providers.provider import CusProviderInfo

# The first version of Azure's API that takes `stream_options`.
_FIRST_VERSION: Final = "2024-09-01"


def _takes_stream_options(client: Any) -> bool:
    version = getattr(client, "_api_version", None)
    if isinstance(version, str) and version[:2] == "20":
        return version >= _FIRST_VERSION
    return "/openai/v1" in client.base_url.path


PROVIDER: Final = CusProviderInfo(
    key="azure_openai",
    other_names=("azure",),
    client_classes=("BaseAzureClient",),
    host_ends=(".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com"),
    usage=USAGE,
    takes_stream_options=_takes_stream_options,
)
