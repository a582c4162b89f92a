"""The daily mail on changes of access that were made with API tokens (ruling C10).

A program may make hundreds of changes, so each person gets one list a day.
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
    """Queue each person's list of changes before today (UTC); return the number of lists.

    The transaction that queues a mail marks its changes as told, so no mail repeats a change,
    however often this runs. A run includes the changes of days on which no run took place.
    """
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    waiting = CusTokenChange.objects.filter(told_at=None, entry__created_at__lt=today)
    people = CusUser.objects.filter(id__in=waiting.values("person"))
    return sum(_mail(person, today, now) for person in people)


def forget_told_changes(*, now: datetime) -> None:
    """Delete changes that were mailed long ago; the audit trail keeps them."""
    CusTokenChange.objects.filter(told_at__lt=now - _KEPT_FOR).delete()


def _mail(person: CusUser, today: datetime, now: datetime) -> bool:
    try:
        with transaction.atomic():
            return _queue(person, today, now)
    except MailLimitReached:
        # The changes are not marked as told, so the next run lists them.
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
    # People choose names: a name with a line break must not look like a line of the list.
    return " ".join(text.split())
