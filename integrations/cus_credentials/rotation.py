"""Rotation: rewrap every sealed secret by the ring's first key, while the product runs.

Sealed are providers' credentials and secrets that sign messages; both are called credentials here.

Each row is updated by itself, and only if it has not changed since it was read. So a run that is
killed leaves every credential readable, the next run continues, and a credential that a person
changes meanwhile keeps that change.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import BinaryField
from django.db.models.functions import Substr

from integrations.cus_credentials.envelope import KeyRing, key_ring, rewrap, sealing_key_id
from integrations.cus_credentials.models import CusCredential, CusSigningSecret
from integrations.cus_credentials.registry import row_name
from integrations.cus_credentials.signing import bound_to
from integrations.cus_web.errors import CredentialUnreadable, CusError

# The longest header of a sealed credential: format, length, key id.
_HEADER_BYTES = 2 + 255
UNREADABLE = "unreadable"
_Table = type[CusCredential] | type[CusSigningSecret]
# Each table of sealed secrets: the row that a secret is bound to.
_BOUND_TO: Mapping[_Table, Callable[[Any], str]] = {
    CusCredential: lambda stored: row_name(stored.integration),
    CusSigningSecret: bound_to,
}


class Stored(NamedTuple):
    """Where a sealed secret is."""

    table: _Table
    id: uuid.UUID


class Outcome(StrEnum):
    """The outcome of a rotation for one credential."""

    REWRAPPED = "rewrapped"
    # The credential was replaced or destroyed since it was read.
    CHANGED = "changed meanwhile"
    UNREADABLE = UNREADABLE


class KeyInUse(CusError):
    """Credentials are still sealed by this key."""

    code, status = "key_in_use", 409


def credentials_by_key() -> dict[str, list[Stored]]:
    """All stored credentials, by the key that their header names."""
    held: dict[str, list[Stored]] = {}
    # By the header, not by the column `key_id`, because opening reads the header.
    header = Substr("sealed", 1, _HEADER_BYTES, output_field=BinaryField())
    for table in _BOUND_TO:
        rows = table.objects.annotate(header=header).order_by("id")
        for row_id, start in rows.values_list("id", "header").iterator(chunk_size=2_000):
            held.setdefault(_key_of(bytes(start)), []).append(Stored(table, row_id))
    return held


def rotate(*, dry_run: bool = False) -> Iterator[Outcome]:
    """Rewrap every credential that another key than the ring's first wrapped, one at a time.

    A dry run does the same without writing.
    """
    ring = key_ring(settings.CUS_CREDENTIAL_KEYS)
    for key_id, rows in credentials_by_key().items():
        if key_id != ring.first_id:
            for place in rows:
                yield _rotate_one(ring, place, dry_run=dry_run)


def require_retired(key_id: str) -> None:
    """Raise KeyInUse while the ring or any stored credential needs the key."""
    if key_id == key_ring(settings.CUS_CREDENTIAL_KEYS).first_id:
        raise KeyInUse(
            f"{key_id} is the first key of the ring: it seals every new credential. Put another "
            "key before it first."
        )
    held = Counter({key: len(rows) for key, rows in credentials_by_key().items()})
    if held[key_id]:
        raise KeyInUse(
            f"{held[key_id]:,} credentials are still sealed by {key_id}. Run "
            "`manage.py cus_credential_rotate` first."
        )


def _rotate_one(ring: KeyRing, place: Stored, *, dry_run: bool) -> Outcome:
    stored = place.table.objects.filter(id=place.id).first()
    if stored is None:
        return Outcome.CHANGED
    read = bytes(stored.sealed)
    try:
        sealed = rewrap(ring, read, row=_BOUND_TO[place.table](stored))
    except CredentialUnreadable:
        return Outcome.UNREADABLE
    if dry_run:
        return Outcome.REWRAPPED
    # A single statement replaces the value, so the row can be opened at every moment.
    changed = place.table.objects.filter(id=place.id, sealed=read).update(
        sealed=sealed, key_id=ring.first_id
    )
    return Outcome.REWRAPPED if changed else Outcome.CHANGED


def _key_of(header: bytes) -> str:
    try:
        return sealing_key_id(header)
    except CredentialUnreadable:
        return UNREADABLE
