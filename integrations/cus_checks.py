"""System checks: report mistakes of the configuration, and how to mend them."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from integrations.cus_credentials.envelope import KeyRingInvalid, key_ring
from integrations.cus_providers.agreement import disagreements

_MIN_SECRET = 32


@register(Tags.security)
def check_credential_keys(**_kwargs: Any) -> list[CheckMessage]:
    """The key ring can be read."""
    try:
        key_ring(settings.CUS_CREDENTIAL_KEYS)
    except KeyRingInvalid as error:
        return [Error(str(error), hint="Make a key by: openssl rand -base64 32", id="cus.E001")]
    return []


@register(Tags.security)
def check_key_hash_secret(**_kwargs: Any) -> list[CheckMessage]:
    """The secret that hashes SDK keys can't be guessed."""
    if len(settings.CUS_KEY_HASH_SECRET) >= _MIN_SECRET:
        return []
    return [
        Error(
            f"CUS_KEY_HASH_SECRET is shorter than {_MIN_SECRET} characters.",
            hint="Make a secret by: openssl rand -base64 48",
            id="cus.E002",
        )
    ]


@register(Tags.security)
def check_vault_path(**_kwargs: Any) -> list[CheckMessage]:
    """Each tenant has a path of its own in Vault, if Vault is used."""
    if not settings.CUS_VAULT_ADDRESS or "{tenant_id}/" in settings.CUS_VAULT_PATH:
        return []
    return [
        Error(
            "CUS_VAULT_PATH lacks {tenant_id}/: every tenant could read every secret.",
            hint="Set it to something like cus/{tenant_id}/.",
            id="cus.E003",
        )
    ]


@register(Tags.models)
def check_provider_types(**_kwargs: Any) -> list[CheckMessage]:
    """The list of provider types, the registry and the probes agree."""
    hint = "See integrations/cus_providers/registry.py, and CONTRIBUTING.md on adding a provider."
    return [Error(text, hint=hint, id="cus.E004") for text in disagreements()]
