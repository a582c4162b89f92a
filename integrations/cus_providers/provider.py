"""What the server knows about a provider: one `Provider` in a file of its own (rulings C5, C7).

Forms, serializers, the OpenAPI document, hints, the import of legacy workers, health checks and
prices derive from these objects. `registry.py` lists them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from integrations.cus_providers import config_checks
from integrations.cus_providers.probes import Probe

Check = Callable[[Any], str | None]


@dataclass(frozen=True)
class ConfigKey:
    """A key that an integration's config may have.

    `check` returns what is wrong with a value, or None. `legacy_names` are the keys of a legacy
    worker's configuration that hold the same value; None stands for the key's own name, and the
    import does not carry over a key with `()`.
    """

    name: str
    check: Check
    is_required: bool = False
    is_number: bool = False
    legacy_names: tuple[str, ...] | None = None

    @property
    def names_in_legacy(self) -> tuple[str, ...]:
        """The keys of a legacy worker's configuration that the import carries over to this key."""
        return (self.name,) if self.legacy_names is None else self.legacy_names


TIMEOUT = ConfigKey("timeout_seconds", config_checks.seconds, is_number=True, legacy_names=())


@dataclass(frozen=True)
class CredentialShape:
    """The fields that a credential needs, and the optional fields.

    `name` is the shape's name for people: "an API key".
    """

    name: str
    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields, the needed fields first."""
        return self.needed + self.optional

    def fits(self, given: Iterable[str]) -> bool:
        """Whether a credential with these fields has this shape."""
        return set(self.needed) <= set(given) <= set(self.fields)

    def __str__(self) -> str:
        """Such as `{aws_access_key_id, aws_secret_access_key, aws_session_token?}`."""
        return "{" + ", ".join((*self.needed, *(f"{name}?" for name in self.optional))) + "}"


API_KEY = CredentialShape("an API key", ("api_key",))


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A provider that integrations may use.

    `key` is the provider's name in the database and the API, and `label` the name for people.
    """

    key: str
    label: str
    config: tuple[ConfigKey, ...]
    # A credential must have one of these shapes.
    credentials: tuple[CredentialShape, ...]
    probe_class: type[Probe]
    # The provider's names in genai-prices, searched in this order. Empty: the server is unknown, so
    # a call's record or the integration's base_url names the provider of the prices.
    price_names: tuple[str, ...]
    # Whether the account's owner names its models (deployments), so that a name says nothing of the
    # model until one has answered to it.
    names_are_own: bool = False
    # The provider's names in legacy workers, in lower case, words joined by "_".
    legacy_names: tuple[str, ...] = ()
    # The provider of a legacy worker whose base_url is not this provider's own address. None: there
    # is no such provider, and the import refuses an address that can't be kept.
    legacy_elsewhere: str | None = None

    @property
    def choice(self) -> tuple[str, str]:
        """(key, label)."""
        return self.key, self.label

    @property
    def config_keys(self) -> dict[str, ConfigKey]:
        """The keys of the config by their names."""
        return {key.name: key for key in self.config}

    @property
    def credential_fields(self) -> tuple[str, ...]:
        """The fields of all of the credential's shapes."""
        return tuple(dict.fromkeys(name for shape in self.credentials for name in shape.fields))

    @property
    def credential_text(self) -> str:
        """The credential's shapes, such as "{api_key} or {azure_ad_token}"."""
        return " or ".join(map(str, self.credentials))
