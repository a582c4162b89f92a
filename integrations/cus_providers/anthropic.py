"""Anthropic, at its own address."""

from integrations.cus_providers import config_checks
from integrations.cus_providers.probe_answers import ProviderError
from integrations.cus_providers.probes import Headers, Probe
from integrations.cus_providers.provider import API_KEY, TIMEOUT, ConfigKey, Provider


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


PROVIDER = Provider(
    key="anthropic",
    label=AnthropicProbe.label,
    config=(ConfigKey("api_version", config_checks.word), TIMEOUT),
    credentials=(API_KEY,),
    probe_class=AnthropicProbe,
    price_names=("anthropic",),
    legacy_names=("anthropic", "claude"),
)
