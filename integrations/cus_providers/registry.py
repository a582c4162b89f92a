"""Every provider of this release. To add a provider, add a file beside this and its lines here.

A system check demands that `PROVIDERS` and `ProviderType` agree, and that each provider is complete
(`integrations.cus_checks`, `telemetry.cus_money.checks`).
"""

from collections.abc import Mapping
from typing import Any

from django.db import models

from integrations.cus_providers import anthropic, azure_openai, bedrock, custom, openai
from integrations.cus_providers.probes import Probe
from integrations.cus_providers.provider import Provider
from integrations.cus_web.errors import ProviderUnsupported


class ProviderType(models.TextChoices):
    """The providers' names as the database, the API and the console know them.

    A change needs a migration: a CHECK of the database holds the same list.
    """

    OPENAI = openai.PROVIDER.choice
    ANTHROPIC = anthropic.PROVIDER.choice
    AZURE_OPENAI = azure_openai.PROVIDER.choice
    BEDROCK = bedrock.PROVIDER.choice
    CUSTOM = custom.PROVIDER.choice


PROVIDERS: dict[str, Provider] = {
    module.PROVIDER.key: module.PROVIDER
    for module in (openai, anthropic, azure_openai, bedrock, custom)
}


def provider_of(provider_type: str) -> Provider:
    """The provider of this type. Raises ProviderUnsupported."""
    if provider_type not in PROVIDERS:
        raise ProviderUnsupported
    return PROVIDERS[provider_type]


def probe_of(provider_type: str, config: Mapping[str, Any], credential: Mapping[str, str]) -> Probe:
    """The probe of an integration's provider. Raises ProviderUnsupported."""
    return provider_of(provider_type).probe_class(config, credential)


def supported_choices() -> list[tuple[str, str]]:
    """(key, label) of the providers that can be chosen."""
    return [provider.choice for provider in PROVIDERS.values()]
