"""The console's pages of notifications: targets, their secret, their log, a person's own choice."""

import re

import pytest
from django.test import Client
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_notifications.models import CusNotificationTarget
from integrations.cus_notifications.service import CusMuteService, CusNotificationService
from integrations.cus_stops.service import CusStopService
from tests.cus_factories import make_user, signed_in
from tests.services.cus_receiver import Receiver, documented_check

pytestmark = pytest.mark.django_db
TARGETS = "/admin/integrations/cusnotificationtarget/"
DELIVERIES = "/admin/integrations/cusnotificationdelivery/"


@pytest.fixture
def browser(admin: CusUser) -> Client:
    return signed_in(admin)


def _secret_on(text: str) -> str:
    (secret,) = set(re.findall(r"whsec_[\w-]+", text))
    return str(secret)


def test_a_webhook_is_made_tested_rotated_and_removed(browser: Client, receiver: Receiver) -> None:
    body = {"medium": "webhook", "address": receiver.address, "muted_kinds": ["limit_80"]}
    made = browser.post(f"{TARGETS}add/", body)
    assert made.status_code == 200
    assert "no-store" in made["Cache-Control"]
    first = _secret_on(made.content.decode())
    target = CusNotificationTarget.objects.get()
    page = f"{TARGETS}{target.id}"
    assert target.muted_kinds == ["limit_80"]
    assert first not in browser.get(f"{page}/change/").content.decode()

    assert "Send a test" in browser.get(f"{page}/try_out/").content.decode()
    assert receiver.got == []
    tested = browser.post(f"{page}/try_out/", follow=True).content.decode()
    assert "The receiver answered 204" in tested
    assert documented_check()(first, receiver.got[0].headers, receiver.got[0].body)

    assert "whsec_" not in browser.get(f"{page}/rotate/").content.decode()
    second = _secret_on(browser.post(f"{page}/rotate/").content.decode())
    assert second != first
    # The page of the next request does not have it: no session keeps it.
    assert second not in browser.get(TARGETS).content.decode()

    assert browser.post(f"{page}/remove/").status_code == 302
    assert receiver.address not in browser.get(TARGETS).content.decode()


def test_a_targets_page_changes_what_it_mutes_and_nothing_else(
    browser: Client, tenant: CusTenant
) -> None:
    target, _ = CusNotificationService(tenant).add(medium="email", address="ops@example.com")
    body = {"muted_kinds": ["stop_made"], "address": "mallory@example.com", "medium": "webhook"}
    assert browser.post(f"{TARGETS}{target.id}/change/", body).status_code == 302
    target.refresh_from_db()
    assert (target.address, target.medium) == ("ops@example.com", "email")
    assert target.muted_kinds == ["stop_made"]
    # Only a webhook has a secret to rotate.
    assert "Rotate" not in browser.get(f"{TARGETS}{target.id}/change/").content.decode()


def test_a_refused_address_shows_the_form_with_why(browser: Client) -> None:
    body = {"medium": "webhook", "address": "https://10.0.0.1/hook"}
    answer = browser.post(f"{TARGETS}add/", body)
    assert "CUS_WEBHOOK_PRIVATE_HOSTS" in answer.content.decode()
    assert not CusNotificationTarget.objects.exists()


def test_the_log_says_of_each_delivery_what_it_came_to_and_when_it_is_tried_again(
    browser: Client, integration: CusIntegration
) -> None:
    service = CusNotificationService(integration.tenant)
    target, _ = service.add(medium="email", address="ops@example.com")
    CusStopService(integration).stop(scope="agent_id", value="crawler", reason="It loops.")
    CusNotificationTarget.objects.update(failures=1, retry_at=timezone.now())
    listed = browser.get(DELIVERIES).content.decode()
    assert "The agent crawler" in listed
    assert "Waiting" in listed
    row = target.deliveries.get()
    page = browser.get(f"{DELIVERIES}{row.id}/change/").content.decode()
    assert "Next try" in page
    assert f"{timezone.now():%Y-%m-%d}" in page


@pytest.mark.parametrize("role", ["operator", "support", "finance", "admin", "member"])
def test_each_person_chooses_what_they_are_told_of(tenant: CusTenant, role: str) -> None:
    person = make_user(role, tenant if role in ("admin", "member") else None)
    browser = signed_in(person)
    page = browser.get("/console/notifications", follow=True)
    assert "Send me no mail of" in page.content.decode()
    assert browser.post("/admin/notifications/", {"kinds": ["limit_80"]}).status_code == 302
    assert CusMuteService(person).kinds() == ["limit_80"]
    assert "checked" in browser.get("/admin/notifications/").content.decode()
    bad = browser.post("/admin/notifications/", {"kinds": ["too_many"]})
    assert bad.status_code == 200
    # A form without a mark mutes nothing.
    assert browser.post("/admin/notifications/", {}).status_code == 302
    assert CusMuteService(person).kinds() == []
