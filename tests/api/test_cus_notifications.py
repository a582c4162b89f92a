"""Who is told, over HTTP: targets, the webhook's secret, tests, the log, and what a person mutes."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_notifications.announcing import Notice, announce
from integrations.cus_notifications.delivery import deliver_to
from integrations.cus_notifications.kinds import Kind
from integrations.cus_notifications.models import CusNotificationTarget
from tests.cus_factories import as_written, make_user, signed_in
from tests.services.cus_receiver import Receiver, documented_check

pytestmark = pytest.mark.django_db
API = "/api/v1/cus/notifications"
TARGETS = f"{API}/targets"


@pytest.fixture
def client_of_admin(admin: CusUser) -> Client:
    return signed_in(admin)


def post(client: Client, url: str, body: Any = None) -> Any:
    return client.post(url, body or {}, content_type="application/json")


def add_webhook(client: Client, receiver: Receiver) -> dict[str, Any]:
    answer = post(client, TARGETS, {"medium": "webhook", "address": receiver.address})
    assert answer.status_code == 201, answer.content
    assert answer["Cache-Control"] == "no-store"
    made: dict[str, Any] = answer.json()
    return made


def announce_a_stop(integration: CusIntegration) -> None:
    announce(
        Notice(
            tenant_id=integration.tenant_id,
            integration_id=integration.id,
            kind=Kind.STOP_MADE,
            subject="a stop",
            window_start=timezone.now(),
            summary="The agent crawler was stopped",
            path="/console/stops/1",
        )
    )


def test_a_webhooks_secret_is_in_the_answer_that_makes_it_and_in_no_other(
    client_of_admin: Client, receiver: Receiver
) -> None:
    made = add_webhook(client_of_admin, receiver)
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert len(secret) > 40
    one = client_of_admin.get(f"{TARGETS}/{made['id']}")
    assert one.json() == made
    listed = client_of_admin.get(TARGETS)
    assert listed.json()["results"] == [made]
    assert secret not in (one.content + listed.content).decode()


def test_an_address_has_no_secret(client_of_admin: Client) -> None:
    body = {"medium": "email", "address": "ops@example.com", "muted_kinds": ["limit_80"]}
    made = post(client_of_admin, TARGETS, body).json()
    assert made["secret"] is None
    assert made["muted_kinds"] == ["limit_80"]
    refused = post(client_of_admin, f"{TARGETS}/{made['id']}/rotate")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (409, "no_webhook")


def test_a_tenant_has_one_webhook_and_an_address_is_told_once(
    client_of_admin: Client, receiver: Receiver
) -> None:
    first = add_webhook(client_of_admin, receiver)
    second = {"medium": "webhook", "address": f"{receiver.url}/another"}
    assert _error(post(client_of_admin, TARGETS, second)) == (409, "webhook_exists", "medium")
    mail = {"medium": "email", "address": "ops@example.com"}
    assert post(client_of_admin, TARGETS, mail).status_code == 201
    again = mail | {"address": "OPS@example.com"}
    assert _error(post(client_of_admin, TARGETS, again)) == (409, "address_taken", "address")

    assert client_of_admin.delete(f"{TARGETS}/{first['id']}").status_code == 204
    assert client_of_admin.get(f"{TARGETS}/{first['id']}").status_code == 404
    assert post(client_of_admin, TARGETS, second).status_code == 201


def _error(answer: Any) -> tuple[int, str, str]:
    (error,) = answer.json()["errors"]
    return answer.status_code, error["code"], error["attr"]


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"medium": "email", "address": "nobody"}, "address"),
        ({"medium": "email", "address": ""}, "address"),
        ({"medium": "webhook", "address": "https://10.0.0.1/"}, "address"),
        ({"medium": "webhook", "address": "http://example.com/"}, "address"),
        ({"medium": "webhook", "address": f"https://example.com/{'x' * 2_048}"}, "address"),
        ({"medium": "pigeon", "address": "a@example.com"}, "medium"),
        ({"address": "a@example.com"}, "medium"),
        ({"medium": "email", "address": "a@example.com", "muted_kinds": ["test"]}, "muted_kinds.0"),
        ({"medium": "email", "address": "a@example.com", "muted_kinds": "x"}, "muted_kinds"),
        ({"medium": "email", "address": "a@example.com", "secret": "mine"}, "secret"),
    ],
)
def test_a_bad_target_is_refused_by_its_field(
    client_of_admin: Client, body: dict[str, Any], attr: str
) -> None:
    answer = post(client_of_admin, TARGETS, body)
    assert answer.status_code == 400
    assert [error["attr"] for error in answer.json()["errors"]] == [attr]
    assert not CusNotificationTarget.objects.exists()


def test_a_test_answers_with_what_the_receiver_said_and_is_bounded(
    client_of_admin: Client, receiver: Receiver
) -> None:
    made = add_webhook(client_of_admin, receiver)
    url = f"{TARGETS}/{made['id']}/test"
    answer = post(client_of_admin, url).json()
    assert (answer["status"], answer["kind"], answer["attempts"]) == ("sent", "test", 1)
    (got,) = receiver.got
    assert documented_check()(made["secret"], got.headers, got.body)

    receiver.status = 500
    assert "answered 500" in post(client_of_admin, url).json()["result"]
    for _ in range(4):
        assert post(client_of_admin, url).status_code == 200
    refused = post(client_of_admin, url)
    assert refused.status_code == 429
    assert refused["Retry-After"]


def test_a_rotated_secret_signs_from_then_on(client_of_admin: Client, receiver: Receiver) -> None:
    made = add_webhook(client_of_admin, receiver)
    rotated = post(client_of_admin, f"{TARGETS}/{made['id']}/rotate")
    assert rotated["Cache-Control"] == "no-store"
    post(client_of_admin, f"{TARGETS}/{made['id']}/test")
    (got,) = receiver.got
    for secret in (made["secret"], rotated.json()["secret"]):
        assert documented_check()(secret, got.headers, got.body)


def test_the_log_lists_each_delivery_with_its_tries_and_its_next_one(
    client_of_admin: Client, receiver: Receiver, integration: CusIntegration
) -> None:
    made = add_webhook(client_of_admin, receiver)
    receiver.status = 503
    announce_a_stop(integration)
    deliver_to(CusNotificationTarget.objects.get().id)
    (row,) = client_of_admin.get(f"{API}/deliveries").json()["results"]
    assert (row["status"], row["attempts"], row["kind"]) == ("waiting", 1, "stop_made")
    assert row["target_id"] == made["id"]
    assert row["event_id"] == receiver.got[0].event["id"]
    assert row["next_try_at"] == client_of_admin.get(TARGETS).json()["results"][0]["retry_at"]
    assert "answered 503" in row["result"]

    by_status = {
        status: len(client_of_admin.get(f"{API}/deliveries?status={status}").json()["results"])
        for status in ("waiting", "sent")
    }
    assert by_status == {"waiting": 1, "sent": 0}
    for query in ("status=lost", "target_id=x", "colour=red"):
        assert client_of_admin.get(f"{API}/deliveries?{query}").status_code == 400


def test_each_change_of_a_target_is_in_the_trail_without_the_secret(
    client_of_admin: Client, receiver: Receiver, tenant: CusTenant
) -> None:
    made = add_webhook(client_of_admin, receiver)
    url = f"{TARGETS}/{made['id']}"
    kinds = {"muted_kinds": ["limit_80"]}
    for _ in range(2):
        client_of_admin.patch(url, kinds, content_type="application/json")
    secret = post(client_of_admin, f"{url}/rotate").json()["secret"]
    client_of_admin.delete(url)
    trail = as_written(CusAuditEntry.objects.filter(object_id=made["id"]))
    assert [one.action for one in trail] == [
        f"notification_target.{word}" for word in ("added", "muted", "rotated", "removed")
    ]
    assert {one.tenant_id for one in trail} == {tenant.id}
    text = str(list(trail.values()))
    assert made["secret"] not in text
    assert secret not in text


@pytest.mark.parametrize("role", ["operator", "support", "finance", "admin", "member"])
def test_each_person_mutes_for_themselves(tenant: CusTenant, role: str) -> None:
    client = signed_in(make_user(role, tenant if role in ("admin", "member") else None))
    other = signed_in(make_user("member", tenant))
    url = f"{API}/muted"
    assert client.get(url).json() == {"kinds": []}
    body = {"kinds": ["stop_made", "limit_80", "stop_made"]}
    assert client.put(url, body, content_type="application/json").json() == {
        "kinds": ["limit_80", "stop_made"]
    }
    assert client.get(url).json() == {"kinds": ["limit_80", "stop_made"]}
    assert other.get(url).json() == {"kinds": []}
    bad = client.put(url, {"kinds": ["too_many"]}, content_type="application/json")
    assert bad.status_code == 400
