"""Queue mail in the transaction of its event, and send it by a job, within limits (ruling C11).

The only module that sends mail. A template is `templates/mail/<name>.txt`: its first line is
`Subject: …`, the rest is the text.
"""

import smtplib
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from django.contrib.auth.forms import PasswordResetForm
from django.contrib.auth.tokens import default_token_generator
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.db.models import F, Q
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from integrations.cus_mail.models import CusMail
from integrations.cus_web.errors import MailLimitReached

PASSWORD_RESET, INVITATION = "password_reset", "invitation"
# The wait before the first retry; it doubles at each retry, until the mail is a day old.
_FIRST_RETRY_SECONDS = 30
_LONGEST_RETRY_SECONDS = 3_600
_GIVEN_UP_AFTER = timedelta(days=1)
# Rows stay for the limits, and to show whether a mail was sent. Rows of mails to unknown addresses
# stay for the limits alone.
_KEPT_FOR = timedelta(days=30)
_KEPT_FOR_NOBODY = timedelta(hours=1)
_SUBJECT = "Subject: "

if TYPE_CHECKING:
    from integrations.cus_accounts.models import CusTenant, CusUser

log = structlog.get_logger(__name__)


def queue_mail(
    *,
    to: str,
    template: str,
    context: Mapping[str, Any],
    person: "CusUser | None" = None,
    tenant: "CusTenant | None" = None,
    is_required: bool = False,
    alike_by: str | None = None,
) -> uuid.UUID | None:
    """Queue a mail to be sent after this transaction has committed. `context` must hold no secret.

    Returns the mail's id; None if the mail was dropped.

    A mail beyond the limits of its address, person or tenant is dropped with a warning in the log;
    if the mail `is_required`, MailLimitReached is raised instead. `alike_by` names a key of
    `context`: mails with different values there have separate limits, so many mails about one event
    do not suppress a mail about another.
    """
    alike = {f"context__{alike_by}": context[alike_by]} if alike_by else {}
    with transaction.atomic():
        if reached := _limit_reached(to, template, person, tenant, alike):
            log.warning("mail dropped", template=template, limit=reached)
            if is_required:
                raise MailLimitReached(f"{reached} Try again later.")
            return None
        mail = CusMail.objects.create(
            to=to, template=template, context=dict(context), person=person, tenant=tenant
        )
    return mail.pk


def _limit_reached(
    to: str,
    template: str,
    person: "CusUser | None",
    tenant: "CusTenant | None",
    alike: Mapping[str, Any],
) -> str | None:
    """Which limit has no room for one more mail of this template, in words."""
    # Without the lock, two transactions at once would both find the last place free.
    with connection.cursor() as cursor:
        owners = {str(owner.pk) for owner in (person, tenant) if owner}
        for whom in sorted({to.lower(), *owners}):
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"mail:{whom}"]
            )
    now = timezone.now()
    same = Q(to__iexact=to) | (Q(person=person) if person else Q(pk=None))
    an_hour, a_day = _an_hour(template), settings.CUS_MAILS_PER_TENANT_DAY
    lately = CusMail.objects.filter(same, template=template, queued_at__gt=now - timedelta(hours=1))
    if an_hour and lately.filter(**alike).count() >= an_hour:
        return f"This address was sent {an_hour} such mails within the last hour."
    today = CusMail.objects.filter(tenant=tenant, queued_at__gt=now - timedelta(days=1))
    if tenant and a_day and today.count() >= a_day:
        return f"Mails for this tenant reached their limit of {a_day} a day."
    return None


def _an_hour(template: str) -> int:
    """The limit of a template; 0 means unlimited.

    Each template has its own limit, so many reset mails do not suppress other mails.
    """
    if template == PASSWORD_RESET:
        return int(settings.CUS_RESET_MAILS_PER_HOUR)
    return int(settings.CUS_MAILS_PER_ADDRESS_HOUR)


# --- Sending ------------------------------------------------------------------------------------


def send_waiting(*, now: datetime | None = None) -> int:
    """Send the due mails; return the number sent. Stops if the mail server can't be reached.

    Each mail's next try is stored before the mail is sent, so a mail whose template fails does not
    delay other mails. If a job is killed between sending and committing, the mail is sent again.
    """
    sent = 0
    while mail_id := _claim(now or timezone.now()):
        try:
            sent += _send(mail_id, now or timezone.now())
        except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
            # The server answered, so it may accept the other mails.
            log.warning("mail refused", mail_id=str(mail_id), error=type(error).__name__)
        except OSError as error:  # smtplib's other errors are OSErrors, too.
            log.warning("mail not sent", mail_id=str(mail_id), error=type(error).__name__)
            break
    return sent


def forget_old_mails(*, now: datetime) -> None:
    """Delete mails that were sent or given up long ago, and those to unknown addresses."""
    over = Q(sent_at__isnull=False) | Q(dropped_at__isnull=False)
    CusMail.objects.filter(over, queued_at__lt=now - _KEPT_FOR).delete()
    to_nobody = CusMail.objects.filter(template=PASSWORD_RESET, person=None)
    to_nobody.filter(over, queued_at__lt=now - _KEPT_FOR_NOBODY).delete()


@transaction.atomic
def _claim(now: datetime) -> uuid.UUID | None:
    """The next due mail, with its next try postponed; None if no mail is due."""
    waiting = CusMail.objects.filter(sent_at=None, dropped_at=None, next_try_at__lte=now)
    over = waiting.filter(tries__gt=0, queued_at__lte=now - _GIVEN_UP_AFTER)
    if given_up := over.update(dropped_at=now):
        log.error("mail given up: the mail server took none for a day", mails=given_up)
    mail = waiting.select_for_update(skip_locked=True).order_by("next_try_at").first()
    if mail is None:
        return None
    wait = min(_FIRST_RETRY_SECONDS * 2**mail.tries, _LONGEST_RETRY_SECONDS)
    CusMail.objects.filter(pk=mail.pk).update(
        next_try_at=now + timedelta(seconds=wait), tries=F("tries") + 1
    )
    return mail.pk


@transaction.atomic
def _send(mail_id: uuid.UUID, now: datetime) -> bool:
    """Send the mail unless another job has. Locks its row meanwhile, so no mail is sent twice.

    Waits for the lock instead of skipping the row: a job that looks for its next mail locks the row
    for a moment only, and a skipped mail would wait for its next try.
    """
    unsent = CusMail.objects.filter(pk=mail_id, sent_at=None, dropped_at=None)
    mail = unsent.select_for_update().first()
    if mail is None:
        return False
    if mail.template == PASSWORD_RESET and not _address_person(mail, now):
        unsent.update(dropped_at=now)
        return False
    _message(mail).send()
    unsent.update(sent_at=now, person=mail.person, to=mail.to)
    return True


def _address_person(mail: CusMail, now: datetime) -> bool:
    """Find the person of the address for which a link was requested.

    False if the address belongs to no person, or if the person has reached the limit under another
    spelling of the address.
    """
    person = mail.person or next(iter(PasswordResetForm().get_users(mail.to)), None)
    if person is None:
        return False
    lately = CusMail.objects.filter(person=person, template=mail.template)
    most = _an_hour(mail.template)
    if most and lately.filter(sent_at__gt=now - timedelta(hours=1)).count() >= most:
        log.warning("mail dropped", template=mail.template, limit="This person's of an hour.")
        return False
    # Use the stored address, not the spelling of the request.
    mail.person, mail.to = person, person.email
    return True


def _message(mail: CusMail) -> EmailMessage:
    context = {**mail.context, "person": mail.person, "tenant": mail.tenant}
    if make_link := _LINKS.get(mail.template):
        context["link"] = make_link(mail)
    context["days"] = settings.PASSWORD_RESET_TIMEOUT // 86_400
    context["address"] = settings.CUS_PUBLIC_URL
    context["console"] = f"{settings.CUS_PUBLIC_URL}{reverse('admin:index')}"
    subject, _, body = render_to_string(f"mail/{mail.template}.txt", context).partition("\n")
    # People choose names: a name with a line break must not become a header.
    title = " ".join(subject.removeprefix(_SUBJECT).split())
    return EmailMessage(subject=title, body=body.strip() + "\n", to=[mail.to])


def _password_link(mail: CusMail) -> str:
    """A link by which the person sets a password. It is made now and stored nowhere."""
    assert mail.person
    uid = urlsafe_base64_encode(force_bytes(mail.person.pk))
    token = default_token_generator.make_token(mail.person)
    return f"{settings.CUS_PUBLIC_URL}{reverse('password_reset_confirm', args=[uid, token])}"


def _invitation_link(mail: CusMail) -> str:
    """A link that names the invitation, so it can't accept another tenant's earlier invitation."""
    return f"{_password_link(mail)}?invitation={uuid.UUID(mail.context['invitation'])}"


_LINKS: Mapping[str, Callable[[CusMail], str]] = {
    PASSWORD_RESET: _password_link,
    INVITATION: _invitation_link,
}
