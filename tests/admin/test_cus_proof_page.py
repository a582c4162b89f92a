"""The page that asks who one is: password and code, counted like sign-ins, and back again."""

from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.hashers import check_password
from django.test import Client
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings

from integrations.cus_accounts.models import (
    CusApiToken,
    CusMembership,
    CusTenant,
    CusTotpDevice,
    CusUser,
)
from integrations.cus_accounts.proof import PROOF_LASTS, Factor
from integrations.cus_accounts.second_factor_service import CusSecondFactorService, _stored
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_audit.models import CusAuditEntry
from tests.cus_factories import make_user, signed_in
from tests.cus_proofs import access_rows, make_stale, prove, stale

pytestmark = pytest.mark.django_db

PROVE = "/admin/prove/"
ADD_TOKEN = "/admin/integrations/cusapitoken/add/"
SET_UP = "/admin/second-factor/setup/"
CODES = "/admin/second-factor/codes/"
PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def _not_required(settings: Settings) -> None:
    settings.CUS_REQUIRE_TOTP = False


@pytest.fixture
def user(tenant: CusTenant) -> CusUser:
    return make_user("admin", tenant)


@pytest.fixture
def late(user: CusUser) -> Client:
    """A browser of the person, whose proof is over."""
    return stale(user)


def _with_codes(user: CusUser) -> list[str]:
    """Give the person a second factor; these are its recovery codes."""
    TOTPDevice.objects.create(user=user, confirmed=True)
    codes = ["aaaaa-22222", "bbbbb-33333", "ccccc-44444"]
    device = StaticDevice.objects.create(user=user)
    StaticToken.objects.bulk_create(StaticToken(device=device, token=_stored(c)) for c in codes)
    return codes


def _signed_in_with_code(user: CusUser, code: str) -> Client:
    client = signed_in(user)
    assert client.post("/admin/second-factor/", {"code": code}).status_code == 302
    return client


def _is_proved(client: Client) -> bool:
    return bool(client.get(ADD_TOKEN).status_code == 200)


def test_the_form_asks_for_the_proof_and_the_proof_leads_back_to_the_form(late: Client) -> None:
    asked = late.get(f"{ADD_TOKEN}?x=1")
    page = late.get(asked["Location"])
    back = late.post(asked["Location"], {"password": PASSWORD})

    assert 'name="password"' in page.content.decode()
    assert 'name="code"' not in page.content.decode()
    assert back["Location"] == f"{ADD_TOKEN}?x=1"
    assert _is_proved(late)


def test_a_wrong_password_proves_nothing(late: Client) -> None:
    for wrong in ("wrong", "", " correct horse", "\x00"):
        assert late.post(PROVE, {"password": wrong}).status_code == 200
    assert not _is_proved(late)


def test_wrong_passwords_are_counted_like_sign_ins(user: CusUser, late: Client) -> None:
    answers = [late.post(PROVE, {"password": "wrong"}).status_code for _ in range(5)]

    assert answers == [200, 200, 200, 200, 429]
    assert late.post(PROVE, {"password": PASSWORD}).status_code == 429
    form = {"username": user.email, "password": PASSWORD}
    assert Client().post("/admin/login/", form).status_code == 429


def test_a_right_password_forgets_the_wrong_ones(late: Client) -> None:
    for _ in range(2):
        for _ in range(4):
            assert late.post(PROVE, {"password": "wrong"}).status_code == 200
        assert late.post(PROVE, {"password": PASSWORD}).status_code == 302
        make_stale(late)


def test_who_has_a_second_factor_shows_both(user: CusUser) -> None:
    codes = _with_codes(user)
    client = make_stale(_signed_in_with_code(user, codes[0]))
    used, good = codes[0], codes[1]

    assert 'name="code"' in client.get(PROVE).content.decode()
    for shown in (
        {"password": PASSWORD},
        {"code": good},
        {"password": "wrong", "code": good},
        {"password": PASSWORD, "code": used},
    ):
        assert client.post(PROVE, shown).status_code == 200
        assert not _is_proved(client)
    StaticDevice.objects.update(throttling_failure_timestamp=timezone.now() - timedelta(hours=1))
    assert client.post(PROVE, {"password": PASSWORD, "code": good}).status_code == 302
    assert "1 are left" in client.get("/admin/").content.decode()
    assert _is_proved(client)


@pytest.mark.parametrize("factor", list(Factor))
def test_one_factor_alone_is_no_proof_of_two(user: CusUser, factor: Factor) -> None:
    client = make_stale(_signed_in_with_code(user, _with_codes(user)[0]))

    prove(client, factor)
    assert not _is_proved(client)

    prove(client, *Factor)
    assert _is_proved(client)


@pytest.mark.parametrize(
    ("age", "holds"),
    [
        (timedelta(0), True),
        (PROOF_LASTS - timedelta(seconds=30), True),
        (PROOF_LASTS, False),
        (timedelta(days=1), False),
        (-timedelta(hours=1), False),
    ],
)
def test_a_proof_holds_for_five_minutes(late: Client, age: timedelta, holds: bool) -> None:
    prove(late, Factor.PASSWORD, at=timezone.now() - age)

    assert _is_proved(late) is holds


def test_signing_in_is_a_proof(user: CusUser) -> None:
    client = Client()
    client.post("/admin/login/", {"username": user.email, "password": PASSWORD})

    assert _is_proved(client)


def test_a_session_that_is_half_signed_in_finishes_that_first(user: CusUser) -> None:
    _with_codes(user)

    asked = signed_in(user).get(PROVE)

    assert asked["Location"].startswith("/admin/second-factor/?next=")


def test_nobody_else_is_asked() -> None:
    assert Client().get(PROVE)["Location"].startswith("/admin/login/")
    assert Client().get("/admin/password_change/")["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "javascript:1"])
def test_the_way_back_stays_here(late: Client, target: str) -> None:
    answer = late.post(f"{PROVE}?next={target}", {"password": PASSWORD})

    assert answer["Location"] == "/admin/"


def test_the_session_gets_a_new_name_with_the_proof(late: Client) -> None:
    before = late.cookies["sessionid"].value

    late.post(PROVE, {"password": PASSWORD})

    assert late.cookies["sessionid"].value != before


def test_a_form_that_was_sent_too_late_keeps_what_was_typed(user: CusUser) -> None:
    client = signed_in(user)
    make_stale(client)
    form = {"invited_email": "ada@example.com", "role": "member"}

    answer = client.post("/admin/integrations/cusmembership/add/", form)

    page = answer.content.decode()
    assert 'value="ada@example.com"' in page
    assert f'<a href="{PROVE}" target="_blank"' in page
    assert not CusMembership.objects.filter(invited_email="ada@example.com").exists()
    assert (
        "Go back to your form"
        in client.post(PROVE, {"password": PASSWORD}, follow=True).content.decode()
    )
    assert client.post("/admin/integrations/cusmembership/add/", form).status_code == 302


def test_a_button_that_was_pressed_too_late_says_that_nothing_was_changed(user: CusUser) -> None:
    token, _ = CusTokenService(user).issue(name="x", now=timezone.now())
    operator = stale(make_user("operator"))

    answer = operator.post(f"/admin/integrations/cusapitoken/{token.id}/revoke/", follow=True)

    assert "nothing was changed" in answer.content.decode()
    token.refresh_from_db()
    assert token.revoked_at is None


def test_an_integrations_form_says_that_another_credential_needs_a_proof(
    user: CusUser, integration: Any
) -> None:
    url = f"/admin/integrations/cusintegration/{integration.id}/change/"

    assert "prove first who you are" in stale(user).get(url).content.decode()
    assert "prove first who you are" not in signed_in(user).get(url).content.decode()


CHANGE = {
    "old_password": PASSWORD,
    "new_password1": "a long horse 77",
    "new_password2": "a long horse 77",
}


def test_a_changed_password_is_on_record_and_ends_the_tokens(user: CusUser) -> None:
    CusTokenService(user).issue(name="x", now=timezone.now())

    answer = signed_in(user).post("/admin/password_change/", CHANGE)

    user.refresh_from_db()
    assert answer["Location"] == "/admin/password_change/done/"
    assert check_password("a long horse 77", user.password)
    assert CusApiToken.objects.get().revoked_at
    assert CusAuditEntry.objects.filter(action="person.password_changed", actor=user).count() == 1


def test_wrong_old_passwords_are_counted_like_sign_ins(user: CusUser) -> None:
    client, wrong = signed_in(user), CHANGE | {"old_password": "wrong"}

    answers = [client.post("/admin/password_change/", wrong).status_code for _ in range(5)]

    assert answers == [200, 200, 200, 200, 429]
    assert client.post("/admin/password_change/", CHANGE).status_code == 429


def test_a_verified_session_alone_replaces_no_second_factor(user: CusUser) -> None:
    client = make_stale(_signed_in_with_code(user, _with_codes(user)[0]))
    rows = access_rows()

    for url in (SET_UP, CODES):
        for method in (client.get, client.post):
            assert method(url, {"code": "123456"})["Location"].startswith(PROVE)
    assert access_rows() == rows


def test_password_and_old_code_show_new_recovery_codes(user: CusUser) -> None:
    old = _with_codes(user)
    client = make_stale(_signed_in_with_code(user, old[0]))
    client.post(f"{PROVE}?next={CODES}", {"password": PASSWORD, "code": old[1]})

    assert "You have 1 recovery codes left" in " ".join(client.get(CODES).content.decode().split())
    page = client.post(CODES).content.decode()

    assert page.count("<li>") >= 10
    assert CusSecondFactorService(user).recovery_codes_left() == 10
    assert CusSecondFactorService(user).verify(old[2]) is None
    assert client.get("/admin/").status_code == 200
    assert CusAuditEntry.objects.filter(action="person.recovery_codes_renewed").count() == 1


def test_who_has_no_second_factor_is_led_to_setting_one_up(user: CusUser) -> None:
    assert signed_in(user).get(CODES)["Location"] == SET_UP


def test_tokens_made_before_a_second_factor_end_with_it(user: CusUser) -> None:
    CusTokenService(user).issue(name="before", now=timezone.now())
    service = CusSecondFactorService(user)
    device = service.begin()
    with patch.object(CusTotpDevice, "verify_token", return_value=True):
        assert service.confirm(device, "123456")

    assert CusApiToken.objects.get().revoked_at
    CusTokenService(user).issue(name="after", now=timezone.now())
    service.renew_recovery_codes()
    assert CusApiToken.objects.get(name="after").revoked_at is None
    service.remove(actor=None)
    assert CusApiToken.objects.get(name="after").revoked_at
