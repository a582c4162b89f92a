"""The origin that an integration's credential was entered for, the only one it may go to (C4a).

An origin is scheme, host and port, such as `https://api.openai.com:443`. Base URL, region and
provider type change the origin; path, deployment and version do not.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from integrations.cus_providers.registry import probe_of
from integrations.cus_providers.safe_addresses import origin_of
from integrations.cus_web.errors import CredentialElsewhere

if TYPE_CHECKING:
    from integrations.cus_lifecycle.models import CusIntegration


def effective_origin(provider_type: str, config: Mapping[str, Any]) -> str:
    """The origin to which a credential goes under this configuration.

    Raises ProviderUnsupported, ConfigIncomplete or UrlRefused if there is no such origin.
    """
    return origin_of(probe_of(provider_type, config, {}).base_url())


def leads_where_entered(integration: "CusIntegration") -> bool:
    """Whether the configuration leads to the origin that the credential was entered for.

    Raises the errors of `effective_origin`.
    """
    origin = effective_origin(integration.provider_type, integration.config)
    return origin == integration.credential_origin


def require_origin(url: str, integration: "CusIntegration") -> None:
    """Raise CredentialElsewhere unless the integration's credential was entered for this address."""
    if origin_of(url) != integration.credential_origin:
        raise CredentialElsewhere
