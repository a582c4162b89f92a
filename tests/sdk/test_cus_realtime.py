"""Sessions over a WebSocket: the end of each response is a call."""

import asyncio
import importlib
import json
import sys
from collections.abc import Iterable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from aos_sdk import cus_context, cus_install_middleware, cus_uninstall_middleware
from aos_sdk.cus_wire import settlement_call_id
from tests.sdk.cus_capture_cases import CusRecordingReporter
from tests.sdk.cus_fake_providers import RESPONSE_USAGE

_MODULES = ("openai.resources.realtime.realtime", "openai.resources.beta.realtime.realtime")


def _connections() -> dict[str, Any]:
    """The classes that the installed release has."""
    found: dict[str, Any] = {}
    for name in _MODULES:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        found |= {f"{name}.{kind}": getattr(module, kind) for kind in _KINDS}
    return found


_KINDS = ("RealtimeConnection", "AsyncRealtimeConnection")
CONNECTIONS = _connections()
EACH_CONNECTION = pytest.mark.parametrize("kind", CONNECTIONS.values(), ids=CONNECTIONS)
USAGE: dict[str, Any] = {
    "total_tokens": 1_500,
    "input_tokens": 1_000,
    "output_tokens": 500,
    "input_token_details": {
        "text_tokens": 600,
        "audio_tokens": 400,
        "cached_tokens": 300,
        "cached_tokens_details": {"text_tokens": 200, "audio_tokens": 100},
    },
    "output_token_details": {"text_tokens": 100, "audio_tokens": 400},
}
SESSION = {"id": "sess_1", "object": "realtime.session", "model": "gpt-realtime"}


def _event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "event_id": "event_1", **fields}


def _done(status: str = "completed", **fields: Any) -> dict[str, Any]:
    head = {"id": "resp_1", "object": "realtime.response", "status": status, "output": []}
    return _event("response.done", response={**head, "usage": USAGE, **fields})


TALK = (
    _event("session.created", session=SESSION),
    _event("response.created", response={"id": "resp_1", "status": "in_progress"}),
    _event("response.output_audio.delta", delta="UklGRg=="),
    _done(),
)


class Socket:
    """What the package talks through: gives these events, and tells whom it is connected to."""

    def __init__(self, events: Iterable[Any], host: str = "api.openai.com:443") -> None:
        self._messages = iter([json.dumps(event).encode() for event in events])
        self.request = SimpleNamespace(headers={"Host": host})

    def recv(self, decode: bool | None = None) -> bytes:
        return next(self._messages)


class AsyncSocket(Socket):
    async def recv(self, decode: bool | None = None) -> bytes:  # type: ignore[override]
        return next(self._messages)


def _heard(kind: Any, events: Iterable[Any], **options: Any) -> list[Any]:
    """What a program receives by a connection, event by event."""
    events = list(events)
    if not kind.__name__.startswith("Async"):
        connection = kind(Socket(events, **options))
        return [connection.recv() for _ in events]

    async def receive() -> list[Any]:
        connection = kind(AsyncSocket(events, **options))
        return [await connection.recv() for _ in events]

    return asyncio.run(receive())


@pytest.fixture(autouse=True)
def _without_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its part of the newest packages' `recv`, where the `websockets` package is not installed."""
    try:
        importlib.import_module("openai.lib._websocket")
    except ModuleNotFoundError:
        stand_in = ModuleType("openai.lib._websocket")
        stand_in._recv_bytes = lambda socket: socket.recv(decode=False)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)


@pytest.fixture(autouse=True)
def _governed(recorder: CusRecordingReporter) -> None:
    cus_install_middleware(detect_bypass=False)


@EACH_CONNECTION
def test_the_end_of_a_response_is_a_call_with_its_usage(
    kind: Any, recorder: CusRecordingReporter
) -> None:
    assert [event.type for event in _heard(kind, TALK)] == [event["type"] for event in TALK]

    (row,) = recorder.rows
    assert (row["model"], row["operation"], row["provider"]) == (
        "gpt-realtime",
        "responses",
        "openai",
    )
    assert (row["tokens_in"], row["tokens_out"], row["tokens_cached"]) == (1_000, 500, 300)
    assert (row["tokens_audio_in"], row["tokens_audio_out"]) == (300, 400)
    assert (row["response_id"], row["call_id"]) == ("resp_1", settlement_call_id("resp_1"))
    assert row["metadata"] == {"realtime_session_id": "sess_1"}
    assert (row["host"], row["stream"]) == ("api.openai.com", True)
    assert row["cost_cents"] > 0
    assert row["latency_ms"] >= 0
    assert recorder.stats.faults == 0


@EACH_CONNECTION
def test_the_program_receives_the_same_with_us_and_without(
    kind: Any, recorder: CusRecordingReporter
) -> None:
    governed = _heard(kind, TALK)
    cus_uninstall_middleware()
    bare = _heard(kind, TALK)
    assert governed == bare
    assert [type(event) for event in governed] == [type(event) for event in bare]
    assert len(recorder.rows) == 1


@EACH_CONNECTION
def test_uninstalled_the_connection_has_its_own_function(
    kind: Any, recorder: CusRecordingReporter
) -> None:
    governed = kind.__dict__["parse_event"]
    cus_uninstall_middleware()
    assert kind.__dict__["parse_event"] is governed.__wrapped__


@EACH_CONNECTION
def test_an_event_that_is_parsed_twice_has_one_name(
    kind: Any, recorder: CusRecordingReporter
) -> None:
    connection = kind(Socket(()))
    for event in (TALK[0], _done(), _done()):
        connection.parse_event(json.dumps(event))
    assert len({row["call_id"] for row in recorder.rows}) == 1


def _any() -> Any:
    return next(iter(CONNECTIONS.values()))


def test_the_model_is_the_sessions_latest(recorder: CusRecordingReporter) -> None:
    changed = _event("session.updated", session={**SESSION, "model": "gpt-realtime-mini"})
    _heard(_any(), (*TALK[:2], changed, TALK[3]))
    assert [row["model"] for row in recorder.rows] == ["gpt-realtime-mini"]


def test_a_failed_response_is_an_error_and_one_without_usage_is_unknown(
    recorder: CusRecordingReporter,
) -> None:
    error = {"type": "failed", "error": {"type": "server_error", "code": "overloaded"}}
    _heard(_any(), (TALK[0], _done("failed", usage=None, status_details=error)))
    _heard(_any(), (TALK[0], _done("cancelled", usage=None)))

    failed, cancelled = recorder.rows
    assert (failed["error_code"], failed["tokens_in"]) == ("overloaded", 0)
    assert cancelled["usage_known"] is False


def test_a_transcript_of_what_was_heard_is_a_call_of_its_own_model(
    recorder: CusRecordingReporter,
) -> None:
    heard = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
    details = {"text_tokens": 0, "audio_tokens": 40}
    counts = {"type": "tokens", "input_tokens": 40, "output_tokens": 10, "total_tokens": 50}
    spoken = _event(
        "conversation.item.input_audio_transcription.completed",
        item_id="item_1",
        content_index=0,
        transcript="private words",
        usage={**counts, "input_token_details": details},
    )
    _heard(_any(), (_event("session.created", session={**SESSION, "audio": heard}), spoken))

    (row,) = recorder.rows
    assert (row["model"], row["operation"]) == ("gpt-4o-transcribe", "audio")
    assert (row["tokens_audio_in"], row["tokens_out"]) == (40, 10)
    assert "private" not in str(row)


@pytest.mark.parametrize(
    ("host", "provider", "region"),
    [
        ("eu.api.openai.com", "openai", "eu"),
        ("acme.openai.azure.com:443", "azure_openai", None),
        ("127.0.0.1:8080", None, None),
    ],
)
def test_the_provider_is_the_one_that_the_connection_goes_to(
    host: str, provider: str | None, region: str | None, recorder: CusRecordingReporter
) -> None:
    _heard(_any(), TALK, host=host)
    (row,) = recorder.rows
    assert (row.get("provider"), row.get("region")) == (provider, region)
    assert row["host"] == host.partition(":")[0]


def test_a_call_belongs_to_the_session_and_agent_of_its_block(
    recorder: CusRecordingReporter,
) -> None:
    with cus_context(session_id="chat-17", agent_id="phone"):
        _heard(_any(), TALK)
    (row,) = recorder.rows
    assert (row["session_id"], row["agent_id"]) == ("chat-17", "phone")


def test_an_event_of_a_strange_shape_is_passed_on(recorder: CusRecordingReporter) -> None:
    strange = [_event("response.done"), _event("session.created", session=[]), {"kind": "none"}]
    assert len(_heard(_any(), strange)) == 3
    assert recorder.rows == []
    assert recorder.stats.faults == 0


def test_responses_over_a_websocket_are_calls(recorder: CusRecordingReporter) -> None:
    module = importlib.import_module("openai.resources.responses.responses")
    kind = getattr(module, "ResponsesConnection", None)
    if kind is None:
        pytest.skip("this release has no Responses over a WebSocket")
    response = {"id": "resp_1", "object": "response", "model": "gpt-4o", "output": []}
    begun = {**response, "status": "in_progress", "usage": None}
    ended = {**response, "status": "completed", "usage": RESPONSE_USAGE}
    events = [
        {"type": "response.created", "sequence_number": 0, "response": begun},
        {"type": "response.completed", "sequence_number": 1, "response": ended},
    ]
    _heard(kind, events)

    (row,) = recorder.rows
    assert (row["model"], row["tokens_in"], row["tokens_reasoning"]) == ("gpt-4o", 1_000, 100)
    assert "metadata" not in row
