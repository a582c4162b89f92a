"""Results of batches: each line of a file is a call, at half price, whoever reads it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest

from aos_sdk import cus_install_middleware
from aos_sdk.cus_wire import settlement_call_id
from tests.sdk.cus_capture_cases import CusRecordingReporter
from tests.sdk.cus_fake_providers import CHAT_USAGE, RESPONSE_USAGE, CusFakeProvider
from tests.sdk.cus_fake_servers import cus_chat_completion
from tests.sdk.cus_provider_http import openai_http
from tests.sdk.cus_scripted_clients import async_openai_client, openai_client

Reader = Callable[[bytes], bytes]


@pytest.fixture(autouse=True)
def _governed(recorder: CusRecordingReporter) -> None:
    cus_install_middleware(detect_bypass=False)


def _line(number: int, body: Any, status: int = 200, **fields: Any) -> dict[str, Any]:
    response = {"status_code": status, "request_id": f"req_{number}", "body": body}
    head = {"id": f"batch_req_{number}", "custom_id": f"task-{number}"}
    return {**head, "response": response, "error": None, **fields}


def _file(*lines: Any) -> bytes:
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


CHAT = cus_chat_completion(model="gpt-4o", usage=CHAT_USAGE, created=1_768_651_200)
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1_768_651_200, "model": "gpt-4o",
    "status": "completed", "output": [], "usage": RESPONSE_USAGE,
}  # fmt: skip
EMBEDDING = {
    "object": "list", "model": "text-embedding-3-small", "data": [],
    "usage": {"prompt_tokens": 1_000, "total_tokens": 1_000},
}  # fmt: skip
OUTPUT = _file(_line(1, CHAT), _line(2, RESPONSE), _line(3, EMBEDDING))


def _reply(content: bytes) -> Any:
    headers = {"content-type": "application/octet-stream"}
    return lambda _request: openai_http.Response(200, content=content, headers=headers)


def _content(content: bytes) -> bytes:
    found: bytes = openai_client(_reply(content)).files.content("file-out").content
    return found


def _content_later(content: bytes) -> bytes:
    client = async_openai_client(_reply(content))
    found: bytes = asyncio.run(client.files.content("file-out")).content
    return found


def _raw(content: bytes) -> bytes:
    client = openai_client(_reply(content))
    found: bytes = client.files.with_raw_response.content("file-out").content
    return found


def _body(content: bytes) -> bytes:
    def reply(request: Any) -> Any:
        chunks = (content[place : place + 100] for place in range(0, len(content), 100))
        return openai_http.Response(200, content=chunks)

    files = openai_client(reply).files
    with files.with_streaming_response.content("file-out") as response:
        return b"".join(response.iter_bytes())


READERS: dict[str, Reader] = {
    "content": _content,
    "asynchronous": _content_later,
    "raw": _raw,
    "streamed body": _body,
}
EACH_READER = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@EACH_READER
def test_each_result_in_a_file_is_a_call_at_half_price(
    read: Reader, recorder: CusRecordingReporter
) -> None:
    assert read(OUTPUT) == OUTPUT

    chat, response, embedding = recorder.rows
    assert [row["operation"] for row in recorder.rows] == ["chat", "responses", "embedding"]
    assert {row["service_tier"] for row in recorder.rows} == {"batch"}
    assert (chat["model"], chat["tokens_in"], chat["tokens_out"]) == ("gpt-4o", 1_000, 500)
    assert (response["tokens_in"], response["tokens_reasoning"]) == (1_000, 100)
    assert (embedding["model"], embedding["tokens_in"]) == ("text-embedding-3-small", 1_000)
    assert chat["timestamp"] == response["timestamp"] == "2026-01-17T12:00:00.000000+00:00"
    assert chat["cost_cents"] == 1  # 0.75 cents at the plain price, of which this is half
    assert chat["call_id"] == settlement_call_id("batch_req_1")
    assert recorder.stats.faults == 0


def test_a_video_of_a_batch_is_a_call_of_unknown_usage(recorder: CusRecordingReporter) -> None:
    video = {"id": "video_1", "object": "video", "model": "sora-2", "seconds": "8"}
    _content(_file(_line(1, {**video, "created_at": 1_768_651_200, "size": "720x1280"})))

    (row,) = recorder.rows
    assert (row["model"], row["operation"], row["usage_known"]) == ("sora-2", "other", False)
    assert "cost_cents" not in row


def test_a_file_that_is_read_again_is_reported_under_the_same_names(
    recorder: CusRecordingReporter,
) -> None:
    _content(OUTPUT)
    _content_later(OUTPUT)
    names = [row["call_id"] for row in recorder.rows]
    assert len(names) == 6
    assert names[:3] == names[3:]


def test_results_without_ids_of_their_own_are_named_by_file_and_request(
    recorder: CusRecordingReporter,
) -> None:
    first, second = _line(1, CHAT), _line(2, CHAT)
    del first["id"], second["id"]
    client = openai_client(_reply(_file(first, second)))
    client.files.content("file-a")
    client.files.content(file_id="file-a")
    client.files.content(file_id="file-b")

    names = [row["call_id"] for row in recorder.rows]
    assert names[:2] == names[2:4]
    assert len(set(names)) == 4


@EACH_READER
def test_requests_that_failed_and_free_ones_cost_nothing(
    read: Reader, recorder: CusRecordingReporter
) -> None:
    refused = _line(1, {"error": {"message": "no"}}, status=400)
    expired = _line(2, None, response=None, error={"code": "batch_expired", "message": "late"})
    moderated = _line(3, {"id": "modr-1", "model": "omni-moderation", "results": []})
    read(_file(refused, expired, moderated))
    assert recorder.rows == []
    assert recorder.stats.faults == 0


@EACH_READER
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40,
        _file({"custom_id": "task-1", "method": "POST", "url": "/v1/responses", "body": {}}),
        _file({"messages": [{"role": "user", "content": "private"}]}),
        b'{"custom_id": "broken',
    ],
    ids=["empty", "image", "input of a batch", "training data", "cut off"],
)
def test_any_other_file_holds_no_calls(
    content: bytes, read: Reader, recorder: CusRecordingReporter
) -> None:
    assert read(content) == content
    assert recorder.rows == []


RAW: dict[str, Callable[[Any], list[str]]] = {
    "raw": lambda batches: _names(batches.with_raw_response.results("msgbatch_1").parse()),
    "lines": lambda batches: _names_of_lines(batches.with_raw_response.results("msgbatch_1")),
}


def _names(results: Any) -> list[str]:
    return [result.custom_id for result in results]


def _names_of_lines(raw: Any) -> list[str]:
    lines = b"".join(raw.http_response.iter_bytes()).splitlines()
    return [json.loads(line)["custom_id"] for line in lines]


def _has_raw_results() -> bool:
    with anthropic.Anthropic(api_key="k") as client:
        return hasattr(client.messages.batches.with_raw_response, "results")


needs_raw_results = pytest.mark.skipif(
    not _has_raw_results(), reason="this release has no raw results"
)


@needs_raw_results
@pytest.mark.parametrize("read", RAW.values(), ids=RAW)
def test_raw_results_of_a_message_batch_are_the_same_calls(
    read: Any, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    with anthropic.Anthropic(api_key="k", base_url=provider.url) as client:
        assert _names(client.messages.batches.results("msgbatch_1")) == ["a", "b", "c"]
        assert read(client.messages.batches) == ["a", "b", "c"]

    assert len(recorder.rows) == 4
    assert recorder.rows[:2] == recorder.rows[2:]


@needs_raw_results
def test_a_streamed_body_of_results_is_read_along(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    with anthropic.Anthropic(api_key="k", base_url=provider.url) as client:
        with client.messages.batches.with_streaming_response.results("msgbatch_1") as response:
            assert len(list(response.iter_lines())) == 3
    assert [row["service_tier"] for row in recorder.rows] == ["batch", "batch"]
