"""Where an integration's credential may go: the origin that it was entered for (ruling C4a).

An origin is scheme, host and port, such as `https://api.openai.com:443`. Whatever leads the
provider's probe elsewhere moves it: base URL, region, provider type. Path, deployment and version
do not.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from integrations.cus_providers.registry import probe_of
from integrations.cus_providers.safe_addresses import origin_of
from integrations.cus_web.errors import CredentialElsewhere

if TYPE_CHECKING:
    from integrations.cus_lifecycle.models import CusIntegration


def effective_origin(provider_type: str, config: Mapping[str, Any]) -> str:
    """Where a credential goes under this configuration.

    Raises ProviderUnsupported, ConfigIncomplete or UrlRefused if it can go nowhere.
    """
    return origin_of(probe_of(provider_type, config, {}).base_url())


def leads_where_entered(integration: "CusIntegration") -> bool:
    """Whether the configuration leads where the credential was entered for.

    Raises what `effective_origin` raises.
    """
    origin = effective_origin(integration.provider_type, integration.config)
    return origin == integration.credential_origin


def require_origin(url: str, integration: "CusIntegration") -> None:
    """Raise CredentialElsewhere unless the integration's credential was entered for this address."""
    if origin_of(url) != integration.credential_origin:
        raise CredentialElsewhere
