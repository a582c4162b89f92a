"""Mail is queued with what it tells of, sent by a job, and bounded (ruling C11)."""

import ast
import re
import smtplib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection, connections, transaction
from django.template import TemplateDoesNotExist
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_mail.models import CusMail
from integrations.cus_mail.service import forget_old_mails, queue_mail, send_waiting
from integrations.cus_web.errors import MailLimitReached
from tests.cus_factories import make_user, sent_mails

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]
RESET = "/admin/password_reset/"


def ask(person: CusUser, *, times: int = 1) -> None:
    for _ in range(times):
        assert Client().post(RESET, {"email": person.email}).status_code == 302


def test_no_request_sends_mail_itself() -> None:
    ask(make_user("operator"))
    assert not mail.outbox
    assert len(sent_mails()) == 1


def test_what_is_rolled_back_is_not_told(tenant: CusTenant) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        queue_mail(to="a@example.com", template="invitation_elsewhere", context={}, tenant=tenant)
        raise ZeroDivisionError
    assert not sent_mails()


def test_one_person_is_sent_so_many_reset_mails_an_hour_and_the_page_tells_nothing(
    settings: Settings,
) -> None:
    person = make_user("operator")
    ask(person, times=21)
    assert len(sent_mails()) == settings.CUS_RESET_MAILS_PER_HOUR == 5

    long_ago = timezone.now() - timedelta(minutes=61)
    CusMail.objects.update(queued_at=long_ago)
    CusMail.objects.filter(sent_at__isnull=False).update(sent_at=long_ago)
    ask(person)
    assert len(sent_mails()) == 6


def _statements_of_asking(address: str) -> list[str]:
    """What the page has the database do, without the values."""
    with CaptureQueriesContext(connection) as captured:
        assert Client().post(RESET, {"email": address}).status_code == 302
    return [re.sub(r"'[^']*'|\"s\d+_x\d+\"", "?", query["sql"]) for query in captured]


def test_the_page_does_the_same_work_for_a_known_and_an_unknown_address() -> None:
    person = make_user("operator")
    known, unknown = (
        [_statements_of_asking(address) for _ in range(6)]
        for address in (person.email, "nobody@example.com")
    )

    assert known == unknown
    # Room for five; the sixth is dropped.
    assert len(known[4]) > len(known[5])
    assert [message.to for message in sent_mails()] == [[person.email]] * 5


def test_what_was_asked_for_nobody_is_forgotten_after_an_hour() -> None:
    person = make_user("operator")
    ask(person)
    Client().post(RESET, {"email": "nobody@example.com"})
    sent_mails()
    forget_old_mails(now=timezone.now())
    assert CusMail.objects.count() == 2
    forget_old_mails(now=timezone.now() + timedelta(minutes=61))
    assert [row.person for row in CusMail.objects.all()] == [person]


def test_reset_mails_use_up_no_other_mails_room(tenant: CusTenant) -> None:
    person = make_user("admin", tenant)
    ask(person, times=21)
    queue_mail(
        to=person.email, template="invitation_elsewhere", context={}, person=person,
        is_required=True,
    )  # fmt: skip
    assert len(sent_mails()) == 6


def test_a_person_keeps_the_limit_under_another_address() -> None:
    person = make_user("operator")
    ask(person, times=5)
    assert len(sent_mails()) == 5
    person.email = "renamed@example.com"
    person.save()
    ask(person)
    assert len(sent_mails()) == 5


def test_a_tenant_is_sent_so_many_mails_a_day(tenant: CusTenant, settings: Settings) -> None:
    settings.CUS_MAILS_PER_TENANT_DAY = 2
    for number in range(3):
        queue_mail(
            to=f"{number}@example.com", template="invitation_elsewhere", context={}, tenant=tenant
        )
    assert len(sent_mails()) == 2
    with pytest.raises(MailLimitReached):
        queue_mail(
            to="4@example.com", template="invitation_elsewhere", context={}, tenant=tenant,
            is_required=True,
        )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_of_many_who_ask_at_once_no_more_are_let_in_than_the_limit() -> None:
    person = make_user("operator")
    start = threading.Barrier(8)

    def at_once(_: int) -> None:
        start.wait(30)
        ask(person)
        connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(at_once, range(8)))
    assert CusMail.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_two_jobs_at_once_send_each_mail_once() -> None:
    for number in range(20):
        queue_mail(to=f"{number}@example.com", template="invitation_elsewhere", context={})
    start = threading.Barrier(2)

    def job(_: int) -> int:
        start.wait(30)
        sent = send_waiting()
        connections.close_all()
        return sent

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(job, range(2))) == 20
    assert len(mail.outbox) == 20


def test_a_mail_that_cannot_be_sent_is_tried_again_later_and_given_up_after_a_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask(make_user("operator"))
    now = timezone.now()

    def refuse(*_: object) -> int:
        raise ConnectionRefusedError

    with monkeypatch.context() as away:
        away.setattr(EmailBackend, "send_messages", refuse)
        assert send_waiting(now=now) == 0
        assert send_waiting(now=now + timedelta(seconds=20)) == 0
        assert CusMail.objects.get().tries == 1
    assert send_waiting(now=now + timedelta(seconds=31)) == 1

    ask(make_user("operator"))
    with monkeypatch.context() as away:
        away.setattr(EmailBackend, "send_messages", refuse)
        send_waiting(now=timezone.now() + timedelta(days=2))
    assert send_waiting(now=timezone.now() + timedelta(days=3)) == 0
    assert CusMail.objects.filter(dropped_at__isnull=False).count() == 1


def test_a_mail_that_cannot_be_written_holds_up_no_other() -> None:
    now = timezone.now()
    queue_mail(to="a@example.com", template="no_such_template", context={})
    ask(make_user("operator"))

    with pytest.raises(TemplateDoesNotExist):
        send_waiting(now=now + timedelta(seconds=1))

    assert send_waiting(now=now + timedelta(seconds=2)) == 1
    assert len(mail.outbox) == 1


@pytest.mark.parametrize(
    ("error", "sent"),
    [(smtplib.SMTPRecipientsRefused({}), 1), (smtplib.SMTPServerDisconnected(), 0)],
)
def test_an_address_that_is_refused_holds_up_no_other_but_an_absent_server_ends_the_turn(
    monkeypatch: pytest.MonkeyPatch, error: Exception, sent: int
) -> None:
    queue_mail(to="wrong@example.com", template="invitation_elsewhere", context={})
    queue_mail(to="right@example.com", template="invitation_elsewhere", context={})
    send = EmailBackend.send_messages

    def refuse(backend: EmailBackend, letters: list[EmailMessage]) -> int:
        if letters[0].to == ["wrong@example.com"]:
            raise error
        return send(backend, letters)

    monkeypatch.setattr(EmailBackend, "send_messages", refuse)

    assert send_waiting() == sent


def test_the_queue_holds_no_link_that_opens_anything() -> None:
    ask(make_user("operator"))
    (letter,) = sent_mails()
    (row,) = CusMail.objects.all()
    assert "/admin/password_reset/" in str(letter.body)
    assert row.context == {}


def test_a_name_that_somebody_chose_becomes_no_header() -> None:
    tenant = CusTenant.objects.create(name="Evil\nBcc: all@example.com")
    queue_mail(to="a@example.com", template="invitation_elsewhere", context={}, tenant=tenant)
    (letter,) = sent_mails()
    assert letter.subject == "Invitation to Evil"
    assert letter.bcc == []


def test_what_was_sent_long_ago_is_forgotten() -> None:
    ask(make_user("operator"))
    sent_mails()
    forget_old_mails(now=timezone.now())
    assert CusMail.objects.count() == 1
    forget_old_mails(now=timezone.now() + timedelta(days=31))
    assert not CusMail.objects.exists()


def test_one_module_sends_mail() -> None:
    senders = set()
    for folder in ("aos_project", "integrations", "telemetry", "enforcement"):
        for path in (ROOT / folder).rglob("*.py"):
            names = {
                node.id if isinstance(node, ast.Name) else node.attr
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Name | ast.Attribute)
            }
            if names & {"send_mail", "EmailMessage", "EmailMultiAlternatives"}:
                senders.add(str(path.relative_to(ROOT)))
    assert senders == {"integrations/cus_mail/service.py"}
