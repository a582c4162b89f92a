"""Who is told: a tenant's targets, their tests, and what a person mutes."""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.service import differences, record_change, values_of
from integrations.cus_credentials.signing import issue_signing_secret
from integrations.cus_lifecycle.service import CusIntegrationLifecycle
from integrations.cus_notifications.delivery import store
from integrations.cus_notifications.kinds import Kind, kinds_to_mute
from integrations.cus_notifications.models import (
    CusMutedNotifications,
    CusNotificationDelivery,
    CusNotificationEvent,
    CusNotificationTarget,
)
from integrations.cus_notifications.sending import check_url, send
from integrations.cus_web.errors import CusError
from integrations.cus_web.quotas import NOTIFICATION_TARGETS, made_within_a_day

# How long the secret that was replaced signs too.
OVERLAP: Final = timedelta(hours=24)
TESTS_A_MINUTE: Final = 6
_MINUTE: Final = timedelta(minutes=1)
_Medium = CusNotificationTarget.Medium


class TargetNotFound(CusError):
    """There is no such notification target."""

    code, status = "not_found", 404


class AddressTaken(CusError):
    """This address is a notification target already. Change what it mutes, or remove it first."""

    code, status, attr = "address_taken", 409, "address"


class WebhookExists(CusError):
    """This tenant has a webhook, and may have one. Remove it first."""

    code, status, attr = "webhook_exists", 409, "medium"


class NoWebhook(CusError):
    """Only a webhook has a secret; this target is told by mail."""

    code, status = "no_webhook", 409


class TargetTestedTooOften(CusError):
    """This target was tested six times within a minute. Wait a little."""

    code, status = "throttled", 429
    retry_after_seconds = 60
    # Otherwise pytest would collect this class as a test.
    __test__ = False


class CusNotificationService:
    """The notification targets of one tenant. The caller must have checked the person's rights."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    def scope(self) -> QuerySet[CusNotificationTarget]:
        """The targets that are told, newest first."""
        return self._all().filter(deleted_at__isnull=True)

    def deliveries(self) -> QuerySet[CusNotificationDelivery]:
        """The log of deliveries, newest first, also to targets that were removed."""
        rows = CusNotificationDelivery.objects.filter(tenant=self.tenant)
        return rows.select_related("event", "target")

    def get(self, target_id: uuid.UUID) -> CusNotificationTarget:
        """A target that is told. Raises TargetNotFound."""
        target = self.scope().filter(id=target_id).first()
        if target is None:
            raise TargetNotFound
        return target

    @transaction.atomic
    def add(
        self, *, medium: str, address: str, muted_kinds: Sequence[str] = ()
    ) -> tuple[CusNotificationTarget, str | None]:
        """A new target, and of a webhook the secret, which can't be shown again.

        Raises ValidationError, by field, WebhookRefused, WebhookExists, AddressTaken, TenantClosed
        and QuotaExceeded.
        """
        # Locks the tenant: of two requests at once, the second sees the first one's target.
        CusIntegrationLifecycle(self.tenant).require_open_tenant()
        muted = kinds_to_mute(muted_kinds, field="muted_kinds")
        self._require_room(medium, address)
        target = CusNotificationTarget(
            tenant=self.tenant,
            medium=medium,
            address=address,
            muted_kinds=muted,
            created_by=self.actor,
        )
        text = None
        if medium == _Medium.WEBHOOK:
            target.secret, text = issue_signing_secret(self.tenant)
        target.full_clean()
        target.save(force_insert=True)
        target.refresh_from_db()
        changes = differences({}, values_of(target, ("medium", "address", "muted_kinds")))
        record_change("notification_target.added", target, actor=self.actor, changes=changes)
        return target, text

    @transaction.atomic
    def mute(self, target_id: uuid.UUID, kinds: Sequence[str]) -> CusNotificationTarget:
        """Tell a target no more of these kinds, and of all others. Raises TargetNotFound,
        ValidationError.
        """
        target = self._lock(target_id)
        before = values_of(target, ("muted_kinds",))
        target.muted_kinds = kinds_to_mute(kinds, field="muted_kinds")
        if changes := differences(before, values_of(target, ("muted_kinds",))):
            target.save(update_fields=["muted_kinds"])
            record_change("notification_target.muted", target, actor=self.actor, changes=changes)
        return target

    @transaction.atomic
    def rotate(self, target_id: uuid.UUID) -> tuple[CusNotificationTarget, str]:
        """A new secret for a webhook; the one before signs too for a day.

        Raises TargetNotFound, NoWebhook.
        """
        target = self._lock(target_id)
        if target.medium != _Medium.WEBHOOK:
            raise NoWebhook
        outdated = target.previous_secret
        target.previous_secret = target.secret
        target.previous_secret_until = timezone.now() + OVERLAP
        target.secret, text = issue_signing_secret(self.tenant)
        target.save(update_fields=["secret", "previous_secret", "previous_secret_until"])
        if outdated:
            outdated.delete()
        changes = {"secret": "changed"}
        record_change("notification_target.rotated", target, actor=self.actor, changes=changes)
        return target, text

    @transaction.atomic
    def remove(self, target_id: uuid.UUID) -> None:
        """Tell a target no more. What waits for it is not sent. Raises TargetNotFound."""
        target = self._lock(target_id)
        deleted = {"deleted_at": timezone.now()}
        self.scope().filter(id=target.id).update(**deleted)
        waiting = CusNotificationDelivery.objects.filter(
            target=target, status=CusNotificationDelivery.Status.WAITING
        )
        waiting.update(
            status=CusNotificationDelivery.Status.FAILED, result="The target was removed."
        )
        changes = differences({"deleted_at": None}, deleted)
        record_change("notification_target.removed", target, actor=self.actor, changes=changes)

    def test(self, target_id: uuid.UUID) -> CusNotificationDelivery:
        """Tell one target of a test: a webhook now, within 10 seconds; a mail is queued.

        Raises TargetNotFound, TargetTestedTooOften.
        """
        target = self.get(target_id)
        delivery = self._announce_test(target)
        if target.medium == _Medium.WEBHOOK:
            now = timezone.now()
            store(delivery, send(delivery.target, delivery.event, now=now), tried_at=now)
        return self.deliveries().get(id=delivery.id)

    @transaction.atomic
    def _announce_test(self, target: CusNotificationTarget) -> CusNotificationDelivery:
        """The test's event, with a delivery for this target alone."""
        target = self._lock(target.id)
        now = timezone.now()
        tests = target.deliveries.filter(event__kind=Kind.TEST, created_at__gt=now - _MINUTE)
        if tests.count() >= TESTS_A_MINUTE:
            raise TargetTestedTooOften
        event = CusNotificationEvent.objects.create(
            tenant=self.tenant,
            kind=Kind.TEST,
            subject=str(uuid.uuid4()),
            window_start=now,
            summary=f"A test, asked for by {self.actor or 'the system'}. Nothing happened.",
            path="/console/notifications",
            details={},
        )
        event.refresh_from_db()
        status = CusNotificationDelivery.Status
        is_sent_here = target.medium == _Medium.WEBHOOK
        return CusNotificationDelivery.objects.create(
            tenant=self.tenant,
            event=event,
            target=target,
            # No worker sends a test of a webhook: the person waits for its result.
            status=status.FAILED if is_sent_here else status.WAITING,
            result="The test did not end." if is_sent_here else "",
        )

    def _all(self) -> QuerySet[CusNotificationTarget]:
        targets = CusNotificationTarget.objects.filter(tenant=self.tenant)
        return targets.select_related("secret", "previous_secret")

    def _lock(self, target_id: uuid.UUID) -> CusNotificationTarget:
        locked = self.scope().select_for_update(of=("self",), no_key=True)
        target = locked.filter(id=target_id).first()
        if target is None:
            raise TargetNotFound
        return target

    def _require_room(self, medium: str, address: str) -> None:
        if medium == _Medium.WEBHOOK:
            check_url(address)
            if self.scope().filter(medium=_Medium.WEBHOOK).exists():
                raise WebhookExists
        else:
            _check_email(address)
        if self.scope().filter(address__iexact=address).exists():
            raise AddressTaken
        # Those that were removed today, too: else adding and removing would have no bound.
        lately = made_within_a_day(self._all(), "created_at", timezone.now()).values("id")
        NOTIFICATION_TARGETS.require_room(
            self._all().filter(Q(deleted_at__isnull=True) | Q(id__in=lately))
        )


def _check_email(address: str) -> None:
    try:
        validate_email(address)
    except ValidationError:
        raise ValidationError({"address": "Give an e-mail address, such as a@example.com."}) from (
            None
        )


class CusMuteService:
    """The kinds of events of which a person gets no mail. Each person's own choice."""

    def __init__(self, person: CusUser) -> None:
        self.person = person

    def kinds(self) -> list[str]:
        """The kinds that the person has muted."""
        row = CusMutedNotifications.objects.filter(person=self.person).first()
        return list(row.kinds) if row else []

    @transaction.atomic
    def mute(self, kinds: Sequence[str]) -> list[str]:
        """Mute these kinds, and no others. Raises ValidationError."""
        chosen = kinds_to_mute(kinds, field="kinds")
        CusMutedNotifications.objects.update_or_create(
            person=self.person, defaults={"kinds": chosen, "updated_at": timezone.now()}
        )
        return chosen
