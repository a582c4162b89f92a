"""Which model answered, and what a record says of a call without an answer or without its usage."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from aos_sdk import cus_install_middleware, cus_track
from aos_sdk.cus_capture.unanswered import is_unanswered
from tests.sdk.cus_capture_cases import CHAT, INPUT, MESSAGE, MESSAGES, CusRecordingReporter
from tests.sdk.cus_fake_servers import cus_chat_completion
from tests.sdk.cus_provider_http import anthropic_http, openai_http
from tests.sdk.cus_scripted_clients import (
    anthropic_client,
    azure_client,
    failing,
    openai_client,
    streamed,
    whole,
)

ANSWERED = "gpt-4o-2024-08-06"
COUNTS = {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500}
ASKED: dict[str, Any] = {"model": "prod-chat", "messages": MESSAGES}


@pytest.fixture(autouse=True)
def _governed(recorder: CusRecordingReporter) -> None:
    cus_install_middleware(detect_bypass=False)


def _chunk(model: str, **fields: Any) -> dict[str, Any]:
    choices = [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "choices": choices}
    return {**head, "model": model, **fields}


# Azure's first chunk, of its content filter, has no name; gateways begin with the alias.
STREAMS: dict[str, list[str]] = {
    "an empty name first": ["", ANSWERED, ANSWERED],
    "an empty name last": [ANSWERED, ANSWERED, ""],
    "the alias first": ["prod-chat", ANSWERED, ANSWERED],
    "one name alone": ["", "", ANSWERED],
}


@pytest.mark.parametrize("is_raw", [False, True], ids=["parsed", "raw"])
@pytest.mark.parametrize("models", STREAMS.values(), ids=STREAMS)
def test_the_last_name_in_a_stream_is_the_model_that_answered(
    models: list[str], is_raw: bool, recorder: CusRecordingReporter
) -> None:
    usage = {"choices": [], "usage": COUNTS}
    chunks = [*map(_chunk, models[:2]), _chunk(models[2], **usage)]
    client = azure_client(streamed(openai_http, chunks))
    completions = client.chat.completions
    if is_raw:
        list(completions.with_raw_response.create(**ASKED, stream=True).parse())
    else:
        list(completions.create(**ASKED, stream=True))
    azure_client(whole(openai_http, cus_chat_completion())).chat.completions.create(**ASKED)

    stream, answer = recorder.rows
    for name in ("model", "model_requested", "cost_cents", "tokens_in", "tokens_out"):
        assert stream[name] == answer[name]
    assert (stream["model"], stream["model_requested"]) == (ANSWERED, "prod-chat")


def test_a_long_stream_without_usage_has_its_last_name_too(recorder: CusRecordingReporter) -> None:
    chunks = [_chunk("", choices=[]), *[_chunk("gpt-4o")] * 70, _chunk(ANSWERED)]
    list(openai_client(streamed(openai_http, chunks)).chat.completions.create(**ASKED, stream=True))
    row = recorder.row

    assert (row["model"], row["model_requested"]) == (ANSWERED, "prod-chat")
    assert row["metadata"]["tokens_estimated"] is True


# The oldest releases know an event by its class only if all that must be in it is there.
_COMPLETE: dict[str, Any] = {
    "created_at": 1,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}


def _response(model: str, **fields: Any) -> dict[str, Any]:
    head = {"id": "resp_1", "object": "response", "model": model, "output": []}
    return {**head, **_COMPLETE, **fields}


def test_a_stream_of_responses_has_the_name_of_its_last_event(
    recorder: CusRecordingReporter,
) -> None:
    details = {"output_tokens_details": {"reasoning_tokens": 0}}
    counts = {"input_tokens": 1_000, "output_tokens": 500, "total_tokens": 1_500, **details}
    begun = {"type": "response.created", "response": _response("auto", status="in_progress")}
    done = {"type": "response.completed", "response": _response(ANSWERED, usage=counts)}
    client = openai_client(streamed(openai_http, [begun, done]))
    list(client.responses.create(model="auto", input="Hi", stream=True))
    row = recorder.row

    assert (row["model"], row["model_requested"]) == (ANSWERED, "auto")
    assert row["response_id"] == "resp_1"


def test_a_stream_of_messages_has_the_name_of_its_message(recorder: CusRecordingReporter) -> None:
    message = {"id": "msg_1", "type": "message", "model": "claude-sonnet-4-20250514", "content": []}
    usage = {"input_tokens": 10, "output_tokens": 1}
    events = [
        {"type": "message_start", "message": {**message, "role": "assistant", "usage": usage}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]
    client = anthropic_client(streamed(anthropic_http, events))
    list(client.messages.create(**MESSAGE, stream=True))
    row = recorder.row

    assert (row["model"], row["model_requested"]) == (message["model"], MESSAGE["model"])
    assert row["response_id"] == "msg_1"


def test_a_model_that_answers_by_the_name_that_was_asked_for_is_told_once(
    recorder: CusRecordingReporter,
) -> None:
    reply = whole(openai_http, cus_chat_completion(model="gpt-4o"))
    openai_client(reply).chat.completions.create(**CHAT)
    chunks = streamed(openai_http, [_chunk(ANSWERED), _chunk("gpt-4o")])
    list(openai_client(chunks).chat.completions.create(**CHAT, stream=True))

    assert [row["model"] for row in recorder.rows] == ["gpt-4o"] * 2
    assert all("model_requested" not in row for row in recorder.rows)


class APIConnectionError(Exception):
    """As the packages name theirs."""


def _caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (APIConnectionError(), True),
        (_caused(APIConnectionError(), openai_http.ReadTimeout("")), True),
        (_caused(APIConnectionError(), openai_http.RemoteProtocolError("")), True),
        (_caused(APIConnectionError(), openai_http.ConnectError("")), False),
        (_caused(APIConnectionError(), openai_http.ConnectTimeout("")), False),
        (_caused(APIConnectionError(), openai_http.PoolTimeout("")), False),
        (openai_http.ReadError(""), True),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (ConnectionRefusedError(), False),
        (asyncio.CancelledError(), True),
        (KeyboardInterrupt(), True),
        (ValueError(), False),
        (openai.OpenAIError(), False),
    ],
    ids=repr,
)
def test_an_error_says_whether_a_request_was_left_without_an_answer(
    error: BaseException, is_one: bool
) -> None:
    assert is_unanswered(error) is is_one


@pytest.mark.parametrize("error", [openai_http.ReadTimeout, openai_http.RemoteProtocolError])
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_without_an_answer_keeps_the_estimate_of_its_prompt(
    error: Any, stream: bool, recorder: CusRecordingReporter
) -> None:
    client = openai_client(failing(error("no answer")))
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(**CHAT, stream=stream)
    row = recorder.row

    assert (row["tokens_in"] > 0, row["tokens_out"]) == (True, 0)
    assert row["metadata"]["tokens_estimated"] is True
    assert row["error_code"] in ("APITimeoutError", "APIConnectionError")
    assert "cost_cents" in row
    assert "usage_known" not in row


def _broken_off(_request: Any) -> Any:
    def body() -> Iterator[bytes]:
        yield b'{"id": "chatcmpl-1", '
        message = "peer closed connection"
        raise openai_http.RemoteProtocolError(message)

    headers = {"content-type": "application/json"}
    return openai_http.Response(200, content=body(), headers=headers)


def test_so_does_a_call_whose_body_breaks_off_while_the_program_reads(
    recorder: CusRecordingReporter,
) -> None:
    completions = openai_client(_broken_off).chat.completions
    with (
        pytest.raises(openai_http.RemoteProtocolError),
        completions.with_streaming_response.create(**CHAT) as response,
    ):
        response.read()
    row = recorder.row

    assert (row["error_code"], row["tokens_in"] > 0) == ("RemoteProtocolError", True)
    assert row["metadata"]["tokens_estimated"] is True


def test_so_does_the_call_of_a_block_around_it(recorder: CusRecordingReporter) -> None:
    client = openai_client(failing(openai_http.ReadTimeout("no answer")))
    with pytest.raises(openai.APITimeoutError), cus_track("gpt-4o", call_id="mine"):
        client.responses.create(**INPUT)
    row = recorder.row

    assert (row["call_id"], row["tokens_in"] > 0) == ("mine", True)
    assert row["metadata"]["tokens_estimated"] is True


def test_what_was_refused_or_never_sent_used_nothing(recorder: CusRecordingReporter) -> None:
    refused = whole(openai_http, {"error": {"message": "no"}}, status=500)
    for reply in (refused, failing(openai_http.ConnectError("no route"))):
        with pytest.raises(openai.APIError):
            openai_client(reply).chat.completions.create(**CHAT)
    with pytest.raises(TypeError):  # no call: nothing left the program
        openai_client(refused).chat.completions.create(model="gpt-4o", unheard_of=1)

    assert [(row["tokens_in"], row["tokens_out"]) for row in recorder.rows] == [(0, 0)] * 2
    assert all("metadata" not in row and "usage_known" not in row for row in recorder.rows)


def _image(client: Any) -> None:
    client.images.generate(model="gpt-image-1", prompt="a private fox")


def _speech(client: Any) -> None:
    client.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input="private words")


def _transcript(client: Any) -> None:
    client.audio.transcriptions.create(
        model="whisper-1", file=("a.mp3", b"ID3"), response_format="text"
    )


def _background(client: Any) -> None:
    client.responses.create(**INPUT, extra_body={"background": True})


def _chat(client: Any) -> None:
    client.chat.completions.create(**CHAT)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (_image, {"created": 1, "data": [{"url": "https://x.example"}]}),
        (_speech, {}),
        (_transcript, "private words"),
        (_background, _response(ANSWERED, status="queued", usage=None)),
        (_background, _response(ANSWERED, status="in_progress", usage={"input_tokens": 0})),
        (_chat, cus_chat_completion(usage=None)),
    ],
)
def test_a_call_whose_answer_tells_no_usage_is_reported_as_unknown_and_without_a_cost(
    call: Any, answer: Any, recorder: CusRecordingReporter
) -> None:
    call(openai_client(whole(openai_http, answer)))
    row = recorder.row

    assert row["usage_known"] is False
    assert (row["tokens_in"], row["tokens_out"]) == (0, 0)
    assert not {"cost_cents", "pricing_version", "error_code"} & row.keys()
    assert "private" not in str(row)


def test_a_background_response_is_found_again_by_its_id(recorder: CusRecordingReporter) -> None:
    queued = _response(ANSWERED, status="queued", usage=None)
    _background(openai_client(whole(openai_http, queued)))

    assert recorder.row["response_id"] == "resp_1"


def test_usage_is_known_where_it_is_told_counted_here_or_the_call_was_refused(
    recorder: CusRecordingReporter,
) -> None:
    _chat(openai_client(whole(openai_http, cus_chat_completion())))
    chunks = streamed(openai_http, [_chunk("gpt-4o")])
    list(openai_client(chunks).chat.completions.create(**CHAT, stream=True))
    with pytest.raises(openai.BadRequestError):
        _chat(openai_client(whole(openai_http, {"error": {}}, status=400)))
    with cus_track("gpt-4o") as tracker:
        tracker.set_tokens(0, 0)
    with cus_track("gpt-4o") as tracker:
        tracker.set_policy_result("blocked")

    assert len(recorder.rows) == 5
    assert all("usage_known" not in row for row in recorder.rows)


def test_a_block_that_is_told_no_usage_is_unknown_too(recorder: CusRecordingReporter) -> None:
    with cus_track("gpt-4o"):
        pass

    assert recorder.row["usage_known"] is False


def test_what_an_answer_says_of_its_cost_is_reported(recorder: CusRecordingReporter) -> None:
    answer = cus_chat_completion(model="openai/gpt-4o", usage={**COUNTS, "cost": 0.0125})
    client = openai_client(whole(openai_http, answer), "https://openrouter.ai/api/v1")
    client.chat.completions.create(model="openai/gpt-4o", messages=MESSAGES)
    row = recorder.row

    assert (row["provider"], row["provider_cost_microcents"]) == ("openrouter", 1_250_000)
