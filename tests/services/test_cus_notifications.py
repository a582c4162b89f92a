"""People are told once of each event, by mail and by a signed webhook, and nothing is lost."""

import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.exceptions import ValidationError
from django.db import connections, transaction
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_credentials.envelope import key_ring
from integrations.cus_credentials.models import CusSigningSecret
from integrations.cus_credentials.rotation import rotate
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_notifications import delivery as delivering
from integrations.cus_notifications.announcing import Notice, announce, day_of
from integrations.cus_notifications.delivery import (
    GIVEN_UP_AFTER,
    KEPT_FOR,
    deliver_to,
    due_webhooks,
    forget_old,
    give_up_old,
)
from integrations.cus_notifications.kinds import Kind
from integrations.cus_notifications.models import (
    CusNotificationDelivery,
    CusNotificationEvent,
    CusNotificationTarget,
)
from integrations.cus_notifications.sending import WebhookRefused, check_url, send
from integrations.cus_notifications.service import (
    CusMuteService,
    CusNotificationService,
    TargetNotFound,
)
from integrations.cus_stops.service import CusStopService
from integrations.cus_tenancy.member_service import CusMemberService
from integrations.tasks import cus_fan_out_notifications
from tests.cus_factories import make_integration, make_tenant, make_user, sent_mails
from tests.e2e.cus_served import ROOT, _test_database_url
from tests.services.cus_receiver import Receiver, documented_check

pytestmark = pytest.mark.django_db

BUDGET = Kind.LIMIT_80


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    with Receiver() as one:
        one.allow(settings)
        yield one


@pytest.fixture
def webhook(tenant: CusTenant, receiver: Receiver) -> CusNotificationTarget:
    target, _ = CusNotificationService(tenant).add(medium="webhook", address=receiver.address)
    return target


def notice(integration: CusIntegration, **values: Any) -> Notice:
    fields: dict[str, Any] = {
        "tenant_id": integration.tenant_id,
        "integration_id": integration.id,
        "kind": BUDGET,
        "subject": "budget_limit_cents:1000",
        "window_start": day_of(timezone.now()),
        "summary": "80 % of the budget is taken",
        "path": f"/console/limits/{integration.id}",
        "details": {"level": 80},
    }
    return Notice(**fields | values)


def deliver() -> None:
    """One round of the job, without a broker."""
    delivering.queue_mails()
    delivering.settle_mails()
    for target_id in due_webhooks(timezone.now()):
        deliver_to(target_id)


def log_of(target: CusNotificationTarget) -> list[tuple[str, int]]:
    rows = CusNotificationDelivery.objects.filter(target=target).order_by("created_at")
    return list(rows.values_list("status", "attempts"))


def try_again_now(target: CusNotificationTarget) -> None:
    """As if the wait before the next try were over."""
    CusNotificationTarget.objects.filter(id=target.id).update(retry_at=None, busy_until=None)


# --- What is sent -------------------------------------------------------------------------------


def test_a_webhook_is_told_with_a_signature_that_the_documented_check_accepts(
    tenant: CusTenant, integration: CusIntegration, receiver: Receiver, settings: Settings
) -> None:
    _, secret = CusNotificationService(tenant).add(medium="webhook", address=receiver.address)
    event = announce(notice(integration))
    assert event
    deliver()

    (got,) = receiver.got
    is_genuine = documented_check()
    assert is_genuine(secret, got.headers, got.body)
    assert not is_genuine(f"{secret}x", got.headers, got.body)
    assert not is_genuine(secret, got.headers, got.body + b" ")
    late = {**got.headers, "X-CUS-Timestamp": str(int(time.time()) - 301)}
    assert not is_genuine(secret, late, got.body)
    assert got.headers["X-CUS-Event-Id"] == got.event["id"] == str(event.id)
    assert got.event == {
        "id": str(event.id),
        "kind": "limit_80",
        "tenant_id": str(tenant.id),
        "integration_id": str(integration.id),
        "integration": integration.name,
        "created_at": got.event["created_at"],
        "summary": "80 % of the budget is taken",
        "link": f"{settings.CUS_PUBLIC_URL}/console/limits/{integration.id}",
        "details": {"level": 80},
    }


def test_a_captured_message_is_refused_when_it_is_replayed_with_a_new_time(
    tenant: CusTenant, integration: CusIntegration, receiver: Receiver
) -> None:
    _, secret = CusNotificationService(tenant).add(medium="webhook", address=receiver.address)
    announce(notice(integration))
    deliver()
    (got,) = receiver.got
    headers = {**got.headers, "X-CUS-Timestamp": str(int(time.time()) + 1)}
    assert not documented_check()(secret, headers, got.body)


def test_a_mail_says_what_happened_where_and_how_to_mute_it(
    tenant: CusTenant, integration: CusIntegration, settings: Settings
) -> None:
    CusNotificationService(tenant).add(medium="email", address="ops@example.com")
    announce(notice(integration))
    deliver()
    (told,) = sent_mails()
    assert told.to == ["ops@example.com"]
    assert told.subject == f"{tenant.name}: 80 % of the budget is taken"
    assert f"{settings.CUS_PUBLIC_URL}/console/limits/{integration.id}" in told.body
    assert f"{settings.CUS_PUBLIC_URL}/console/notifications" in told.body

    (row,) = CusNotificationDelivery.objects.all()
    assert row.status == "queued"
    deliver()
    row.refresh_from_db()
    assert (row.status, row.attempts) == ("sent", 1)


def test_a_mail_beyond_its_limit_is_given_up_and_the_log_says_why(
    tenant: CusTenant, integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_MAILS_PER_TENANT_DAY = 1
    CusNotificationService(tenant).add(medium="email", address="ops@example.com")
    for subject in ("one", "another"):
        announce(notice(integration, subject=subject))
    deliver()
    assert len(sent_mails()) == 1
    refused = CusNotificationDelivery.objects.get(status="failed")
    assert "limit of 1 a day" in refused.result


# --- Once ---------------------------------------------------------------------------------------


def test_a_transition_is_told_once_and_another_window_or_amount_is_another(
    integration: CusIntegration, webhook: CusNotificationTarget, receiver: Receiver
) -> None:
    for _ in range(3):
        announce(notice(integration))
        deliver()
    assert len(receiver.got) == 1
    announce(notice(integration, window_start=day_of(timezone.now()) - timedelta(days=1)))
    announce(notice(integration, subject="budget_limit_cents:2000"))
    deliver()
    assert len(receiver.got) == 3


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_tell_of_a_transition_once(settings: Settings) -> None:
    integration = make_integration()
    CusNotificationService(integration.tenant).add(medium="email", address="ops@example.com")
    start = threading.Barrier(2)

    def tell(number: int) -> bool:
        start.wait(30)
        try:
            return announce(notice(integration, subject=str(number))) is not None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as threads:
        for number in range(10):
            assert sorted(threads.map(tell, [number] * 2)) == [False, True]
    assert CusNotificationDelivery.objects.count() == 10


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_send_a_webhook_once(settings: Settings) -> None:
    with Receiver() as receiver:
        receiver.allow(settings)
        integration = make_integration()
        service = CusNotificationService(integration.tenant)
        target, _ = service.add(medium="webhook", address=receiver.address)
        for number in range(5):
            announce(notice(integration, subject=str(number)))
        start = threading.Barrier(4)

        def send(_number: int) -> int:
            start.wait(30)
            try:
                return deliver_to(target.id)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(4) as threads:
            assert sum(threads.map(send, range(4))) == 5
        assert len(receiver.got) == len({one.event["id"] for one in receiver.got}) == 5


def test_what_is_rolled_back_is_not_told(
    integration: CusIntegration, webhook: CusNotificationTarget, receiver: Receiver
) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        announce(notice(integration))
        raise ZeroDivisionError
    deliver()
    assert receiver.got == []


def test_beyond_a_days_bound_people_are_told_that_more_is_withheld_and_of_stops_all_the_same(
    integration: CusIntegration,
    webhook: CusNotificationTarget,
    receiver: Receiver,
    settings: Settings,
) -> None:
    settings.CUS_NOTIFICATIONS_A_DAY = 2
    for number in range(6):
        announce(notice(integration, subject=str(number)))
    CusStopService(integration).stop(scope="agent_id", value="crawler", reason="It loops.")
    deliver()
    assert sorted(receiver.kinds) == ["limit_80", "limit_80", "stop_made", "too_many"]


# --- Failures -----------------------------------------------------------------------------------


def test_a_receiver_that_fails_is_tried_again_later_and_nothing_is_lost(
    integration: CusIntegration, webhook: CusNotificationTarget, receiver: Receiver
) -> None:
    receiver.status = 503
    for subject in ("one", "another"):
        announce(notice(integration, subject=subject))
    deliver()
    # One try for all that waits, and no further one before its time.
    deliver()
    assert len(receiver.got) == 1
    assert sorted(log_of(webhook)) == [("waiting", 0), ("waiting", 1)]
    webhook.refresh_from_db()
    assert webhook.retry_at
    assert timedelta(seconds=0) < webhook.retry_at - timezone.now() <= timedelta(seconds=30)
    row = CusNotificationDelivery.objects.select_related("target").get(attempts=1)
    assert row.next_try_at == webhook.retry_at
    assert "answered 503" in row.result

    receiver.status = 200
    try_again_now(webhook)
    deliver()
    known = CusNotificationTarget.objects.get()
    assert (known.failures, known.retry_at) == (0, None)
    assert sorted(log_of(webhook)) == [("sent", 1), ("sent", 2)]
    ids = [one.event["id"] for one in receiver.got]
    assert len(set(ids)) == 2


def test_the_wait_doubles_up_to_an_hour(
    integration: CusIntegration, webhook: CusNotificationTarget, receiver: Receiver
) -> None:
    receiver.status = 500
    announce(notice(integration))
    waits = []
    for _ in range(9):
        try_again_now(webhook)
        before = timezone.now()
        deliver()
        webhook.refresh_from_db()
        assert webhook.retry_at
        waits.append(round((webhook.retry_at - before).total_seconds() / 30))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 120, 120]


def test_an_event_that_a_receiver_refuses_does_not_keep_others_from_it(
    integration: CusIntegration, webhook: CusNotificationTarget, receiver: Receiver
) -> None:
    receiver.status = 400
    announce(notice(integration, subject="refused"))
    deliver()
    receiver.status = 200
    announce(notice(integration, subject="another"))
    try_again_now(webhook)
    deliver()
    assert [one.event["id"] for one in receiver.got].count(receiver.got[0].event["id"]) == 2
    assert receiver.got[1].event["id"] != receiver.got[0].event["id"]


def test_after_three_days_a_delivery_is_given_up(
    integration: CusIntegration, webhook: CusNotificationTarget, receiver: Receiver
) -> None:
    receiver.status = 500
    announce(notice(integration))
    CusNotificationDelivery.objects.update(created_at=timezone.now() - GIVEN_UP_AFTER)
    deliver()
    assert log_of(webhook) == [("failed", 1)]
    try_again_now(webhook)
    deliver()
    assert len(receiver.got) == 1

    announce(notice(integration, subject="never tried"))
    give_up_old(now=timezone.now() + GIVEN_UP_AFTER)
    assert log_of(webhook)[-1][0] == "failed"


def test_a_worker_that_dies_after_sending_sends_once_more_at_most(
    integration: CusIntegration,
    webhook: CusNotificationTarget,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    announce(notice(integration))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(delivering, "store", die)
        deliver_to(webhook.id)
    # Its turn ends by itself; until then nobody else sends.
    assert deliver_to(webhook.id) == 0
    CusNotificationTarget.objects.update(busy_until=timezone.now())
    assert deliver_to(webhook.id) == 1
    assert len(receiver.got) == 2
    assert len({one.headers["X-CUS-Event-Id"] for one in receiver.got}) == 1
    assert due_webhooks(timezone.now()) == []


_WORKER = """
import django
django.setup()
from integrations.cus_notifications.delivery import deliver_to, due_webhooks
from django.utils import timezone
for target_id in due_webhooks(timezone.now()):
    deliver_to(target_id)
"""


@pytest.mark.django_db(transaction=True)
def test_a_process_that_is_killed_while_it_sends_loses_nothing_and_sends_once_more(
    settings: Settings,
) -> None:
    with Receiver() as receiver:
        receiver.allow(settings)
        integration = make_integration()
        service = CusNotificationService(integration.tenant)
        target, secret = service.add(medium="webhook", address=receiver.address)
        for number in range(3):
            announce(notice(integration, subject=str(number)))
        receiver.hang.set()
        environment = {
            "DJANGO_SETTINGS_MODULE": "aos_project.settings",
            "DATABASE_URL": _test_database_url(),
            "CUS_ALLOW_HTTP_WEBHOOKS": "1",
            "CUS_WEBHOOK_PRIVATE_HOSTS": settings.CUS_WEBHOOK_PRIVATE_HOSTS[0],
        }
        worker = subprocess.Popen(
            [sys.executable, "-c", _WORKER], cwd=ROOT, env=os.environ | environment
        )
        while not receiver.got:
            assert worker.poll() is None
            time.sleep(0.02)
        worker.kill()
        worker.wait()
        receiver.hang.clear()

        assert log_of(target) == [("waiting", 0)] * 3
        CusNotificationTarget.objects.update(busy_until=timezone.now())
        deliver()
        ids = Counter(one.headers["X-CUS-Event-Id"] for one in receiver.got)
        assert sorted(ids.values()) == [1, 1, 2]
        assert log_of(target) == [("sent", 1)] * 3
        is_genuine = documented_check()
        assert all(is_genuine(secret, one.headers, one.body) for one in receiver.got)


def test_a_target_that_is_removed_while_it_is_told_stays_removed(
    tenant: CusTenant,
    integration: CusIntegration,
    webhook: CusNotificationTarget,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver.status = 500
    announce(notice(integration))

    def remove_and_send(*args: Any, **options: Any) -> Any:
        CusNotificationService(tenant).remove(webhook.id)
        return send(*args, **options)

    monkeypatch.setattr(delivering, "send", remove_and_send)
    deliver_to(webhook.id)
    assert log_of(webhook) == [("failed", 1)]


def test_a_redirect_is_not_followed(
    integration: CusIntegration, webhook: CusNotificationTarget, receiver: Receiver
) -> None:
    receiver.status = 302
    announce(notice(integration))
    deliver()
    assert len(receiver.got) == 1
    assert "Redirects are not followed" in CusNotificationDelivery.objects.get().result


# --- Where it may go ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://127.0.0.1/hook",
        "https://10.0.0.1/hook",
        "https://169.254.169.254/latest",
        "https://[::1]/hook",
        "https://user:word@example.com/hook",
        "ftp://example.com",
        "https://0177.0.0.1/hook",
        "example.com",
    ],
)
def test_an_address_that_this_server_may_not_call_is_refused_at_once(
    tenant: CusTenant, url: str
) -> None:
    with pytest.raises(WebhookRefused) as refusal:
        CusNotificationService(tenant).add(medium="webhook", address=url)
    assert refusal.value.attr == "address"
    assert not CusNotificationTarget.objects.exists()


def test_a_name_that_leads_into_the_own_network_is_refused_at_each_try(
    integration: CusIntegration,
    webhook: CusNotificationTarget,
    receiver: Receiver,
    settings: Settings,
) -> None:
    port = receiver.url.rpartition(":")[2]
    CusNotificationTarget.objects.update(address=f"http://localhost:{port}/hook")
    announce(notice(integration))
    deliver()
    assert receiver.got == []
    assert "CUS_WEBHOOK_PRIVATE_HOSTS" in CusNotificationDelivery.objects.get().result
    settings.CUS_WEBHOOK_PRIVATE_HOSTS = [f"localhost:{port}"]
    try_again_now(webhook)
    deliver()
    assert len(receiver.got) == 1


def test_what_providers_may_be_is_no_permission_for_webhooks(settings: Settings) -> None:
    settings.CUS_ALLOWED_PRIVATE_HOSTS = ["10.0.0.1"]
    settings.CUS_ALLOW_HTTP_PROVIDERS = True
    for url in ("https://10.0.0.1/hook", "http://example.com/hook"):
        with pytest.raises(WebhookRefused):
            check_url(url)


# --- Secrets ------------------------------------------------------------------------------------


def test_a_rotated_secret_signs_beside_the_one_before_for_a_day(
    tenant: CusTenant, integration: CusIntegration, receiver: Receiver
) -> None:
    service = CusNotificationService(tenant)
    target, first = service.add(medium="webhook", address=receiver.address)
    target, second = service.rotate(target.id)
    assert first != second
    announce(notice(integration, subject="one"))
    deliver()
    is_genuine = documented_check()
    (got,) = receiver.got
    assert all(is_genuine(secret, got.headers, got.body) for secret in (first, second))

    CusNotificationTarget.objects.update(previous_secret_until=timezone.now())
    announce(notice(integration, subject="another"))
    deliver()
    got = receiver.got[-1]
    assert [is_genuine(secret, got.headers, got.body) for secret in (first, second)] == [
        False,
        True,
    ]
    # A third one ends the first for good.
    service.rotate(target.id)
    assert CusSigningSecret.objects.count() == 2


def test_a_secret_is_sealed_bound_to_its_row_and_rewrapped_with_the_credentials(
    tenant: CusTenant, integration: CusIntegration, receiver: Receiver, settings: Settings
) -> None:
    _, secret = CusNotificationService(tenant).add(medium="webhook", address=receiver.address)
    assert secret
    (row,) = CusSigningSecret.objects.all()
    assert secret.encode() not in bytes(row.sealed)
    old, new = settings.CUS_CREDENTIAL_KEYS, f"new:{'QUJD' * 10}QUI="
    settings.CUS_CREDENTIAL_KEYS = f"{new},{old}"
    list(rotate())
    settings.CUS_CREDENTIAL_KEYS = new
    announce(notice(integration))
    deliver()
    (got,) = receiver.got
    assert documented_check()(secret, got.headers, got.body)
    key_ring.cache_clear()


def test_no_column_log_or_trail_has_the_secret(
    tenant: CusTenant, admin: CusUser, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    service = CusNotificationService(tenant, actor=admin)
    target, first = service.add(medium="webhook", address=receiver.address)
    _, second = service.rotate(target.id)
    trail = str(list(CusAuditEntry.objects.values()))
    printed = "".join(capsys.readouterr())
    for secret in (first, second):
        assert secret
        assert secret not in trail
        assert secret not in printed


# --- Who is told --------------------------------------------------------------------------------


def test_a_target_is_not_told_of_what_is_muted_for_it(
    tenant: CusTenant,
    integration: CusIntegration,
    webhook: CusNotificationTarget,
    receiver: Receiver,
) -> None:
    CusNotificationService(tenant).mute(webhook.id, ["limit_80", "stop_made"])
    announce(notice(integration))
    announce(notice(integration, kind=Kind.LIMIT_95))
    CusStopService(integration).stop(scope="agent_id", value="crawler", reason="It loops.")
    deliver()
    assert receiver.kinds == ["limit_95"]


def test_a_person_mutes_mails_to_their_own_address_and_no_others(
    tenant: CusTenant, admin: CusUser, integration: CusIntegration
) -> None:
    service = CusNotificationService(tenant)
    service.add(medium="email", address=admin.email.upper())
    service.add(medium="email", address="ops@example.com")
    CusMuteService(admin).mute(["limit_80"])
    announce(notice(integration))
    announce(notice(integration, kind=Kind.LIMIT_100))
    deliver()
    told = [one.to[0] for one in sent_mails()]
    assert sorted(told) == sorted(["ops@example.com", "ops@example.com", admin.email.upper()])

    CusMuteService(admin).mute([])
    mail.outbox.clear()
    announce(notice(integration, kind=Kind.LIMIT_95))
    deliver()
    assert len(sent_mails()) == 2


def test_a_person_who_has_left_is_told_no_more(
    tenant: CusTenant, admin: CusUser, integration: CusIntegration
) -> None:
    member, other = make_user("member", tenant), make_user("member", tenant)
    service = CusNotificationService(tenant)
    for address in (admin.email, member.email, other.email, "list@example.com"):
        service.add(medium="email", address=address)
    CusMemberService(tenant).remove(CusMembership.objects.get(user=member).id)
    CusUser.objects.filter(id=other.id).update(is_active=False)
    announce(notice(integration))
    deliver()
    assert {one.to[0] for one in sent_mails()} == {admin.email, "list@example.com"}


@pytest.mark.parametrize("kind", ["test", "too_many", "nonsense"])
def test_what_nobody_should_miss_cannot_be_muted(admin: CusUser, kind: str) -> None:
    with pytest.raises(ValidationError):
        CusMuteService(admin).mute([kind])


def test_only_the_tenants_own_targets_are_told(
    integration: CusIntegration, webhook: CusNotificationTarget, receiver: Receiver
) -> None:
    announce(notice(make_integration(make_tenant())))
    deliver()
    assert receiver.got == []


def test_a_removed_target_is_told_no_more_not_even_of_what_waited(
    tenant: CusTenant,
    integration: CusIntegration,
    webhook: CusNotificationTarget,
    receiver: Receiver,
) -> None:
    announce(notice(integration))
    CusNotificationService(tenant).remove(webhook.id)
    announce(notice(integration, subject="later"))
    deliver()
    assert receiver.got == []
    assert CusNotificationDelivery.objects.get().result == "The target was removed."


def test_a_stop_is_told_with_by_whom_and_why_once(
    admin: CusUser,
    integration: CusIntegration,
    webhook: CusNotificationTarget,
    receiver: Receiver,
) -> None:
    service = CusStopService(integration, actor=admin)
    stop = service.stop(scope="agent_id", value="crawler", reason="It loops.")
    service.stop(scope="agent_id", value="crawler", reason="Again.")
    deliver()
    (got,) = receiver.got
    assert got.event["kind"] == "stop_made"
    assert got.event["summary"] == (
        f"The agent crawler of {integration.name} was stopped by {admin.email}: It loops."
    )
    assert got.event["link"].endswith(f"/console/stops/{stop.id}")


# --- Tests, and what is over --------------------------------------------------------------------


def test_a_test_says_at_once_what_the_receiver_answered(
    tenant: CusTenant, admin: CusUser, webhook: CusNotificationTarget, receiver: Receiver
) -> None:
    service = CusNotificationService(tenant, actor=admin)
    assert service.test(webhook.id).status == "sent"
    assert receiver.kinds == ["test"]
    receiver.status = 404
    refused = service.test(webhook.id)
    assert (refused.attempts, "answered 404" in refused.result) == (1, True)


def test_the_round_starts_a_task_for_each_due_webhook(
    integration: CusIntegration,
    webhook: CusNotificationTarget,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(
        "integrations.tasks.cus_deliver_notifications.apply_async",
        lambda **options: started.append(options["args"]),
    )
    cus_fan_out_notifications()
    announce(notice(integration))
    cus_fan_out_notifications()
    assert started == [(str(webhook.id),)]


def test_old_deliveries_targets_and_events_are_forgotten_and_secrets_with_them(
    tenant: CusTenant,
    integration: CusIntegration,
    webhook: CusNotificationTarget,
    receiver: Receiver,
) -> None:
    announce(notice(integration))
    deliver()
    CusNotificationService(tenant).remove(webhook.id)
    now = timezone.now()
    forget_old(now=now + KEPT_FOR - timedelta(hours=1))
    assert CusNotificationDelivery.objects.count() == 1
    forget_old(now=now + KEPT_FOR + timedelta(hours=1))
    for model in (CusNotificationDelivery, CusNotificationTarget, CusSigningSecret):
        assert not model._default_manager.exists()
    # The event stays, so that nobody is told of it again.
    assert announce(notice(integration)) is None
    forget_old(now=now + timedelta(days=91))
    assert not CusNotificationEvent.objects.exists()


def test_unknown_ids_are_not_found_in_another_tenant(webhook: CusNotificationTarget) -> None:
    other = CusNotificationService(make_tenant())
    for target_id in (webhook.id, uuid.uuid4()):
        with pytest.raises(TargetNotFound):
            other.get(target_id)
