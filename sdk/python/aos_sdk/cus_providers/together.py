"""Together AI, called with OpenAI's package or by its protocol."""

from typing import Final

from aos_sdk.cus_providers.openai import USAGE
from aos_sdk.cus_providers.provider import CusProviderInfo

PROVIDER: Final = CusProviderInfo(
    key="together", hosts=("api.together.xyz", "api.together.ai"), usage=USAGE
)
