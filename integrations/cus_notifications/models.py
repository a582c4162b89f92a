"""Who is told, of what, and how each message fared."""

import uuid
from datetime import datetime
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_credentials.models import CusSigningSecret
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_notifications.kinds import MUTABLE_CHOICES, Kind


class CusNotificationTarget(models.Model):
    """An address that is told of a tenant's events: mail, or the tenant's one webhook.

    A target that was removed stays for as long as the log of its deliveries does.
    """

    class Medium(models.TextChoices):
        """How a target is told."""

        EMAIL = "email", "E-mail"
        WEBHOOK = "webhook", "Webhook"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="+")
    medium = models.CharField(max_length=10, choices=Medium)
    # An e-mail address, or the webhook's URL.
    address = models.CharField(max_length=2048)
    muted_kinds = ArrayField(
        models.CharField(max_length=20, choices=MUTABLE_CHOICES),
        default=list,
        db_default=[],
        blank=True,
    )
    # Of a webhook; the previous secret signs too, until then.
    secret = models.ForeignKey(
        CusSigningSecret, models.PROTECT, null=True, editable=False, related_name="+"
    )
    previous_secret = models.ForeignKey(
        CusSigningSecret, models.PROTECT, null=True, editable=False, related_name="+"
    )
    previous_secret_until = models.DateTimeField(null=True, editable=False)
    # Failed tries in a row, and when the next may begin: what waits, waits for the receiver.
    failures = models.PositiveIntegerField(db_default=0, editable=False)
    retry_at = models.DateTimeField(null=True, editable=False)
    # Until then, one worker sends to the receiver, and no other does.
    busy_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.ForeignKey(
        CusUser, models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        db_table = "cus_notification_targets"
        verbose_name = "notification target"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                "tenant",
                Lower("address"),
                condition=Q(deleted_at__isnull=True),
                name="cus_notification_targets_address",
            ),
            models.UniqueConstraint(
                fields=["tenant"],
                condition=Q(deleted_at__isnull=True, medium="webhook"),
                name="cus_notification_targets_one_webhook",
            ),
            models.CheckConstraint(
                condition=Q(medium="email", secret__isnull=True)
                | Q(medium="webhook", secret__isnull=False),
                name="cus_notification_targets_webhook_has_secret",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_medium_display()} {self.address}"


class CusNotificationEvent(models.Model):
    """What happened, told once: its key is the transition (`kind`, `subject`, `value`, window).

    Kept after it was told, so that no worker and no replay tells of it again.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="+")
    # Null for what is of no single integration.
    integration = models.ForeignKey(
        CusIntegration, models.PROTECT, null=True, blank=True, related_name="+"
    )
    kind = models.CharField(max_length=20, choices=Kind)
    # What it is about: a limit with its amount, a reason, a stop.
    subject = models.CharField(max_length=100)
    # The agent, session, end user, model or tag that a limit counts; empty for all calls.
    value = models.CharField(max_length=200, blank=True, default="")
    # When the limit's window began. `announcing.ALL_TIME` for a limit without an end.
    window_start = models.DateTimeField()
    summary = models.CharField(max_length=500)
    # The page of the console that shows it, from the host on.
    path = models.CharField(max_length=300)
    details = models.JSONField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    app_privileges: ClassVar[str] = "SELECT, INSERT, DELETE"

    class Meta:
        db_table = "cus_notification_events"
        verbose_name = "notification"
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="cus_notification_events_tenant"),
            models.Index(fields=["created_at"], name="cus_notification_events_old"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "integration", "subject", "value", "window_start", "kind"],
                nulls_distinct=False,
                name="cus_notification_events_once",
            ),
            models.CheckConstraint(
                condition=Q(
                    kind__in=[
                        "limit_80",
                        "limit_95",
                        "limit_100",
                        "first_refusal",
                        "credential_invalid",
                        "stop_made",
                        "too_many",
                        "test",
                    ]
                ),
                name="cus_notification_events_kind_known",
            ),
        ]

    def __str__(self) -> str:
        return self.summary


class CusNotificationDelivery(models.Model):
    """One event for one target: whether it was sent, and if not, why and when it is tried again."""

    class Status(models.TextChoices):
        """How the delivery fares."""

        WAITING = "waiting", "Waiting"
        # Handed to the queue of mails.
        QUEUED = "queued", "Queued"
        SENT = "sent", "Sent"
        FAILED = "failed", "Given up"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="+")
    event = models.ForeignKey(CusNotificationEvent, models.PROTECT, related_name="deliveries")
    target = models.ForeignKey(CusNotificationTarget, models.PROTECT, related_name="deliveries")
    status = models.CharField(max_length=10, choices=Status, default=Status.WAITING)
    attempts = models.PositiveIntegerField(db_default=0)
    last_tried_at = models.DateTimeField("last tried at", null=True)
    # What the last try came to, in words; empty before the first.
    result = models.CharField(max_length=300, blank=True, db_default="", default="")
    # The row of `CusMail`, which is forgotten earlier or later than this one.
    mail_id = models.UUIDField(null=True)
    sent_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "cus_notification_deliveries"
        verbose_name = "delivery"
        verbose_name_plural = "deliveries"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(
                fields=["target", "attempts", "created_at"],
                condition=Q(status__in=["waiting", "queued"]),
                name="cus_notification_del_waiting",
            ),
            models.Index(fields=["tenant", "-created_at", "-id"], name="cus_notification_del_log"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["event", "target"], name="cus_notification_del_once"),
            models.CheckConstraint(
                condition=Q(status__in=["waiting", "queued", "sent", "failed"]),
                name="cus_notification_del_status_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.target}"

    @property
    def next_try_at(self) -> datetime | None:
        """When a waiting delivery is tried again; None: at once, or no more."""
        return self.target.retry_at if self.status == self.Status.WAITING else None


class CusMutedNotifications(models.Model):
    """The kinds of events of which a person wants no mail, whoever made their address a target."""

    person = models.OneToOneField(CusUser, models.PROTECT, primary_key=True, related_name="+")
    kinds = ArrayField(models.CharField(max_length=20, choices=MUTABLE_CHOICES), default=list)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "cus_muted_notifications"
        verbose_name = "muted notifications"

    def __str__(self) -> str:
        return f"{self.person}: {', '.join(self.kinds)}"
