"""Amazon Bedrock, in the region that the integration names."""

import functools
import re

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.session import Session

from integrations.cus_providers import config_checks
from integrations.cus_providers.probe_answers import ProviderError, Verdict
from integrations.cus_providers.probes import ConfigIncomplete, Headers, Probe
from integrations.cus_providers.provider import (
    API_KEY,
    TIMEOUT,
    ConfigKey,
    CredentialShape,
    Provider,
)

_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}")


class BedrockProbe(Probe):
    """docs.aws.amazon.com/bedrock: ListFoundationModels of the control plane, signed (SigV4)
    or with an API key as bearer. The kind of error is in `x-amzn-errortype`.
    """

    label = "Amazon Bedrock"
    bad_key_codes = frozenset(
        {"UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException"}
    )

    def base_url(self) -> str:
        configured = self.text("base_url").rstrip("/")
        return configured or f"https://bedrock.{self._region()}.amazonaws.com"

    def request(self) -> tuple[str, Headers]:
        url = f"{self.base_url()}/foundation-models?byOutputModality=TEXT"
        if self._credential.get("api_key"):
            return url, {"Authorization": f"Bearer {self.secret('api_key')}"}
        return url, self._signed(url)

    def is_bad_key(self, status: int, error: ProviderError) -> bool:
        if error.code == "InvalidSignatureException":
            # AWS gives the same answer if our clock is wrong, so the key may be valid.
            return not error.says("signature expired", "signature not yet current")
        if error.code == "AccessDeniedException":
            return error.says("make sure your api key is valid", "bearer token has expired")
        return error.is_one_of(self.bad_key_codes)

    def when_host_unknown(self) -> Verdict:
        # Only if the region is unknown, too: a broken resolver alone must not stop calls.
        unknown = self._region() not in _bedrock_regions()
        return Verdict.CONFIG_REFUSED if unknown else Verdict.PROVIDER_DOWN

    def _region(self) -> str:
        region = self.text("region") or self.missing("region")
        if not _REGION.fullmatch(region):
            raise ConfigIncomplete("config.region is no region of AWS, such as us-east-1.")
        return region

    def _signed(self, url: str) -> Headers:
        request = AWSRequest("GET", url)
        keys = Credentials(
            self.secret("aws_access_key_id"),
            self.secret("aws_secret_access_key"),
            self._credential.get("aws_session_token") or None,
        )
        SigV4Auth(keys, "bedrock", self._region()).add_auth(request)
        return dict(request.headers.items())


@functools.cache
def _bedrock_regions() -> frozenset[str]:
    session = Session()
    partitions = session.get_available_partitions()
    return frozenset(
        region
        for partition in partitions
        for region in session.get_available_regions("bedrock", partition_name=partition)
    )


PROVIDER = Provider(
    key="bedrock",
    label=BedrockProbe.label,
    config=(
        ConfigKey(
            "region", config_checks.region, is_required=True, legacy_names=("region", "aws_region")
        ),
        TIMEOUT,
    ),
    credentials=(
        CredentialShape(
            "AWS keys",
            ("aws_access_key_id", "aws_secret_access_key"),
            optional=("aws_session_token",),
        ),
        API_KEY,
    ),
    probe_class=BedrockProbe,
    price_names=("aws",),
    legacy_names=("bedrock", "aws_bedrock", "amazon_bedrock"),
)
