"""The stores of credentials: one class for each scheme of `credential_ref` (ruling C1).

To add a store, write a class here or in a module of its own, and name the class in `_STORES`.
"""

import json
import os
import re
import uuid
from collections.abc import Mapping

from django.conf import settings

from integrations.cus_credentials.envelope import key_ring, open_sealed
from integrations.cus_credentials.models import CusCredential
from integrations.cus_credentials.store import CredentialStore
from integrations.cus_credentials.vault import VaultStore
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import CredentialElsewhere, CredentialMissing, CredentialRefRefused
from integrations.cus_web.redaction import remember_secret

# The sealed field with the origin that the credential was entered for (ruling C4a). Credentials
# that earlier releases sealed have no such field.
_ENTERED_FOR = "entered_for"


class OpenedCredential(dict[str, str]):
    """A plain credential by field. Printing it shows the names of its fields alone."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(fields)
        remember_secret(*fields.values())

    def __repr__(self) -> str:
        return f"OpenedCredential({', '.join(self)})"

    __str__ = __repr__


class DatabaseStore(CredentialStore):
    """`db://<credential id>`: sealed, in our own table.

    A credential is sealed together with the origin that it was entered for. So a row whose origin
    differs does not open: neither a row that was changed outside of the services, nor a row that
    was read before its credential was replaced.
    """

    scheme = "db"

    def check(self, ref: str, tenant_id: uuid.UUID) -> None:
        raise CredentialRefRefused(
            "A db:// reference is made by storing a credential; it can't be set by hand."
        )

    def read(self, integration: CusIntegration) -> str:
        stored = CusCredential.objects.filter(
            tenant_id=integration.tenant_id,
            integration=integration,
            id=uuid.UUID(credential_id(integration)),
        ).first()
        if stored is None:
            raise CredentialMissing
        ring = key_ring(settings.CUS_CREDENTIAL_KEYS)
        fields = json.loads(open_sealed(ring, bytes(stored.sealed), row=row_name(integration)))
        if fields.pop(_ENTERED_FOR, integration.credential_origin) != integration.credential_origin:
            raise CredentialElsewhere
        return json.dumps(fields)


class EnvironmentStore(CredentialStore):
    """`env://NAME`: a variable of the server's environment, named for this purpose."""

    scheme = "env"
    # Excludes the variables of the key ring, whose names begin the same way.
    _NAME = re.compile(r"env://(CUS_CREDENTIAL_(?!KEYS)[A-Z0-9_]{1,100})", re.ASCII)

    def check(self, ref: str, tenant_id: uuid.UUID) -> None:
        self._name(ref)

    def read(self, integration: CusIntegration) -> str:
        name = self._name(integration.credential_ref)
        value = os.environ.get(name, "")
        if not value:
            raise CredentialMissing(f"The server's environment has no {name}. Set it and restart.")
        return value

    def _name(self, ref: str) -> str:
        found = self._NAME.fullmatch(ref)
        if not found:
            raise CredentialRefRefused(
                "An env:// reference must name a variable that begins with CUS_CREDENTIAL_, in "
                "capitals, digits and underscores, and is not the key ring."
            )
        return found[1]


_STORES: dict[str, type[CredentialStore]] = {
    store.scheme: store for store in (DatabaseStore, EnvironmentStore, VaultStore)
}


def store_of(ref: str) -> CredentialStore:
    """The store of a reference, by its scheme. Raises CredentialRefRefused for an unknown one."""
    scheme, separator, _ = ref.partition("://")
    store = _STORES.get(scheme) if separator else None
    if store is None:
        raise CredentialRefRefused
    return store()


def text_to_seal(credential: Mapping[str, str], origin: str) -> bytes:
    """The text to seal for a credential entered for an origin; `DatabaseStore` reads the text."""
    return json.dumps({**credential, _ENTERED_FOR: origin}).encode()


def parsed_credential(text: str) -> OpenedCredential:
    """A credential from a store's text: a JSON object of texts, or anything else as an API key."""
    text = text.strip()
    if not text.startswith("{"):
        fields: object = {"api_key": text}
    else:
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = None
    if not isinstance(fields, dict) or not fields or not all(map(_is_filled, fields.values())):
        raise CredentialMissing(
            "The credential's store holds something that is neither a key nor a JSON object of "
            'texts such as {"api_key": "…"}. Put the credential there again.'
        )
    return OpenedCredential(fields)


def credential_id(integration: CusIntegration) -> str:
    """The stored credential's id, as `db://<id>` names it in `credential_ref` (ruling C1)."""
    return integration.credential_ref.removeprefix("db://")


def row_name(integration: CusIntegration) -> str:
    """The name of the row that a sealed credential is bound to (ruling C2)."""
    return f"{integration.tenant_id}:{integration.id}"


def _is_filled(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
