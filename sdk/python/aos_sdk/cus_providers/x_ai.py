"""xAI, called with OpenAI's package or by its protocol."""

from typing import Final

from aos_sdk.cus_providers.openai import USAGE
from aos_sdk.cus_providers.provider import CusProviderInfo, subdomain_of

PROVIDER: Final = CusProviderInfo(
    key="x-ai",
    hosts=("api.x.ai",),
    host_ends=(".api.x.ai",),
    usage=USAGE,
    region_of_host=subdomain_of("api.x.ai"),
)
