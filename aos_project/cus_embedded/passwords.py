"""Random secrets, and private files that are written whole or not at all."""

import base64
import json
import os
import secrets
from pathlib import Path

from aos_project.cus_embedded.errors import SecretsIncomplete, SecretsUnreadable

# Secrets that an earlier release did not have: its file lacks them without being damaged.
LATER_SECRETS = frozenset({"CUS_SEAL_SECRET"})
_NAMES = ("superuser", "owner", "app", "valkey")


def product_secrets() -> dict[str, str]:
    """Fresh values for the secrets that the product's settings require."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    return {
        "SECRET_KEY": secrets.token_urlsafe(64),
        "CUS_CREDENTIAL_KEYS": f"local1:{key}",
        "CUS_KEY_HASH_SECRET": secrets.token_urlsafe(48),
        "CUS_SEAL_SECRET": secrets.token_urlsafe(48),
    }


def server_passwords(path: Path, *, of_existing_data: bool = False) -> dict[str, str]:
    """The embedded servers' passwords, made on first use."""
    known = _known(path)
    # The superuser's password is enough: with it, the others can be set anew.
    if of_existing_data and "superuser" not in known:
        raise SecretsIncomplete(secrets=path, names="superuser")
    missing = {name: secrets.token_urlsafe(32) for name in _NAMES if name not in known}
    if missing:
        known |= missing
        write_private(path, json.dumps(known, indent=1) + "\n")
    return known


def _known(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_bytes())
    except ValueError as error:
        raise SecretsUnreadable(secrets=path, reason=error) from error
    if not isinstance(known, dict) or not all(isinstance(word, str) for word in known.values()):
        raise SecretsUnreadable(secrets=path, reason="not an object of texts")
    return known


def write_private(path: Path, text: str) -> None:
    """Replace the file atomically, readable by its owner alone."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
