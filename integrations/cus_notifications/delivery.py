"""Deliver what was announced: mails by the queue of mails, webhooks one target at a time.

A delivery is a row until the receiver has taken it, so a worker that is killed loses none. It may
send one again: the receiver knows it by the event's id. While a webhook fails, all that waits for it
waits together, so a receiver that hangs costs one try, and no other tenant's time.
"""

import uuid
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from integrations.cus_mail.service import queue_mail
from integrations.cus_notifications.models import (
    CusNotificationDelivery,
    CusNotificationEvent,
    CusNotificationTarget,
)
from integrations.cus_notifications.payload import link_of
from integrations.cus_notifications.sending import Outcome, send
from integrations.cus_web.errors import MailLimitReached

MAIL: Final = "notification"
_FIRST_RETRY_SECONDS: Final = 30
_LONGEST_RETRY_SECONDS: Final = 3_600
GIVEN_UP_AFTER: Final = timedelta(days=3)
# A worker sends so many at most before it lets others take a turn, each within `sending.SECONDS`.
_AT_ONCE: Final = 10
_TURN: Final = timedelta(seconds=150)
KEPT_FOR: Final = timedelta(days=30)
# Longer than any window but all time, so that no window is told of twice.
_EVENTS_KEPT_FOR: Final = timedelta(days=90)
_ALL_TIME_KEPT_FOR: Final = timedelta(days=400)
_DAY: Final = timedelta(days=1)

_Status = CusNotificationDelivery.Status
_Medium = CusNotificationTarget.Medium

log = structlog.get_logger(__name__)


# --- Webhooks -----------------------------------------------------------------------------------


def due_webhooks(now: datetime) -> list[uuid.UUID]:
    """The webhooks with waiting deliveries that may be tried now."""
    waiting = CusNotificationDelivery.objects.filter(status=_Status.WAITING)
    due = _free(now).filter(medium=_Medium.WEBHOOK, id__in=waiting.values("target_id"))
    return list(due.order_by("id").values_list("id", flat=True))


def deliver_to(target_id: uuid.UUID) -> int:
    """Send what waits for a webhook, until a try fails or the turn is over; return the number sent.

    Does nothing while another worker has the target's turn. A turn that a killed worker held ends
    by itself.
    """
    if not take_turn(target_id):
        return 0
    sent = 0
    for _ in range(_AT_ONCE):
        delivery = _next(target_id)
        if delivery is None or not _try(delivery):
            break
        sent += 1
    CusNotificationTarget.objects.filter(id=target_id).update(busy_until=None)
    return sent


@transaction.atomic
def take_turn(target_id: uuid.UUID) -> bool:
    """Take the target's turn, if it is free: one worker sends to a target at a time."""
    now = timezone.now()
    # Locked by a statement of its own: Django's UPDATE of rows that are chosen by their tenant would
    # go by what it read of them before it waited for another worker.
    free = _free(now).select_for_update(of=("self",), no_key=True)
    if free.filter(id=target_id).first() is None:
        return False
    CusNotificationTarget.objects.filter(id=target_id).update(busy_until=now + _TURN)
    return True


def _free(now: datetime) -> QuerySet[CusNotificationTarget]:
    """The living targets whose receiver may be tried, and that no worker sends to."""
    return CusNotificationTarget.objects.filter(
        Q(retry_at=None) | Q(retry_at__lte=now),
        Q(busy_until=None) | Q(busy_until__lte=now),
        deleted_at=None,
        tenant__closed_at=None,
    )


def _next(target_id: uuid.UUID) -> CusNotificationDelivery | None:
    """The delivery to try: those that were refused less often first, then the oldest."""
    waiting = CusNotificationDelivery.objects.filter(target_id=target_id, status=_Status.WAITING)
    related = waiting.select_related(
        "event__integration", "target__secret", "target__previous_secret"
    )
    return related.order_by("attempts", "created_at", "id").first()


def _try(delivery: CusNotificationDelivery) -> bool:
    """Try once, outside of any transaction, and store what came of it. True if it was taken."""
    now = timezone.now()
    outcome = send(delivery.target, delivery.event, now=now)
    store(delivery, outcome, tried_at=now)
    return outcome.ok


@transaction.atomic
def store(delivery: CusNotificationDelivery, outcome: Outcome, *, tried_at: datetime) -> None:
    """Store a try's outcome, and when the target may be tried next."""
    now = timezone.now()
    values: dict[str, object] = {}
    if outcome.ok:
        values = {"status": _Status.SENT, "sent_at": now}
    elif delivery.created_at <= now - GIVEN_UP_AFTER:
        values = {"status": _Status.FAILED}
    # Else the status stays: the target may have been removed meanwhile.
    CusNotificationDelivery.objects.filter(id=delivery.id).update(
        attempts=F("attempts") + 1,
        last_tried_at=tried_at,
        result=outcome.result[:300],
        **values,
    )
    target = CusNotificationTarget.objects.filter(id=delivery.target_id)
    if outcome.ok:
        target.update(failures=0, retry_at=None)
        return
    failures = target.select_for_update(no_key=True).values_list("failures", flat=True).get()
    wait = timedelta(seconds=min(_FIRST_RETRY_SECONDS * 2**failures, _LONGEST_RETRY_SECONDS))
    target.update(failures=F("failures") + 1, retry_at=now + wait)
    log.warning("webhook not delivered", target_id=str(delivery.target_id), result=outcome.result)


# --- Mail ---------------------------------------------------------------------------------------


def queue_mails() -> int:
    """Hand the waiting mails to the queue of mails; return the number of mails queued."""
    queued = 0
    while (found := _queue_next()) is not None:
        queued += found
    return queued


@transaction.atomic
def _queue_next() -> int | None:
    """Queue one mail with its delivery's new status; None if no delivery waits."""
    waiting = CusNotificationDelivery.objects.filter(
        status=_Status.WAITING, target__medium=_Medium.EMAIL
    )
    locked = waiting.select_for_update(of=("self",), skip_locked=True)
    delivery = locked.select_related("event__tenant", "target").order_by("created_at").first()
    if delivery is None:
        return None
    now = timezone.now()
    delivery.attempts, delivery.last_tried_at = delivery.attempts + 1, now
    try:
        delivery.mail_id = _queue(delivery, now)
        delivery.status, delivery.result = _Status.QUEUED, "The mail waits for the mail server."
    except MailLimitReached as limit:
        delivery.status, delivery.result = _Status.FAILED, limit.detail
    delivery.save(update_fields=["attempts", "last_tried_at", "mail_id", "status", "result"])
    return int(delivery.status == _Status.QUEUED)


def _queue(delivery: CusNotificationDelivery, now: datetime) -> uuid.UUID:
    """Queue the mail. Raises MailLimitReached.

    It does not count against the tenant's limit of mails, so that invitations are sent all the
    same: notifications have one of their own, of the same size.
    """
    event, most = delivery.event, int(settings.CUS_MAILS_PER_TENANT_DAY)
    today = CusNotificationDelivery.objects.filter(
        tenant_id=delivery.tenant_id, mail_id__isnull=False, last_tried_at__gt=now - _DAY
    )
    if most and today.count() >= most:
        raise MailLimitReached(f"Mails of notifications reached their limit of {most:,} a day.")
    mail = queue_mail(
        to=delivery.target.address,
        template=MAIL,
        context={
            "kind": event.kind,
            "summary": event.summary,
            "at": f"{event.created_at:%Y-%m-%d %H:%M}",
            "organisation": event.tenant.name,
            "page": link_of(event),
            "mute": f"{settings.CUS_PUBLIC_URL}/console/notifications",
        },
        is_required=True,
        alike_by="kind",
    )
    assert mail
    return mail


_SETTLE = """
UPDATE cus_notification_deliveries AS delivery SET
    status = CASE WHEN mail.sent_at IS NOT NULL THEN 'sent' ELSE 'failed' END,
    sent_at = mail.sent_at,
    result = CASE WHEN mail.sent_at IS NOT NULL THEN 'The mail server took the mail.'
        ELSE 'The mail server did not take the mail within a day.' END
FROM cus_mails AS mail
WHERE delivery.status = 'queued' AND mail.id = delivery.mail_id
    AND (mail.sent_at IS NOT NULL OR mail.dropped_at IS NOT NULL)
"""


def settle_mails() -> int:
    """Note which queued mails were sent or given up; return their number."""
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE)
        return int(cursor.rowcount)


# --- What is over -------------------------------------------------------------------------------


def give_up_old(*, now: datetime) -> int:
    """Give up what has waited for three days, such as for a target that was removed."""
    over = CusNotificationDelivery.objects.filter(
        Q(target__deleted_at__isnull=False) | Q(created_at__lte=now - GIVEN_UP_AFTER),
        status=_Status.WAITING,
    )
    return over.update(status=_Status.FAILED)


def forget_old(*, now: datetime) -> None:
    """Delete old deliveries, events that can't recur, and targets that were removed long ago."""
    over = CusNotificationDelivery.objects.exclude(status=_Status.WAITING)
    over.filter(created_at__lte=now - KEPT_FOR).delete()
    _old_events(now).delete()
    gone = CusNotificationTarget.objects.filter(deleted_at__lte=now - KEPT_FOR)
    for target in gone.filter(deliveries=None):
        secrets = [one for one in (target.secret, target.previous_secret) if one]
        target.delete()
        for secret in secrets:
            secret.delete()


def _old_events(now: datetime) -> QuerySet[CusNotificationEvent]:
    events = CusNotificationEvent.objects.filter(deliveries=None)
    return events.filter(
        Q(created_at__lte=now - _EVENTS_KEPT_FOR, window_start__gte=now - 10 * _EVENTS_KEPT_FOR)
        | Q(created_at__lte=now - _ALL_TIME_KEPT_FOR)
    )
