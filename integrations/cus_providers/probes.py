"""One question a provider that costs nothing: which models are there? (CUS-004, ruling C5)

A probe knows where to ask, how to sign, and how its provider words "this key is bad", which
alone may block calls (ruling F2). The base URL that it asks below is where the integration's
credential goes: `cus_providers.origin` takes the origin from it. Everything that it does not recognise is a failure without
consequences for calls: a captive portal's 401 is no provider's. To add a provider, copy a class.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.session import Session

from integrations.cus_providers.probe_answers import (
    Finding,
    ProviderError,
    Verdict,
    error_of,
    is_listing,
)
from integrations.cus_providers.safe_addresses import AddressRefused, UrlRefused
from integrations.cus_providers.safe_http import (
    SECONDS,
    HeaderRefused,
    HostUnknown,
    ProviderTimeout,
    ProviderUnreachable,
    SafeResponse,
)
from integrations.cus_web.errors import (
    CredentialElsewhere,
    CredentialMissing,
    CusError,
    ProviderUnsupported,
)

Headers = dict[str, str]
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}")


class ConfigIncomplete(CusError):
    """A setting that the check needs is missing or malformed."""

    code = "config_incomplete"


# Nobody was asked, for a reason that says nothing of the credential.
_NOT_ASKED = (UrlRefused, AddressRefused, HeaderRefused, ConfigIncomplete, CredentialElsewhere)


class Asks(Protocol):
    """What a probe asks over. It refuses what would carry a credential astray."""

    def get(self, url: str, headers: Mapping[str, str], *, seconds: float) -> SafeResponse:
        """The answer to GET. Raises CusError."""


class Probe:
    """What the providers' probes have in common: they list models and sort the answer."""

    label: ClassVar[str]
    # Where the provider is, when `config.base_url` does not say so.
    home: ClassVar[str] = ""
    # Codes by which the provider says that the key itself is bad.
    bad_key_codes: ClassVar[frozenset[str]] = frozenset()
    # Codes by which it says that what the integration is configured with does not exist.
    refused_codes: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Mapping[str, Any], credential: Mapping[str, str]) -> None:
        self.config = config
        self._credential = credential

    def ask(self, http: Asks, *, seconds: float = SECONDS) -> Finding:
        """Ask once. Never raises what a provider or a network does; says it in the finding."""
        try:
            url, headers = self.request()
            answer = http.get(url, headers, seconds=seconds)
        except HostUnknown as error:
            return Finding(self.when_host_unknown(), error.detail)
        except ProviderUnreachable as error:
            return Finding(Verdict.PROVIDER_DOWN, error.detail)
        except ProviderTimeout as error:
            return Finding(Verdict.TIMEOUT, error.detail)
        except CredentialMissing as error:
            return Finding(Verdict.CREDENTIAL_MISSING, error.detail)
        except _NOT_ASKED as error:
            return Finding(Verdict.NOT_CHECKABLE, error.detail)
        return self.judge(answer)

    def request(self) -> tuple[str, Headers]:
        """The URL that lists models, and the headers with the credential."""
        raise NotImplementedError

    def judge(self, answer: SafeResponse) -> Finding:
        """What the provider's answer means."""
        if 200 <= answer.status < 300:
            return self._judge_pass(answer)
        error = error_of(answer)
        if error is None:
            return Finding.unexpected(self.label, answer)
        return Finding.of(self._sort(answer.status, error), self.label, answer, error)

    def when_host_unknown(self) -> Verdict:
        """What it means that the provider's name does not exist."""
        return Verdict.PROVIDER_DOWN

    def is_bad_key(self, status: int, error: ProviderError) -> bool:
        """Whether the provider says in its own words that it does not know this key."""
        return status == 401 and error.is_one_of(self.bad_key_codes)

    def is_refusal(self, status: int, error: ProviderError) -> bool:
        """Whether the provider says that something configured does not exist."""
        return status == 404 or error.is_one_of(self.refused_codes)

    def base_url(self) -> str:
        """Where to ask, without a slash at the end."""
        return self.text("base_url").rstrip("/") or self.home or self.missing("base_url")

    def text(self, name: str) -> str:
        """A setting of the integration; empty if it has none."""
        value = self.config.get(name) or ""
        if not isinstance(value, str):
            raise ConfigIncomplete(f"config.{name} must be a text.")
        return value

    def missing(self, name: str) -> str:
        """Raise ConfigIncomplete. As an expression: `setting or self.missing(…)`."""
        raise ConfigIncomplete(f"config.{name} is missing: the check needs it.")

    def secret(self, name: str) -> str:
        """A part of the credential. Raises CredentialMissing."""
        value = self._credential.get(name)
        if not value:
            raise CredentialMissing
        return value

    def _judge_pass(self, answer: SafeResponse) -> Finding:
        if is_listing(answer):
            return Finding(Verdict.OK, f"{self.label} answered.", answer.latency_ms)
        return Finding.unexpected(self.label, answer)

    def _sort(self, status: int, error: ProviderError) -> Verdict:
        if status >= 500:
            return Verdict.PROVIDER_DOWN
        if status == 429 or error.code == "ThrottlingException":
            return Verdict.RATE_LIMITED
        if error.says("missing scopes", "insufficient permissions"):
            return Verdict.MISSING_PERMISSION
        if self.is_bad_key(status, error):
            return Verdict.BAD_KEY
        if self.is_refusal(status, error):
            return Verdict.CONFIG_REFUSED
        return Verdict.MISSING_PERMISSION if status in (401, 403) else Verdict.UNEXPECTED


class OpenAiProbe(Probe):
    """platform.openai.com/docs/guides/error-codes: a revoked or mistyped key is a 401 with
    code `invalid_api_key`; a restricted key that may not list models is a 401 too.
    """

    label = "OpenAI"
    home = "https://api.openai.com/v1"
    bad_key_codes = frozenset({"invalid_api_key"})
    refused_codes = frozenset(
        {"invalid_organization", "mismatched_organization", "invalid_project", "mismatched_project"}
    )

    def request(self) -> tuple[str, Headers]:
        headers = {"Authorization": f"Bearer {self.secret('api_key')}"}
        if organization := self.text("organization"):
            headers["OpenAI-Organization"] = organization
        if project := self.text("project"):
            headers["OpenAI-Project"] = project
        return f"{self.base_url()}/models", headers


class AnthropicProbe(Probe):
    """docs.claude.com/en/api/errors: 401 `authentication_error`, 403 `permission_error`,
    429 `rate_limit_error`, 529 `overloaded_error`.
    """

    label = "Anthropic"
    home = "https://api.anthropic.com"
    version = "2023-06-01"
    bad_key_codes = frozenset({"authentication_error"})

    def request(self) -> tuple[str, Headers]:
        version = self.text("api_version") or self.version
        headers = {"x-api-key": self.secret("api_key"), "anthropic-version": version}
        return f"{self.base_url()}/v1/models?limit=1", headers

    def is_refusal(self, status: int, error: ProviderError) -> bool:
        wrong_version = status == 400 and error.says("anthropic-version")
        return wrong_version or super().is_refusal(status, error)


class AzureOpenAiProbe(Probe):
    """learn.microsoft.com/azure/ai-services/openai/reference: `GET /openai/models`.

    A wrong key is a 401 whose message tells key from token; a role that the principal lacks is
    a 401 as well, `PermissionDenied`; an unknown api-version is a 404, "Resource not found".
    """

    label = "Azure OpenAI"
    version = "2024-10-21"
    refused_codes = frozenset({"UnsupportedApiVersion", "InvalidApiVersionParameter"})

    def request(self) -> tuple[str, Headers]:
        version = quote(self.text("api_version") or self.version, safe="")
        base = re.sub(r"/openai(?:/v1)?$", "", self.base_url())
        return f"{base}/openai/models?api-version={version}", self._authorization()

    def is_bad_key(self, status: int, error: ProviderError) -> bool:
        return status == 401 and error.says(
            "invalid subscription key", "access token is missing, invalid"
        )

    def _authorization(self) -> Headers:
        if self._credential.get("azure_ad_token"):
            return {"Authorization": f"Bearer {self.secret('azure_ad_token')}"}
        return {"api-key": self.secret("api_key")}


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
            # So does AWS answer a clock that is off, ours included.
            return not error.says("signature expired", "signature not yet current")
        if error.code == "AccessDeniedException":
            return error.says("make sure your api key is valid", "bearer token has expired")
        return error.is_one_of(self.bad_key_codes)

    def when_host_unknown(self) -> Verdict:
        # Two things have to agree: a resolver that is broken must not stop anybody's calls.
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


class CustomProbe(Probe):
    """A server that speaks OpenAI's protocol: `/models` below its address, or `health_path`."""

    label = "The provider"

    def request(self) -> tuple[str, Headers]:
        path = self.text("health_path") or "/models"
        url = f"{self.base_url()}/{path.lstrip('/')}"
        return url, {"Authorization": f"Bearer {self.secret('api_key')}"}

    def is_bad_key(self, status: int, error: ProviderError) -> bool:
        # Each such server has words of its own; that it is the server which speaks, its JSON says.
        return status == 401

    def _judge_pass(self, answer: SafeResponse) -> Finding:
        if self.text("health_path"):
            return Finding(Verdict.OK, f"{self.label} answered.", answer.latency_ms)
        return super()._judge_pass(answer)


PROBES: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, str]], Probe]] = {
    "openai": OpenAiProbe,
    "anthropic": AnthropicProbe,
    "azure_openai": AzureOpenAiProbe,
    "bedrock": BedrockProbe,
    "custom": CustomProbe,
}


def probe_of(provider_type: str, config: Mapping[str, Any], credential: Mapping[str, str]) -> Probe:
    """The probe of an integration's provider. Raises ProviderUnsupported."""
    if provider_type not in PROBES:
        raise ProviderUnsupported
    return PROBES[provider_type](config, credential)


@functools.cache
def _bedrock_regions() -> frozenset[str]:
    session = Session()
    partitions = session.get_available_partitions()
    return frozenset(
        region
        for partition in partitions
        for region in session.get_available_regions("bedrock", partition_name=partition)
    )
