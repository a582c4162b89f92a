"""OpenAI's models at a customer's own resource of Azure."""

import re
from urllib.parse import quote

from integrations.cus_providers import config_checks
from integrations.cus_providers.probe_answers import ProviderError
from integrations.cus_providers.probes import Headers, Probe
from integrations.cus_providers.provider import (
    API_KEY,
    TIMEOUT,
    ConfigKey,
    CredentialShape,
    Provider,
)


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


PROVIDER = Provider(
    key="azure_openai",
    label=AzureOpenAiProbe.label,
    config=(
        ConfigKey("base_url", config_checks.url, is_required=True),
        ConfigKey("api_version", config_checks.word),
        ConfigKey("deployment", config_checks.word),
        TIMEOUT,
    ),
    credentials=(API_KEY, CredentialShape("a token", ("azure_ad_token",))),
    probe_class=AzureOpenAiProbe,
    price_names=("azure",),
    names_are_own=True,
    legacy_names=("azure_openai", "azure"),
)
