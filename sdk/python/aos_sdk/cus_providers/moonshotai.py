"""Moonshot AI, called with OpenAI's package or by its protocol."""

from typing import Final

from aos_sdk.cus_providers.openai import USAGE
from aos_sdk.cus_providers.provider import CusProviderInfo

PROVIDER: Final = CusProviderInfo(
    key="moonshotai", hosts=("api.moonshot.ai", "api.moonshot.cn"), usage=USAGE
)
