"""The folders of a spool, and whose rings they hold.

Below the spool's folder each integration of a tenant has a folder, named by the hash of both,
whatever address the server has; its file `about` says whose it is. Keys are never stored. SDK 0.1.0
named its folders by the server's address, too, and wrote no `about`: such a folder can be found by
whoever knows the address, and otherwise only its records may tell whose it is.
"""

import contextlib
import json
import os
import stat
import uuid
from collections.abc import Collection
from typing import Any, Final, NamedTuple

from aos_sdk.cus_delivery.connection import DEFAULT_BASE_URL, CusConnection
from aos_sdk.cus_delivery.ring_files import NEW, RING

_ABOUT: Final = "about"
_MOST_ABOUT_BYTES: Final = 4_096
_OTHER_SCHEME: Final = {"http": "https", "https": "http"}


class CusOwner(NamedTuple):
    """The integration to which a folder's records belong, and its tenant."""

    tenant_id: str
    integration_id: str


def owner_of_key(connection: CusConnection) -> CusOwner:
    """The integration of the connection's key."""
    return CusOwner(connection.key.tenant_id, connection.key.integration_id)


def folder_of(root: str, owner: CusOwner) -> str:
    """The folder of an integration's rings."""
    return _named(root, *owner)


def former_folders(root: str, connection: CusConnection) -> list[str]:
    """The folders that SDK 0.1.0 had for this integration: under this address, the default address
    (where `AOS_BASE_URL` was not set), and the address with the other scheme.
    """
    owner, address = owner_of_key(connection), connection.base_url
    scheme, separator, rest = address.partition("://")
    other = _OTHER_SCHEME.get(scheme.lower(), scheme) + separator + rest
    addresses = dict.fromkeys((address, DEFAULT_BASE_URL, other))
    return [_named(root, address, *owner) for address in addresses]


def _named(root: str, *parts: str) -> str:
    from hashlib import sha256  # here, because `import aos_sdk` must stay light

    return os.path.join(root, sha256("\n".join(parts).encode()).hexdigest()[:32])


def describe(folder: str, owner: CusOwner) -> None:
    """Say in the folder whose rings it holds, unless it says so already. Raises OSError."""
    path = os.path.join(folder, _ABOUT)
    if not os.path.lexists(path):
        write_whole(path, owner._asdict())


def write_whole(path: str, content: object) -> None:
    """Write JSON to a private file that other processes may read at any moment. Raises OSError."""
    # Under another name until it is whole.
    new = f"{path}.{uuid.uuid4().hex}{NEW}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(new, flags, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise


def owner_of(folder: str) -> CusOwner | None:
    """Whose rings the folder says that it holds; None if it says nothing that can be read."""
    try:
        with open(os.path.join(folder, _ABOUT), encoding="utf-8") as file:
            about: Any = json.loads(file.read(_MOST_ABOUT_BYTES))
        owner = CusOwner(about["tenant_id"], about["integration_id"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return owner if all(isinstance(name, str) for name in owner) else None


def rings_in(folder: str) -> list[str]:
    """The paths of a folder's rings, in order; none if the folder can't be read."""
    try:
        return sorted(entry.path for entry in os.scandir(folder) if entry.name.endswith(RING))
    except OSError:
        return []


def undescribed(root: str, known: Collection[str]) -> list[str]:
    """The user's folders below the root that say of nobody whose they are, except for `known`."""
    try:
        found = sorted(entry.path for entry in os.scandir(root))
    except OSError:
        return []
    return [
        path for path in found if path not in known and is_own_folder(path) and not owner_of(path)
    ]


def is_own_folder(path: str) -> bool:
    """Whether this is a folder, and no link to one, that belongs to the user."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
