"""API tokens that may only read, or be used only from some addresses (ruling C10)."""

from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.models import CusApiToken, CusUser
from integrations.cus_accounts.token_rights import TokenRights
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_audit.models import CusAuditEntry
from tests.api.cus_access_requests import LINES, body_of, query_of
from tests.api.cus_access_world import Principal, World
from tests.cus_factories import make_tenant, make_user, signed_in

pytestmark = pytest.mark.django_db

URL = "/api/v1/cus/tokens"
PRICES = "/api/v1/cus/price-overrides"


def _token(user: CusUser, **rights: Any) -> str:
    service = CusTokenService(user)
    return service.issue(name="nightly", now=timezone.now(), rights=TokenRights(**rights))[1]


def _program(text: str, address: str = "192.0.2.7", **headers: str) -> Client:
    sent = {"Authorization": f"Bearer {text}"} | headers
    return Client(headers=sent, REMOTE_ADDR=address)


def _post(client: Client, **fields: Any) -> Any:
    return client.post(URL, {"name": "x"} | fields, content_type="application/json")


def _code(answer: Any) -> str:
    return str(answer.json()["errors"][0]["code"])


def test_a_read_only_token_reads_what_its_person_may_and_writes_nothing() -> None:
    world = World()
    client = _program(_token(world.people["admin"], read_only=True))
    who = Principal("admin", "token", client, world.people["admin"])

    lines = [line for line in LINES if line.thing != "any" and line.method != "other"]
    for line in (one for one in lines if one.expected["admin"] != 401):
        before = transaction.savepoint()
        answer = client.generic(
            line.method,
            world.named(line.path, line.thing, who),
            body_of(world, line),
            content_type="application/json",
            query_params=query_of(world, line),
        )
        transaction.savepoint_rollback(before)
        name = (line.method, line.url, line.thing)
        if line.method == "GET":
            assert answer.status_code == line.expected["admin"], name
        else:
            assert (answer.status_code, _code(answer)) == (403, "token_read_only"), name


def test_head_reads_too_and_methods_that_no_url_offers_are_refused_alike(admin: CusUser) -> None:
    client = _program(_token(admin, read_only=True))

    assert client.head(URL).status_code == 200
    for method in ("OPTIONS", "PUT", "TRACE"):
        assert _code(client.generic(method, URL)) == "token_read_only"


def test_a_read_only_token_of_another_tenant_reads_nothing_here(admin: CusUser) -> None:
    world = World()
    stranger = make_user("admin", make_tenant())
    client = _program(_token(stranger, read_only=True))
    who = Principal("admin", "token", client, stranger)

    for line in (one for one in LINES if one.method == "GET" and one.thing == "foreign"):
        if "_id}" in line.path:
            assert client.get(world.named(line.path, "foreign", who)).status_code in (401, 404)


@pytest.mark.parametrize(
    ("ranges", "address", "status"),
    [
        ([], "203.0.113.9", 200),
        (["192.0.2.0/24"], "192.0.2.7", 200),
        (["192.0.2.0/24"], "192.0.3.7", 401),
        (["192.0.2.0/24"], "::ffff:192.0.2.7", 200),
        (["::ffff:192.0.2.0/120"], "192.0.2.7", 200),
        (["192.0.2.8"], "192.0.2.7", 401),
        (["198.51.100.0/24", "192.0.2.7"], "192.0.2.7", 200),
        (["2001:db8::/48"], "2001:db8:0:1::5", 200),
        (["2001:db8::5"], "2001:db8::5", 200),
        (["2001:db8::5"], "2001:db8::6", 401),
        (["0.0.0.0/0"], "2001:db8::6", 401),
        (["0.0.0.0/0"], "", 401),
    ],
)
def test_a_token_works_within_its_ranges_alone(
    admin: CusUser, ranges: list[str], address: str, status: int
) -> None:
    text = _token(admin, address_ranges=ranges)

    assert _program(text, address).get(URL).status_code == status


def test_behind_a_proxy_the_address_is_the_one_that_the_proxy_saw(
    admin: CusUser, settings: Settings
) -> None:
    text = _token(admin, address_ranges=["192.0.2.0/24"])
    forwarded = {"X-Forwarded-For": "192.0.2.7, 203.0.113.9"}

    assert _program(text, "192.0.2.1", **forwarded).get(URL).status_code == 200
    settings.CUS_BEHIND_PROXY = True
    assert _program(text, "192.0.2.1", **forwarded).get(URL).status_code == 401
    assert (
        _program(text, "10.0.0.1", **{"X-Forwarded-For": "192.0.2.7"}).get(URL).status_code == 200
    )
    # The web server drops an unreadable header, and the proxy's own address must not count instead.
    assert _program(text, "192.0.2.7").get(URL).status_code == 401


def test_from_elsewhere_a_living_token_answers_as_one_that_never_was(admin: CusUser) -> None:
    text = _token(admin, address_ranges=["192.0.2.0/24"], read_only=True)

    for send in (Client.get, Client.post):
        stolen = send(_program(text, "203.0.113.9"), URL)
        unknown = send(_program(f"aost_{'0' * 64}", "203.0.113.9"), URL)
        assert (stolen.status_code, stolen.content) == (401, unknown.content)
        assert stolen["WWW-Authenticate"] == unknown["WWW-Authenticate"]


def test_its_person_sees_that_it_was_refused_and_from_where(admin: CusUser) -> None:
    text = _token(admin, address_ranges=["192.0.2.0/24"])
    _program(text, "203.0.113.9").get(URL)

    (shown,) = _program(text).get(URL).json()["results"]

    assert shown["last_refused_address"] == "203.0.113.9"
    assert shown["last_refused_at"]
    page = signed_in(admin).get(f"/admin/integrations/cusapitoken/{shown['id']}/change/")
    assert "203.0.113.9" in page.content.decode()
    assert "192.0.2.0/24" in page.content.decode()


def test_a_refused_use_is_no_use(admin: CusUser) -> None:
    text = _token(admin, address_ranges=["192.0.2.0/24"])

    _program(text, "203.0.113.9").get(URL)

    assert CusApiToken.objects.get().last_used_at is None


def test_rights_are_asked_for_shown_and_on_record(admin: CusUser) -> None:
    ranges = ["192.0.2.7", "2001:DB8:0::/48", "192.0.2.7/32"]
    made = _post(signed_in(admin), read_only=True, address_ranges=ranges)

    assert made.status_code == 201
    shown = signed_in(admin).get(URL).json()["results"][0]
    for token in (made.json(), shown):
        assert token["read_only"] is True
        assert token["address_ranges"] == ["192.0.2.7/32", "2001:db8::/48"]
    changes = CusAuditEntry.objects.get(action="token.issued").changes
    assert changes["read_only"]["to"] is True
    assert changes["address_ranges"]["to"] == ["192.0.2.7/32", "2001:db8::/48"]


def test_a_token_without_rights_of_its_own_reads_and_writes_from_anywhere(admin: CusUser) -> None:
    made = _post(signed_in(admin)).json()

    assert (made["read_only"], made["address_ranges"]) == (False, [])


@pytest.mark.parametrize(
    ("fields", "attr", "hint"),
    [
        ({"address_ranges": ["192.0.2.7/24"]}, "address_ranges", "write 192.0.2.0/24"),
        ({"address_ranges": ["office"]}, "address_ranges", "write 192.0.2.7"),
        ({"address_ranges": ["192.0.2.0/33"]}, "address_ranges", "nor a range"),
        ({"address_ranges": ["fe80::1%eth0"]}, "address_ranges", "nor a range"),
        ({"address_ranges": [f"10.0.0.{n}" for n in range(21)]}, "address_ranges", "20"),
        ({"address_ranges": [7]}, "address_ranges.0", ""),
        ({"address_ranges": "10.0.0.0/8"}, "address_ranges", ""),
        ({"read_only": 1}, "read_only", ""),
        (
            {"read_only": True, "may_change_access": True},
            "may_change_access",
            "can't change access",
        ),
    ],
)
def test_rights_that_can_not_be_are_refused_in_words(
    admin: CusUser, fields: dict[str, Any], attr: str, hint: str
) -> None:
    refused = _post(signed_in(admin), **fields)

    assert refused.status_code == 400
    error = refused.json()["errors"][0]
    assert error["attr"] == attr
    assert hint in error["detail"]
    assert not CusApiToken.objects.exists()


def test_twenty_ranges_are_fine(admin: CusUser) -> None:
    made = _post(signed_in(admin), address_ranges=[f"10.0.0.{n}" for n in range(20)])

    assert made.status_code == 201


@pytest.mark.parametrize(
    ("asked", "status", "given"),
    [
        ([], 201, ["192.0.2.0/24", "2001:db8::/48"]),
        (["192.0.2.7"], 201, ["192.0.2.7/32"]),
        (["2001:db8:0:5::/64", "192.0.2.0/24"], 201, ["2001:db8:0:5::/64", "192.0.2.0/24"]),
        (["192.0.0.0/16"], 403, None),
        (["192.0.2.7", "203.0.113.9"], 403, None),
        (["0.0.0.0/0"], 403, None),
        (["2001:db8::/32"], 403, None),
    ],
)
def test_a_token_made_with_a_token_lies_within_its_ranges(
    admin: CusUser, asked: list[str], status: int, given: list[str] | None
) -> None:
    maker = _token(admin, may_change_access=True, address_ranges=["192.0.2.0/24", "2001:db8::/48"])

    made = _post(_program(maker), address_ranges=asked)

    assert made.status_code == status
    if given is None:
        assert _code(made) == "token_exceeds_its_maker"
    else:
        assert made.json()["address_ranges"] == given


def test_a_token_that_may_change_access_makes_a_read_only_one(admin: CusUser) -> None:
    made = _post(_program(_token(admin, may_change_access=True)), read_only=True)

    assert made.json()["read_only"] is True


def test_a_read_only_token_makes_none(admin: CusUser) -> None:
    refused = _post(_program(_token(admin, read_only=True)), read_only=True)

    assert (refused.status_code, _code(refused)) == (403, "token_read_only")
    assert CusApiToken.objects.count() == 1


def test_the_console_takes_rights_and_says_what_is_wrong_with_them(admin: CusUser) -> None:
    client, url = signed_in(admin), "/admin/integrations/cusapitoken/add/"
    form = {"name": "x", "read_only": "on", "address_ranges": "192.0.2.7/24"}

    wrong = client.post(url, form)
    made = client.post(url, form | {"address_ranges": "192.0.2.0/24\n2001:db8::/48, 10.0.0.1"})

    assert list(wrong.context["adminform"].form.errors) == ["address_ranges"]
    assert "aost_" in made.content.decode()
    token = CusApiToken.objects.get()
    assert token.read_only
    assert token.address_ranges == ["192.0.2.0/24", "2001:db8::/48", "10.0.0.1/32"]
