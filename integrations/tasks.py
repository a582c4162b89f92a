"""The periodic tasks of authority. Tasks get ids, never values: the broker stores arguments."""

import uuid

import structlog
from celery import shared_task
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone
from redis import Redis

from integrations.cus_accounts.session_service import forget_old_sessions
from integrations.cus_accounts.token_digest import forget_told_changes, mail_token_digests
from integrations.cus_health.schedule import ROUND_SECONDS, due_checks, stale
from integrations.cus_health.service import CusHealthService
from integrations.cus_health.turns import CheckUnderWay
from integrations.cus_limits.moments import announce_moments
from integrations.cus_mail.service import forget_old_mails, send_waiting
from integrations.cus_notifications.delivery import (
    deliver_to,
    due_webhooks,
    forget_old,
    give_up_old,
    queue_mails,
    settle_mails,
)
from integrations.cus_web.errors import IntegrationNotFound
from integrations.cus_web.log_context import note_whose

# `CELERY_TASK_ROUTES` sends checks and webhooks there.
_QUEUE = "cus_health"
# More tasks wait only if no worker takes them; then no more are queued, because all queues share
# the broker's memory.
_MOST_WAITING = 1_000
# Beat starts a round of notifications so often.
NOTIFY_SECONDS = 10.0

log = structlog.get_logger(__name__)


@shared_task(name="integrations.tasks.cus_fan_out_health_checks")
def cus_fan_out_health_checks() -> None:
    """Queue the due health checks, one task for each integration."""
    if not _has_room():
        return
    for due in due_checks(timezone.now()):
        cus_check_health.apply_async(
            args=(str(due.integration_id),),
            countdown=due.delay_seconds,
            # A check that no worker takes in this round is due again in the next.
            expires=due.delay_seconds + ROUND_SECONDS,
        )


def _has_room() -> bool:
    """Whether the queue takes more tasks; else logs an error."""
    # Celery keeps a queue as a list of that name.
    with Redis.from_url(settings.REDIS_URL, socket_timeout=5) as broker:
        waiting = int(broker.llen(_QUEUE))
    if waiting >= _MOST_WAITING:
        log.error(
            "no worker takes health checks: is one running with -Q cus_health?", waiting=waiting
        )
    return waiting < _MOST_WAITING


@shared_task(name="integrations.tasks.cus_check_health")
def cus_check_health(integration_id: str) -> None:
    """Check one integration, if it is still due and its tenant has a free place."""
    now = timezone.now()
    due = stale(now).filter(id=uuid.UUID(integration_id)).select_related("tenant").first()
    if due is None:
        return
    note_whose(due.tenant_id, due.id)
    try:
        result = CusHealthService(due.tenant).check(due, now=now)
    except (CheckUnderWay, IntegrationNotFound):
        # The next round checks the integration, or it was deleted just now.
        return
    log.info(
        "integration checked",
        verdict=result.verdict,
        health_state=result.health_state,
        stored=result.stored,
    )


@shared_task(name="integrations.tasks.cus_clear_sessions")
def cus_clear_sessions() -> None:
    """Delete ended sessions, and our rows about them."""
    call_command("clearsessions")
    forget_old_sessions(now=timezone.now())


@shared_task(name="integrations.tasks.cus_send_mail")
def cus_send_mail() -> None:
    """Send the due mails."""
    sent = send_waiting()
    if sent:
        log.info("mail sent", mails=sent)


@shared_task(name="integrations.tasks.cus_forget_old_mails")
def cus_forget_old_mails() -> None:
    """Delete the rows of mails that were sent long ago."""
    forget_old_mails(now=timezone.now())
    forget_told_changes(now=timezone.now())


@shared_task(name="integrations.tasks.cus_mail_token_digest")
def cus_mail_token_digest() -> None:
    """Mail each person the changes that API tokens made until yesterday."""
    digests = mail_token_digests(now=timezone.now())
    if digests:
        log.info("token digests queued", digests=digests)


@shared_task(name="integrations.tasks.cus_announce_limits")
def cus_announce_limits() -> None:
    """Tell programs, by a raised version, of limits that have begun or ended."""
    limits = announce_moments(now=timezone.now())
    if limits:
        log.info("limits began or ended", limits=limits)


@shared_task(name="integrations.tasks.cus_fan_out_notifications")
def cus_fan_out_notifications() -> None:
    """Queue the mails of notifications, and one task for each webhook with due deliveries."""
    queue_mails()
    settle_mails()
    due = due_webhooks(timezone.now())
    for target_id in due if due and _has_room() else ():
        # A target that no worker takes in this round is due again in the next.
        cus_deliver_notifications.apply_async(args=(str(target_id),), expires=NOTIFY_SECONDS)


@shared_task(name="integrations.tasks.cus_deliver_notifications")
def cus_deliver_notifications(target_id: str) -> None:
    """Send what waits for one webhook."""
    sent = deliver_to(uuid.UUID(target_id))
    if sent:
        log.info("webhook delivered", target_id=target_id, events=sent)


@shared_task(name="integrations.tasks.cus_forget_old_notifications")
def cus_forget_old_notifications() -> None:
    """Give up deliveries that have waited for days, and delete the rows of old ones."""
    now = timezone.now()
    given_up = give_up_old(now=now)
    if given_up:
        log.error("deliveries of notifications given up", deliveries=given_up)
    forget_old(now=now)
