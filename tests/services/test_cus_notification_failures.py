"""A notification that can't be delivered is tried again, given up in the end, and never lost."""

import os
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_notifications import delivery as delivering
from integrations.cus_notifications.announcing import announce
from integrations.cus_notifications.delivery import (
    GIVEN_UP_AFTER,
    deliver_to,
    due_webhooks,
    give_up_old,
)
from integrations.cus_notifications.models import CusNotificationDelivery, CusNotificationTarget
from integrations.cus_notifications.sending import send
from integrations.cus_notifications.service import CusNotificationService
from tests.cus_factories import make_integration
from tests.e2e.cus_served import ROOT, _test_database_url
from tests.services.cus_notices import deliver, log_of, notice, try_again_now
from tests.services.cus_receiver import Receiver, documented_check

pytestmark = pytest.mark.django_db


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
