"""Where notifications may go, what signs them, and who is told."""

import pytest
from django.core import mail
from django.core.exceptions import ValidationError
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_credentials.envelope import key_ring
from integrations.cus_credentials.models import CusSigningSecret
from integrations.cus_credentials.rotation import rotate
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_notifications.announcing import announce
from integrations.cus_notifications.kinds import Kind
from integrations.cus_notifications.models import CusNotificationDelivery, CusNotificationTarget
from integrations.cus_notifications.sending import WebhookRefused, check_url
from integrations.cus_notifications.service import CusMuteService, CusNotificationService
from integrations.cus_stops.service import CusStopService
from integrations.cus_tenancy.member_service import CusMemberService
from tests.cus_factories import make_integration, make_tenant, make_user, sent_mails
from tests.services.cus_notices import deliver, notice, try_again_now
from tests.services.cus_receiver import Receiver, documented_check

pytestmark = pytest.mark.django_db

# --- Where it may go --------------------------------------------------------------------------


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


# --- Secrets ----------------------------------------------------------------------------------


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


# --- Who is told ------------------------------------------------------------------------------


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
