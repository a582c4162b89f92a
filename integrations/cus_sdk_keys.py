"""SDK keys: `tenant_id:integration_id:secret`, made once, kept as a keyed hash.

A secret is `aosk_`, 256 random bits in base62, and the CRC-32 of those in six base62
digits: a secret scanner recognises it and can tell it from a look-alike without asking us.
"""

import hashlib
import hmac
import secrets
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from aos_sdk.cus_wire import KEY_SECRET_PREFIX, base62, is_key_secret, key_checksum
from integrations.cus_models import CusIntegration, CusSdkKey, CusUser

_RANDOM_DIGITS = 43  # 62 ** 43 > 2 ** 256
# Last use is for people who tidy up: one write in ten minutes tells them enough.
# A revoked key must be dead within two seconds.
_REMEMBERED_SECONDS = 1.5
_LAST_USED_EVERY = timedelta(minutes=10)


@dataclass(frozen=True)
class SdkPrincipal:
    """Who an SDK key vouches for: one integration of one tenant."""

    key_id: uuid.UUID
    tenant_id: uuid.UUID
    integration_id: uuid.UUID
    provider_type: str
    # Where an OpenAI-compatible integration's provider is, if it says so.
    base_url: str | None = None
    # Its integration is deleted or its tenant closed: late facts are taken, no call is admitted.
    ingest_only: bool = False

    # What DRF asks of a request's user.
    is_authenticated = True


def issue_sdk_key(
    integration: CusIntegration,
    *,
    label: str = "",
    expires_at: datetime | None = None,
    actor: CusUser | None = None,
) -> tuple[CusSdkKey, str]:
    """A new key and its whole text, which is nowhere else and can't be shown again."""
    secret = _new_secret()
    key = CusSdkKey.objects.create(
        tenant_id=integration.tenant_id,
        integration=integration,
        label=label,
        secret_hash=_hash(secret),
        hint=secret[-4:],
        expires_at=expires_at,
        created_by=actor,
    )
    return key, f"{integration.tenant_id}:{integration.id}:{secret}"


@dataclass(frozen=True)
class _Known:
    """What the database said of a key, and when we asked (seconds of the monotonic clock)."""

    principal: SdkPrincipal
    expires_at: datetime | None
    asked_at: float


_known: dict[bytes, _Known] = {}
_MAX_KNOWN = 10_000


def verify_sdk_key(text: str, *, now: datetime) -> SdkPrincipal | None:
    """Whom a key's text vouches for, or None if it is no living key of ours.

    A good answer is remembered for less than two seconds, by the key's hash: a revocation acts
    within that time in every process.
    """
    parts = text.split(":")
    if len(parts) != 3 or not is_key_secret(parts[2]):
        return None
    digest = _hash(parts[2])
    known = _known.get(digest)
    if known is None or time.monotonic() - known.asked_at > _REMEMBERED_SECONDS:
        known = _ask(digest, now)
    # Found by its hash; held against whom the text names.
    if known is None or (known.expires_at and known.expires_at <= now):
        return None
    principal = known.principal
    named = [str(principal.tenant_id), str(principal.integration_id)]
    return principal if parts[:2] == named else None


def digest_of_key(text: str) -> tuple[uuid.UUID, uuid.UUID, bytes] | None:
    """The tenant and the integration that a key's text names, and its secret's hash.

    None for what can't be a key. Whether it is one, and theirs, only the database knows.
    """
    parts = text.split(":")
    if len(parts) != 3 or not is_key_secret(parts[2]):
        return None
    try:
        tenant_id, integration_id = (uuid.UUID(part) for part in parts[:2])
    except ValueError:
        return None
    if parts[:2] != [str(tenant_id), str(integration_id)]:
        return None
    return tenant_id, integration_id, _hash(parts[2])


def forget_sdk_keys() -> None:
    """Ask the database about every key again."""
    _known.clear()


def alive_at(now: datetime) -> Q:
    """The keys that are neither revoked nor expired."""
    return Q(revoked_at__isnull=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=now))


def _ask(digest: bytes, now: datetime) -> _Known | None:
    asked_at = time.monotonic()
    key = _find(digest, now)
    if key is None:
        _known.pop(digest, None)
        return None
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    _note_use(key, now)
    known = _known[digest] = _Known(_principal(key), key.expires_at, asked_at)
    return known


def _find(digest: bytes, now: datetime) -> CusSdkKey | None:
    key = (
        CusSdkKey.objects.filter(alive_at(now), *_still_reporting(now), secret_hash=digest)
        .select_related("integration__tenant")
        .first()
    )
    # The index compares as indexes do; once more in constant time.
    if key is None or not hmac.compare_digest(bytes(key.secret_hash), digest):
        return None
    return key


def _still_reporting(now: datetime) -> list[Q]:
    """Of what is closed, facts are taken for as long as they may be late (ruling C3)."""
    since = now - timedelta(days=settings.CUS_TELEMETRY_MAX_AGE_DAYS)
    closings = ("integration__deleted_at", "integration__tenant__closed_at")
    return [Q(**{f"{name}__isnull": True}) | Q(**{f"{name}__gt": since}) for name in closings]


def _principal(key: CusSdkKey) -> SdkPrincipal:
    integration = key.integration
    return SdkPrincipal(
        key.id,
        key.tenant_id,
        key.integration_id,
        integration.provider_type,
        base_url=integration.config.get("base_url"),
        ingest_only=bool(integration.deleted_at or integration.tenant.closed_at),
    )


def revoke_sdk_key(key: CusSdkKey) -> bool:
    """Stop a key for good, and say whether it was not yet. What it reported stays."""
    alive = CusSdkKey.objects.filter(id=key.id, revoked_at__isnull=True)
    return bool(alive.update(revoked_at=timezone.now()))


def _note_use(key: CusSdkKey, now: datetime) -> None:
    if key.last_used_at and now - key.last_used_at < _LAST_USED_EVERY:
        return
    CusSdkKey.objects.filter(id=key.id).update(last_used_at=now)


def _new_secret() -> str:
    digits = base62(secrets.randbits(256), _RANDOM_DIGITS)
    return KEY_SECRET_PREFIX + digits + key_checksum(digits)


def _hash(secret: str) -> bytes:
    return hmac.digest(settings.CUS_KEY_HASH_SECRET.encode(), secret.encode(), hashlib.sha256)
