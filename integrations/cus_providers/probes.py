"""Probes ask a provider for its list of models, which costs nothing (CUS-004, ruling C5).

A probe knows the address, the authentication, and how its provider words "this key is bad", the
only answer that may block calls (ruling F2). `cus_providers.origin` takes the origin of a
credential from the probe's base URL. An answer that the probe does not recognise is a failure
without consequences for calls: a captive portal's 401 does not come from the provider. The probe of
each provider is in the provider's own file.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

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
from integrations.cus_web.errors import CredentialElsewhere, CredentialMissing, CusError

Headers = dict[str, str]


class ConfigIncomplete(CusError):
    """A setting that the check needs is missing or malformed."""

    code = "config_incomplete"


# The provider was not asked, for a reason that does not concern the credential.
_NOT_ASKED = (UrlRefused, AddressRefused, HeaderRefused, ConfigIncomplete, CredentialElsewhere)


class Asks(Protocol):
    """The HTTP client of a probe. It refuses to send a credential to another origin."""

    def get(self, url: str, headers: Mapping[str, str], *, seconds: float) -> SafeResponse:
        """The answer to GET. Raises CusError."""


class Probe:
    """The base of the providers' probes: asks for the models and classifies the answer."""

    label: ClassVar[str]
    # The provider's address if there is no `config.base_url`.
    home: ClassVar[str] = ""
    # The provider's codes for a bad key.
    bad_key_codes: ClassVar[frozenset[str]] = frozenset()
    # The provider's codes for a configured account, version or deployment that does not exist.
    refused_codes: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Mapping[str, Any], credential: Mapping[str, str]) -> None:
        self.config = config
        self._credential = credential

    def ask(self, http: Asks, *, seconds: float = SECONDS) -> Finding:
        """Ask once. The finding reports failures of provider and network; they never raise."""
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
        """The finding for the provider's answer."""
        if 200 <= answer.status < 300:
            return self._judge_pass(answer)
        error = error_of(answer)
        if error is None:
            return Finding.unexpected(self.label, answer)
        return Finding.of(self._sort(answer.status, error), self.label, answer, error)

    def when_host_unknown(self) -> Verdict:
        """The verdict if the provider's host name does not exist."""
        return Verdict.PROVIDER_DOWN

    def is_bad_key(self, status: int, error: ProviderError) -> bool:
        """Whether the answer is the provider's own refusal of this key."""
        return status == 401 and error.is_one_of(self.bad_key_codes)

    def is_refusal(self, status: int, error: ProviderError) -> bool:
        """Whether the provider answers that a configured object does not exist."""
        return status == 404 or error.is_one_of(self.refused_codes)

    def base_url(self) -> str:
        """The address to ask, without a slash at the end."""
        return self.text("base_url").rstrip("/") or self.home or self.missing("base_url")

    def text(self, name: str) -> str:
        """A setting of the integration's config; empty if missing."""
        value = self.config.get(name) or ""
        if not isinstance(value, str):
            raise ConfigIncomplete(f"config.{name} must be a text.")
        return value

    def missing(self, name: str) -> str:
        """Raise ConfigIncomplete. For use in an expression: `setting or self.missing(…)`."""
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
