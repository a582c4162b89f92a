"""The second factor: nothing opens with a password alone where it is due."""

import re
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.test import Client
from django.utils import timezone
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp import models as totp_models
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant, CusTotpDevice, CusUser
from integrations.cus_accounts.second_factor_service import CusSecondFactorService
from tests.cus_factories import make_user

pytestmark = pytest.mark.django_db

ASK = "/admin/second-factor/"
SET_UP = "/admin/second-factor/setup/"
INTEGRATIONS = "/admin/integrations/cusintegration/"
PRICES = "/api/v1/cus/price-overrides"
# Seconds that a code is shown.
_STEP = 30
_NOW = time.time()


@pytest.fixture(autouse=True)
def _required(settings: Settings) -> None:
    settings.CUS_REQUIRE_TOTP = True


@pytest.fixture(autouse=True)
def _clock_of_codes_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A code that is shown in one half minute and asked for in the next counts as a slow clock."""
    monkeypatch.setattr(totp_models, "time", SimpleNamespace(time=lambda: _NOW))


@pytest.fixture
def user(tenant: CusTenant) -> CusUser:
    return make_user("admin", tenant)


@pytest.fixture
def client(user: CusUser) -> Client:
    """A browser in which a person has entered the right password, and no code."""
    return _signed_in(user)


def _signed_in(user: CusUser) -> Client:
    client = Client()
    answer = client.post("/admin/login/", {"username": user.email, "password": "correct horse"})
    assert answer.status_code == 302
    return client


def _code(device: TOTPDevice, *, steps_ahead: int = 0) -> str:
    """What an authenticator app shows, now or some half minutes from now."""
    totp = TOTP(CusTotpDevice.objects.get(id=device.id).bin_key)
    totp.time = _NOW + _STEP * steps_ahead
    return f"{totp.token():06d}"


def _set_up(client: Client, user: CusUser) -> list[str]:
    """The recovery codes of a person who sets up an authenticator."""
    assert client.get(SET_UP).status_code == 200
    device = CusTotpDevice.objects.get(user=user, confirmed=False)
    page = client.post(SET_UP, {"code": _code(device)})
    assert page.status_code == 200
    return re.findall(r"<li>([a-z0-9]{5}-[a-z0-9]{5})</li>", page.content.decode())


def test_who_has_no_authenticator_is_led_to_setting_one_up(client: Client, user: CusUser) -> None:
    asked = client.get("/admin/", follow=True)

    assert asked.redirect_chain[-1][0] == SET_UP
    assert "data:image/svg+xml;base64," in asked.content.decode()
    assert len(_set_up(client, user)) == 10
    assert client.get("/admin/").status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "/",
        "/admin/",
        INTEGRATIONS,
        "/admin/password_change/",
        "/admin/search/?s=a",
        "/admin/autocomplete/",
        "/admin/jsi18n/",
        "/admin/no-such-page/",
    ],
)
def test_no_page_opens_with_a_password_alone(client: Client, url: str) -> None:
    for method in (client.get, client.post):
        answer = method(url)
        assert answer.status_code == 302
        assert answer["Location"].startswith((ASK, "/admin/"))
        assert answer["Location"] != url


def test_the_api_knows_no_such_session(client: Client, user: CusUser) -> None:
    assert client.get(PRICES).status_code == 401
    assert client.post("/api/v1/cus/tokens", {"name": "x"}).status_code == 401

    _set_up(client, user)

    assert client.get(PRICES).status_code == 200


def test_another_header_does_not_open_the_api(client: Client) -> None:
    for header in ("Basic eA==", "Bearer", "Token x", "Bearer x y"):
        assert client.get(PRICES, headers={"Authorization": header}).status_code == 401


def test_the_code_is_asked_for_at_each_sign_in(client: Client, user: CusUser) -> None:
    _set_up(client, user)
    later = _signed_in(user)

    assert later.get(INTEGRATIONS)["Location"].startswith(f"{ASK}?next=")
    passed = later.post(
        f"{ASK}?next={INTEGRATIONS}", {"code": _code(TOTPDevice.objects.get(), steps_ahead=1)}
    )

    assert passed["Location"] == INTEGRATIONS
    assert later.get(INTEGRATIONS).status_code == 200


def test_a_code_is_good_once(client: Client, user: CusUser) -> None:
    client.get(SET_UP)
    code = _code(TOTPDevice.objects.get())
    client.post(SET_UP, {"code": code})

    refused = _signed_in(user).post(ASK, {"code": code})

    assert refused.status_code == 200
    assert "was not accepted" in refused.content.decode()


def test_a_wrong_code_says_when_to_try_again_and_each_doubles_the_wait(
    client: Client, user: CusUser
) -> None:
    _set_up(client, user)
    later = _signed_in(user)

    for _ in range(3):
        TOTPDevice.objects.update(throttling_failure_timestamp=timezone.now() - timedelta(hours=1))
        assert "Wait" in later.post(ASK, {"code": "000000"}).content.decode()

    # Ten minutes more, so that the wait is not over however slow the machine is.
    failed_at = timezone.now() + timedelta(minutes=10)
    TOTPDevice.objects.update(throttling_failure_timestamp=failed_at)
    right = later.post(ASK, {"code": _code(TOTPDevice.objects.get(), steps_ahead=1)})
    assert re.search(r"Wait \d+ s", right.content.decode())
    device = TOTPDevice.objects.get()
    assert device.throttling_failure_count == 3
    _, details = device.verify_is_allowed()
    assert details["locked_until"] - failed_at == timedelta(seconds=4)
    assert later.get("/admin/").status_code == 302


def test_a_recovery_code_opens_once_however_it_is_typed(client: Client, user: CusUser) -> None:
    codes = _set_up(client, user)
    later = _signed_in(user)

    assert later.post(ASK, {"code": f" {codes[0].upper().replace('-', ' ')} "}).status_code == 302
    assert "9 are left" in later.get("/admin/").content.decode()
    assert _signed_in(user).post(ASK, {"code": codes[0]}).status_code == 200
    StaticDevice.objects.update(throttling_failure_timestamp=timezone.now() - timedelta(hours=1))
    assert _signed_in(user).post(ASK, {"code": codes[1]}).status_code == 302


def test_the_tables_alone_make_no_code(client: Client, user: CusUser) -> None:
    codes = _set_up(client, user)
    stored = TOTPDevice.objects.get()

    assert stored.bin_key != CusTotpDevice.objects.get().bin_key
    kept = set(StaticToken.objects.values_list("token", flat=True))
    assert len(kept) == 10
    assert not kept & {form for code in codes for form in (code, code.replace("-", ""))}


def test_who_has_only_the_password_cannot_replace_the_authenticator(
    client: Client, user: CusUser
) -> None:
    _set_up(client, user)
    before = TOTPDevice.objects.get()
    thief = _signed_in(user)

    for method in (thief.get, thief.post):
        asked = method(SET_UP, {"code": "123456"}, follow=True)
        assert asked.redirect_chain[-1][0].startswith(ASK)
    assert TOTPDevice.objects.get() == before


def test_a_seed_that_another_session_saw_is_never_confirmed(client: Client, user: CusUser) -> None:
    client.get(SET_UP)
    seen = TOTPDevice.objects.get().key

    _set_up(_signed_in(user), user)

    assert TOTPDevice.objects.get().key != seen


def test_reloading_the_page_shows_the_same_picture(client: Client) -> None:
    client.get(SET_UP)
    first = TOTPDevice.objects.get().key
    client.get(SET_UP)

    assert TOTPDevice.objects.get().key == first


def test_a_new_phone_takes_the_place_of_the_old_one(client: Client, user: CusUser) -> None:
    old_codes = _set_up(client, user)
    old = TOTPDevice.objects.get()

    new_codes = _set_up(client, user)

    assert TOTPDevice.objects.get() != old
    assert CusSecondFactorService(user).recovery_codes_left() == 10
    assert not set(old_codes) & set(new_codes)
    assert _signed_in(user).post(ASK, {"code": old_codes[0]}).status_code == 200


def test_another_persons_code_proves_nothing(client: Client, user: CusUser) -> None:
    _set_up(client, user)
    other = make_user("operator")
    codes = _set_up(_signed_in(other), other)
    later = _signed_in(user)

    for code in (codes[0], _code(TOTPDevice.objects.get(user=other), steps_ahead=1)):
        assert later.post(ASK, {"code": code}).status_code == 200
    assert later.get("/admin/").status_code == 302


@pytest.mark.parametrize(
    "code", ["", " ", "\x00", "١٢٣٤٥٦", "-1", "1e5", "9" * 32, "9" * 33, "é", "0x10"]
)
def test_what_is_no_code_is_refused_in_the_form(client: Client, user: CusUser, code: str) -> None:
    _set_up(client, user)
    later = _signed_in(user)

    assert later.post(ASK, {"code": code}).status_code == 200
    assert later.get("/admin/").status_code == 302


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "javascript:1"])
def test_the_way_on_stays_here(client: Client, user: CusUser, target: str) -> None:
    _set_up(client, user)

    assert client.get(f"{ASK}?next={target}")["Location"] == "/admin/"


def test_the_session_gets_a_new_name_with_the_second_factor(client: Client, user: CusUser) -> None:
    before = client.cookies["sessionid"].value

    _set_up(client, user)

    assert client.cookies["sessionid"].value != before


def test_where_it_is_not_required_it_is_asked_of_who_set_it_up(
    client: Client, user: CusUser, settings: Settings
) -> None:
    settings.CUS_REQUIRE_TOTP = False
    assert client.get("/admin/").status_code == 200
    _set_up(client, user)

    assert _signed_in(user).get("/admin/").status_code == 302
    assert _signed_in(make_user("support")).get("/admin/").status_code == 200


def test_who_is_not_signed_in_is_asked_for_the_password_first() -> None:
    for url in (ASK, SET_UP):
        assert Client().get(url)["Location"].startswith("/admin/login/")


def test_the_page_with_the_seed_is_never_kept(client: Client) -> None:
    assert "no-store" in client.get(SET_UP)["Cache-Control"]
