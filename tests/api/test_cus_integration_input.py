"""What the API of people takes: what was meant, to the letter, and never a 500."""

import json
from typing import Any

import pytest
from django.test import Client

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import make_user, signed_in

pytestmark = pytest.mark.django_db

URL = "/api/v1/cus/integrations"
GOOD = {"name": "Ours", "provider_type": "openai", "credential": {"api_key": "sk-0123456789ab"}}
CUSTOM = {"provider_type": "custom"}
BEDROCK = {"provider_type": "bedrock"}


@pytest.fixture
def admin(tenant: CusTenant) -> Client:
    return signed_in(make_user("admin", tenant))


def _post(client: Client, body: Any) -> Any:
    return client.post(URL, body, content_type="application/json")


def _custom(url: Any, **more: Any) -> dict[str, Any]:
    return CUSTOM | {"config": {"base_url": url} | more}


BAD = [
    ({"name": 5}, "name"),
    ({"name": ""}, "name"),
    ({"name": None}, "name"),
    ({"name": " Ours"}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"name": "a\x00b"}, "name"),
    ({"name": "\ud800"}, "name"),
    ({"name": "n" * 256}, "name"),
    ({"name": ["Ours"]}, "name"),
    ({"provider_type": "gemini"}, "provider_type"),
    ({"provider_type": ["openai"]}, "provider_type"),
    ({"provider_type": None}, "provider_type"),
    ({"budget_limit_cents": "5"}, "budget_limit_cents"),
    ({"budget_limit_cents": 5.0}, "budget_limit_cents"),
    ({"budget_limit_cents": True}, "budget_limit_cents"),
    ({"budget_limit_cents": -1}, "budget_limit_cents"),
    ({"budget_limit_cents": 2**31}, "budget_limit_cents"),
    ({"budget_limit_cents": None}, "budget_limit_cents"),
    ({"rate_limit_rpm": 2**31}, "rate_limit_rpm"),
    ({"token_limit_month": 2**63}, "token_limit_month"),
    ({"token_limit_month": 10**400}, "token_limit_month"),
    ({"budget_basis": "guessed"}, "budget_basis"),
    ({"estimate_basis": "guessed"}, "estimate_basis"),
    ({"enforcement_level": "hard_block"}, "enforcement_level"),
    ({"allow_unpriced": "yes"}, "allow_unpriced"),
    ({"allow_unpriced": 1}, "allow_unpriced"),
    ({"default_model": ""}, "default_model"),
    ({"default_model": "m" * 101}, "default_model"),
    ({"surprise": 1}, "surprise"),
    ({"status": "enabled"}, "status"),
    ({"id": "00000000-0000-0000-0000-000000000001"}, "id"),
    ({"tenant_id": "00000000-0000-0000-0000-000000000001"}, "tenant_id"),
    ({"credential_ref": "env://CUS_CREDENTIAL_X"}, "credential_ref"),
    ({"credential_state": "valid"}, "credential_state"),
    ({"config_version": 7}, "config_version"),
    ({"coverage_percent": 100}, "coverage_percent"),
    ({"credential": None}, "credential"),
    ({"credential": {}}, "credential"),
    ({"credential": "sk-0123456789ab"}, "credential"),
    ({"credential": {"api_key": ""}}, "credential"),
    ({"credential": {"api_key": 5}}, "credential"),
    ({"credential": {"api_key": "sk 1"}}, "credential"),
    ({"credential": {"api_key": "k" * 8193}}, "credential"),
    ({"credential": {"api_key": "sk-0123456789ab", "more": "x"}}, "credential"),
    ({"credential": {"azure_ad_token": "t-0123456789ab"}}, "credential"),
    (BEDROCK | {"config": {"region": "eu-west-1"}, "credential": {"aws_access_key_id": "A"}}, "credential"),
    ({"config": None}, "config"),
    ({"config": []}, "config"),
    ({"config": {"api_key": "sk-0123456789ab"}}, "config"),
    ({"config": {"base_url": "https://api.openai.com"}}, "config"),
    ({"config": {"project": "a b"}}, "config"),
    ({"config": {"project": {"id": "p"}}}, "config"),
    ({"config": {"timeout_seconds": 0}}, "config"),
    ({"config": {"timeout_seconds": "5"}}, "config"),
    ({"config": {"timeout_seconds": True}}, "config"),
    (CUSTOM, "config"),
    (BEDROCK, "config"),
    (BEDROCK | {"config": {"region": "moon"}}, "config"),
    (_custom("http://llm.example.com"), "config"),
    (_custom("ftp://llm.example.com"), "config"),
    (_custom("https://user:pw@llm.example.com"), "config"),
    (_custom("https://@llm.example.com"), "config"),
    (_custom("https://llm.example.com/#part"), "config"),
    (_custom("https://llm.example.com/?key=x"), "config"),
    (_custom("https://llm.example.com\\@evil.example.com"), "config"),
    (_custom("https://"), "config"),
    (_custom("https:///v1"), "config"),
    (_custom("https://llm.example.com:99999"), "config"),
    (_custom("https://llm.example.com:"), "config"),
    (_custom("https://[::1"), "config"),
    (_custom("https://llm example.com"), "config"),
    (_custom("https://ex\u0430mple.com"), "config"),
    (_custom("llm.example.com"), "config"),
    (_custom("https://host..example.com"), "config"),
    (_custom("https://a.example.com", health_path="/a?b=https://evil.example.com"), "config"),
    (_custom(5), "config"),
    (_custom("https://x.example.com", health_path="v1/models"), "config"),
    (_custom("https://x.example.com", health_path="//evil.example.com/"), "config"),
    (_custom("https://x.example.com", health_path="https://evil.example.com/"), "config"),
    (_custom("https://x.example.com", health_path="/a?b"), "config"),
    (_custom("https://x.example.com", health_path="/a\\b"), "config"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "attr"), BAD)
def test_what_is_no_integration_is_refused_by_field(
    admin: Client, change: dict[str, Any], attr: str
) -> None:
    answer = _post(admin, GOOD | change)

    assert answer.status_code == 400
    assert {error["attr"].split(".")[0] for error in answer.json()["errors"]} == {attr}
    assert not CusIntegration.objects.exists()


# Each is 127.0.0.1 or another address to some programs, and a name or nothing to others.
DISGUISED = [
    "0x7f.1", "0x7f000001", "0x7f.0.0.1", "127.0x1", "0X7F.1", "0177.0.0.1", "0177.1", "017700000001",
    "127.1", "127.0.1", "2130706433", "0", "1", "127.0.0.01", "127.0.0.0x1", "0x7f.1.", "127.1.",
    "256.256.256.256", "1.2.3.4.5", "llm.example.0x7f", "llm.example.1", "0x",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::7f00:1]",
]  # fmt: skip


@pytest.mark.parametrize("host", DISGUISED)
@pytest.mark.parametrize("port", ["", ":8443"])
def test_a_disguised_address_is_refused_when_it_is_saved(
    admin: Client, host: str, port: str
) -> None:
    answer = _post(admin, GOOD | _custom(f"https://{host}{port}/v1"))

    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["attr"].split(".")[0] == "config"
    assert "Write an IPv4 address as four plain decimal numbers." in error["detail"]
    assert not CusIntegration.objects.exists()


@pytest.mark.parametrize(
    "decoded", ["１２７.０.０.１", "１２７。１", "①②⑦.1", "０ｘ７ｆ.１", "x.𝟏𝟐𝟕", "x.０ｘ７ｆ"]
)
def test_so_is_one_that_only_a_decoder_sees(admin: Client, decoded: str) -> None:
    labels = [
        label if label.isascii() else "xn--" + label.encode("punycode").decode()
        for label in decoded.split(".")
    ]

    answer = _post(admin, GOOD | _custom(f"https://{'.'.join(labels)}/v1"))

    assert answer.status_code == 400
    assert "Write an IPv4 address as four" in answer.json()["errors"][0]["detail"]


@pytest.mark.parametrize("host", ["xn--bcher-kva.example", "xn--p1ai.example", "7f.example"])
def test_a_name_that_only_looks_unusual_is_taken(admin: Client, host: str) -> None:
    assert _post(admin, GOOD | _custom(f"https://{host}/v1")).status_code == 201


@pytest.mark.parametrize(
    "url",
    [
        "https://llm.example.com",
        "https://llm.example.com:8443/v1/",
        "https://192.0.2.1/v1",
        "https://[2001:db8::1]:8443/v1",
    ],
)
def test_addresses_that_have_a_good_form_are_taken(admin: Client, url: str) -> None:
    assert _post(admin, GOOD | _custom(url, health_path="/v1/models")).status_code == 201


def test_plain_http_is_taken_where_the_operator_allows_it(admin: Client, settings: Any) -> None:
    settings.CUS_ALLOW_HTTP_PROVIDERS = True

    assert _post(admin, GOOD | _custom("http://llm.example.com")).status_code == 201


def test_a_secret_in_the_wrong_place_is_sent_to_the_right_one_and_not_repeated(
    admin: Client,
) -> None:
    answer = _post(admin, GOOD | {"config": {"api_key": "sk-misplaced-0123"}})

    assert "Secrets go into credential" in answer.json()["errors"][0]["detail"]
    assert "sk-misplaced" not in answer.content.decode()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"5", b'"x"', b"{", b"\xff\xfe", b"NaN", b'{"name": NaN}',
        b'{"name": Infinity}', b'{"name": "a", "name": "b"}', b'{"\\ud800": 1}',
        b'{"\\u0000": 1}', b'{"name": ' + b"9" * 5000 + b"}",
        b"[" * 5000 + b"]" * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"config": ' + b"[" * 30 + b"]" * 30 + b"}", b'["\\ud83d"]',
        b'{"name": "x"}garbage',
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["post", "put"])
def test_a_body_that_is_none_is_said_to_be_so(
    admin: Client, integration: CusIntegration, method: str, body: bytes
) -> None:
    url = URL if method == "post" else f"{URL}/{integration.id}"

    answer = getattr(admin, method)(url, body, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["detail"]


def test_a_large_body_is_refused(admin: Client) -> None:
    assert _post(admin, GOOD | {"name": "n" * 300_000}).status_code == 413


def test_a_body_without_a_length_is_refused_and_not_taken_for_an_empty_one(
    admin: Client, integration: CusIntegration
) -> None:
    answer = admin.patch(
        f"{URL}/{integration.id}",
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
    )

    assert answer.status_code == 411


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
@pytest.mark.parametrize("checks_csrf", [False, True])
def test_only_json_comes_in(tenant: CusTenant, kind: str, checks_csrf: bool) -> None:
    client = signed_in(make_user("admin", tenant), enforce_csrf_checks=checks_csrf)

    client.cookies["csrftoken"] = "a" * 32

    answer = client.post(
        URL, json.dumps(GOOD), content_type=kind, headers={"X-CSRFToken": "a" * 32}
    )

    assert answer.status_code == 415
    assert not CusIntegration.objects.exists()


def test_only_json_comes_out(admin: Client) -> None:
    answer = admin.get(URL, headers={"Accept": "text/html"})

    assert (answer.status_code, answer["Content-Type"]) == (406, "application/json")


def test_a_session_without_its_csrf_token_changes_nothing(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant), enforce_csrf_checks=True)

    assert _post(client, GOOD).status_code == 403
    assert client.get(URL).status_code == 200


@pytest.mark.parametrize("field", ["provider_type", "credential_hint", "tenant_id", "status"])
@pytest.mark.parametrize("method", ["put", "patch"])
def test_what_is_only_shown_cannot_be_changed(
    admin: Client, integration: CusIntegration, method: str, field: str
) -> None:
    url = f"{URL}/{integration.id}"
    body = {"name": "New", field: admin.get(url).json()[field]}

    answer = getattr(admin, method)(url, body, content_type="application/json")

    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["attr"], error["detail"]) == (
        field,
        "This field can't be set this way; it is only shown.",
    )


@pytest.mark.parametrize("path", ["nonsense", "%00", "00000000-0000-0000-0000-00000000000g"])
def test_an_id_that_is_none_is_a_json_404(admin: Client, path: str) -> None:
    answer = admin.get(f"{URL}/{path}")

    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] == "not_found"


def test_a_taken_name_is_a_conflict_that_names_its_field(admin: Client) -> None:
    _post(admin, GOOD)

    answer = _post(admin, GOOD)

    assert answer.status_code == 409
    (error,) = answer.json()["errors"]
    assert (error["code"], error["attr"]) == ("name_taken", "name")
