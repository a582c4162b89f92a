"""API tokens: shown once, hashed, ending; theirs who made them."""

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from integrations.cus_accounts.models import CusApiToken, CusMembership, CusTenant, CusUser
from integrations.cus_accounts.token_rights import TokenRights
from integrations.cus_accounts.token_service import CusTokenService, TokenOutlivesItsMaker
from integrations.cus_web.errors import CusError
from tests.cus_factories import SdkClient, make_tenant, make_user, signed_in

pytestmark = pytest.mark.django_db

URL = "/api/v1/cus/tokens"
PRICES = "/api/v1/cus/price-overrides"


def _program(text: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {text}"})


def _issue(user: CusUser, **fields: Any) -> tuple[CusApiToken, str]:
    fields = {"rights": TokenRights(may_change_access=True)} | fields
    return CusTokenService(user).issue(name="nightly", now=timezone.now(), **fields)


def _post(client: Client, **fields: Any) -> Any:
    return client.post(URL, {"name": "nightly"} | fields, content_type="application/json")


def test_a_token_is_shown_once_and_may_what_its_person_may(admin: CusUser) -> None:
    issued = _post(signed_in(admin))

    assert issued.status_code == 201
    text = issued.json()["token"]
    assert text.startswith("aost_")
    assert _program(text).get(PRICES).status_code == 200
    listed = _program(text).get(URL)
    assert listed.json()["results"][0]["id"] == issued.json()["id"]
    assert text not in listed.content.decode()


def test_the_table_holds_no_token(admin: CusUser) -> None:
    token, text = _issue(admin)

    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(t)::text FROM cus_api_tokens AS t")
        (row,) = cursor.fetchone()
    assert text not in row
    assert text[20:] not in row
    assert text not in f"{token!r}{token}"
    assert token.digest not in f"{token!r}{token}"


def test_its_id_is_not_its_hash(admin: CusUser) -> None:
    token, _ = _issue(admin)

    body = signed_in(admin).get(URL).content.decode()

    assert str(token.id) in body
    assert token.digest not in body


@pytest.mark.parametrize("who", ["operator", "support", "member"])
def test_everybody_with_a_role_has_tokens(who: str, tenant: CusTenant) -> None:
    user = make_user(who, tenant if who == "member" else None)

    text = _post(signed_in(user)).json()["token"]

    assert _program(text).get(URL).status_code == 200
    allowed = _program(text).post(
        f"{PRICES}?tenant_id={tenant.id}", {}, content_type="application/json"
    )
    assert allowed.status_code == (400 if who == "operator" else 403)


def test_who_has_no_role_has_none() -> None:
    assert _post(signed_in(make_user("nobody"))).status_code == 403


def test_who_shows_nothing_is_told_how(client: Client) -> None:
    for answer in (client.get(URL), _post(client), client.delete(f"{URL}/{uuid.uuid4()}")):
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == "Bearer"


def test_a_persons_tokens_are_their_own(admin: CusUser, tenant: CusTenant) -> None:
    token, text = _issue(admin)

    for other in (make_user("admin", tenant), make_user("operator"), make_user("support")):
        client = signed_in(other)
        assert client.get(URL).json()["results"] == []
        assert client.delete(f"{URL}/{token.id}").status_code == 404
    assert _program(text).get(PRICES).status_code == 200


def test_a_revoked_token_is_dead_at_once_and_revoking_again_is_the_same(admin: CusUser) -> None:
    token, text = _issue(admin)
    client = signed_in(admin)

    assert client.delete(f"{URL}/{token.id}").status_code == 204
    assert client.delete(f"{URL}/{token.id}").status_code == 204
    refused = _program(text).get(PRICES)
    assert refused.status_code == 401
    assert refused["WWW-Authenticate"] == "Bearer"
    assert client.get(URL).json()["results"][0]["revoked_at"]


def test_a_token_ends_when_it_said_so(admin: CusUser) -> None:
    token, text = _issue(admin)
    CusApiToken.objects.filter(id=token.id).update(revoked_at=None)
    later = token.expiry + timedelta(seconds=1)

    from integrations.cus_accounts.token_service import verify_token

    assert verify_token(text, address=None, now=token.expiry - timedelta(seconds=1))
    assert verify_token(text, address=None, now=later) is None


def _deactivate(user: CusUser) -> None:
    CusUser.objects.filter(id=user.id).update(is_active=False)


def _remove(user: CusUser) -> None:
    CusMembership.objects.filter(user=user).delete()


def _close(user: CusUser) -> None:
    CusTenant.objects.filter(memberships__user=user).update(closed_at=timezone.now())


def _change_password(user: CusUser) -> None:
    user.set_password("another horse")
    user.save()


@pytest.mark.parametrize("end", [_deactivate, _remove, _close, _change_password])
def test_a_token_ends_with_what_it_stands_for(admin: CusUser, end: Any) -> None:
    _, text = _issue(admin)
    assert _program(text).get(PRICES).status_code == 200

    end(admin)

    assert _program(text).get(PRICES).status_code == 401


def test_a_better_hash_of_the_same_password_ends_no_token(admin: CusUser) -> None:
    _, text = _issue(admin)
    CusUser.objects.filter(id=admin.id).update(last_login=timezone.now())
    admin.first_name = "Ada"
    admin.save()

    assert _program(text).get(PRICES).status_code == 200


@pytest.mark.parametrize(
    "text", ["", "aost_", "aost_" + "0" * 64, "\x00", "é", "x" * 10_000, "a:b:aosk_x"]
)
def test_what_is_no_token_is_401(db: None, text: str) -> None:
    answer = Client(headers={"Authorization": f"Bearer {text}"}).get(PRICES)

    assert answer.status_code == 401
    assert answer.json()["errors"][0]["code"] in ("authentication_failed", "not_authenticated")


def test_an_sdk_key_is_no_token_and_a_token_is_no_sdk_key(sdk: SdkClient, admin: CusUser) -> None:
    _, text = _issue(admin)

    assert _program(sdk.key).get(PRICES).status_code == 401
    assert _program(sdk.key.rsplit(":", 1)[1]).get(PRICES).status_code == 401
    assert _program(text).post("/api/v1/cus/telemetry/llm-usage", {}).status_code == 401


@pytest.mark.parametrize("days", [-1, 0, 366, 40_000])
def test_a_token_ends_within_a_year(admin: CusUser, days: int) -> None:
    refused = _post(signed_in(admin), expires_at=timezone.now() + timedelta(days=days))

    assert refused.status_code == 400
    assert refused.json()["errors"][0]["code"] == "token_expiry_invalid"


def test_a_token_makes_none_that_outlives_it(admin: CusUser) -> None:
    parent, text = _issue(admin, expires_at=timezone.now() + timedelta(days=2))

    same = _post(_program(text))
    longer = _post(_program(text), expires_at=timezone.now() + timedelta(days=3))

    assert CusApiToken.objects.get(id=same.json()["id"]).expiry == parent.expiry
    assert longer.status_code == 400


@pytest.mark.parametrize(
    ("fields", "attr"),
    [
        ({"name": ""}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"user": "x"}, "user"),
        ({"tenant_id": "x"}, "tenant_id"),
    ],
)
def test_what_cannot_be_is_refused_by_field(
    admin: CusUser, fields: dict[str, Any], attr: str
) -> None:
    refused = _post(signed_in(admin), **fields)

    assert refused.status_code == 400
    assert refused.json()["errors"][0]["attr"] == attr


def test_one_person_has_fifty_living_tokens_at_most(admin: CusUser) -> None:
    tokens = [_issue(admin)[0] for _ in range(50)]
    client = signed_in(admin)

    assert _post(client).status_code == 409
    client.delete(f"{URL}/{tokens[0].id}")
    assert _post(client).status_code == 201


def test_use_is_noted_coarsely(admin: CusUser) -> None:
    token, text = _issue(admin)
    _program(text).get(PRICES)
    token.refresh_from_db()
    first = token.last_used_at

    _program(text).get(PRICES)

    token.refresh_from_db()
    assert first
    assert token.last_used_at == first


def test_a_token_reaches_only_its_persons_tenant(admin: CusUser) -> None:
    other = make_tenant()
    _, text = _issue(admin)

    _program(text).post(
        f"{PRICES}?tenant_id={other.id}",
        {
            "model": "m",
            "prices": {"input": "1", "output": "1"},
            "valid_from": "2026-11-01T00:00:00Z",
        },
        content_type="application/json",
    )

    assert not other.price_overrides.exists()


@pytest.mark.parametrize("role", ["admin", "support"])
def test_a_token_its_person_and_their_role_are_read_by_one_statement(
    role: str, tenant: CusTenant
) -> None:
    person = make_user(role, tenant if role == "admin" else None)
    program = _program(_issue(person)[1])

    with CaptureQueriesContext(connection) as captured:
        answer = program.get("/api/v1/cus/integrations")

    assert answer.status_code == 200
    (of_role,) = [sql for query in captured if '"cus_memberships"."role"' in (sql := query["sql"])]
    assert '"cus_users"."email"' in of_role
    (of_token,) = [sql for query in captured if '"digest"' in (sql := query["sql"])]
    assert of_token == of_role


def test_a_session_still_needs_its_csrf_token(admin: CusUser) -> None:
    client = signed_in(admin, enforce_csrf_checks=True)

    assert _post(client).status_code == 403


def _wait_until_one_waits_for_a_row() -> None:
    with connection.cursor() as cursor:
        for _ in range(1_200):
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
            time.sleep(0.05)
    pytest.fail("nobody waits")


@contextmanager
def _meanwhile(work: Callable[[], object]) -> Iterator[Future[object]]:
    """In a transaction, while something is done that waits until it has committed."""

    def closing() -> object:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            begun: Future[object] = Future()
            yield begun
            doing = threads.submit(closing)
            _wait_until_one_waits_for_a_row()
        try:
            begun.set_result(doing.result())
        except CusError as error:
            begun.set_exception(error)


@pytest.mark.django_db(transaction=True)
def test_a_token_that_is_made_while_all_are_ended_ends_too(admin: CusUser) -> None:
    service = CusTokenService(admin)

    with _meanwhile(lambda: service.revoke_all(now=timezone.now())) as ended:
        token, _ = _issue(admin)

    assert ended.result() == 1
    token.refresh_from_db()
    assert token.revoked_at


@pytest.mark.django_db(transaction=True)
def test_a_token_that_was_ended_makes_no_other_one_after_that(admin: CusUser) -> None:
    maker, _ = _issue(admin)

    with _meanwhile(lambda: _issue(admin, made_with=maker)) as made:
        CusTokenService(admin).revoke_all(now=timezone.now())

    with pytest.raises(TokenOutlivesItsMaker):
        made.result()
