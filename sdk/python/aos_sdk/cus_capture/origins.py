"""The destination of a client's calls, by its settings: provider, host, region, project, key (M5a).

Found once for each client, and again when the client's address or key changes.
"""

import weakref
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from aos_sdk.cus_counting.classes import MOST_REMEMBERED
from aos_sdk.cus_delivery.ended_call import CusOrigin
from aos_sdk.cus_providers.provider import CusProviderInfo
from aos_sdk.cus_providers.registry import PROVIDERS, provider_of_host
from aos_sdk.cus_wire import MAX_KEY_HINT_LENGTH

# No hint for a shorter key: four characters would reveal too much of it.
_SHORTEST_KEY: Final = 20
# Where clients keep the account that pays: OpenAI's, Vertex's, Anthropic's. The narrowest is first.
_PROJECTS: Final = ("project", "project_id", "workspace_id", "organization")
# Where clients keep a short-lived token, or a function that returns tokens or keys. Beside these a
# key of the client may be a placeholder, and a token's end would name nothing.
_TOKENS: Final = (
    "_api_key_provider", "_azure_ad_token", "_azure_ad_token_provider", "workload_identity",
)  # fmt: skip
# The provider by the class of the client or one of its bases.
_PROVIDER_OF_CLIENT: Final = {
    name: provider for provider in PROVIDERS for name in provider.client_classes
}


class CusCalled(NamedTuple):
    """The destination of a client's calls, and whether they are awaited.

    `provider` is None if the SDK knows no provider with this host; the calls then belong to the
    integration's own provider.
    """

    provider: str | None
    origin: CusOrigin
    region_of_model: Callable[[str], str | None] | None = None
    is_known_client: bool = True
    is_asynchronous: bool = False

    def origin_of(self, model: str) -> CusOrigin:
        """The origin of a call of this model. A region in the model's name overrides the host's."""
        region = self.region_of_model(model) if self.region_of_model else None
        return self.origin._replace(region=region) if region else self.origin


# For each client: its address, its key, its destination, and the reference whose callback forgets
# it.
_Noted: TypeAlias = "tuple[Any, Any, CusCalled, weakref.ref[Any]]"
_noted: "Final[dict[weakref.ref[Any], _Noted]]" = {}


def called_by(client: Any, package: str) -> CusCalled:
    """The destination of this client's calls; `package` is the provider of the client's package."""
    try:
        # Python shares a plain weak reference to an object, so this allocates no memory.
        noted = _noted.get(weakref.ref(client))
        if (
            noted is not None
            # Reads the attribute, because the property takes ten times as long, for each call.
            and noted[0] is client._base_url  # noqa: SLF001
            and noted[1] is getattr(client, "api_key", None)
        ):
            return noted[2]
        return _learn(client, package)
    except (AttributeError, TypeError):  # The client is not of a package that we know.
        return _find_out(client, package)._replace(is_known_client=False)


def _learn(client: Any, package: str) -> CusCalled:
    called = _find_out(client, package)
    address = client._base_url  # noqa: SLF001 - as `called_by` compares
    if len(_noted) >= MOST_REMEMBERED:
        _noted.clear()
    key = weakref.ref(client)
    gone = weakref.ref(client, lambda _: _noted.pop(key, None))
    _noted[key] = (address, getattr(client, "api_key", None), called, gone)
    return called


def _find_out(client: Any, package: str) -> CusCalled:
    host = _host_of(client)
    platform = _platform_of(type(client))
    served_by = platform or (provider_of_host(host) if host else None)
    provider = served_by.key if served_by else None
    dialect = package if platform is None else None
    if platform is None and host is None:
        provider = package
    region = _region_of(served_by, host, client)
    origin = CusOrigin(host, region, _project_of(client), _hint_of(client), dialect)
    return CusCalled(
        provider,
        origin,
        served_by.region_of_model if served_by else None,
        is_asynchronous=hasattr(type(client), "__aenter__"),
    )


def _platform_of(kind: type) -> CusProviderInfo | None:
    names = (base.__name__ for base in kind.__mro__)
    return next((_PROVIDER_OF_CLIENT[name] for name in names if name in _PROVIDER_OF_CLIENT), None)


def _host_of(client: Any) -> str | None:
    host = getattr(getattr(client, "base_url", None), "host", None)
    return host.lower() if host and isinstance(host, str) else None


def _region_of(provider: CusProviderInfo | None, host: str | None, client: Any) -> str | None:
    if provider is None:
        return None
    by_host = provider.region_of_host(host) if provider.region_of_host and host else None
    if by_host or not provider.region_attribute:
        return by_host
    return _text(client, provider.region_attribute)


def _project_of(client: Any) -> str | None:
    return next(filter(None, (_text(client, name) for name in _PROJECTS)), None)


def _hint_of(client: Any) -> str | None:
    if any(getattr(client, name, None) for name in _TOKENS):
        return None
    # AWS' access key names a secret key, and is none itself.
    key = _text(client, "api_key") or _text(client, "aws_access_key")
    return key[-MAX_KEY_HINT_LENGTH:] if key and len(key) >= _SHORTEST_KEY else None


def _text(client: Any, name: str) -> str | None:
    text = getattr(client, name, None)
    return text if text and isinstance(text, str) else None
