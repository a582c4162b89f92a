"""Sessions over a WebSocket: the end of each response is a call."""

import gc
import json
from typing import Any

import pytest

from aos_sdk import cus_context, cus_install_middleware, cus_uninstall_middleware
from aos_sdk.cus_capture.bypass_transports import detect_bypass, unwatch_transports, watch_of
from aos_sdk.cus_wire import settlement_call_id
from tests.sdk.cus_capture_cases import CusRecordingReporter
from tests.sdk.cus_fake_providers import RESPONSE_USAGE
from tests.sdk.cus_sockets import (
    ConnectionClosedOK,
    connections,
    heard,
    opened,
    without_websockets,
)

__all__ = ["without_websockets"]

CONNECTIONS = connections(
    ("realtime.realtime", "RealtimeConnection"), ("beta.realtime.realtime", "RealtimeConnection")
)
EACH_CONNECTION = pytest.mark.parametrize("kind", CONNECTIONS.values(), ids=CONNECTIONS)
RESPONDING = connections(
    ("responses.responses", "ResponsesConnection"),
    ("beta.responses.responses", "ResponsesConnection"),
)
EACH_RESPONDING = pytest.mark.parametrize("kind", RESPONDING.values(), ids=RESPONDING)
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


@pytest.fixture(autouse=True)
def _governed(recorder: CusRecordingReporter, without_websockets: None) -> None:
    cus_install_middleware(detect_bypass=False)


@EACH_CONNECTION
def test_the_end_of_a_response_is_a_call_with_its_usage(
    kind: Any, recorder: CusRecordingReporter
) -> None:
    assert [event.type for event in heard(kind, TALK)] == [event["type"] for event in TALK]

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
    governed = heard(kind, TALK)
    cus_uninstall_middleware()
    bare = heard(kind, TALK)
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
    connection = opened(kind, ())
    for event in (TALK[0], _done(), _done()):
        connection.parse_event(json.dumps(event))
    assert len({row["call_id"] for row in recorder.rows}) == 1


def _any() -> Any:
    return next(iter(CONNECTIONS.values()))


def test_the_model_is_the_sessions_latest(recorder: CusRecordingReporter) -> None:
    changed = _event("session.updated", session={**SESSION, "model": "gpt-realtime-mini"})
    heard(_any(), (*TALK[:2], changed, TALK[3]))
    assert [row["model"] for row in recorder.rows] == ["gpt-realtime-mini"]


def test_a_failed_response_is_an_error_and_one_without_usage_is_unknown(
    recorder: CusRecordingReporter,
) -> None:
    error = {"type": "failed", "error": {"type": "server_error", "code": "overloaded"}}
    heard(_any(), (TALK[0], _done("failed", usage=None, status_details=error)))
    heard(_any(), (TALK[0], _done("cancelled", usage=None)))

    failed, cancelled = recorder.rows
    assert (failed["error_code"], failed["tokens_in"]) == ("overloaded", 0)
    assert cancelled["usage_known"] is False


def test_a_transcript_of_what_was_heard_is_a_call_of_its_own_model(
    recorder: CusRecordingReporter,
) -> None:
    spoken_to = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
    details = {"text_tokens": 0, "audio_tokens": 40}
    counts = {"type": "tokens", "input_tokens": 40, "output_tokens": 10, "total_tokens": 50}
    spoken = _event(
        "conversation.item.input_audio_transcription.completed",
        item_id="item_1",
        content_index=0,
        transcript="private words",
        usage={**counts, "input_token_details": details},
    )
    heard(_any(), (_event("session.created", session={**SESSION, "audio": spoken_to}), spoken))

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
    heard(_any(), TALK, host=host)
    (row,) = recorder.rows
    assert (row.get("provider"), row.get("region")) == (provider, region)
    assert row["host"] == host.partition(":")[0]


def test_a_call_belongs_to_the_session_and_agent_of_its_block(
    recorder: CusRecordingReporter,
) -> None:
    with cus_context(session_id="chat-17", agent_id="phone"):
        heard(_any(), TALK)
    (row,) = recorder.rows
    assert (row["session_id"], row["agent_id"]) == ("chat-17", "phone")


def test_an_event_of_a_strange_shape_is_passed_on(recorder: CusRecordingReporter) -> None:
    strange = [_event("response.done"), _event("session.created", session=[]), {"kind": "none"}]
    assert len(heard(_any(), strange)) == 3
    assert recorder.rows == []
    assert recorder.stats.faults == 0


RESPONSE: dict[str, Any] = {"id": "resp_1", "object": "response", "model": "gpt-4o", "output": []}
BEGUN: dict[str, Any] = {
    "type": "response.created",
    "sequence_number": 0,
    "response": {**RESPONSE, "status": "in_progress", "usage": None},
}
ENDED: dict[str, Any] = {
    "type": "response.completed",
    "sequence_number": 1,
    "response": {**RESPONSE, "status": "completed", "usage": RESPONSE_USAGE},
}


@EACH_RESPONDING
@pytest.mark.parametrize("method", ["recv", "recv_bytes"])
def test_responses_over_a_websocket_are_calls(
    method: str, kind: Any, recorder: CusRecordingReporter
) -> None:
    second = {**ENDED, "response": {**ENDED["response"], "id": "resp_2"}}
    heard(kind, [BEGUN, ENDED, second], method)

    assert [row["response_id"] for row in recorder.rows] == ["resp_1", "resp_2"]
    for row in recorder.rows:
        assert (row["model"], row["tokens_in"], row["tokens_reasoning"]) == ("gpt-4o", 1_000, 100)
        assert "metadata" not in row
    assert recorder.stats.faults == 0


@EACH_CONNECTION
def test_what_a_program_receives_as_bytes_is_looked_at_too(
    kind: Any, recorder: CusRecordingReporter
) -> None:
    assert heard(kind, TALK, "recv_bytes") == [json.dumps(event).encode() for event in TALK]
    assert [row["model"] for row in recorder.rows] == ["gpt-realtime"]


@EACH_CONNECTION
def test_a_response_whose_connection_ends_before_it_is_of_unknown_usage(
    kind: Any, recorder: CusRecordingReporter
) -> None:
    with pytest.raises(ConnectionClosedOK):
        heard(kind, TALK[:2], "recv", more=1)

    (row,) = recorder.rows
    assert (row["usage_known"], row["response_id"]) == (False, "resp_1")
    assert (row["model"], row["metadata"]["abandoned"]) == ("gpt-realtime", True)
    assert row["call_id"] != settlement_call_id("resp_1")


def test_a_program_that_closes_in_the_middle_leaves_a_call_of_unknown_usage(
    recorder: CusRecordingReporter,
) -> None:
    connection = opened(_any(), TALK[:2])
    connection.recv(), connection.recv()
    connection.close()
    connection.close()
    assert [row["usage_known"] for row in recorder.rows] == [False]


@EACH_RESPONDING
def test_a_response_that_is_left_is_of_the_model_that_its_beginning_names(
    kind: Any, recorder: CusRecordingReporter
) -> None:
    with pytest.raises(ConnectionClosedOK):
        heard(kind, [BEGUN], more=1)
    (row,) = recorder.rows
    assert (row["usage_known"], row["model"]) == (False, "gpt-4o")


def test_a_response_that_ends_on_a_new_connection_settles_what_the_old_one_left(
    recorder: CusRecordingReporter,
) -> None:
    connection = opened(_any(), TALK[:2])
    connection.recv(), connection.recv()
    connection.close()
    connection.parse_event(json.dumps(TALK[3]))

    unknown, known = recorder.rows
    assert (unknown["usage_known"], unknown["response_id"]) == (False, "resp_1")
    assert (known["call_id"], known["tokens_in"]) == (settlement_call_id("resp_1"), 1_000)


def test_a_connection_that_is_dropped_leaves_one_too(recorder: CusRecordingReporter) -> None:
    connection = opened(_any(), TALK[:2])
    connection.recv(), connection.recv()
    del connection
    gc.collect()
    assert [row["usage_known"] for row in recorder.rows] == [False]


def test_each_call_of_a_session_counts_as_governed(recorder: CusRecordingReporter) -> None:
    detect_bypass()
    try:
        heard(_any(), TALK)
        assert watch_of(recorder).snapshot() == (1, 0, {})
    finally:
        unwatch_transports()
