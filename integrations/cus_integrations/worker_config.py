"""Read legacy worker configurations from an export, and translate them to integrations (§8).

| legacy | becomes |
| --- | --- |
| `tenant` | the tenant of that id or name, which must exist |
| `worker_id` | the integration's name |
| `enabled` | enabled; otherwise created and not yet enabled |
| `config.provider` | the provider type; an unknown provider becomes `custom`, by its base URL |
| `config.api_key` and the like | the credential, sealed, for the address that the worker had |
| `config.model` | the default model |
| `max_runs_per_day` times `max_tokens_per_run` | times 31, the monthly tokens: never stricter |

No limit here corresponds to runs a day alone (calls a minute would refuse bursts that were allowed)
or to tokens a run alone. A configuration with only one of both gets no limit, and a note says so.

A credential goes only to the address to which the worker had sent it (ruling C4a). A worker whose
address an integration of its provider type can't have is refused; its credential is never sent to
the provider's own address instead.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from integrations.cus_providers.custom import PROVIDER as CUSTOM
from integrations.cus_providers.origin import effective_origin
from integrations.cus_providers.provider import Provider
from integrations.cus_providers.registry import PROVIDERS, provider_of
from integrations.cus_providers.rules import credential_fields
from integrations.cus_providers.safe_addresses import UrlRefused, origin_of
from integrations.cus_web.errors import CusError

# The keys of legacy configurations for the address that the credential goes to.
_ADDRESSES = ("base_url", "api_base", "endpoint", "endpoint_url", "azure_endpoint")
_DAYS = 31
_MOST = 2**63 - 1


class WorkerRefused(CusError):
    """This worker configuration can't become an integration."""


@dataclass(frozen=True)
class WorkerConfig:
    """One legacy worker as an integration. Printing it shows no credential."""

    tenant: str
    worker_id: str
    enabled: bool
    provider_type: str
    credential: dict[str, str] = field(repr=False)
    config: dict[str, str]
    default_model: str | None
    token_limit_month: int
    notes: tuple[str, ...]


def entries(text: str) -> Iterator[tuple[int, Any]]:
    """(line number, JSON value) of a JSON array or of JSON lines.

    For a line that is not JSON the value is a WorkerRefused. An array ends at such a line.
    """
    if text.lstrip("\ufeff \t\r\n").startswith("["):
        yield from _of_array(text)
        return
    for number, line in enumerate(text.lstrip("\ufeff").split("\n"), 1):
        if line.strip():
            yield number, _parsed(line)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        # Without the parser's message, which may quote a secret.
        return WorkerRefused("This is not JSON.")


def _of_array(text: str) -> Iterator[tuple[int, Any]]:
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    while True:
        at = _past(text, at, " \t\r\n,")
        number = text.count("\n", 0, at) + 1
        if text[at : at + 1] == "]":
            return
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            yield number, WorkerRefused("This is not JSON; nothing after it was read.")
            return
        yield number, value


def _past(text: str, at: int, skipped: str) -> int:
    while at < len(text) and text[at] in skipped:
        at += 1
    return at


def worker_config(entry: Any) -> WorkerConfig:
    """The entry as a WorkerConfig. Raises WorkerRefused, which names fields and never values."""
    if isinstance(entry, WorkerRefused):
        raise entry
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise WorkerRefused("A worker is an object with tenant, worker_id and config.")
    if not isinstance(entry.get("enabled", False), bool):
        raise WorkerRefused("enabled must be true or false.")
    config: dict[str, Any] = entry["config"]
    provider_type = _provider(config)
    keys, secrets = _legacy_keys(provider_type), credential_fields()
    kept = _texts(config, keys)
    _require_same_place(provider_type, kept, config)
    limit, notes = _monthly_tokens(entry)
    left = set(config) - {"provider", "model", *secrets}
    left -= {legacy for legacy, key in keys.items() if key in kept}
    if left:
        notes = (*notes, f"not carried over: {', '.join(sorted(left))}")
    return WorkerConfig(
        tenant=_text(entry, "tenant"),
        worker_id=_text(entry, "worker_id"),
        enabled=entry.get("enabled", False),
        provider_type=provider_type,
        credential=_texts(config, {name: name for name in secrets}),
        config=kept,
        default_model=_text(config, "model", at_most=100) if config.get("model") else None,
        token_limit_month=limit,
        notes=notes,
    )


def _provider(config: dict[str, Any]) -> str:
    named = _text(config, "provider").lower().replace("-", "_").replace(" ", "_")
    known = _named_in_legacy(named)
    if known and known.legacy_elsewhere and config.get("base_url"):
        own = _origin(config, "base_url") == effective_origin(known.key, {})
        return known.key if own else known.legacy_elsewhere
    if known is None and not config.get("base_url"):
        raise WorkerRefused(
            "config.provider is unknown. With a config.base_url the worker would become custom."
        )
    return (known or CUSTOM).key


def _named_in_legacy(name: str) -> Provider | None:
    """The provider of this legacy name."""
    providers = PROVIDERS.values()
    return next((provider for provider in providers if name in provider.legacy_names), None)


def _require_same_place(provider_type: str, kept: dict[str, str], config: dict[str, Any]) -> None:
    """Refuse a worker whose credential would go to another address than before."""
    for name in _ADDRESSES:
        if name in kept or not config.get(name):
            continue
        if _origin(config, name) != effective_origin(provider_type, kept):
            raise WorkerRefused(
                f"{provider_type} at an address of its own ({name}) can't be an integration, and "
                "its credential must not go elsewhere."
            )


def _origin(config: dict[str, Any], name: str) -> str:
    try:
        return origin_of(_text(config, name, at_most=2048))
    except UrlRefused as refusal:
        raise WorkerRefused(f"{name} is not an address. {refusal.detail}") from None


def _legacy_keys(provider_type: str) -> dict[str, str]:
    """The legacy keys that this provider type keeps, each with the key of our config."""
    keys = provider_of(provider_type).config
    return {legacy: key.name for key in keys for legacy in key.names_in_legacy}


def _monthly_tokens(entry: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
    runs, tokens = _count(entry, "max_runs_per_day"), _count(entry, "max_tokens_per_run")
    if runs and tokens:
        limit = runs * tokens * _DAYS
        if limit > _MOST:
            raise WorkerRefused("max_runs_per_day times max_tokens_per_run is too large.")
        return limit, (f"{runs:,} runs a day of {tokens:,} tokens, as tokens a month",)
    if runs:
        return 0, (f"no limit: {runs:,} runs a day have no equal",)
    if tokens:
        return 0, (f"no limit: {tokens:,} tokens a run have no equal",)
    return 0, ()


def _count(entry: dict[str, Any], name: str) -> int:
    value = entry.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise WorkerRefused(f"{name} must be a whole number, 0 or more.")
    return value


def _texts(config: dict[str, Any], names: dict[str, str]) -> dict[str, str]:
    given = {key: legacy for legacy, key in names.items() if config.get(legacy)}
    return {key: _text(config, legacy, at_most=10_000) for key, legacy in given.items()}


def _text(entry: dict[str, Any], name: str, *, at_most: int = 255) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > at_most:
        raise WorkerRefused(f"{name} must be a text of 1 to {at_most:,} characters.")
    if not value.isprintable():
        raise WorkerRefused(f"{name} holds characters that can't be shown.")
    return value.strip()
