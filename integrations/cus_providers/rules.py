"""Whether a configuration and a credential fit their provider (ruling C7).

Both checks raise ValidationError under `config` or `credential`, and quote no value, because a
person may have entered a secret in the wrong place. Both raise ProviderUnsupported for a type
without a provider.
"""

import re
from typing import Any

from django.core.exceptions import ValidationError

from integrations.cus_providers.provider import ConfigKey
from integrations.cus_providers.registry import PROVIDERS, provider_of

_MAX_SECRET = 8192
_PRINTABLE = re.compile(r"[!-~]+")


def check_config(provider_type: str, config: Any) -> None:
    """Raise ValidationError unless the config is valid for this provider type, ProviderUnsupported
    if no integration may be of this type.
    """
    keys = provider_of(provider_type).config_keys
    if not isinstance(config, dict):
        raise ValidationError({"config": "The configuration is an object of keys and values."})
    known = ", ".join(keys)
    problems = [
        f"{name[:50]}: {provider_type} has no such key. It has {known}. Secrets go into credential."
        for name in sorted(set(config) - set(keys))
    ]
    required = {name for name, key in keys.items() if key.is_required}
    problems += [f"{name} is missing." for name in sorted(required - set(config))]
    for name, key in keys.items():
        problem = key.check(config[name]) if name in config else None
        if problem:
            problems.append(f"{name} {problem}.")
    if problems:
        raise ValidationError({"config": problems})


def check_credential(provider_type: str, credential: Any) -> None:
    """Raise ValidationError unless the credential's form is valid for this provider type,
    ProviderUnsupported if no integration may be of this type.
    """
    provider = provider_of(provider_type)
    shapes = provider.credentials
    if not isinstance(credential, dict) or not any(shape.fits(credential) for shape in shapes):
        hint = f"A credential of {provider_type} is {provider.credential_text}."
        raise ValidationError({"credential": hint})
    for name, value in credential.items():
        fits = isinstance(value, str) and len(value) <= _MAX_SECRET and _PRINTABLE.fullmatch(value)
        if not fits:
            hint = f"{name} must be a text without spaces, as the provider shows it."
            raise ValidationError({"credential": hint})


def config_keys() -> dict[str, ConfigKey]:
    """The keys of all providers' configs, by name."""
    return {key.name: key for provider in PROVIDERS.values() for key in provider.config}


def credential_fields() -> tuple[str, ...]:
    """The fields of all providers' credentials."""
    fields = (name for provider in PROVIDERS.values() for name in provider.credential_fields)
    return tuple(dict.fromkeys(fields))


def credential_texts() -> str:
    """The shapes of all providers' credentials, such as "openai, custom: {api_key}; …"."""
    owners: dict[str, list[str]] = {}
    for provider in PROVIDERS.values():
        owners.setdefault(provider.credential_text, []).append(provider.key)
    return "; ".join(f"{', '.join(keys)}: {text}" for text, keys in owners.items())


def credential_choices_text() -> str:
    """The providers with several shapes of credential, as a text; empty if there are none."""
    choices = sorted(
        (provider.label, " or ".join(shape.name for shape in provider.credentials))
        for provider in PROVIDERS.values()
        if len(provider.credentials) > 1
    )
    if not choices:
        return ""
    (first, names), *others = choices
    return ", ".join([f"{first} takes {names}", *(f"{label} {names}" for label, names in others)])
