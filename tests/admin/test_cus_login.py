"""Signing in: passwords can't be tried on and on, and nobody is locked out by somebody else."""

from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.conf import settings as configured
from django.contrib.sessions.models import Session
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from integrations.cus_accounts.login_throttle import client_address, forget_closed_addresses
from integrations.cus_accounts.models import CusUser
from integrations.tasks import cus_clear_sessions
from tests.cus_factories import make_user, signed_in

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"
HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def user() -> CusUser:
    return make_user("operator")


def _try(email: str, password: str, address: str = HERE, **headers: str) -> int:
    """The status of an attempt: 302 is in, 200 is the form again, 429 is locked out."""
    form = {"username": email, "password": password}
    client = Client(headers=headers)
    return client.post(LOGIN, form, REMOTE_ADDR=address).status_code


def _fail(email: str, times: int, address: str = HERE) -> list[int]:
    return [_try(email, "wrong", address) for _ in range(times)]


def test_the_fifth_wrong_password_closes_the_login_also_for_the_right_one(user: CusUser) -> None:
    assert _fail(user.email, 5) == [200, 200, 200, 200, 429]
    assert _try(user.email, "correct horse") == 429


def test_a_locked_out_person_reads_how_long(user: CusUser) -> None:
    _fail(user.email, 5)
    form = {"username": user.email, "password": "correct horse"}

    page = Client().post(LOGIN, form, REMOTE_ADDR=HERE)

    assert page["Retry-After"] == "900"
    assert "closed for 15 minutes" in " ".join(page.content.decode().split())
    assert user.email not in page.content.decode()


def test_nobody_locks_somebody_else_out(user: CusUser) -> None:
    other = make_user("support")
    _fail(user.email, 6)

    assert _try(user.email, "correct horse", THERE) == 302
    assert _try(other.email, "correct horse", HERE) == 302


def test_the_lock_ends_after_the_cool_off_however_often_it_was_tried(user: CusUser) -> None:
    _fail(user.email, 8)
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))

    assert _try(user.email, "correct horse") == 302


def test_trying_on_does_not_prolong_the_lock(user: CusUser) -> None:
    _fail(user.email, 5)
    began = AccessAttempt.objects.get().attempt_time

    _fail(user.email, 3)

    assert AccessAttempt.objects.get().attempt_time == began


def test_a_good_sign_in_forgets_the_slips(user: CusUser) -> None:
    for _ in range(2):
        assert _fail(user.email, 4) == [200] * 4
        assert _try(user.email, "correct horse") == 302


@pytest.mark.parametrize(
    "spelling",
    [
        str.upper,
        str.title,
        lambda email: f" {email} ",
        lambda email: email.replace("i", "\N{LATIN SMALL LETTER DOTLESS I}"),
    ],
)
def test_another_spelling_of_the_address_is_the_same_person(
    user: CusUser, spelling: object
) -> None:
    _fail(user.email, 4)

    assert callable(spelling)
    assert _try(spelling(user.email), "wrong") == 429


def test_another_browser_is_the_same_place(user: CusUser) -> None:
    statuses = [_try(user.email, "wrong", **{"User-Agent": f"browser {n}"}) for n in range(5)]

    assert statuses[-1] == 429


def test_an_unknown_address_is_answered_as_a_known_one(user: CusUser) -> None:
    assert _fail("nobody@example.com", 5) == _fail(user.email, 5)


@pytest.mark.parametrize(
    ("behind_proxy", "forwarded", "address"),
    [
        (False, "203.0.113.9", HERE),  # a client's own claim
        (True, "203.0.113.9", "203.0.113.9"),
        (True, "10.0.0.1, 203.0.113.9", "203.0.113.9"),  # only the last is the proxy's word
        (True, "", None),
        (True, None, None),  # the web server drops what it can't read
        (True, "nonsense", None),
        (True, "::ffff:203.0.113.9", "203.0.113.9"),
        (True, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
    ],
)
def test_the_address_is_what_the_proxy_says_where_there_is_one(
    settings: Settings, behind_proxy: bool, forwarded: str | None, address: str | None
) -> None:
    settings.CUS_BEHIND_PROXY = behind_proxy
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    request = RequestFactory().get(LOGIN, REMOTE_ADDR=HERE, headers=headers)

    assert client_address(request) == address


def test_whoever_hides_their_address_from_the_proxy_is_counted_with_all_who_do(
    user: CusUser, settings: Settings
) -> None:
    settings.CUS_BEHIND_PROXY = True
    settings.CUS_LOGIN_ADDRESS_FAILURES = 6
    statuses = [_try(user.email, "wrong") for _ in range(5)]
    others = [_try("nobody@example.com", "wrong", "192.0.2.77") for _ in range(2)]
    forget_closed_addresses()

    assert (statuses[-1], others[-1]) == (429, 429)
    assert _try(user.email, "correct horse", **{"X-Forwarded-For": "203.0.113.9"}) == 302


def test_a_client_cannot_buy_attempts_with_a_header(user: CusUser) -> None:
    statuses = [_try(user.email, "wrong", **{"X-Forwarded-For": f"1.2.3.{n}"}) for n in range(5)]

    assert statuses[-1] == 429


def test_no_password_is_kept_of_an_attempt(user: CusUser) -> None:
    _try(user.email, "tell-tale-password")

    attempt = AccessAttempt.objects.get()
    assert "tell-tale" not in f"{attempt.post_data}{attempt.get_data}{attempt.path_info}"


@pytest.mark.parametrize("name", ["\x00", "a" * 300, "é" * 100, "", "'; --"])
def test_no_name_breaks_the_login(name: str) -> None:
    assert _try(name, "wrong") == 200


def _spray(times: int, address: str = HERE) -> None:
    """One wrong password each for so many people."""
    for number in range(times):
        _try(f"person-{number}@example.com", "wrong", address)


def test_an_address_is_closed_by_wrong_passwords_for_many_people(
    user: CusUser, settings: Settings
) -> None:
    settings.CUS_LOGIN_ADDRESS_FAILURES = 6
    _spray(6)

    assert _try(user.email, "correct horse", HERE) == 429
    assert _try(user.email, "correct horse", THERE) == 302


def test_an_office_that_signs_in_is_never_closed(user: CusUser, settings: Settings) -> None:
    settings.CUS_LOGIN_ADDRESS_FAILURES = 3
    for _ in range(4):
        assert _fail(user.email, 2) == [200, 200]
        assert _try(user.email, "correct horse") == 302


def test_a_closed_address_is_refused_without_a_statement(
    user: CusUser, settings: Settings, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    settings.CUS_LOGIN_ADDRESS_FAILURES = 3
    _spray(3)
    _try(user.email, "correct horse")

    with django_assert_num_queries(0):
        page = Client().post(LOGIN, {"username": user.email, "password": "x"}, REMOTE_ADDR=HERE)

    assert page.status_code == 429
    assert page["Retry-After"] == "900"
    assert "from other networks it is not affected" in " ".join(page.content.decode().split())


def test_a_closed_address_opens_after_the_cool_off(user: CusUser, settings: Settings) -> None:
    settings.CUS_LOGIN_ADDRESS_FAILURES = 3
    _spray(3)
    assert _try(user.email, "correct horse") == 429

    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    forget_closed_addresses()

    assert _try(user.email, "correct horse") == 302


def test_neighbours_in_one_ipv6_network_are_one_address(user: CusUser, settings: Settings) -> None:
    settings.CUS_LOGIN_ADDRESS_FAILURES = 3
    for number in range(3):
        _spray(1, f"2001:db8::{number + 1}")

    assert _try(user.email, "correct horse", "2001:db8::ffff") == 429
    assert _try(user.email, "correct horse", "2001:db8:0:1::1") == 302


def test_no_limit_by_address_where_it_is_zero(user: CusUser, settings: Settings) -> None:
    settings.CUS_LOGIN_ADDRESS_FAILURES = 0
    _spray(8)

    assert _try(user.email, "correct horse") == 302


def test_ended_sessions_are_deleted_daily_and_living_ones_stay() -> None:
    living, ended = signed_in(make_user("operator")), signed_in(make_user("operator"))
    yesterday = timezone.now() - timedelta(days=1)
    Session.objects.filter(pk=ended.session.session_key).update(expire_date=yesterday)

    cus_clear_sessions()

    assert [one.pk for one in Session.objects.all()] == [living.session.session_key]
    jobs = configured.CELERY_BEAT_SCHEDULE.values()
    assert cus_clear_sessions.name in {job["task"] for job in jobs}
