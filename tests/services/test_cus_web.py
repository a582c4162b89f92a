"""Threads by kind of request, turns of senders, bodies on their way in: without a server."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from aos_project.cus_web.answers import (
    ADDRESS_FULL,
    BODY_TOO_SLOW,
    BODY_TORN,
    BUSY,
    LINE_FULL,
    Refusal,
    Refused,
)
from aos_project.cus_web.bodies import Bodies
from aos_project.cus_web.kinds import Kind, Turn, turn_of
from aos_project.cus_web.known_keys import KnownKeys
from aos_project.cus_web.known_secrets import KnownSecrets, digest_of, digests_of
from aos_project.cus_web.lanes import Job, Lane
from aos_project.cus_web.scopes import Request, environ_of
from integrations.cus_web.verdicts import Secret
from tests.services.cus_web_in_process import scope_of

_LONG = 30.0
_CHECK = "/api/v1/cus/enforcement/check"
_INGEST = "/api/v1/cus/telemetry/llm-usage/batch"
_SESSION = ("cookie", "sessionid=s")
_TOKEN = ("authorization", "Bearer aost_t")
_KEY = ("x-cus-integration-key", "key")
_STRANGER = (Kind.STRANGER, "192.0.2.1")


def _request(
    method: str = "GET", path: str = "/", *headers: tuple[str, str], peer: str = "192.0.2.1"
) -> Request:
    return Request(scope_of(path, *headers, method=method, peer=peer, query="a=1"))


# --- Kinds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/healthz", Kind.HEALTH),
        ("GET", "/readyz", Kind.PROBE),
        ("GET", "/metrics", Kind.PROBE),
        ("POST", "/api/v1/cus/enforcement/check", Kind.CHECK),
        ("POST", "/api/v1/cus/enforcement/batch", Kind.CHECK),
        ("GET", "/api/v1/cus/enforcement/status", Kind.CHECK),
        ("GET", "/api/v1/cus/enforcement/config", Kind.CHECK),
        ("DELETE", "/api/v1/cus/enforcement/lease/1", Kind.CHECK),
        ("POST", "/api/v1/cus/telemetry/llm-usage", Kind.INGEST),
        ("POST", "/api/v1/cus/telemetry/llm-usage/batch", Kind.INGEST),
        ("POST", "/api/v1/cus/telemetry/bypass", Kind.INGEST),
        ("GET", "/api/v1/cus/telemetry/llm-usage", Kind.PEOPLE),
        ("GET", "/api/v1/cus/enforcement/decisions", Kind.PEOPLE),
        ("POST", "/admin/login/", Kind.SIGN_IN),
        ("POST", "/admin/password_reset/abc/def/", Kind.SIGN_IN),
        ("GET", "/admin/login/", Kind.PEOPLE),
        ("GET", "/admin/", Kind.PEOPLE),
        ("GET", "/static/x.css", Kind.PEOPLE),
        ("GET", "/api/v1/cus/integrations", Kind.PEOPLE),
    ],
)
def test_programs_and_people_have_threads_of_their_own(method: str, path: str, kind: Kind) -> None:
    request = _request(method, path, _SESSION, _KEY)

    assert _turn(request, _knowing(request)).kind is kind


def _turn(
    request: Request, people: KnownSecrets | None = None, keys: KnownKeys | None = None
) -> Turn:
    return turn_of(request, people or KnownSecrets(), keys or KnownKeys())


def _knowing(request: Request) -> KnownSecrets:
    """Django has found this request's session or token to be a person's."""
    known = KnownSecrets()
    known.learn(digests_of(request), dict.fromkeys(Secret, True), request.arrived)
    return known


@pytest.mark.parametrize("path", ["/", "/admin/", "/static/x.css", "/api/v1/cus/integrations"])
@pytest.mark.parametrize("secret", [_SESSION, _TOKEN, ("cookie", "csrftoken=invented")])
def test_whoever_shows_no_secret_that_is_known_is_a_stranger(
    path: str, secret: tuple[str, str]
) -> None:
    known = _knowing(_request("GET", "/", ("cookie", "sessionid=another")))

    for request in (_request("GET", path, secret), _request("POST", path)):
        assert _turn(request, known)[:2] == _STRANGER


def test_a_stranger_is_slow_at_no_kind_of_programs_nor_at_the_sign_in() -> None:
    kinds = [
        _turn(_request(method, path, _KEY)).kind
        for method, path in (
            ("GET", "/healthz"),
            ("POST", "/api/v1/cus/enforcement/check"),
            ("POST", "/api/v1/cus/telemetry/llm-usage"),
            ("POST", "/admin/login/"),
        )
    ]

    assert kinds == [Kind.HEALTH, Kind.CHECK, Kind.INGEST, Kind.SIGN_IN]


def test_programs_take_turns_by_key_people_by_session_and_strangers_by_address() -> None:
    headers = (_KEY, _SESSION)
    page = _request("GET", "/", *headers)
    known = _knowing(page)

    assert _turn(_request("POST", _CHECK, *headers), known).sender == digest_of("key")
    assert _turn(page, known).sender == digests_of(page)[Secret.SESSION]
    assert _turn(_request("POST", "/admin/login/", *headers), known).sender == "192.0.2.1"
    assert _turn(_request("POST", _CHECK), known).sender == "192.0.2.1"


def test_other_cookies_and_other_spellings_make_no_second_sender() -> None:
    session, token = _request("GET", "/", _SESSION), _request("GET", "/", _TOKEN)
    cookies = ("a=1; sessionid=s", "sessionid=s;csrftoken=2", "sessionid=old; sessionid=s ; z=3")

    assert {_sender(session, "cookie", text) for text in cookies} == {_sender(session, *_SESSION)}
    assert {
        _sender(token, "authorization", text) for text in ("bearer aost_t", "Bearer   aost_t")
    } == {_sender(token, *_TOKEN)}


def _sender(known_by: Request, header: str, text: str) -> str:
    turn = _turn(_request("GET", "/", (header, text)), _knowing(known_by))
    assert turn.kind is Kind.PEOPLE
    return turn.sender


def test_a_person_stays_one_sender_whatever_else_the_request_shows() -> None:
    known = _knowing(_request("GET", "/", _SESSION))

    senders = {
        _turn(_request("GET", "/", _SESSION, ("authorization", f"Bearer {n}")), known).sender
        for n in range(3)
    }

    assert senders == {_sender(_request("GET", "/", _SESSION), *_SESSION)}


def test_behind_a_proxy_a_stranger_is_whom_the_nearest_proxy_names(settings: Settings) -> None:
    settings.CUS_BEHIND_PROXY = True
    claimed, appended = ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "203.0.113.9")

    for method, path in (("POST", "/admin/login/"), ("GET", "/admin/login/")):
        named = _turn(_request(method, path, claimed, appended))
        assert named.sender == "203.0.113.9"
        assert _turn(_request(method, path)).sender == "unknown"


# --- Keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_request_of_a_program_without_a_key_is_a_strangers(method: str) -> None:
    basic = ("authorization", "Basic a2V5")

    for path in (_CHECK, "/api/v1/cus/enforcement/lease/1"):
        assert _turn(_request(method, path))[:2] == _STRANGER
        assert _turn(_request(method, path, basic, _SESSION))[:2] == _STRANGER
    assert _turn(_request("POST", _INGEST))[:2] == _STRANGER


def test_a_key_is_one_sender_however_it_is_sent() -> None:
    spelt = ("Bearer key", "bearer   key ", "BEARER key")
    requests = [_request("POST", _CHECK, ("authorization", text)) for text in spelt]

    turns = [_turn(request) for request in (_request("POST", _INGEST, _KEY), *requests)]

    assert {turn.sender for turn in turns} == {digest_of("key")}
    assert {turn.kind for turn in turns} == {Kind.CHECK, Kind.INGEST}


def test_a_wrong_key_is_a_strangers_from_its_second_request_and_delays_no_other_key() -> None:
    keys, wrong = KnownKeys(), _request("POST", _CHECK, ("x-cus-integration-key", "wrong"))

    for _ in range(1_000):
        _judged(wrong, keys, accepted=False)

    assert _turn(wrong, keys=keys)[:2] == _STRANGER
    assert _turn(_request("POST", _INGEST, _KEY), keys=keys).kind is Kind.INGEST


def _judged(request: Request, keys: KnownKeys, *, accepted: bool) -> None:
    """Django has answered the request."""
    turn = _turn(request, keys=keys)
    keys.learn(turn.key, turn.origin, {Secret.KEY: accepted}, request.arrived)


@pytest.mark.parametrize("path", [_CHECK, _INGEST, "/api/v1/cus/enforcement/lease"])
def test_an_address_that_invents_keys_is_a_stranger_but_for_keys_that_were_accepted(
    path: str,
) -> None:
    keys, valid, another = KnownKeys(), ("x-cus-integration-key", "valid"), "198.51.100.1"
    _judged(_request("POST", path, valid), keys, accepted=True)
    invented = [("x-cus-integration-key", f"invented {number}") for number in range(22)]

    kinds = []
    for header in invented:
        kinds.append(_turn(_request("POST", path, header), keys=keys).kind)
        _judged(_request("POST", path, header), keys, accepted=False)

    assert kinds[:20] == [kinds[0]] * 20
    assert kinds[0] in (Kind.CHECK, Kind.INGEST)
    assert kinds[-1] is Kind.STRANGER
    assert _turn(_request("POST", path, valid), keys=keys)[:2] == (kinds[0], digest_of("valid"))
    assert _turn(_request("POST", path, _KEY), keys=keys)[:2] == _STRANGER
    assert _turn(_request("POST", path, _KEY, peer=another), keys=keys).kind is kinds[0]


def test_behind_a_proxy_keys_are_counted_for_whom_the_nearest_proxy_names(
    settings: Settings,
) -> None:
    settings.CUS_BEHIND_PROXY = True
    keys, inventor = KnownKeys(), ("x-forwarded-for", "203.0.113.9")
    for number in range(22):
        wrong = ("x-cus-integration-key", f"invented {number}")
        _judged(_request("POST", _CHECK, wrong, inventor), keys, accepted=False)

    assert _turn(_request("POST", _CHECK, _KEY, inventor), keys=keys).kind is Kind.STRANGER
    assert _turn(_request("POST", _CHECK, _KEY), keys=keys).kind is Kind.CHECK


def test_the_addresses_of_one_ipv6_network_invent_keys_together() -> None:
    keys = KnownKeys()
    for number in range(22):
        wrong = ("x-cus-integration-key", f"invented {number}")
        request = _request("POST", _CHECK, wrong, peer=f"[2001:db8::{number:x}]")
        _judged(request, keys, accepted=False)

    within, beside = (
        _turn(_request("POST", _CHECK, _KEY, peer=peer), keys=keys).kind
        for peer in ("[2001:db8::ffff]", "[2001:db8:0:1::1]")
    )

    assert (within, beside) == (Kind.STRANGER, Kind.CHECK)


def test_a_probe_is_not_delayed_by_what_else_its_address_asks_for() -> None:
    paths = ("/healthz", "/readyz", "/metrics")
    senders = {_turn(_request("GET", path)).sender for path in paths}
    elsewhere = {_turn(_request("GET", path, peer="198.51.100.1")).sender for path in paths}

    assert len(senders | elsewhere) == 6


# --- Turns --------------------------------------------------------------------------------------


class Jobs:
    """Jobs that last until they are let go, in the order in which they begin."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.refused: list[Refusal] = []
        self.go = threading.Event()
        self._changed = threading.Condition()

    def of(self, sender: str, name: str) -> Job:
        def run(refusal: Refusal | None) -> None:
            with self._changed:
                if refusal:
                    self.refused.append(refusal)
                self.begun.append(name)
                self._changed.notify_all()
            self.go.wait(_LONG)

        return Job(sender, run)

    def until(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, _LONG)


def _lane(threads: int, seconds: float = _LONG) -> Lane:
    lane = Lane("test", threads, seconds)
    lane.start()
    return lane


def test_one_sender_leaves_threads_to_the_others() -> None:
    lane, jobs = _lane(6), Jobs()
    for number in range(20):
        lane.submit(jobs.of("greedy", f"greedy {number}"))
    jobs.until(lambda: len(jobs.begun) == 4)

    lane.submit(jobs.of("other", "other"))

    jobs.until(lambda: "other" in jobs.begun)
    assert len(jobs.begun) == 5
    jobs.go.set()
    jobs.until(lambda: len(jobs.begun) == 21)


def test_senders_take_turns_however_long_their_lines_are() -> None:
    lane, jobs = Lane("test", 1, _LONG), Jobs()
    for number in range(3):
        lane.submit(jobs.of("much", f"much {number}"))
    for number in range(2):
        lane.submit(jobs.of("little", f"little {number}"))
    jobs.go.set()

    lane.start()

    jobs.until(lambda: len(jobs.begun) == 5)
    assert jobs.begun == ["much 0", "little 0", "much 1", "little 1", "much 2"]


def test_nothing_is_lost_where_all_send_at_once() -> None:
    lane, jobs = _lane(5), Jobs()
    jobs.go.set()

    def send(sender: str) -> None:
        for number in range(200):
            lane.submit(jobs.of(sender, f"{sender} {number}"))

    senders = [threading.Thread(target=send, args=(name,)) for name in "abc"]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join()

    jobs.until(lambda: len(jobs.begun) == 600)
    assert len(set(jobs.begun)) == 600


def test_a_line_that_is_too_long_is_closed_to_its_sender_alone() -> None:
    lane, jobs = Lane("test", 1, _LONG), Jobs()
    for number in range(256):
        lane.submit(jobs.of("greedy", str(number)))

    with pytest.raises(Refused) as refused:
        lane.submit(jobs.of("greedy", "one more"))

    assert refused.value.refusal is LINE_FULL
    lane.submit(jobs.of("other", "other"))


def test_an_address_whose_senders_are_made_up_leaves_places_to_others() -> None:
    lane, jobs = Lane("test", 2, _LONG), Jobs()

    def send(sender: str, address: str) -> None:
        job = jobs.of(sender, sender)
        job.address = address
        lane.submit(job)

    for number in range(1_024):
        send(f"made up {number}", "192.0.2.1")
    with pytest.raises(Refused) as refused:
        send("made up too", "192.0.2.1")

    assert refused.value.refusal is ADDRESS_FULL
    send("other", "192.0.2.2")
    jobs.go.set()
    lane.start()
    jobs.until(lambda: len(jobs.begun) == 1_025)
    send("made up again", "192.0.2.1")


def test_what_has_waited_too_long_is_refused_and_not_run() -> None:
    lane, jobs = Lane("test", 1, seconds=-1), Jobs()
    lane.submit(jobs.of("late", "late"))

    lane.start()

    jobs.until(lambda: bool(jobs.refused))
    assert jobs.refused == [BUSY]


# --- Bodies -------------------------------------------------------------------------------------


class Sending:
    """A body that arrives when it is told to."""

    def __init__(self) -> None:
        self.arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> bytes:
        return await self.arrived


async def _coming(bodies: Bodies, length: int) -> tuple[Sending, "asyncio.Task[bytes]"]:
    sending: Any = Sending()
    task = asyncio.ensure_future(bodies.receive(sending, length))
    await asyncio.sleep(0)
    return sending, task


async def _refusal(task: "asyncio.Task[bytes]") -> Refusal:
    with pytest.raises(Refused) as refused:
        await task
    return refused.value.refusal


def test_a_body_that_does_not_arrive_in_time_is_ended() -> None:
    async def scenario() -> None:
        bodies = Bodies(seconds=10, room_bytes=1_000_000)
        sending, in_time = await _coming(bodies, 3)
        _, late = await _coming(bodies, 3)
        sending.arrived.set_result(b"abc")
        assert await in_time == b"abc"

        bodies.end_late(asyncio.get_running_loop().time() + 9)
        await asyncio.sleep(0)
        assert not late.done()
        bodies.end_late(asyncio.get_running_loop().time() + 11)

        assert await _refusal(late) is BODY_TOO_SLOW

    asyncio.run(scenario())


def test_where_room_is_short_the_body_that_is_longest_on_its_way_is_ended() -> None:
    async def scenario() -> None:
        bodies = Bodies(seconds=10, room_bytes=200_000)
        _, oldest = await _coming(bodies, 100_000)
        sending, newer = await _coming(bodies, 50_000)

        third, newest = await _coming(bodies, 100_000)

        assert await _refusal(oldest) is BODY_TOO_SLOW
        sending.arrived.set_result(b"newer")
        third.arrived.set_result(b"newest")
        assert [await newer, await newest] == [b"newer", b"newest"]

    asyncio.run(scenario())


def test_a_sender_that_leaves_in_the_middle_is_no_error_of_ours() -> None:
    async def scenario() -> None:
        sending, task = await _coming(Bodies(seconds=10, room_bytes=1_000), 3)
        sending.arrived.set_exception(RuntimeError("transport is closed"))

        assert await _refusal(task) is BODY_TORN

    asyncio.run(scenario())


# --- Requests and refusals ----------------------------------------------------------------------


def test_a_request_is_what_wsgi_says_it_is() -> None:
    request = _request(
        "POST",
        "/ä",
        ("host", "example.com"),
        ("content-type", "text/plain"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2"),
        ("x_forwarded_proto", "https"),
        ("x-own", "kept"),
    )

    environ = environ_of(request, b"body")

    assert environ["PATH_INFO"].encode("latin-1").decode() == "/ä"
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert environ["HTTP_HOST"] == "example.com"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_FORWARDED_FOR"] == "1.1.1.1,2.2.2.2"
    assert environ["HTTP_X_OWN"] == "kept"
    assert environ["REMOTE_ADDR"] == "192.0.2.1"
    assert environ["wsgi.input"].read() == b"body"
    # Only a proxy may say so, and it does not know this spelling.
    assert "HTTP_X_FORWARDED_PROTO" not in environ


def test_programs_are_refused_in_json_and_people_by_a_page() -> None:
    program, person = BUSY.answer("/api/v1/cus/integrations"), BUSY.answer("/admin/")

    assert program.status == person.status == 503
    assert json.loads(program.body)["errors"][0]["code"] == "unavailable"
    assert ("retry-after", "2") in program.headers
    assert b"<h1>Busy</h1>" in person.body
