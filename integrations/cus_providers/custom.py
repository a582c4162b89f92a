"""Any other server that speaks OpenAI's protocol."""

from integrations.cus_providers import config_checks
from integrations.cus_providers.probe_answers import Finding, ProviderError, Verdict
from integrations.cus_providers.probes import Headers, Probe
from integrations.cus_providers.provider import API_KEY, TIMEOUT, ConfigKey, Provider
from integrations.cus_providers.safe_http import SafeResponse


class CustomProbe(Probe):
    """A server that speaks OpenAI's protocol: `/models` below its address, or `health_path`."""

    label = "The provider"

    def request(self) -> tuple[str, Headers]:
        path = self.text("health_path") or "/models"
        url = f"{self.base_url()}/{path.lstrip('/')}"
        return url, {"Authorization": f"Bearer {self.secret('api_key')}"}

    def is_bad_key(self, status: int, error: ProviderError) -> bool:
        # Servers word this differently. The answer's JSON shows that the server itself refused.
        return status == 401

    def _judge_pass(self, answer: SafeResponse) -> Finding:
        if self.text("health_path"):
            return Finding(Verdict.OK, f"{self.label} answered.", answer.latency_ms)
        return super()._judge_pass(answer)


PROVIDER = Provider(
    key="custom",
    label="OpenAI-compatible",
    config=(
        ConfigKey("base_url", config_checks.url, is_required=True),
        ConfigKey("organization", config_checks.word),
        ConfigKey("project", config_checks.word),
        ConfigKey("api_version", config_checks.word),
        ConfigKey("health_path", config_checks.path, legacy_names=()),
        TIMEOUT,
    ),
    credentials=(API_KEY,),
    probe_class=CustomProbe,
    price_names=(),
    names_are_own=True,
)
