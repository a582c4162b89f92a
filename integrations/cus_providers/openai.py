"""OpenAI, at its own address."""

from integrations.cus_providers import config_checks
from integrations.cus_providers.probes import Headers, Probe
from integrations.cus_providers.provider import API_KEY, TIMEOUT, ConfigKey, Provider


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


PROVIDER = Provider(
    key="openai",
    label=OpenAiProbe.label,
    config=(
        ConfigKey("organization", config_checks.word),
        ConfigKey("project", config_checks.word),
        TIMEOUT,
    ),
    credentials=(API_KEY,),
    probe_class=OpenAiProbe,
    price_names=("openai",),
    legacy_names=("openai",),
    # OpenAI's protocol at another address is an OpenAI-compatible server.
    legacy_elsewhere="custom",
)
