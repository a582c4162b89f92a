"""Find contradictions between the list of provider types, the registry and the probes."""

from collections import Counter
from collections.abc import Iterator

from integrations.cus_providers.probes import Probe
from integrations.cus_providers.provider import Provider
from integrations.cus_providers.registry import PROVIDERS, ProviderType


def disagreements() -> list[str]:
    """One sentence for each contradiction. Telemetry checks the prices."""
    found = [*_of_the_lists(), *_of_legacy_names()]
    for provider in PROVIDERS.values():
        found += _of_provider(provider)
    return found


def _of_the_lists() -> Iterator[str]:
    for key in ProviderType.values:
        if key not in PROVIDERS:
            yield (
                f"The provider type {key} stands in ProviderType and not in PROVIDERS, so it is "
                "refused everywhere."
            )
    choices = dict(ProviderType.choices)
    for key, provider in PROVIDERS.items():
        if key != provider.key:
            yield f"The provider {provider.key} stands in PROVIDERS as {key}."
        elif key not in choices:
            yield (
                f"The provider {key} stands in PROVIDERS and not in ProviderType, so the database "
                "refuses its integrations."
            )
        elif choices[key] != provider.label:
            yield f"The provider {key} is {provider.label}, and in ProviderType {choices[key]}."


def _of_provider(provider: Provider) -> Iterator[str]:
    if provider.probe_class.request is Probe.request:
        yield f"The provider {provider.key} has no probe: its class must say how to ask (request)."
    elif not _has_address(provider):
        yield (
            f"The probe of {provider.key} has no address: give it a home, demand a base_url in "
            "the config, or derive base_url()."
        )
    if not provider.credentials:
        yield f"The provider {provider.key} takes no credential: name at least one shape."


def _has_address(provider: Provider) -> bool:
    probe, base_url = provider.probe_class, provider.config_keys.get("base_url")
    is_demanded = base_url is not None and base_url.is_required
    return bool(probe.home) or is_demanded or probe.base_url is not Probe.base_url


def _of_legacy_names() -> Iterator[str]:
    names = Counter(name for provider in PROVIDERS.values() for name in provider.legacy_names)
    for name, owners in names.items():
        if owners > 1:
            yield f"The legacy name {name} belongs to {owners} providers."
    for provider in PROVIDERS.values():
        if provider.legacy_elsewhere not in (None, *PROVIDERS):
            yield (
                f"The provider {provider.key} names {provider.legacy_elsewhere} in "
                "legacy_elsewhere, which is no provider."
            )
