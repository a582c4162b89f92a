"""Raw answers that no JSON parser can read: the program gets them, and the call is reported."""

import json
from typing import Any

import pytest

from aos_sdk import cus_install_middleware
from aos_sdk.cus_delivery.transport import CusAnswer
from tests.sdk.cus_capture_cases import CHAT, CusRecordingReporter
from tests.sdk.cus_fake_servers import cus_chat_completion
from tests.sdk.cus_provider_http import openai_http
from tests.sdk.cus_scripted_clients import Reply, openai_client

# Deeper than Python's parser reads.
_DEEP = b"[" * 200_000 + b"]" * 200_000
_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream"}
_USAGE = {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500}


@pytest.fixture(autouse=True)
def _governed(recorder: CusRecordingReporter) -> None:
    cus_install_middleware(detect_bypass=False)


def _answering(body: bytes, headers: dict[str, str], *, is_here: bool) -> Reply:
    content: Any = body if is_here else iter([body])
    return lambda _request: openai_http.Response(200, content=content, headers=headers)


@pytest.mark.parametrize("is_here", [True, False], ids=["whole", "while it comes"])
def test_an_answer_too_deep_to_be_read_is_the_programs_and_its_call_is_reported(
    recorder: CusRecordingReporter, *, is_here: bool
) -> None:
    client = openai_client(_answering(_DEEP, _JSON, is_here=is_here))
    with client.chat.completions.with_streaming_response.create(**CHAT) as response:
        assert response.read() == _DEEP

    assert recorder.row["model"] == CHAT["model"]


def test_a_raw_answer_too_deep_to_be_read_is_reported_too(recorder: CusRecordingReporter) -> None:
    client = openai_client(_answering(_DEEP, _JSON, is_here=True))
    assert client.chat.completions.with_raw_response.create(**CHAT).content == _DEEP

    assert recorder.row["model"] == CHAT["model"]


@pytest.mark.parametrize("line", [_DEEP, b'{"choices": ' + _DEEP + b"}", b"not JSON", b"\xff"])
def test_an_event_too_deep_to_be_read_hides_no_usage_after_it(
    line: bytes, recorder: CusRecordingReporter
) -> None:
    head = cus_chat_completion(choices=[], usage=None, object="chat.completion.chunk")
    last = json.dumps(head | {"usage": _USAGE}).encode()
    body = b"data: %s\n\ndata: %s\n\ndata: [DONE]\n\n" % (line, last)
    client = openai_client(_answering(body, _EVENTS, is_here=False))
    create = client.chat.completions.with_streaming_response.create
    with create(**CHAT, stream=True) as response:
        assert response.read() == body

    row = recorder.row
    assert (row["tokens_in"], row["tokens_out"]) == (1_000, 500)


def test_an_answer_of_the_server_too_deep_to_be_read_is_no_receipt() -> None:
    assert CusAnswer(200, _DEEP).json() is None
