"""Credentials in HashiCorp Vault: `vault://mount/path#field`, KV version 2."""

import importlib
import json
import re
import uuid
from pathlib import Path
from typing import Any

import requests
from django.conf import settings

from integrations.cus_credentials.store import CredentialStore
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import (
    CredentialMissing,
    CredentialRefRefused,
    CredentialStoreUnavailable,
)
from integrations.cus_web.redaction import remember_secret

# No percent sign, no empty part, exactly one "#": so we, the HTTP client and Vault read a reference
# the same way. A part of dots alone is excluded, because it would lead to a parent path.
_REF = re.compile(r"vault://((?:(?!\.+/)[\w.-]+/)+(?!\.+#)[\w.-]+)#([\w.-]+)", re.ASCII)


class VaultStore(CredentialStore):
    """Reads a field of a secret below the tenant's own path: `CUS_VAULT_MOUNT`/`CUS_VAULT_PATH`.

    If Vault is sealed, away or refuses us, the store is unavailable and the credential may be
    valid. If a path or a field does not exist, the credential is missing.
    """

    scheme = "vault"

    def check(self, ref: str, tenant_id: uuid.UUID) -> None:
        self._place(ref, tenant_id)

    def read(self, integration: CusIntegration) -> str:
        path, field = self._place(integration.credential_ref, integration.tenant_id)
        value = self._secret(path).get(field)
        if isinstance(value, dict):
            value = json.dumps(value)
        if not isinstance(value, str) or not value:
            raise CredentialMissing(
                f"Vault's secret at {path} has no text in {field!r}. Put the credential there."
            )
        return value

    def _place(self, ref: str, tenant_id: uuid.UUID) -> tuple[str, str]:
        """(path below the mount, field) of a reference that the tenant may have."""
        own = own_path(tenant_id)
        mount = settings.CUS_VAULT_MOUNT.strip("/") + "/"
        found = _REF.fullmatch(ref)
        if not found or not found[1].startswith(mount + own):
            raise CredentialRefRefused(
                f"A vault:// reference must be vault://{mount}{own}<name>#<field>, in letters, "
                "digits, dots, dashes and underscores."
            )
        return found[1].removeprefix(mount), found[2]

    def _secret(self, path: str) -> dict[str, Any]:
        client = _client()
        exceptions = importlib.import_module("hvac.exceptions")
        try:
            answer = client.secrets.kv.v2.read_secret_version(
                path, mount_point=settings.CUS_VAULT_MOUNT, raise_on_deleted_version=True
            )
            return dict(answer["data"]["data"])
        except exceptions.InvalidPath:
            raise CredentialMissing(
                f"Vault has no secret at {path}, or its newest version is deleted. Put it there."
            ) from None
        except (exceptions.Forbidden, exceptions.Unauthorized):
            raise CredentialStoreUnavailable(
                f"Vault does not let us read {path}. Check our token and its policy."
            ) from None
        except exceptions.VaultDown:
            raise CredentialStoreUnavailable("Vault is sealed. Unseal it.") from None
        except (exceptions.VaultError, requests.RequestException):
            raise CredentialStoreUnavailable(
                "Vault does not answer as it should. Look at it and at CUS_VAULT_ADDRESS."
            ) from None
        except (TypeError, KeyError, ValueError):
            # The server is not Vault, or the mount is not KV version 2.
            raise CredentialStoreUnavailable(
                f"What answers at CUS_VAULT_ADDRESS has no KV version 2 at "
                f"{settings.CUS_VAULT_MOUNT!r}."
            ) from None
        finally:
            client.adapter.close()


def own_path(tenant_id: uuid.UUID) -> str:
    """The path below the mount under which everything is this tenant's, with a final slash."""
    template: str = settings.CUS_VAULT_PATH
    if "{tenant_id}/" not in template:
        # Without {tenant_id}/ all tenants would share a path.
        raise CredentialRefRefused(
            "CUS_VAULT_PATH has no {tenant_id}/ in it, so no tenant has a path of its own. "
            "Set it to something like cus/{tenant_id}/."
        )
    path = template.replace("{tenant_id}", str(tenant_id)).strip("/")
    return path + "/"


def _client() -> Any:
    if not settings.CUS_VAULT_ADDRESS:
        raise CredentialStoreUnavailable("CUS_VAULT_ADDRESS is not set, so there is no Vault.")
    try:
        hvac = importlib.import_module("hvac")
    except ImportError:
        raise CredentialStoreUnavailable(
            "Vault's client is not installed. Install the extra: "
            "pip install 'aos-customer-integrations[vault]'"
        ) from None
    session = requests.Session()
    session.trust_env = False  # Ignore proxies and netrc of the environment.
    # The session's `verify` overrides the client's argument.
    session.verify = settings.CUS_VAULT_CA_FILE or True
    return hvac.Client(
        url=settings.CUS_VAULT_ADDRESS,
        token=_token(),
        namespace=settings.CUS_VAULT_NAMESPACE or None,
        timeout=settings.CUS_VAULT_TIMEOUT_SECONDS,
        # A redirect would send the token to another address.
        allow_redirects=False,
        session=session,
    )


def _token() -> str:
    token: str = settings.CUS_VAULT_TOKEN
    if settings.CUS_VAULT_TOKEN_FILE:
        try:
            token = Path(settings.CUS_VAULT_TOKEN_FILE).read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise CredentialStoreUnavailable(
                "The file that CUS_VAULT_TOKEN_FILE names can't be read."
            ) from None
    if not token:
        raise CredentialStoreUnavailable("Neither CUS_VAULT_TOKEN nor its _FILE holds a token.")
    remember_secret(token)
    return token
