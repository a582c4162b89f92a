"""Mail: queued in the transaction of what it tells of, sent by a job, within limits (ruling C11).

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
# Tried again after so many seconds, times two at each try, until the mail is a day old.
_FIRST_RETRY_SECONDS = 30
_LONGEST_RETRY_SECONDS = 3_600
_GIVEN_UP_AFTER = timedelta(days=1)
# Rows stay for the limits, and for "was it sent?"; those to unknown addresses for the limits alone.
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
) -> None:
    """Have a mail sent, once this transaction has committed. `context` must hold no secret.

    A mail beyond the limits of its address, person or tenant is dropped, which the log says;
    where it `is_required`, MailLimitReached is raised instead. `alike_by` names what of `context`
    the mails of one limit share: many that tell of one thing keep away none that tells of another.
    """
    alike = {f"context__{alike_by}": context[alike_by]} if alike_by else {}
    with transaction.atomic():
        if reached := _limit_reached(to, template, person, tenant, alike):
            log.warning("mail dropped", template=template, limit=reached)
            if is_required:
                raise MailLimitReached(f"{reached} Try again later.")
            return
        CusMail.objects.create(
            to=to, template=template, context=dict(context), person=person, tenant=tenant
        )


def _limit_reached(
    to: str,
    template: str,
    person: "CusUser | None",
    tenant: "CusTenant | None",
    alike: Mapping[str, Any],
) -> str | None:
    """Which limit has no room for one more mail of this template, in words."""
    # Two at once would both find the last place free.
    with connection.cursor() as cursor:
        for whom in sorted({to.lower(), *(str(one.pk) for one in (person, tenant) if one)}):
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
    """Limits are by template: who asks for many reset mails keeps no other mail away. 0: none."""
    if template == PASSWORD_RESET:
        return int(settings.CUS_RESET_MAILS_PER_HOUR)
    return int(settings.CUS_MAILS_PER_ADDRESS_HOUR)


# --- Sending ------------------------------------------------------------------------------------


def send_waiting(*, now: datetime | None = None) -> int:
    """Send what is due; says how many were sent. Stops when the mail server can't be reached.

    Each mail's next try is noted before it is sent, so a mail that can't even be written holds up
    no other one. A job that is killed between sending and committing leaves the mail to be sent
    again.
    """
    sent = 0
    while mail_id := _claim(now or timezone.now()):
        try:
            sent += _send(mail_id, now or timezone.now())
        except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
            # The server answered, so it may take the others.
            log.warning("mail refused", mail_id=str(mail_id), error=type(error).__name__)
        except OSError as error:  # what else smtplib raises is one, too
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
    """The mail whose turn it is, with its next try put off; None if none is due."""
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
    """Send the mail unless another job did. Its row is locked meanwhile: no mail is sent twice.

    The lock is waited for: another job that looks for its next mail locks this row for a moment,
    and a mail that is passed over waits for its next try.
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
    """Find the person of the address that a link was asked for.

    False if it is nobody's, or if that person was sent as many under another address.
    """
    person = mail.person or next(iter(PasswordResetForm().get_users(mail.to)), None)
    if person is None:
        return False
    lately = CusMail.objects.filter(person=person, template=mail.template)
    most = _an_hour(mail.template)
    if most and lately.filter(sent_at__gt=now - timedelta(hours=1)).count() >= most:
        log.warning("mail dropped", template=mail.template, limit="This person's of an hour.")
        return False
    # Theirs as it is kept, not as a stranger spelt it.
    mail.person, mail.to = person, person.email
    return True


def _message(mail: CusMail) -> EmailMessage:
    context = {**mail.context, "person": mail.person, "tenant": mail.tenant}
    if make_link := _LINKS.get(mail.template):
        context["link"] = make_link(mail)
    context["days"] = settings.PASSWORD_RESET_TIMEOUT // 86_400
    context["console"] = f"{settings.CUS_PUBLIC_URL}{reverse('admin:index')}"
    subject, _, body = render_to_string(f"mail/{mail.template}.txt", context).partition("\n")
    # A name that somebody chose must not become a header.
    title = " ".join(subject.removeprefix(_SUBJECT).split())
    return EmailMessage(subject=title, body=body.strip() + "\n", to=[mail.to])


def _password_link(mail: CusMail) -> str:
    """A link with which the person sets a password; made now, and only ever written to the mail."""
    assert mail.person
    uid = urlsafe_base64_encode(force_bytes(mail.person.pk))
    token = default_token_generator.make_token(mail.person)
    return f"{settings.CUS_PUBLIC_URL}{reverse('password_reset_confirm', args=[uid, token])}"


def _invitation_link(mail: CusMail) -> str:
    """Names the invitation: somebody else's, sent before, is not accepted with this one."""
    return f"{_password_link(mail)}?invitation={uuid.UUID(mail.context['invitation'])}"


_LINKS: Mapping[str, Callable[[CusMail], str]] = {
    PASSWORD_RESET: _password_link,
    INVITATION: _invitation_link,
}
