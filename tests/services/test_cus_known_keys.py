"""Which SDK keys a web process takes for programs', and whom it takes for an inventor of keys."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from aos_project.cus_web.application import CusWeb
from aos_project.cus_web.kinds import turn_of
from aos_project.cus_web.known_keys import KnownKeys, WrongKeys
from aos_project.cus_web.known_secrets import KnownSecrets, digest_of
from aos_project.cus_web.scopes import Request
from enforcement.cus_reading.absence import DatabaseAbsent
from enforcement.cus_reading.decider import DeciderPool
from integrations.cus_keys.verifier import forget_sdk_keys, issue_sdk_key, revoke_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.verdicts import Secret
from tests.cus_factories import SdkClient, record
from tests.services.cus_web_in_process import (
    HOST,
    PROTOCOL,
    kind_of_this_thread,
    run_web,
    scope_of,
    within,
)

_HERE, _THERE = "192.0.2.1", "198.51.100.1"
_ACCEPTED: dict[str, Any] = {Secret.KEY: True}
_REFUSED: dict[str, Any] = {Secret.KEY: False}
_NOBODY_CAN_SAY: dict[str, Any] = {Secret.KEY: None}
_NOT_LOOKED_AT: dict[str, Any] = {}


def _refuse(keys: KnownKeys, number: int, address: str = _HERE, now: float = 0.0) -> None:
    for one in range(number):
        keys.learn(f"invented {one} at {now}", address, _REFUSED, now)


# --- Keys ---------------------------------------------------------------------------------------


def test_a_refused_key_is_a_strangers_until_it_is_accepted_and_an_accepted_one_until_refused() -> (
    None
):
    keys = KnownKeys()
    seen = []

    for verdict in (_REFUSED, _ACCEPTED, _REFUSED):
        keys.learn("key", _HERE, verdict, now=0.0)
        seen.append((keys.is_strangers("key", _HERE, now=0.0), keys.is_accepted("key", now=0.0)))

    assert seen == [(True, False), (False, True), (True, False)]


def test_after_a_restart_every_key_is_a_programs() -> None:
    assert not KnownKeys().is_strangers("key", _HERE, now=0.0)
    assert not KnownKeys().is_accepted("key", now=0.0)


def test_a_revoked_key_of_many_programs_is_one_wrong_key_of_their_address() -> None:
    keys = KnownKeys()

    for number in range(5_000):
        keys.learn("revoked", _HERE, _REFUSED, now=number / 500)

    assert keys.is_strangers("revoked", _HERE, now=10.0)
    assert not keys.is_strangers("valid", _HERE, now=10.0)


def test_the_unknown_keys_of_an_address_with_many_wrong_ones_are_strangers() -> None:
    keys = KnownKeys()
    keys.learn("accepted", _HERE, _ACCEPTED, now=0.0)

    _refuse(keys, 20)
    assert not keys.is_strangers("unknown", _HERE, now=0.0)
    _refuse(keys, 1, now=0.01)
    _refuse(keys, 1, now=0.02)

    assert keys.is_strangers("unknown", _HERE, now=0.02)
    assert not keys.is_strangers("unknown", _THERE, now=0.02)
    assert not keys.is_strangers("accepted", _HERE, now=0.02)


def test_the_first_answer_frees_a_valid_key_of_an_address_that_invents_keys() -> None:
    keys = KnownKeys()
    _refuse(keys, 1_000)
    assert keys.is_strangers("valid", _HERE, now=0.0)

    keys.learn("valid", _HERE, _ACCEPTED, now=0.0)

    assert not keys.is_strangers("valid", _HERE, now=0.0)


@pytest.mark.parametrize("flood", [22, 100_000])
def test_an_address_is_free_again_ten_seconds_after_its_last_wrong_key(flood: int) -> None:
    keys = KnownKeys()
    _refuse(keys, flood)

    assert keys.is_strangers("unknown", _HERE, now=0.5)
    assert not keys.is_strangers("unknown", _HERE, now=10.0)


def test_two_wrong_keys_a_second_are_no_invention() -> None:
    keys = KnownKeys()

    for now in range(100):
        _refuse(keys, 2, now=float(now))
        assert not keys.is_strangers("unknown", _HERE, now=float(now))


def test_that_the_database_can_not_say_is_nobodys_fault() -> None:
    keys = KnownKeys()
    keys.learn("accepted", _HERE, _ACCEPTED, now=0.0)

    for number in range(1_000):
        keys.learn(f"{number}", _HERE, _NOBODY_CAN_SAY, now=0.0)
        keys.learn("accepted", _HERE, _NOBODY_CAN_SAY, now=0.0)

    assert not keys.is_strangers("unknown", _HERE, now=0.0)
    assert keys.is_accepted("accepted", now=0.0)


def test_a_request_that_was_refused_before_its_key_counts_for_the_address_and_not_for_the_key() -> (
    None
):
    keys = KnownKeys()
    keys.learn("accepted", _HERE, _ACCEPTED, now=0.0)
    for _ in range(1_000):
        keys.learn("accepted", _HERE, _NOT_LOOKED_AT, now=0.0)
    assert not keys.is_strangers("unknown", _HERE, now=0.0)

    for _ in range(30):
        keys.learn("unknown", _HERE, _NOT_LOOKED_AT, now=0.0)

    assert keys.is_strangers("unknown", _HERE, now=0.0)
    assert not keys.is_strangers("unknown", _THERE, now=0.0)
    assert keys.is_accepted("accepted", now=0.0)


def test_of_too_many_addresses_the_one_without_wrong_keys_for_longest_goes() -> None:
    wrong = WrongKeys(most=2)
    for address in ("first", "second", "first", "third"):
        for _ in range(30):
            wrong.count(address, 0.0)

    assert [wrong.are_many(address, 0.0) for address in ("first", "second", "third")] == [
        True,
        False,
        True,
    ]


def test_no_key_is_kept() -> None:
    keys, canary = KnownKeys(), "canary-7d1c0b"
    shown = ("x-cus-integration-key", canary)
    request = Request(_scope(shown))

    for verdict in (_ACCEPTED, _REFUSED, _NOT_LOOKED_AT):
        turn = turn_of(request, KnownSecrets(), keys)
        keys.learn(turn.key, turn.origin, verdict, now=0.0)

    kept = [text for text in within((keys, turn)) if isinstance(text, str)]
    assert turn.key in kept
    assert digest_of(canary) == turn.key
    assert not any(canary in text for text in kept)


def test_threads_count_each_wrong_key() -> None:
    wrong = WrongKeys()

    def count() -> None:
        for _ in range(5):
            wrong.count(_HERE, 0.0)

    at_once = [threading.Thread(target=count) for _ in range(5)]
    for thread in at_once:
        thread.start()
    for thread in at_once:
        thread.join()

    assert wrong.are_many(_HERE, 2.4)
    assert not wrong.are_many(_HERE, 2.5)


# --- What Django says ---------------------------------------------------------------------------


def _verdict(answer: Any) -> bool | None:
    verdict: bool | None = answer.wsgi_request.META[Secret.KEY]
    return verdict


Asking = Callable[[SdkClient], Any]
_ROUTES: dict[str, Asking] = {
    "check": lambda sdk: sdk.check(),
    "malformed check": lambda sdk: sdk.client.post(
        "/api/v1/cus/enforcement/check", "{", content_type="application/json"
    ),
    "batch": lambda sdk: sdk.client.post(
        "/api/v1/cus/enforcement/batch", {"requests": []}, content_type="application/json"
    ),
    "status": lambda sdk: sdk.client.get("/api/v1/cus/enforcement/status"),
    "config": lambda sdk: sdk.client.get("/api/v1/cus/enforcement/config"),
    "wrong method": lambda sdk: sdk.client.delete("/api/v1/cus/enforcement/config"),
    "lease": lambda sdk: sdk.client.post("/api/v1/cus/enforcement/lease"),
    "report": lambda sdk: sdk.report(record()),
    "reports": lambda sdk: sdk.report_batch(record()),
    "bypass": lambda sdk: sdk.client.post("/api/v1/cus/telemetry/bypass"),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ask", _ROUTES.values(), ids=_ROUTES)
def test_django_says_of_every_route_of_programs_whether_the_key_is_valid(
    sdk: SdkClient, integration: CusIntegration, ask: Asking
) -> None:
    key, revoked = issue_sdk_key(integration)
    revoke_sdk_key(key)

    assert _verdict(ask(sdk)) is True
    refused = ask(SdkClient(revoked))

    assert refused.status_code == 401
    assert _verdict(refused) is False


@pytest.mark.django_db(transaction=True)
def test_django_says_so_of_a_bearer_too_and_refuses_it_once_it_is_revoked(
    integration: CusIntegration,
) -> None:
    key, text = issue_sdk_key(integration)
    program = Client(headers={"Authorization": f"Bearer {text}"})
    config = "/api/v1/cus/enforcement/config"
    assert _verdict(program.get(config)) is True

    revoke_sdk_key(key)
    forget_sdk_keys()

    assert _verdict(program.get(config)) is False


@pytest.mark.django_db(transaction=True)
def test_without_the_database_django_says_nothing_of_a_key(
    sdk: SdkClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: type[Exception]) -> Callable[..., None]:
        def raising(*_: Any, **__: Any) -> None:
            raise error

        return raising

    monkeypatch.setattr(DeciderPool, "run", fail(DatabaseAbsent))
    monkeypatch.setattr("integrations.cus_keys.verifier._find", fail(OperationalError))
    sdk.client.raise_request_exception = False

    assert _verdict(sdk.check()) is None
    report = sdk.report(record())
    assert report.status_code == 503
    assert _verdict(report) is None


# --- What the web server makes of it ------------------------------------------------------------


class Site:
    """An application that takes one SDK key for valid, and notes on which threads it ran."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.kinds.append(kind_of_this_thread())
        environ[Secret.KEY] = environ["HTTP_X_CUS_INTEGRATION_KEY"] == "valid"
        start_response("200 OK", [])
        return [b""]


def test_programs_stay_with_the_checks_while_their_address_invents_keys() -> None:
    site = Site()
    invented = [f"invented {number}" for number in range(40)]

    async def scenario() -> None:
        web = CusWeb(site)
        web.__rsgi_init__(asyncio.get_running_loop())
        for at_once in (["wrong"], ["wrong"], ["valid"], invented, ["new"], ["valid"]):
            scopes = (_scope(("x-cus-integration-key", key)) for key in at_once)
            await asyncio.gather(*(web.__rsgi__(scope, PROTOCOL) for scope in scopes))

    run_web(scenario)

    assert site.kinds[:3] == ["check", "stranger", "check"]
    assert site.kinds[3:] == [*(["check"] * 40), "stranger", "check"]


def _scope(*header: tuple[str, str]) -> Any:
    return scope_of("/api/v1/cus/enforcement/status", HOST, *header, peer=_HERE)
