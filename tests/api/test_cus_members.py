"""People of a tenant over HTTP: each role does what it may, and other tenants are not there."""

import uuid
from typing import Any

import pytest
from django.test import Client

from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from tests.cus_factories import make_tenant, make_user, sent_mails, signed_in

pytestmark = pytest.mark.django_db

URL = "/api/v1/cus/members"


def _send(client: Client, method: str, url: str, body: Any) -> Any:
    return getattr(client, method)(url, body, content_type="application/json")


def _row(user: CusUser) -> CusMembership:
    return CusMembership.objects.get(user=user)


def test_an_admin_invites_promotes_and_removes(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))

    invited = _send(client, "post", URL, {"email": "new@example.com"})

    assert invited.status_code == 201
    assert invited.json().keys() == {"id", "email", "role", "state", "created_at"}
    assert (invited.json()["role"], invited.json()["state"]) == ("member", "invited")
    assert len(sent_mails()) == 1
    url = f"{URL}/{invited.json()['id']}"
    assert _send(client, "patch", url, {"role": "admin"}).json()["role"] == "admin"
    assert client.get(url).json()["role"] == "admin"
    listed = client.get(URL).json()["results"]
    assert {(row["role"], row["state"]) for row in listed} == {
        ("admin", "invited"),
        ("admin", "active"),
    }
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == client.delete(url).status_code == 404


def test_an_answer_tells_nobody_of_another_tenants_people(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))
    elsewhere = make_user("member", make_tenant())

    known = _send(client, "post", URL, {"email": elsewhere.email})
    unknown = _send(client, "post", URL, {"email": "unknown@example.com"})

    assert known.status_code == unknown.status_code == 201
    own = ("id", "email", "created_at")
    assert {k: v for k, v in known.json().items() if k not in own} == {
        k: v for k, v in unknown.json().items() if k not in own
    }


def test_a_foreign_person_answers_exactly_as_a_missing_one(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))
    foreign = _row(make_user("member", make_tenant())).id

    for method, body in (("get", None), ("patch", {"role": "admin"}), ("delete", None)):
        answers = [
            _send(client, method, f"{URL}/{pk}", body)
            if body
            else getattr(client, method)(f"{URL}/{pk}")
            for pk in (foreign, uuid.UUID(int=1))
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].content == answers[1].content


@pytest.mark.parametrize(
    ("who", "reads", "changes"),
    [
        ("operator", 200, (201, 200, 204)),
        ("admin", 200, (201, 200, 204)),
        ("member", 200, (403, 403, 403)),
        ("support", 403, (403, 403, 403)),
        ("nobody", 403, (403, 403, 403)),
        ("anonymous", 401, (401, 401, 401)),
    ],
)
def test_each_role_does_what_it_may(
    tenant: CusTenant, who: str, reads: int, changes: tuple[int, int, int]
) -> None:
    somebody = _row(make_user("member", tenant))
    user = make_user(who, tenant if who in ("admin", "member") else None)
    client = signed_in(None if who == "anonymous" else user)
    query = f"?tenant_id={tenant.id}"

    assert client.get(f"{URL}{query}").status_code == reads
    assert client.get(f"{URL}/{somebody.id}").status_code == reads
    did = (
        _send(client, "post", f"{URL}{query}", {"email": "new@example.com"}).status_code,
        _send(client, "patch", f"{URL}/{somebody.id}", {"role": "admin"}).status_code,
        client.delete(f"{URL}/{somebody.id}").status_code,
    )
    assert did == changes


def test_what_the_rules_refuse_has_its_own_status(tenant: CusTenant) -> None:
    admin = make_user("admin", tenant)
    client, own = signed_in(admin), f"{URL}/{_row(admin).id}"

    assert _send(client, "patch", own, {"role": "member"}).status_code == 403
    refused = client.delete(own)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (409, "last_admin")
    again = _send(client, "post", URL, {"email": admin.email})
    assert (again.status_code, again.json()["errors"][0]["attr"]) == (409, "email")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"email": 5}, {"email": "x"}, {"email": " a@example.com"},
        {"email": "a@example.com", "role": "operator"}, {"email": "a@example.com", "role": None},
        {"email": "a@example.com", "is_superuser": True}, {"email": "a\x00@example.com"},
        {"email": "a" * 250 + "@example.com"},
    ],
)  # fmt: skip
def test_what_is_no_invitation_is_refused(tenant: CusTenant, body: dict[str, Any]) -> None:
    assert _send(signed_in(make_user("admin", tenant)), "post", URL, body).status_code == 400
    assert not sent_mails()
