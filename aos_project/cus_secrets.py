"""Refuse weak secrets at production's start. No message quotes a secret."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from integrations.cus_credentials.envelope import KeyRing, KeyRingInvalid
from telemetry.cus_seals.keys import seal_secrets

# The least number of characters of a random secret, as `openssl rand` prints it.
_SHORTEST = {"SECRET_KEY": 50, "CUS_KEY_HASH_SECRET": 32, "CUS_METRICS_TOKEN": 20}
_SHORTEST_SEALING = 32
_FEWEST_DIFFERENT = 10
_PLACEHOLDER = re.compile(
    r"change.?me|insecure|example|placeholder|password|replace|default|(your|my|super).?secret",
    re.IGNORECASE,
)
_MAKE_ONE = "Make a secret by: openssl rand -base64 48"


def refuse_weak_secrets(given: Mapping[str, str]) -> None:
    """Stop on a secret that is a placeholder, too short, or used twice.

    `given` maps the names of `.env.example` to secrets. Raises ImproperlyConfigured.
    """
    for name, shortest in _SHORTEST.items():
        if given.get(name):
            _refuse_guessable(name, given[name], shortest)
    sealing = seal_secrets(given["CUS_SEAL_SECRET"])
    if not sealing:
        _refuse("CUS_SEAL_SECRET", "holds no secret", _MAKE_ONE)
    for secret in sealing:
        _refuse_guessable("CUS_SEAL_SECRET", secret, _SHORTEST_SEALING)
    _refuse_weak_keys(given["CUS_CREDENTIAL_KEYS"])
    for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL"):
        _refuse_example_password(name, given.get(name, ""))
    _refuse_shared(given)


def _refuse_guessable(name: str, secret: str, shortest: int) -> None:
    if len(secret) < shortest:
        _refuse(name, f"is shorter than {shortest} characters", _MAKE_ONE)
    # A random text of this length practically never contains a word of seven letters.
    if _PLACEHOLDER.search(secret):
        _refuse(name, "looks like a placeholder", _MAKE_ONE)
    if len(set(secret)) < _FEWEST_DIFFERENT:
        _refuse(name, "repeats a few characters", _MAKE_ONE)


def _refuse_weak_keys(text: str) -> None:
    how = "Give id:key pairs; openssl rand -base64 32 makes a key."
    try:
        ring = KeyRing.parse(text)
    except KeyRingInvalid:
        _refuse("CUS_CREDENTIAL_KEYS", "can't be read", how)
    for key_id, key in ring.keys.items():
        if len(set(key)) < _FEWEST_DIFFERENT:
            _refuse("CUS_CREDENTIAL_KEYS", f"has a key that is not random, {key_id}", how)


def _refuse_example_password(name: str, url: str) -> None:
    try:
        password = urlsplit(url).password or ""
    except ValueError:
        return  # The code that parses the address refuses a malformed address.
    if password.upper() in ("PASSWORD", "CHANGEME", "POSTGRES", "SECRET"):
        _refuse(name, "has the password of an example", "Give the login a password of its own.")


def _refuse_shared(given: Mapping[str, str]) -> None:
    """Refuse a secret that is used twice: a leak of one would be a leak of both."""
    secrets = {"SECRET_KEY": given["SECRET_KEY"]}
    for name in ("CUS_KEY_HASH_SECRET", "CUS_SEAL_SECRET"):
        for other, value in secrets.items():
            if value in seal_secrets(given[name]):
                _refuse(name, f"is the same as {other}", _MAKE_ONE)
        secrets[name] = given[name]


def _refuse(name: str, fault: str, remedy: str) -> None:
    msg = f"{name} {fault}, so production does not start with it. {remedy}"
    raise ImproperlyConfigured(msg)
