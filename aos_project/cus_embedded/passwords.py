"""Random secrets, and private files that are whole or absent."""

import base64
import json
import os
import secrets
from pathlib import Path

_NAMES = ("superuser", "owner", "app", "valkey")


def product_secrets() -> dict[str, str]:
    """Fresh values for the secrets that the product's settings require."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    return {
        "SECRET_KEY": secrets.token_urlsafe(64),
        "CUS_CREDENTIAL_KEYS": f"local1:{key}",
        "CUS_KEY_HASH_SECRET": secrets.token_urlsafe(48),
    }


def server_passwords(path: Path) -> dict[str, str]:
    """The embedded servers' passwords, made on first use."""
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    missing = {name: secrets.token_urlsafe(32) for name in _NAMES if name not in known}
    if missing:
        known |= missing
        write_private(path, json.dumps(known, indent=1) + "\n")
    return known


def write_private(path: Path, text: str) -> None:
    """Replace the file at once, readable by its owner alone."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
