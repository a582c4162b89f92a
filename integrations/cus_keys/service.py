"""Issue, list and revoke the SDK keys of one integration; two may be valid at once."""

import uuid
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from integrations.cus_accounts.models import CusUser
from integrations.cus_audit.service import differences, record_change
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.verifier import alive_at, issue_sdk_key, revoke_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_lifecycle.service import locked_integration
from integrations.cus_web.errors import CusError
from integrations.cus_web.quotas import KEYS_A_DAY, made_within_a_day

MAX_ALIVE = 2


class TooManySdkKeys(CusError):
    """This integration has two living SDK keys, which is enough to change from one to the other.
    Revoke one of them first.
    """

    code, status = "too_many_sdk_keys", 409


class SdkKeyNotFound(CusError):
    """There is no such SDK key."""

    code, status = "not_found", 404


class SdkKeyExpiryPast(CusError):
    """An SDK key must expire in the future, or never."""

    code, attr = "expiry_past", "expires_at"


class CusSdkKeyService:
    """The operations on an integration's keys. The caller must have checked the person's rights."""

    def __init__(self, integration: CusIntegration, *, actor: CusUser | None = None) -> None:
        self.integration = integration
        self.actor = actor

    def scope(self) -> QuerySet[CusSdkKey]:
        """All keys of the integration, including revoked and expired keys."""
        return CusSdkKey.objects.filter(
            tenant_id=self.integration.tenant_id, integration=self.integration
        )

    @transaction.atomic
    def issue(
        self, *, label: str = "", expires_at: datetime | None = None
    ) -> tuple[CusSdkKey, str]:
        """A new key and its whole text, which can't be shown again.

        A key counts as valid until it is revoked or has expired, even if it expires soon. Raises
        TooManySdkKeys, SdkKeyExpiryPast, TenantClosed, QuotaExceeded.
        """
        locked_integration(self.integration.id)
        now = timezone.now()
        if expires_at and expires_at <= now:
            raise SdkKeyExpiryPast
        if self.scope().filter(alive_at(now)).count() >= MAX_ALIVE:
            raise TooManySdkKeys
        KEYS_A_DAY.require_room(made_within_a_day(self.scope(), "created_at", now))
        key, text = issue_sdk_key(
            self.integration, label=label, expires_at=expires_at, actor=self.actor
        )
        changes = differences({}, {"label": label, "expires_at": expires_at})
        record_change("sdk_key.issued", key, actor=self.actor, changes=changes)
        return key, text

    @transaction.atomic
    def revoke(self, key_id: uuid.UUID) -> CusSdkKey:
        """Stop a key for good, everywhere within two seconds. Raises SdkKeyNotFound.

        Revoking a revoked key changes nothing.
        """
        key = self.scope().filter(id=key_id).first()
        if key is None:
            raise SdkKeyNotFound
        if revoke_sdk_key(key):
            key.refresh_from_db()
            changes = differences({"revoked_at": None}, {"revoked_at": key.revoked_at})
            record_change("sdk_key.revoked", key, actor=self.actor, changes=changes)
        return key
