"""Requests to providers by plain HTTP clients are recorded, if the program wants that."""

import asyncio
import gzip
import importlib
import json
import logging
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import openai
import pytest
import requests
import urllib3
from urllib3.connectionpool import HTTPConnectionPool

from aos_sdk import cus_context, cus_install_middleware, cus_telemetry, cus_uninstall_middleware
from aos_sdk.cus_capture.bypass_transports import watch_of
from aos_sdk.cus_capture.decoding import CusDecodedCopy
from tests.cus_local_server import CusLocalServer
from tests.sdk.cus_capture_cases import CHAT, INPUT, MESSAGE, CusRecordingReporter
from tests.sdk.cus_fake_providers import CHAT_USAGE, CusFakeProvider
from tests.sdk.cus_http_programs import HEADERS, PROGRAMS
from tests.sdk.cus_provider_http import openai_http

EMBEDDING: Any = {"model": "text-embedding-3-small", "input": "a very private text"}
ASKED: Any = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
# Path, body, operation, tokens in and out.
CALLS: dict[str, tuple[str, Any, str, tuple[int, int]]] = {
    "chat": ("/v1/chat/completions", CHAT, "chat", (1_000, 500)),
    "chat streamed": ("/v1/chat/completions", ASKED, "chat", (1_000, 500)),
    "responses": ("/v1/responses", INPUT, "responses", (1_000, 500)),
    "responses streamed": ("/v1/responses", {**INPUT, "stream": True}, "responses", (1_000, 500)),
    "messages": ("/v1/messages", MESSAGE, "chat", (1_000, 500)),
    "messages streamed": ("/v1/messages", {**MESSAGE, "stream": True}, "chat", (1_000, 500)),
    "embeddings": ("/v1/embeddings", EMBEDDING, "embedding", (1_000, 0)),
}

# If the answer breaks, these get nothing of it.
READ_AS_A_WHOLE = {
    *("httpx", "httpx async", "requests", "requests raw", "urllib3", "urllib3 read"),
}


def _install(**options: Any) -> None:
    cus_install_middleware(patch_http=True, http_hosts=("127.0.0.1",), **options)


def _counts(recorder: CusRecordingReporter) -> tuple[int, int]:
    return watch_of(recorder).snapshot()[:2]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("call", CALLS)
def test_a_request_to_a_provider_is_one_call_however_its_answer_is_read(
    call: str, program: str, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    path, body, operation, tokens = CALLS[call]
    bare = PROGRAMS[program](f"{provider.url}{path}", body)
    _install()

    assert PROGRAMS[program](f"{provider.url}{path}", body) == bare
    assert provider.requests[-1] == (path, body)
    (row,) = recorder.rows
    assert (row["operation"], row["model"]) == (operation, body["model"])
    assert (row["tokens_in"], row["tokens_out"]) == tokens
    assert row.get("stream", False) == bool(body.get("stream"))
    assert "abandoned" not in row.get("metadata", {})
    assert (row["host"], row["provider_project"]) == ("127.0.0.1", "proj_1")
    assert row["provider_key_hint"] == "cdef"
    assert _counts(recorder) == (1, 0)
    assert recorder.stats.faults == 0


class _Encoding(BaseHTTPRequestHandler):
    """Sends a stream of chat in gzip or deflate, in chunks that end anywhere."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = {"id": "x-1", "model": "gpt-4o", "choices": [], "usage": CHAT_USAGE}
        if "/chat/" in self.path:
            text = b"data: %s\r\n\r\ndata: [DONE]\r\n\r\n" % json.dumps(answer).encode()
            kind = "text/event-stream"
        else:
            text, kind = json.dumps(answer).encode(), "application/json"
        is_gzip = self.path.startswith("/gzip")
        body = gzip.compress(text) if is_gzip else zlib.compress(text)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Encoding", "gzip" if is_gzip else "deflate")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(body), 9):
            part = body[start : start + 9]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def encoding() -> Iterator[str]:
    with CusLocalServer(_Encoding) as server:
        yield server.url


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
def test_an_encoded_body_is_read_however_the_program_decodes_it(
    path: str, coding: str, program: str, encoding: str, recorder: CusRecordingReporter
) -> None:
    _install()
    PROGRAMS[program](f"{encoding}/{coding}{path}", CHAT)

    (row,) = recorder.rows
    assert (row["tokens_in"], row["tokens_out"]) == (1_000, 500)


def test_nothing_is_recorded_unless_the_program_wants_that(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    for program in PROGRAMS.values():
        program(f"{provider.url}/v1/chat/completions", CHAT)

    assert recorder.rows == []


def test_only_requests_to_known_hosts_and_paths_are_recorded(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware(patch_http=True, http_hosts=("https://llm.example.com:8443/v1",))
    replies = openai_http.MockTransport(lambda _: openai_http.Response(200, json={}))
    with openai_http.Client(transport=replies) as client:
        client.post("https://llm.example.com/v1/chat/completions", json=CHAT)
        client.post("https://api.deepseek.com/chat/completions", json=CHAT)
        client.post("https://api.openai.com/v1/moderations", json=EMBEDDING)
        client.post("https://api.openai.com/v1/threads/t/messages", json={"content": "a note"})
        client.post("https://example.com/v1/chat/completions", json=CHAT)
        client.get("https://api.openai.com/v1/models")
    requests.post(f"{provider.url}/v1/chat/completions", json=CHAT, timeout=20)

    assert [(row["host"], row.get("provider")) for row in recorder.rows] == [
        ("llm.example.com", None),
        ("api.deepseek.com", "deepseek"),
    ]


def test_the_hosts_of_the_environment_are_recorded_and_the_log_names_all(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    provider: CusFakeProvider,
    recorder: CusRecordingReporter,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{provider.url}/v1")
    with caplog.at_level(logging.INFO, "aos_sdk"):
        cus_install_middleware(patch_http=True, http_hosts=("llm.example.com",))
    requests.post(f"{provider.url}/v1/chat/completions", json=CHAT, timeout=20)

    assert len(recorder.rows) == 1
    for host in ("127.0.0.1", "llm.example.com", "api.openai.com", "*.openai.azure.com"):
        assert host in caplog.text


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_error_status_is_a_failed_call(
    program: str, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    _install()
    body = {**CHAT, "model": "gpt-4o/refused"}
    assert b"sk-proj" in PROGRAMS[program](f"{provider.url}/v1/chat/completions", body)

    (row,) = recorder.rows
    assert (row["error_code"], row["tokens_in"]) == ("HTTP 429", 0)
    assert "sk-proj" not in str(row)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_stream_that_breaks_is_a_failed_call_of_what_came(
    program: str, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    _install()
    body = {**CHAT, "model": "gpt-4o/broken", "stream": True}
    with pytest.raises(Exception, match=r".") as raised:
        PROGRAMS[program](f"{provider.url}/v1/chat/completions", body)

    (row,) = recorder.rows
    assert row["error_code"]
    assert "aos_sdk" not in type(raised.value).__module__
    assert row["tokens_out"] > 0 or program in READ_AS_A_WHOLE


def test_a_connection_that_is_refused_is_a_failed_call(recorder: CusRecordingReporter) -> None:
    _install()
    for name in ("httpx", "httpx async", "requests", "urllib3", "aiohttp"):
        if name in PROGRAMS:
            with pytest.raises(Exception, match=r"."):
                PROGRAMS[name]("http://127.0.0.1:1/v1/chat/completions", CHAT)
            row = recorder.rows.pop()
            assert (row["error_code"] is not None, row["tokens_in"]) == (True, 0)
            assert recorder.rows == []


def test_chunks_pass_as_they_come(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    """The server sends the second half only when the first has been read."""
    _install()
    body = {**ASKED, "model": "gpt-4o/endless"}
    url = f"{provider.url}/v1/chat/completions"
    with requests.post(url, json=body, timeout=20, stream=True) as response:
        first = next(response.iter_lines())
    assert first.startswith(b"data: ")

    (row,) = recorder.rows
    assert row["metadata"]["abandoned"]
    assert row["tokens_out"] > 0


def test_a_dropped_stream_is_reported(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    _install()
    url = f"{provider.url}/v1/chat/completions"
    pool = urllib3.PoolManager()
    response: Any = pool.request(
        "POST", url, body=json.dumps(ASKED), preload_content=False, headers=HEADERS
    )
    response.read(50)
    del response
    pool.clear()

    (row,) = recorder.rows
    assert row["metadata"]["abandoned"]


@pytest.mark.parametrize("how", ["iter_bytes", "iter_raw", "iter_lines"])
def test_a_program_may_keep_only_the_body_of_an_answer(
    how: str, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    """Such as a function that returns `response.iter_bytes()`, and drops the response."""
    _install()
    url = f"{provider.url}/v1/chat/completions"

    def parts() -> Any:
        asked = client.build_request("POST", url, json=ASKED, headers=HEADERS)
        response = client.send(asked, stream=True)
        return getattr(response, how)()

    async def parts_later() -> list[Any]:
        async with openai_http.AsyncClient() as client:
            asked = client.build_request("POST", url, json=ASKED, headers=HEADERS)
            response = await client.send(asked, stream=True)
            body = getattr(response, f"a{how}")()
            del response
            return [part async for part in body]

    with openai_http.Client() as client:
        read = list(parts())
    read_later = asyncio.run(parts_later())

    assert len(read) > 0
    assert len(read_later) > 0
    assert [(row["tokens_in"], row["tokens_out"]) for row in recorder.rows] == [(1_000, 500)] * 2


def test_so_it_may_of_urllib3s_answer(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    _install()
    asked: Any = {"body": json.dumps(ASKED), "headers": HEADERS, "preload_content": False}
    with urllib3.PoolManager() as pool:
        response = pool.request("POST", f"{provider.url}/v1/chat/completions", **asked)
        parts = response.stream()
        del response
        body = b"".join(parts)

    assert body.endswith(b"data: [DONE]\n\n")
    assert [row["tokens_out"] for row in recorder.rows] == [500]


def test_a_request_within_a_measured_call_is_a_part_of_it(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    _install()
    url = f"{provider.url}/v1/chat/completions"

    @cus_telemetry(model="gpt-4o", provider="openai")
    def ask() -> Any:
        return requests.post(url, json=CHAT, timeout=20).json()

    with cus_context(session_id="chat-17"):
        ask()
    with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
        client.chat.completions.create(**CHAT)

    assert [row["tokens_out"] for row in recorder.rows] == [500, 500]
    assert [row.get("session_id") for row in recorder.rows] == ["chat-17", None]
    assert _counts(recorder) == (2, 0)


def test_a_providers_client_that_is_not_patched_is_recorded_at_the_transport(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    _install(patch_openai=False)
    with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
        list(client.chat.completions.create(**ASKED))

    (row,) = recorder.rows
    assert (row["tokens_out"], row["stream"]) == (500, True)


def test_a_body_of_the_programs_own_stream_is_not_consumed(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    _install()
    text = json.dumps(CHAT).encode()

    def parts() -> Iterator[bytes]:
        yield text[:10]
        yield text[10:]

    headers = {"Content-Length": str(len(text)), "Content-Type": "application/json"}
    url = f"{provider.url}/v1/chat/completions"
    with openai_http.Client() as client:
        assert client.post(url, content=parts(), headers=headers).status_code == 200

    assert provider.requests[-1][1] == CHAT
    assert recorder.rows[0]["model"] == "gpt-4o"  # as the answer says


def test_every_function_is_the_original_again_after_uninstalling(
    recorder: CusRecordingReporter,
) -> None:
    original: Any = HTTPConnectionPool.urlopen
    sends = openai_http.Client.send, openai_http.AsyncClient.send
    _install()
    _install()
    assert HTTPConnectionPool.urlopen.__wrapped__ is original  # type: ignore[attr-defined]

    cus_uninstall_middleware()

    assert HTTPConnectionPool.urlopen is original
    assert (openai_http.Client.send, openai_http.AsyncClient.send) == sends
    assert not any("aos_sdk" in type(finder).__module__ for finder in sys.meta_path)


def test_aiohttps_function_is_the_original_again_and_its_reader_of_its_own_kind(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    aiohttp: Any = pytest.importorskip("aiohttp")
    original = aiohttp.ClientSession._request
    _install()

    async def ask() -> Any:
        url = f"{provider.url}/v1/chat/completions"
        async with aiohttp.ClientSession() as session, session.post(url, json=CHAT) as response:
            assert isinstance(response.content, aiohttp.StreamReader)
            assert type(response.content).__qualname__ == "StreamReader"
            return await response.json()

    assert asyncio.run(ask())["model"] == "gpt-4o"
    assert len(recorder.rows) == 1
    cus_uninstall_middleware()
    assert aiohttp.ClientSession._request is original


def test_a_library_that_is_imported_later_is_recorded_and_none_is_imported_before() -> None:
    code = """
import sys
from aos_sdk import cus_configure, cus_install_middleware
cus_configure("tenant:integration:aosk_secret", spool_dir=None)
cus_install_middleware(patch_http=True)
assert not {"httpx", "httpx2", "aiohttp", "urllib3", "requests"} & set(sys.modules)
import urllib3
print(hasattr(urllib3.HTTPConnectionPool.urlopen, "__wrapped__"))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == "True\n", run.stderr


def test_the_reporters_own_requests_are_not_recorded() -> None:
    """They go by urllib3 to the server's host, which is no provider's."""
    transport = importlib.import_module("aos_sdk.cus_delivery.transport")
    wire = importlib.import_module("aos_sdk.cus_wire")
    paths = importlib.import_module("aos_sdk.cus_providers.paths")

    assert transport is not None
    for path in (wire.LLM_USAGE_PATH, wire.LLM_USAGE_BATCH_PATH, wire.TELEMETRY_BYPASS_PATH):
        assert paths.surface_of_path("POST", path) is None


class _LongSound(openai_http.SyncByteStream):  # type: ignore[misc]  # Any
    def __iter__(self) -> Iterator[bytes]:
        for _ in range(40):
            yield bytes(1024 * 1024)


def test_a_long_body_is_not_kept_in_memory_while_the_program_reads(
    recorder: CusRecordingReporter,
) -> None:
    _install()
    sound = openai_http.MockTransport(lambda _: openai_http.Response(200, stream=_LongSound()))
    asked = {"model": "tts-1", "input": "x" * 1_000, "voice": "alloy"}
    url = "https://api.openai.com/v1/audio/speech"
    with (
        openai_http.Client(transport=sound) as client,
        client.stream("POST", url, json=asked) as response,
    ):
        tracemalloc.start()
        size = sum(map(len, response.iter_bytes()))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert size == 40 * 1024 * 1024
    assert peak < 16 * 1024 * 1024
    (row,) = recorder.rows
    assert row["billed_units"] == {"characters": 1_000}


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic dXNlcjphLXBhc3N3b3JkLXRoYXQtaXMtbG9uZw==",
        "AWS4-HMAC-SHA256 Credential=AKIA0123456789, Signature=0123456789abcdef01234567",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
    ],
)
def test_a_header_that_holds_no_key_gives_no_hint(
    authorization: str, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    """A password's end is a secret, and the end of a signature or a token names nothing."""
    _install()
    with openai_http.Client() as client:
        headers = {"authorization": authorization}
        client.post(f"{provider.url}/v1/chat/completions", json=CHAT, headers=headers)

    (row,) = recorder.rows
    assert "provider_key_hint" not in row


def test_a_body_that_grows_without_end_when_decoded_is_given_up() -> None:
    copy = CusDecodedCopy()
    bomb = gzip.compress(bytes(70 * 1024 * 1024))

    assert len(copy.take(bomb)) <= 64 * 1024 * 1024
    assert copy.take(b"more") == b""


def test_a_broken_encoding_is_given_up() -> None:
    copy = CusDecodedCopy()

    assert copy.take(b"\x1f\x8bnothing that gzip knows") == b""
    assert copy.take(b"more") == b""
