"""Rotation: every stored credential under the newest key of the ring, while the product runs.

Each row is rewrapped by itself and only if it is still what was read, so a run that is killed
leaves every credential readable, the next run goes on where it stopped, and a credential that
somebody changes meanwhile stays as they made it.
"""

import uuid
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

from django.conf import settings
from django.db.models import BinaryField
from django.db.models.functions import Substr

from integrations.cus_credentials.envelope import KeyRing, key_ring, rewrap, sealing_key_id
from integrations.cus_credentials.models import CusCredential
from integrations.cus_credentials.registry import row_name
from integrations.cus_web.errors import CredentialUnreadable, CusError

# As much of a sealed credential as can be header: format, length, key id.
_HEADER_BYTES = 2 + 255
UNREADABLE = "unreadable"


class Outcome(StrEnum):
    """What became of one credential in a rotation."""

    REWRAPPED = "rewrapped"
    # Somebody stored another one, or destroyed it, since it was read.
    CHANGED = "changed meanwhile"
    UNREADABLE = UNREADABLE


class KeyInUse(CusError):
    """Credentials are still sealed by this key."""

    code, status = "key_in_use", 409


def credentials_by_key() -> dict[str, list[uuid.UUID]]:
    """The ids of all stored credentials, by the key that their own header names."""
    held: dict[str, list[uuid.UUID]] = {}
    # By the header, not by the column beside it: the header is what opening goes by.
    header = Substr("sealed", 1, _HEADER_BYTES, output_field=BinaryField())
    rows = CusCredential.objects.annotate(header=header).order_by("id")
    for row_id, start in rows.values_list("id", "header").iterator(chunk_size=2_000):
        held.setdefault(_key_of(bytes(start)), []).append(row_id)
    return held


def rotate(*, dry_run: bool = False) -> Iterator[Outcome]:
    """Bring every credential that is not under the ring's first key there, one at a time.

    A dry run tries the same and writes nothing.
    """
    ring = key_ring(settings.CUS_CREDENTIAL_KEYS)
    for key_id, rows in credentials_by_key().items():
        if key_id != ring.first_id:
            for row_id in rows:
                yield _rotate_one(ring, row_id, dry_run=dry_run)


def require_retired(key_id: str) -> None:
    """Raise KeyInUse while the ring or any stored credential needs the key."""
    if key_id == key_ring(settings.CUS_CREDENTIAL_KEYS).first_id:
        raise KeyInUse(
            f"{key_id} is the first key of the ring: it seals every new credential. Put another "
            "one before it first."
        )
    held = Counter({key: len(rows) for key, rows in credentials_by_key().items()})
    if held[key_id]:
        raise KeyInUse(
            f"{held[key_id]:,} credentials are still sealed by {key_id}. Run "
            "`manage.py cus_credential_rotate` first."
        )


def _rotate_one(ring: KeyRing, row_id: uuid.UUID, *, dry_run: bool) -> Outcome:
    stored = CusCredential.objects.filter(id=row_id).select_related("integration").first()
    if stored is None:
        return Outcome.CHANGED
    read = bytes(stored.sealed)
    try:
        sealed = rewrap(ring, read, row=row_name(stored.integration))
    except CredentialUnreadable:
        return Outcome.UNREADABLE
    if dry_run:
        return Outcome.REWRAPPED
    # The one statement that changes anything: at every moment the row holds what opens.
    changed = CusCredential.objects.filter(id=row_id, sealed=read).update(
        sealed=sealed, key_id=ring.first_id
    )
    return Outcome.REWRAPPED if changed else Outcome.CHANGED


def _key_of(header: bytes) -> str:
    try:
        return sealing_key_id(header)
    except CredentialUnreadable:
        return UNREADABLE
