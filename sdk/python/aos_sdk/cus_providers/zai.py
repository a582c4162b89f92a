"""Z.AI, called with OpenAI's package or by its protocol."""

from typing import Final

from aos_sdk.cus_providers.openai import USAGE
from aos_sdk.cus_providers.provider import CusProviderInfo

PROVIDER: Final = CusProviderInfo(key="zai", hosts=("api.z.ai",), usage=USAGE)
