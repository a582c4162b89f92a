"""Calls that go past the SDK are counted, named once, and reported (ruling F8)."""

import asyncio
import contextlib
import importlib
import inspect
import json
import logging
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from aos_sdk.cus_capture.bypass import WINDOW_SECONDS, CusBypassWatch
from aos_sdk.cus_capture.bypass_transports import (
    detect_bypass,
    unwatch_transports,
    watch_of,
    watch_transports,
)
from aos_sdk.cus_delivery.transport import CusAnswer
from tests.sdk.conftest import MakeReporter
from tests.sdk.cus_fake_servers import Answer, CusFakeCollector, CusFakeServer, cus_chat_completion

openai = pytest.importorskip("openai")

# What the installed openai rides on: httpx2 from its major 3 on, httpx before.
PACKAGE = next(
    kind.__module__.partition(".")[0]
    for kind in openai.DefaultHttpxClient.__mro__
    if kind.__module__.startswith("httpx")
)
http = importlib.import_module(PACKAGE)

SECRET = "what nobody else should read"
ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": SECRET}]}
RECEIPT = CusAnswer(201, b'{"window_start": "2026-01-01T00:00:00Z"}')
_governed: ContextVar[bool] = ContextVar("governed", default=False)


class Provider(CusFakeServer):
    """A provider; the first `failures` answers are 500."""

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.failures = 0

    def _reply(self, path: str, body: dict[str, Any]) -> Answer:
        if self.failures:
            self.failures -= 1
            return 500, {}, {"retry-after-ms": "1"}
        return 200, cus_chat_completion(), {}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[CusBypassWatch]:
    monkeypatch.setattr("aos_sdk.cus_capture.bypass.in_governed_call", _governed.get)
    watch = CusBypassWatch()
    watch_transports(lambda: watch)
    yield watch
    unwatch_transports()


@contextlib.contextmanager
def governed() -> Iterator[None]:
    token = _governed.set(True)
    yield
    _governed.reset(token)


def client_of(provider: Provider, **options: Any) -> Any:
    return openai.OpenAI(api_key="sk-x", base_url=f"{provider.url}/v1", **options)


def seen(watch: CusBypassWatch) -> tuple[int, int]:
    return watch.snapshot()[:2]


def test_a_call_outside_of_a_governed_one_is_counted_by_its_host(
    watch: CusBypassWatch, provider: Provider
) -> None:
    with client_of(provider) as client:
        client.chat.completions.create(**ASKED)
        with governed():
            client.chat.completions.create(**ASKED)

    assert watch.snapshot() == (1, 1, {"127.0.0.1": 1})


def test_a_call_site_is_named_once_and_never_with_content(
    watch: CusBypassWatch, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    with client_of(provider) as client:
        for _ in range(3):
            client.chat.completions.create(**ASKED)  # the site
        line = sys._getframe().f_lineno - 1
        client.chat.completions.create(**ASKED)

    sites = [record.getMessage() for record in caplog.records if record.name == "aos_sdk"]
    assert len(sites) == 2
    assert sites[0].startswith(f"{__file__}:{line} calls 127.0.0.1 ")
    assert sites[1].startswith(f"{__file__}:{line + 2} ")
    assert SECRET not in caplog.text
    assert "sk-x" not in caplog.text


def test_retries_of_the_providers_client_are_one_call(
    watch: CusBypassWatch, provider: Provider
) -> None:
    provider.failures = 2
    with client_of(provider, max_retries=2) as client:
        client.chat.completions.create(**ASKED)

    assert len(provider.requests) == 3
    assert seen(watch) == (0, 1)


def test_async_and_streamed_calls_are_counted_too(
    watch: CusBypassWatch, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> None:
        async with openai.AsyncOpenAI(api_key="sk-x", base_url=f"{provider.url}/v1") as client:
            await client.chat.completions.create(**ASKED)
            with governed():
                await client.chat.completions.create(**ASKED, stream=True)

    asyncio.run(ask())

    assert seen(watch) == (1, 1)
    assert f"{__file__}:" in caplog.text


def test_a_request_by_hand_to_a_providers_host_is_counted(watch: CusBypassWatch) -> None:
    replies = http.MockTransport(lambda request: http.Response(200, json={}))
    with http.Client(transport=replies) as client:
        client.post("https://api.openai.com/v1/chat/completions", json={})
        client.post("https://acme.openai.azure.com/openai/deployments/d/chat/completions?v=1")
        client.post("https://api.anthropic.com/v1/messages?beta=true")
        client.post("https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/invoke")

    assert watch.snapshot().hosts == {
        "api.openai.com": 1,
        "acme.openai.azure.com": 1,
        "api.anthropic.com": 1,
        "bedrock-runtime.eu-west-1.amazonaws.com": 1,
    }


def test_what_no_model_answers_is_not_counted(watch: CusBypassWatch) -> None:
    replies = http.MockTransport(lambda request: http.Response(200, json={}))
    with http.Client(transport=replies) as client:
        client.get("https://api.openai.com/v1/models")
        client.post("https://api.openai.com/v1/files")
        client.post("https://api.openai.com/v1/threads/t/messages")
        client.post("https://api.anthropic.com/v1/messages/count_tokens")
        client.get("https://api.openai.com/v1/responses/r")
        client.post("https://example.com/v1/chat/completions")

    assert seen(watch) == (0, 0)


def test_a_host_of_a_governed_call_is_watched_from_then_on(watch: CusBypassWatch) -> None:
    replies = http.MockTransport(lambda request: http.Response(200, json={}))
    with http.Client(transport=replies) as client:
        with governed():
            client.post("https://gateway.example.com/v1/chat/completions")
        client.post("https://gateway.example.com/v1/chat/completions")

    assert watch.snapshot() == (1, 1, {"gateway.example.com": 1})


def test_watching_twice_counts_once_and_ends_without_a_trace(watch: CusBypassWatch) -> None:
    unwatch_transports()
    originals = http.Client.__dict__["send"], http.AsyncClient.__dict__["send"]
    watch_transports(lambda: watch)
    watch_transports(lambda: watch)
    assert http.Client.__dict__["send"] is not originals[0]
    assert inspect.signature(http.Client.send) == inspect.signature(originals[0])
    assert inspect.iscoroutinefunction(http.AsyncClient.send)
    assert (http.Client.send.__doc__, http.Client.send.__name__) == (originals[0].__doc__, "send")

    unwatch_transports()

    assert (http.Client.__dict__["send"], http.AsyncClient.__dict__["send"]) == originals


def test_a_function_that_someone_put_around_ours_stays_and_works(watch: CusBypassWatch) -> None:
    ours = http.Client.send

    def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
        return ours(self, *args, **kwargs)

    http.Client.send = theirs
    try:
        unwatch_transports()

        assert http.Client.send is theirs
        replies = http.MockTransport(lambda request: http.Response(200))
        with http.Client(transport=replies) as client:
            assert client.post("https://api.openai.com/v1/responses").status_code == 200
        assert seen(watch) == (0, 0)
    finally:
        http.Client.send = ours.__wrapped__


def test_a_package_that_is_imported_later_is_watched_then_and_nothing_is_imported_before() -> None:
    code = f"""
import sys
from aos_sdk.cus_capture.bypass import CusBypassWatch
from aos_sdk.cus_capture.bypass_transports import unwatch_transports, watch_transports
watch = CusBypassWatch()
watch_transports(lambda: watch)
assert not {{"httpx", "httpx2", "openai"}} & set(sys.modules)
import {PACKAGE} as http
with http.Client(transport=http.MockTransport(lambda request: http.Response(200))) as client:
    client.post("https://api.openai.com/v1/responses")
assert type(http.__loader__).__name__ == "SourceFileLoader" and http.__spec__.loader is http.__loader__
unwatch_transports()
assert not hasattr(http.Client.send, "__wrapped__")
assert not any("aos_sdk" in type(finder).__module__ for finder in sys.meta_path)
print(watch.snapshot().bypassed_calls)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.returncode) == ("1\n", 0), run.stderr


def test_what_goes_wrong_in_counting_never_reaches_the_program(
    watch: CusBypassWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(request: object) -> None:
        raise ValueError(request)

    monkeypatch.setattr(watch, "see", fails)
    replies = http.MockTransport(lambda request: http.Response(200))
    with http.Client(transport=replies) as client:
        assert client.post("https://api.openai.com/v1/responses").status_code == 200


def test_no_count_is_lost_between_threads() -> None:
    watch = CusBypassWatch()

    def count() -> None:
        for number in range(2_000):
            watch.count("host", is_governed=number % 2 == 0)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen(watch) == (4_000, 4_000)


def test_hosts_beyond_the_limit_are_added_up() -> None:
    watch = CusBypassWatch()
    for number in range(100):
        watch.count(f"host-{number}", is_governed=False)

    hosts = watch.snapshot().hosts
    assert (len(hosts), hosts["other"], sum(hosts.values())) == (50, 51, 100)


def _due(watch: CusBypassWatch, now: float, **how: bool) -> dict[str, Any] | None:
    due = watch.report_due(now, **how)
    if due is None:
        return None
    assert due[0] == "/api/v1/cus/telemetry/bypass"
    body: dict[str, Any] = json.loads(due[1])
    return body


def test_a_window_is_reported_a_minute_after_its_first_call() -> None:
    watch = CusBypassWatch()
    assert _due(watch, 1e9, final=True) is None
    watch.count("a", is_governed=True)
    watch.count("a", is_governed=False)
    opened = watch._opened

    assert _due(watch, opened + WINDOW_SECONDS - 1) is None
    report = _due(watch, opened + WINDOW_SECONDS)

    assert report is not None
    assert (report["governed_calls"], report["bypassed_calls"]) == (1, 1)
    assert report["hosts"] == {"a": 1}
    assert report["window_start"] <= report["window_end"]


def test_an_unanswered_window_is_sent_again_as_it_was_and_later_calls_are_in_the_next() -> None:
    watch = CusBypassWatch()
    watch.count("a", is_governed=False)
    now = watch._opened + WINDOW_SECONDS
    first = _due(watch, now)
    watch.answered(CusAnswer(0, reason="lost"), now)
    watch.count("a", is_governed=False)

    assert _due(watch, now + 1) is None  # not at once: the server may be struggling
    assert _due(watch, now + WINDOW_SECONDS) == first
    watch.answered(RECEIPT, now)
    second = _due(watch, now, final=True)

    assert first is not None
    assert second is not None
    assert second["bypassed_calls"] == 1
    assert second["window_start"] > first["window_start"]
    assert second["process_id"] == first["process_id"]


@pytest.mark.parametrize(
    "answer", [CusAnswer(200, b"<html>welcome"), CusAnswer(503), CusAnswer(401)]
)
def test_only_a_receipt_settles_a_window(answer: CusAnswer) -> None:
    watch = CusBypassWatch()
    watch.count("a", is_governed=False)
    report = _due(watch, 0, final=True)

    watch.answered(answer, 0)

    assert _due(watch, 0, final=True) == report


def test_a_window_that_the_server_refuses_is_given_up_and_counted() -> None:
    watch = CusBypassWatch()
    watch.count("a", is_governed=False)
    _due(watch, 0, final=True)

    watch.answered(CusAnswer(409, reason="HTTP 409"), 0)

    assert _due(watch, 0, final=True) is None
    assert watch.refused == 1


def test_windows_never_start_twice_at_one_moment_whatever_the_clock_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = CusBypassWatch()
    starts = []
    for moment in (2_000_000_000.0, 2_000_000_000.0, 1_900_000_000.0):
        monkeypatch.setattr("aos_sdk.cus_capture.bypass.time.time", lambda moment=moment: moment)
        watch.count("a", is_governed=True)
        report = _due(watch, 0, final=True)
        assert report is not None
        assert report["window_end"] >= report["window_start"]
        starts.append(report["window_start"])
        watch.answered(RECEIPT, 0)

    assert starts == sorted(set(starts))


def test_the_reporter_delivers_the_counts_at_its_end(
    collector: CusFakeCollector, make_reporter: MakeReporter, provider: Provider
) -> None:
    reporter = make_reporter()
    try:
        detect_bypass(reporter)
        with client_of(provider) as client:
            client.chat.completions.create(**ASKED)
        reporter.shutdown(5.0)
    finally:
        unwatch_transports()

    (report,) = collector.bypass_reports
    assert (report["governed_calls"], report["bypassed_calls"]) == (0, 1)
    assert report["hosts"] == {"127.0.0.1": 1}
    assert report["sdk"].startswith("aos-sdk-python/")


def test_the_reporter_sends_a_window_again_until_it_is_taken(
    collector: CusFakeCollector, make_reporter: MakeReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aos_sdk.cus_capture.bypass.WINDOW_SECONDS", 0.01)
    collector.script.extend([(503, {}), None])
    reporter = make_reporter()
    try:
        detect_bypass(reporter)
        watch = watch_of(reporter)
        watch.count("a", is_governed=False)
        _wait_for(lambda: bool(collector.bypass_reports))
    finally:
        unwatch_transports()
        reporter.shutdown(5.0)

    bodies = [body for _, _, body in collector.requests]
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2] == collector.bypass_reports[0]


def _wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(6_000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never came")


def _counts_in_child(watch: CusBypassWatch, pipe: Any) -> None:
    pipe.send((seen(watch), watch._process_id))
    pipe.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_counts_for_itself(make_reporter: MakeReporter) -> None:
    reporter = make_reporter()
    watch = watch_of(reporter)
    watch.count("a", is_governed=False)
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(
        target=_counts_in_child, args=(watch, theirs)
    )
    child.start()
    counts, process_id = ours.recv()
    child.join()

    assert counts == (0, 0)
    assert process_id != watch._process_id
    assert seen(watch) == (0, 1)


def test_the_log_is_quiet_while_every_call_is_governed(
    watch: CusBypassWatch, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "aos_sdk")
    with client_of(provider) as client, governed():
        client.chat.completions.create(**ASKED)

    assert seen(watch) == (1, 0)
    assert not caplog.records
