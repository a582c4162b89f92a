"""The threads that answer requests: none of them ends with a request that could not be answered."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from aos_project.cus_web import lanes
from aos_project.cus_web.answers import Refusal
from aos_project.cus_web.application import CusWeb
from aos_project.cus_web.lanes import Job, Lane
from tests.services.cus_web_in_process import HOST, PROTOCOL, run_web, scope_of

_LONG = 30.0


def _raising(error: BaseException) -> Callable[[Refusal | None], None]:
    def run(_refusal: Refusal | None) -> None:
        raise error

    return run


# As an answer fails whose header can't be sent, and as a view does that wants to end the process.
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [UnicodeEncodeError("utf-8", "", 0, 1, "no"), SystemExit()])
def test_a_request_that_fails_costs_its_lane_no_thread(error: BaseException) -> None:
    lane, answered = Lane("test", 2, _LONG), queue.Queue[str]()
    lane.start()

    for _ in range(4):
        lane.submit(Job("sender", _raising(error)))
    lane.submit(Job("sender", lambda _refusal: answered.put("answered")))

    assert answered.get(timeout=_LONG / 3) == "answered"


def test_a_stranger_occupies_one_thread_and_the_next_is_answered_meanwhile() -> None:
    lane, answered = Lane("test", 3, _LONG, strangers=True), queue.Queue[str]()
    lane.start()
    go = threading.Event()

    lane.submit(Job("flood", lambda _refusal: _ignore(go.wait(_LONG))))
    lane.submit(Job("flood", lambda _refusal: answered.put("flood")))
    lane.submit(Job("neighbour", lambda _refusal: answered.put("neighbour")))

    assert answered.get(timeout=_LONG) == "neighbour"
    go.set()
    assert answered.get(timeout=_LONG) == "flood"


@pytest.mark.parametrize(
    ("strangers", "owes_rest", "rests"),
    [(True, True, [1.5]), (True, False, []), (False, True, [])],
    ids=["a stranger", "a person whom the process did not know", "a person"],
)
def test_only_a_strangers_request_is_followed_by_a_rest_of_three_times_its_length(
    monkeypatch: pytest.MonkeyPatch, strangers: bool, owes_rest: bool, rests: list[float]
) -> None:
    clock, rested = iter([10.0, 20.0, 20.5]), list[float]()
    ticking = SimpleNamespace(monotonic=lambda: next(clock), sleep=rested.append)
    monkeypatch.setattr(lanes, "time", ticking)
    monkeypatch.setattr(lanes, "_LONGEST_REST_SECONDS", 60.0)
    lane, answered = Lane("test", 1, 100.0, strangers=strangers), queue.Queue[str]()

    def run(_refusal: Refusal | None) -> None:
        job.owes_rest = owes_rest
        answered.put("answered")

    job = Job("sender", run)
    lane.submit(job)
    lane.start()

    assert answered.get(timeout=_LONG) == "answered"
    deadline = time.monotonic() + _LONG
    while rested != rests and time.monotonic() < deadline:
        time.sleep(0.005)
    assert rested == rests


class BlockingSite:
    """An application that answers when it is let go, and notes what it has begun."""

    def __init__(self) -> None:
        self.begun: queue.Queue[tuple[str, str]] = queue.Queue()
        self.go = threading.Event()

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.begun.put((environ["PATH_INFO"], environ["REMOTE_ADDR"]))
        self.go.wait(_LONG)
        start_response("200 OK", [])
        return [b""]


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
def test_an_address_occupies_one_thread_by_a_probe_and_others_probe_meanwhile(path: str) -> None:
    site, here, there = BlockingSite(), "192.0.2.1", "198.51.100.1"

    async def scenario() -> list[tuple[str, str]]:
        web = CusWeb(site)
        web.__rsgi_init__(asyncio.get_running_loop())
        asked = [(path, here), (path, here), ("/healthz", here), (path, there)]
        scopes = [scope_of(asked_for, HOST, peer=peer) for asked_for, peer in asked]
        probes = [asyncio.ensure_future(web.__rsgi__(probe, PROTOCOL)) for probe in scopes]
        begun = [await asyncio.to_thread(site.begun.get, timeout=_LONG) for _ in range(3)]
        assert site.begun.empty()
        site.go.set()
        await asyncio.gather(*probes)
        return [*sorted(begun), site.begun.get_nowait()]

    begun = run_web(scenario)

    assert begun == [*sorted([(path, here), ("/healthz", here), (path, there)]), (path, here)]


def _ignore(_result: object) -> None:
    """A job returns nothing."""
