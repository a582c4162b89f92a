"""Amazon Bedrock, called with clients of the other providers' packages."""

import re
from typing import Final

from aos_sdk.cus_providers.provider import CusProviderInfo

_HOST: Final = re.compile(r"bedrock-(?:runtime|mantle)(?:-fips)?\.([a-z0-9-]+)\.")
# The prefixes of inference profiles' names: https://docs.aws.amazon.com/bedrock/latest/userguide/
# inference-profiles-support.html
_PROFILES: Final = frozenset({"us", "us-gov", "eu", "apac", "jp", "au", "ca", "global"})


def _region_of_host(host: str) -> str | None:
    # Search the whole name: private endpoints have another name in front.
    found = _HOST.search(host)
    return found[1] if found else None


def _region_of_model(model: str) -> str | None:
    # An ARN has the profile's name after its last slash.
    profile, dot, _ = model.rpartition("/")[2].partition(".")
    return profile if dot and profile in _PROFILES else None


PROVIDER: Final = CusProviderInfo(
    key="bedrock",
    client_classes=(
        "BaseBedrockClient",
        "AnthropicBedrock",
        "AsyncAnthropicBedrock",
        "AnthropicBedrockMantle",
        "AsyncAnthropicBedrockMantle",
        "BedrockOpenAI",
        "AsyncBedrockOpenAI",
    ),
    host_starts=("bedrock-runtime", "bedrock-mantle"),
    paths=(b"/invoke", b"/invoke-with-response-stream"),
    region_of_host=_region_of_host,
    region_of_model=_region_of_model,
    region_attribute="aws_region",
)
