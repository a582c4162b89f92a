"""Whom a web process knows as a person: what it remembers, forgets, and never keeps."""

import asyncio
import threading
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from aos_project.cus_web.application import CusWeb
from aos_project.cus_web.known_secrets import Digests, KnownSecrets, digests_of
from aos_project.cus_web.scopes import Request
from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.session_service import CusSessionService
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_web.verdicts import Secret
from tests.cus_factories import signed_in
from tests.services.cus_web_in_process import (
    HOST,
    PROTOCOL,
    kind_of_this_thread,
    run_web,
    scope_of,
    within,
)

_HOUR = 3_600.0
_ACCEPTED: dict[str, Any] = {Secret.SESSION: True}
_ACCEPTED_TOKEN: dict[str, Any] = {Secret.TOKEN: True}
_REFUSED: dict[str, Any] = {Secret.SESSION: False}
API = "/api/v1/cus/integrations"


def _session(key: str) -> Digests:
    return digests_of(Request(scope_of("/", HOST, ("cookie", f"sessionid={key}"))))


# --- What is remembered -------------------------------------------------------------------------


def test_a_session_is_known_for_an_hour_from_when_it_was_last_seen() -> None:
    known, session = KnownSecrets(seconds=_HOUR), _session("mine")

    known.learn(session, _ACCEPTED, now=0.0)
    known.learn(session, _ACCEPTED, now=100.0)

    assert known.known_of(session, now=_HOUR + 99) == session[Secret.SESSION]
    assert known.known_of(session, now=_HOUR + 100) is None


def test_a_refused_session_is_forgotten_and_one_that_was_not_looked_at_is_not() -> None:
    known, session = KnownSecrets(), _session("mine")
    known.learn(session, _ACCEPTED, now=0.0)

    known.learn(session, {}, now=1.0)
    assert known.known_of(session, now=1.0)
    known.learn(session, _REFUSED, now=2.0)

    assert known.known_of(session, now=2.0) is None


def test_a_verdict_on_the_token_makes_no_session_known() -> None:
    known, session = KnownSecrets(), _session("invented")

    known.learn(session, _ACCEPTED_TOKEN, now=0.0)

    assert known.known_of(session, now=0.0) is None


def test_of_too_many_the_one_that_was_not_seen_for_longest_goes() -> None:
    known = KnownSecrets(most=3)
    first, second, third, fourth = (_session(str(number)) for number in range(4))
    for session in (first, second, third, first, fourth):
        known.learn(session, _ACCEPTED, now=0.0)

    still = [known.known_of(session, now=0.0) for session in (first, second, third, fourth)]

    assert [one is not None for one in still] == [True, False, True, True]


def test_threads_remember_and_forget_at_once() -> None:
    known = KnownSecrets(most=50)

    def use(mark: str) -> None:
        for number in range(500):
            session = _session(f"{mark}{number % 70}")
            known.learn(session, _REFUSED if number % 3 else _ACCEPTED, now=0.0)

    threads = [threading.Thread(target=use, args=(mark,)) for mark in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    mine = _session("mine")
    known.learn(mine, _ACCEPTED, now=0.0)
    assert known.known_of(mine, now=0.0)


def test_no_secret_is_kept() -> None:
    known, canary = KnownSecrets(), "canary-7d1c0b"
    headers = ("cookie", f"sessionid={canary}"), ("authorization", f"Bearer {canary}")
    digests = digests_of(Request(scope_of("/", HOST, *headers)))

    known.learn(digests, _ACCEPTED | _ACCEPTED_TOKEN, now=0.0)

    assert len(digests) == 2
    kept = [text for text in within(known) if isinstance(text, str)]
    assert digests[Secret.TOKEN] in kept
    assert not any(canary in text for text in kept)


# --- What Django says ---------------------------------------------------------------------------


def _verdicts(answer: Any) -> dict[Secret, bool]:
    meta = answer.wsgi_request.META
    return {secret: meta[secret] for secret in Secret if secret in meta}


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", API])
def test_django_knows_a_signed_in_person_by_the_session_until_it_ends(
    admin: CusUser, path: str
) -> None:
    browser = signed_in(admin)
    invented = Client()
    invented.cookies["sessionid"] = "invented"

    assert _verdicts(browser.get(path))[Secret.SESSION]
    assert not _verdicts(invented.get(path))[Secret.SESSION]

    CusSessionService(admin).end_all(now=timezone.now())
    assert not _verdicts(browser.get(path))[Secret.SESSION]


@pytest.mark.django_db
def test_django_does_not_know_who_has_just_signed_out(admin: CusUser) -> None:
    assert _verdicts(signed_in(admin).post("/admin/logout/")) == {Secret.SESSION: False}


@pytest.mark.django_db
def test_django_knows_a_program_by_the_token_until_it_is_revoked(admin: CusUser) -> None:
    token, text = CusTokenService(admin).issue(name="nightly", now=timezone.now())
    program = Client(headers={"Authorization": f"Bearer {text}"})

    assert _verdicts(program.get(API))[Secret.TOKEN]
    assert not _verdicts(Client(headers={"Authorization": "Bearer aost_x"}).get(API))[Secret.TOKEN]

    CusTokenService(admin).revoke(token, now=timezone.now())
    assert not _verdicts(program.get(API))[Secret.TOKEN]


@pytest.mark.django_db
def test_a_session_beside_an_invented_token_makes_the_token_no_persons(admin: CusUser) -> None:
    browser = signed_in(admin, headers={"Authorization": "Bearer aost_invented"})

    assert _verdicts(browser.get(API)) == {Secret.SESSION: True, Secret.TOKEN: False}


# --- What the web server makes of it ------------------------------------------------------------


class Site:
    """An application that takes one session for a person's, and notes on which threads it ran."""

    def __init__(self) -> None:
        self.persons = "sessionid=mine"
        self.kinds: list[str] = []

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.kinds.append(kind_of_this_thread())
        if environ["PATH_INFO"] != "/static/x.css":
            environ[Secret.SESSION] = environ.get("HTTP_COOKIE") == self.persons
        start_response("200 OK", [])
        return [b""]


def test_people_leave_the_strangers_with_their_first_answer_and_return_when_refused() -> None:
    site = Site()
    mine, invented = ("cookie", "sessionid=mine"), ("cookie", "sessionid=invented")

    async def scenario() -> None:
        web = CusWeb(site)
        web.__rsgi_init__(asyncio.get_running_loop())
        for path, cookie in (
            ("/static/x.css", mine),
            ("/admin/", mine),
            ("/static/x.css", mine),
            ("/admin/", invented),
            ("/admin/", invented),
            ("/admin/", mine),
        ):
            await web.__rsgi__(scope_of(path, HOST, cookie), PROTOCOL)
        site.persons = ""
        for _ in range(2):
            await web.__rsgi__(scope_of("/admin/", HOST, mine), PROTOCOL)

    run_web(scenario)

    known, unknown = "people", "stranger"
    assert site.kinds == [
        *(unknown, unknown, known),
        *(unknown, unknown),
        *(known, known, unknown),
    ]
