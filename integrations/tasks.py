"""What beat runs for authority. Tasks get ids, never values: arguments lie in the broker."""

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
from integrations.cus_mail.service import forget_old_mails, send_waiting
from integrations.cus_web.errors import IntegrationNotFound

# `CELERY_TASK_ROUTES` sends checks there.
_QUEUE = "cus_health"
# More than this wait only when nobody works them off; the broker's memory is everybody's.
_MOST_WAITING = 1_000

log = structlog.get_logger(__name__)


@shared_task(name="integrations.tasks.cus_fan_out_health_checks")
def cus_fan_out_health_checks() -> None:
    """Start what is due, one task an integration."""
    if (waiting := _waiting()) >= _MOST_WAITING:
        log.error(
            "no worker takes health checks: is one running with -Q cus_health?", waiting=waiting
        )
        return
    for due in due_checks(timezone.now()):
        cus_check_health.apply_async(
            args=(str(due.integration_id),),
            countdown=due.delay_seconds,
            # What no worker came to in this round is due in the next.
            expires=due.delay_seconds + ROUND_SECONDS,
        )


def _waiting() -> int:
    # Celery keeps a queue as a list of that name.
    with Redis.from_url(settings.REDIS_URL, socket_timeout=5) as broker:
        return int(broker.llen(_QUEUE))


@shared_task(name="integrations.tasks.cus_check_health")
def cus_check_health(integration_id: str) -> None:
    """Check one integration, if it is still due and it is its tenant's turn."""
    now = timezone.now()
    wanted = stale(now).filter(id=uuid.UUID(integration_id)).select_related("tenant").first()
    if wanted is None:
        return
    try:
        result = CusHealthService(wanted.tenant).check(wanted, now=now)
    except (CheckUnderWay, IntegrationNotFound):
        # The next round comes to it, or it was deleted just now.
        return
    log.info(
        "integration checked",
        integration_id=integration_id,
        verdict=result.verdict,
        health_state=result.health_state,
        stored=result.stored,
    )


@shared_task(name="integrations.tasks.cus_clear_sessions")
def cus_clear_sessions() -> None:
    """Delete the sessions that have ended, and what is kept of them."""
    call_command("clearsessions")
    forget_old_sessions(now=timezone.now())


@shared_task(name="integrations.tasks.cus_send_mail")
def cus_send_mail() -> None:
    """Send the mail that waits."""
    sent = send_waiting()
    if sent:
        log.info("mail sent", mails=sent)


@shared_task(name="integrations.tasks.cus_forget_old_mails")
def cus_forget_old_mails() -> None:
    """Delete the record of mail that was sent long ago."""
    forget_old_mails(now=timezone.now())
    forget_told_changes(now=timezone.now())


@shared_task(name="integrations.tasks.cus_mail_token_digest")
def cus_mail_token_digest() -> None:
    """Mail each person what was changed with API tokens until yesterday."""
    digests = mail_token_digests(now=timezone.now())
    if digests:
        log.info("token digests queued", digests=digests)
