"""Make and verify SDK keys: `tenant_id:integration_id:secret`; only a keyed hash is stored.

A secret is `aosk_`, 256 random bits in base62, and the CRC-32 of those in six base62 digits. By the
checksum a secret scanner can tell a real secret from a similar text without asking us.
"""

import hashlib
import hmac
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from django.conf import settings
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from aos_sdk.cus_wire import KEY_SECRET_PREFIX, base62, is_key_secret, key_checksum
from integrations.cus_accounts.models import CusUser
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.use import key_uses
from integrations.cus_lifecycle.models import CusIntegration

_RANDOM_DIGITS = 43  # 62 ** 43 > 2 ** 256
# A revoked key must be refused within two seconds.
_REMEMBERED_SECONDS = 1.5
_MAX_KNOWN = 10_000
# Excludes revoked keys; the caller checks the expiry by the time of use.
FIND_KEY = """
SELECT json_build_array(id, tenant_id, integration_id, expires_at, encode(secret_hash, 'hex'))::text
FROM cus_sdk_keys WHERE secret_hash = {} AND revoked_at IS NULL
"""


@dataclass(frozen=True)
class SdkPrincipal:
    """The integration and the tenant of an SDK key."""

    key_id: uuid.UUID
    tenant_id: uuid.UUID
    integration_id: uuid.UUID
    provider_type: str
    # The provider's address in the integration's config, if there is one.
    base_url: str | None = None
    # The integration is deleted or the tenant closed: late facts are accepted, calls are refused.
    ingest_only: bool = False

    # DRF reads this attribute of a request's user.
    is_authenticated = True


def issue_sdk_key(
    integration: CusIntegration,
    *,
    label: str = "",
    expires_at: datetime | None = None,
    actor: CusUser | None = None,
) -> tuple[CusSdkKey, str]:
    """A new key and its whole text, which is stored nowhere and can't be shown again."""
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


class NamedKey(NamedTuple):
    """The tenant and the integration that a key's text names, unverified, and the secret's hash."""

    tenant_id: uuid.UUID
    integration_id: uuid.UUID
    digest: bytes


class KnownKey(NamedTuple):
    """The database's row of a key, and when it was read (seconds of the monotonic clock)."""

    key_id: uuid.UUID
    tenant_id: uuid.UUID
    integration_id: uuid.UUID
    expires_at: datetime | None
    asked_at: float

    def vouches(self, named: NamedKey, now: datetime) -> bool:
        """Whether the key has not expired, and belongs to the integration that its text names."""
        expired = self.expires_at is not None and self.expires_at <= now
        return not expired and self[1:3] == named[:2]


_known: dict[bytes, KnownKey] = {}
_row = msgspec.json.Decoder(tuple[uuid.UUID, uuid.UUID, uuid.UUID, datetime | None, str])


def named_key(text: str) -> NamedKey | None:
    """The parts of a key's text. None if the text can't be a key; that needs no database."""
    parts = text.split(":")
    if len(parts) != 3 or not is_key_secret(parts[2]):
        return None
    try:
        tenant_id, integration_id = (uuid.UUID(part) for part in parts[:2])
    except ValueError:
        return None
    if parts[:2] != [str(tenant_id), str(integration_id)]:
        return None
    return NamedKey(tenant_id, integration_id, _hash(parts[2]))


def living_key(
    named: NamedKey, *, now: datetime, find: Callable[[bytes], bytes | str | None]
) -> KnownKey | None:
    """The key, or None if it is revoked, expired, unknown or of another integration.

    `find` runs FIND_KEY for a hash and returns its row; its errors pass through. A found key is
    remembered for less than two seconds, by its hash, so a revocation acts within two seconds in
    every process. The key's use is recorded, coarsely.
    """
    known = _known.get(named.digest)
    if known is None or time.monotonic() - known.asked_at > _REMEMBERED_SECONDS:
        known = _ask(named.digest, find)
        if known is not None and known.vouches(named, now):
            key_uses.note(known.key_id, now)
    return known if known is not None and known.vouches(named, now) else None


def last_known_key(named: NamedKey, *, within_seconds: float) -> KnownKey | None:
    """The row of a key that was read at most `within_seconds` ago; the caller must verify it."""
    known = _known.get(named.digest)
    if known is None or time.monotonic() - known.asked_at > within_seconds:
        return None
    return known


def verify_sdk_key(text: str, *, now: datetime) -> SdkPrincipal | None:
    """The integration for which a key may report, or None if the key is not valid.

    Raises Django's OperationalError if the database does not answer.
    """
    named = named_key(text)
    key = living_key(named, now=now, find=_find) if named else None
    return _principal_of(key, now) if key else None


def forget_sdk_keys() -> None:
    """Forget remembered keys, so that each is read from the database again."""
    _known.clear()
    _reporters.clear()
    key_uses.forget()


def alive_at(now: datetime) -> Q:
    """The keys that are neither revoked nor expired."""
    return Q(revoked_at__isnull=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=now))


def _ask(digest: bytes, find: Callable[[bytes], bytes | str | None]) -> KnownKey | None:
    asked_at = time.monotonic()
    row = find(digest)
    found = _row.decode(row) if row else None
    # The index does not compare in constant time, so compare once more.
    if found is None or not hmac.compare_digest(found[4], digest.hex()):
        _known.pop(digest, None)
        return None
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    known = _known[digest] = KnownKey(*found[:4], asked_at)
    return known


def _find(digest: bytes) -> str | None:
    with connection.cursor() as cursor:
        cursor.execute(FIND_KEY.format("%s"), [digest])
        row = cursor.fetchone()
    return row[0] if row else None


class _Reporter(NamedTuple):
    """The facts of an integration that telemetry needs; `closed_at` is None while it is open."""

    provider_type: str
    base_url: str | None
    closed_at: datetime | None
    asked_at: float


_reporters: dict[uuid.UUID, _Reporter] = {}


def _principal_of(key: KnownKey, now: datetime) -> SdkPrincipal | None:
    """The principal; a closed integration has one as long as its facts may be late (C3)."""
    reporter = _reporters.get(key.integration_id)
    if reporter is None or time.monotonic() - reporter.asked_at > _REMEMBERED_SECONDS:
        reporter = _read_reporter(key.integration_id)
    late = timedelta(days=settings.CUS_TELEMETRY_MAX_AGE_DAYS)
    if reporter.closed_at and reporter.closed_at <= now - late:
        return None
    return SdkPrincipal(
        key.key_id,
        key.tenant_id,
        key.integration_id,
        reporter.provider_type,
        base_url=reporter.base_url,
        ingest_only=reporter.closed_at is not None,
    )


def _read_reporter(integration_id: uuid.UUID) -> _Reporter:
    asked_at = time.monotonic()
    integration = CusIntegration.objects.select_related("tenant").get(id=integration_id)
    closings = [at for at in (integration.deleted_at, integration.tenant.closed_at) if at]
    if len(_reporters) >= _MAX_KNOWN:
        _reporters.clear()
    reporter = _reporters[integration_id] = _Reporter(
        integration.provider_type,
        integration.config.get("base_url"),
        min(closings, default=None),
        asked_at,
    )
    return reporter


def revoke_sdk_key(key: CusSdkKey) -> bool:
    """Revoke a key for good; False if it was revoked before. The key's reports stay."""
    alive = CusSdkKey.objects.filter(id=key.id, revoked_at__isnull=True)
    return bool(alive.update(revoked_at=timezone.now()))


def _new_secret() -> str:
    digits = base62(secrets.randbits(256), _RANDOM_DIGITS)
    return KEY_SECRET_PREFIX + digits + key_checksum(digits)


def _hash(secret: str) -> bytes:
    return hmac.digest(settings.CUS_KEY_HASH_SECRET.encode(), secret.encode(), hashlib.sha256)
