"""People are told once of each event, by mail and by a signed webhook."""

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_credentials.models import CusSigningSecret
from integrations.cus_lifecycle.limits import day_start
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_notifications.announcing import announce
from integrations.cus_notifications.delivery import KEPT_FOR, deliver_to, forget_old, take_turn
from integrations.cus_notifications.models import (
    CusNotificationDelivery,
    CusNotificationEvent,
    CusNotificationTarget,
)
from integrations.cus_notifications.service import CusNotificationService, TargetNotFound
from integrations.cus_stops.service import CusStopService
from integrations.tasks import cus_fan_out_notifications
from tests.cus_factories import make_integration, make_tenant, sent_mails
from tests.services.cus_notices import deliver, notice
from tests.services.cus_receiver import Receiver, documented_check

pytestmark = pytest.mark.django_db

# --- What is sent -----------------------------------------------------------------------------


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


# --- Once -------------------------------------------------------------------------------------


def test_a_transition_is_told_once_and_another_window_or_amount_is_another(
    integration: CusIntegration, webhook: CusNotificationTarget, receiver: Receiver
) -> None:
    for _ in range(3):
        announce(notice(integration))
        deliver()
    assert len(receiver.got) == 1
    announce(notice(integration, window_start=day_start(timezone.now()) - timedelta(days=1)))
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


@pytest.mark.django_db(transaction=True)
def test_the_turn_of_a_webhook_is_one_workers_however_many_ask_at_once() -> None:
    target, _ = CusNotificationService(make_integration().tenant).add(
        medium="webhook", address="https://hooks.example.com/"
    )
    start = threading.Barrier(6)

    def take(_number: int) -> bool:
        connections["default"].ensure_connection()
        try:
            start.wait(30)
            return take_turn(target.id)
        finally:
            connections.close_all()

    for _ in range(20):
        CusNotificationTarget.objects.filter(id=target.id).update(busy_until=None)
        with ThreadPoolExecutor(6) as threads:
            assert sum(threads.map(take, range(6))) == 1


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


# --- Tests, and what is over ------------------------------------------------------------------


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
