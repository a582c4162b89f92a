"""Google's Vertex AI, called with clients of Anthropic's package."""

import re
from typing import Final

from aos_sdk.cus_providers.provider import CusProviderInfo

_HOST: Final = re.compile(r"(?:(.+)-)?aiplatform(?:\.(\w+)\.rep)?\.googleapis\.com")


def _region_of_host(host: str) -> str | None:
    found = _HOST.fullmatch(host)
    return (found[1] or found[2] or "global") if found else None


PROVIDER: Final = CusProviderInfo(
    key="vertex",
    client_classes=("BaseVertexClient",),
    host_ends=("aiplatform.googleapis.com",),
    hosts=("aiplatform.us.rep.googleapis.com", "aiplatform.eu.rep.googleapis.com"),
    paths=(b":rawPredict", b":streamRawPredict"),
    region_of_host=_region_of_host,
    region_attribute="region",
)
