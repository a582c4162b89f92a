"""The daily mail on changes of access that were made with API tokens (ruling C10).

A program may make hundreds of them, so each person hears of them once a day, in one list.
"""

from datetime import datetime, timedelta

import structlog
from django.db import transaction

from integrations.cus_accounts.access_changes import SENTENCES
from integrations.cus_accounts.models import CusTokenChange, CusUser
from integrations.cus_mail.service import queue_mail
from integrations.cus_web.errors import MailLimitReached

_MOST_LISTED = 200
_KEPT_FOR = timedelta(days=30)

log = structlog.get_logger(__name__)


def mail_token_digests(*, now: datetime) -> int:
    """Queue each person's list of what was changed before today (UTC); says how many lists.

    A change is marked as told in the transaction that queues its mail, so none is told twice,
    however often this runs. Days on which it did not run are made up for.
    """
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    waiting = CusTokenChange.objects.filter(told_at=None, entry__created_at__lt=today)
    people = CusUser.objects.filter(id__in=waiting.values("person"))
    return sum(_mail(person, today, now) for person in people)


def forget_told_changes(*, now: datetime) -> None:
    """Delete what was told long ago; the audit trail keeps it."""
    CusTokenChange.objects.filter(told_at__lt=now - _KEPT_FOR).delete()


def _mail(person: CusUser, today: datetime, now: datetime) -> bool:
    try:
        with transaction.atomic():
            return _queue(person, today, now)
    except MailLimitReached:
        # Nothing was marked: the next run tells it.
        log.warning("token digest put off", person_id=str(person.pk))
        return False


def _queue(person: CusUser, today: datetime, now: datetime) -> bool:
    rows = CusTokenChange.objects.filter(person=person, told_at=None, entry__created_at__lt=today)
    changes = list(
        rows.select_for_update(of=("self",), skip_locked=True)
        .select_related("entry", "token")
        .order_by("entry__created_at", "id")
    )
    if not changes:
        return False
    context = {
        "lines": [_line(change) for change in changes[:_MOST_LISTED]],
        "count": len(changes),
        "more": max(0, len(changes) - _MOST_LISTED),
    }
    queue_mail(
        to=person.email, template="token_digest", context=context, person=person, is_required=True
    )
    CusTokenChange.objects.filter(id__in=[change.id for change in changes]).update(told_at=now)
    return True


def _line(change: CusTokenChange) -> str:
    entry = change.entry
    what = SENTENCES.get(entry.action, f"{entry.object_type}: {entry.action}")
    text = f"{entry.created_at:%Y-%m-%d %H:%M} {what}: {entry.object_label}"
    text += f", by {entry.actor_label} with token {change.token}"
    # A name that somebody chose must not look like a line of its own.
    return " ".join(text.split())
