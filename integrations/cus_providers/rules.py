"""What each type of provider may be configured with, and what its credential looks like (C7).

A new provider type needs an entry in `RULES`, which also names its prices, and a probe. A type
without them is refused everywhere: `rules_of` raises ProviderUnsupported. Both checks raise
ValidationError under `config` or `credential`, and quote no value: it may be a secret that was put
in the wrong place.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError

from integrations.cus_providers.names import Provider
from integrations.cus_providers.probes import PROBES
from integrations.cus_providers.safe_addresses import UrlRefused, parse_target
from integrations.cus_web.errors import ProviderUnsupported

Check = Callable[[Any], str | None]

_MAX_TEXT = 255
_MAX_URL = 2048
_MAX_SECRET = 8192
_MAX_SECONDS = 600
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
_REGION = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-\d{1,2}")
_PRINTABLE = re.compile(r"[!-~]+")


def _word(value: Any) -> str | None:
    if isinstance(value, str) and len(value) <= _MAX_TEXT and _WORD.fullmatch(value):
        return None
    return "must be a text of letters, digits and . _ : -"


def _region(value: Any) -> str | None:
    if isinstance(value, str) and _REGION.fullmatch(value):
        return None
    return "must be a region such as us-east-1"


def _seconds(value: Any) -> str | None:
    if type(value) is int and 1 <= value <= _MAX_SECONDS:
        return None
    return f"must be a whole number of seconds, 1 to {_MAX_SECONDS}"


def _path(value: Any) -> str | None:
    if (
        isinstance(value, str)
        and len(value) <= _MAX_TEXT
        and _PRINTABLE.fullmatch(value)
        and re.fullmatch(r"/(?!/)[^?#\\]*", value)
    ):
        return None
    return "must be a path that begins with one /, such as /v1/models"


def _url(value: Any) -> str | None:
    """What is wrong with an address by its form alone; where it leads is checked on each use."""
    schemes = ("https", "http") if settings.CUS_ALLOW_HTTP_PROVIDERS else ("https",)
    wanted = f"must be an {schemes[0]}:// address of a host, without user, query or fragment"
    if not isinstance(value, str) or len(value) > _MAX_URL or not _PRINTABLE.fullmatch(value):
        return wanted
    if set("@\\?#") & set(value):
        return wanted
    try:
        parse_target(value, plain_http=settings.CUS_ALLOW_HTTP_PROVIDERS)
    except UrlRefused as refusal:
        return f"{wanted}: {refusal.detail.rstrip('.')}"
    return None


@dataclass(frozen=True)
class ProviderRules:
    """The keys of one provider type's config, those that it needs, its credential's shapes, and
    whose prices its calls have.
    """

    keys: Mapping[str, Check]
    required: frozenset[str]
    # Each shape: the fields that it has, and those that it may have besides.
    shapes: tuple[tuple[frozenset[str], frozenset[str]], ...]
    # The provider's name in genai-prices. None: the type may be anybody's server, so prices are
    # found by what a call's record or the integration's base_url names.
    priced_as: str | None


def _shape(*needed: str, optional: tuple[str, ...] = ()) -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(needed), frozenset(optional)


_API_KEY = _shape("api_key")
_AWS_KEYS = _shape("aws_access_key_id", "aws_secret_access_key", optional=("aws_session_token",))

RULES: Mapping[str, ProviderRules] = {
    Provider.OPENAI: ProviderRules(
        {"organization": _word, "project": _word, "timeout_seconds": _seconds},
        frozenset(),
        (_API_KEY,),
        priced_as="openai",
    ),
    Provider.ANTHROPIC: ProviderRules(
        {"api_version": _word, "timeout_seconds": _seconds},
        frozenset(),
        (_API_KEY,),
        priced_as="anthropic",
    ),
    Provider.AZURE_OPENAI: ProviderRules(
        {
            "base_url": _url,
            "api_version": _word,
            "deployment": _word,
            "timeout_seconds": _seconds,
        },
        frozenset({"base_url"}),
        (_API_KEY, _shape("azure_ad_token")),
        priced_as="azure",
    ),
    Provider.BEDROCK: ProviderRules(
        {"region": _region, "timeout_seconds": _seconds},
        frozenset({"region"}),
        (_AWS_KEYS, _API_KEY),
        priced_as="aws",
    ),
    Provider.CUSTOM: ProviderRules(
        {
            "base_url": _url,
            "organization": _word,
            "project": _word,
            "api_version": _word,
            "health_path": _path,
            "timeout_seconds": _seconds,
        },
        frozenset({"base_url"}),
        (_API_KEY,),
        priced_as=None,
    ),
}


def is_supported(provider_type: str) -> bool:
    """Whether this release has rules, prices and a probe for the provider type."""
    return provider_type in RULES and provider_type in PROBES


def rules_of(provider_type: str) -> ProviderRules:
    """The rules of a provider type. Raises ProviderUnsupported."""
    if not is_supported(provider_type):
        raise ProviderUnsupported
    return RULES[provider_type]


def supported_choices() -> list[tuple[str, str]]:
    """(value, label) of the provider types that can be chosen."""
    return [choice for choice in Provider.choices if is_supported(choice[0])]


def check_config(provider_type: str, config: Any) -> None:
    """Raise ValidationError unless this provider type may be configured so, ProviderUnsupported
    if no integration may be of this type.
    """
    rules = rules_of(provider_type)
    if not isinstance(config, dict):
        raise ValidationError({"config": "The configuration is an object of keys and values."})
    known = ", ".join(rules.keys)
    problems = [
        f"{name[:50]}: {provider_type} has no such key. It has {known}. Secrets go into credential."
        for name in sorted(set(config) - set(rules.keys))
    ]
    problems += [f"{name} is missing." for name in sorted(rules.required - set(config))]
    for name, check in rules.keys.items():
        problem = check(config[name]) if name in config else None
        if problem:
            problems.append(f"{name} {problem}.")
    if problems:
        raise ValidationError({"config": problems})


def check_credential(provider_type: str, credential: Any) -> None:
    """Raise ValidationError unless this is a credential of this provider type, by its form;
    ProviderUnsupported if no integration may be of this type.
    """
    rules = rules_of(provider_type)
    if not isinstance(credential, dict) or not _has_shape(rules, credential):
        hint = f"A credential of {provider_type} is {shapes_text(provider_type)}."
        raise ValidationError({"credential": hint})
    for name, value in credential.items():
        fits = isinstance(value, str) and len(value) <= _MAX_SECRET and _PRINTABLE.fullmatch(value)
        if not fits:
            hint = f"{name} must be a text without spaces, as the provider shows it."
            raise ValidationError({"credential": hint})


def shapes_text(provider_type: str) -> str:
    """The credential's shapes in words, such as "{api_key} or {azure_ad_token}"."""
    shapes = []
    for needed, optional in rules_of(provider_type).shapes:
        fields = sorted(needed) + [f"{name}?" for name in sorted(optional)]
        shapes.append("{" + ", ".join(fields) + "}")
    return " or ".join(shapes)


def _has_shape(rules: ProviderRules, credential: dict[str, Any]) -> bool:
    given = set(credential)
    return any(needed <= given <= needed | optional for needed, optional in rules.shapes)
