"""Responses in the background: a call of unknown usage, settled by whoever reads the answer."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.resources.responses.responses import Responses

from aos_sdk import (
    CusOpenAIProvider,
    cus_install_middleware,
    cus_telemetry,
    cus_track,
    cus_uninstall_middleware,
)
from aos_sdk.cus_wire import MAX_RESPONSE_ID_LENGTH, settlement_call_id
from tests.sdk.cus_capture_cases import INPUT, CusRecordingReporter
from tests.sdk.cus_fake_providers import RESPONSE_USAGE
from tests.sdk.cus_provider_http import openai_http
from tests.sdk.cus_scripted_clients import async_openai_client, openai_client, streamed, whole

SETTLING = settlement_call_id("resp_1")
# As the oldest releases have no argument for it.
BACKGROUND: dict[str, Any] = {**INPUT, "extra_body": {"background": True}}


def _response(status: str, usage: Any = None, **fields: Any) -> dict[str, Any]:
    head = {"id": "resp_1", "object": "response", "created_at": 1_768_651_200, "model": "gpt-4o"}
    more = {"output": [], "tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
    return {**head, **more, "background": True, "status": status, "usage": usage, **fields}


FINISHED = _response("completed", RESPONSE_USAGE)


def _events(*kinds_and_responses: tuple[str, dict[str, Any]]) -> Any:
    events = [
        {"type": f"response.{kind}", "sequence_number": number, "response": response}
        for number, (kind, response) in enumerate(kinds_and_responses)
    ]
    return streamed(openai_http, events)


@pytest.fixture(autouse=True)
def _governed(recorder: CusRecordingReporter) -> None:
    cus_install_middleware(detect_bypass=False)


def _retrieve(document: Any) -> Any:
    return openai_client(whole(openai_http, document)).responses.retrieve("resp_1")


def _retrieve_later(document: Any) -> Any:
    client = async_openai_client(whole(openai_http, document))
    return asyncio.run(client.responses.retrieve("resp_1"))


def _retrieve_raw(document: Any) -> Any:
    client = openai_client(whole(openai_http, document))
    return client.responses.with_raw_response.retrieve("resp_1").parse()


def _retrieve_body(document: Any) -> Any:
    client = openai_client(whole(openai_http, document))
    with client.responses.with_streaming_response.retrieve("resp_1") as response:
        return response.parse()


def _cancel(document: Any) -> Any:
    return openai_client(whole(openai_http, document)).responses.cancel("resp_1")


READERS: dict[str, Callable[[Any], Any]] = {
    "retrieve": _retrieve,
    "asynchronous": _retrieve_later,
    "raw": _retrieve_raw,
    "streamed body": _retrieve_body,
    "cancel": _cancel,
}
needs_cancel = pytest.mark.skipif(
    not hasattr(Responses, "cancel"), reason="this release cancels no responses"
)
needs_resuming = pytest.mark.skipif(
    "stream" not in inspect.signature(Responses.retrieve).parameters,
    reason="this release resumes no streams",
)
if not hasattr(Responses, "cancel"):
    del READERS["cancel"]
EACH_READER = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


def _assert_settles(row: dict[str, Any]) -> None:
    assert (row["call_id"], row["response_id"]) == (SETTLING, "resp_1")
    assert (row["tokens_in"], row["tokens_out"], row["tokens_reasoning"]) == (1_000, 500, 100)
    assert (row["model"], row["provider"], row["operation"]) == ("gpt-4o", "openai", "responses")
    assert row["timestamp"] == "2026-01-17T12:00:00.000000+00:00"
    assert row["cost_cents"] == 1
    assert not {"usage_known", "latency_ms", "error_code", "model_requested"} & row.keys()


def test_a_response_that_is_queued_is_a_call_of_unknown_usage(
    recorder: CusRecordingReporter,
) -> None:
    client = openai_client(whole(openai_http, _response("queued")))
    client.responses.create(**BACKGROUND)

    (row,) = recorder.rows
    assert (row["usage_known"], row["response_id"], row["tokens_in"]) == (False, "resp_1", 0)
    assert row["call_id"] != SETTLING
    assert not {"cost_cents", "error_code"} & row.keys()


@EACH_READER
def test_whoever_reads_the_finished_answer_settles_the_call(
    read: Any, recorder: CusRecordingReporter
) -> None:
    answer = read(FINISHED)

    assert type(answer) is openai.types.responses.Response
    assert answer.usage is not None
    assert answer.usage.output_tokens == 500
    (row,) = recorder.rows
    _assert_settles(row)
    assert recorder.stats.faults == 0


@EACH_READER
@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelled"])
def test_an_answer_that_says_no_usage_settles_nothing(
    status: str, read: Any, recorder: CusRecordingReporter
) -> None:
    assert read(_response(status)).status == status
    assert recorder.rows == []


@pytest.mark.parametrize("background", [False, None])
def test_an_answer_that_its_own_call_measured_is_not_counted_again(
    background: bool | None, recorder: CusRecordingReporter
) -> None:
    _retrieve(_response("completed", RESPONSE_USAGE, background=background))
    assert recorder.rows == []


@needs_cancel
def test_a_cancelled_response_is_settled_with_what_it_used(recorder: CusRecordingReporter) -> None:
    _cancel(_response("cancelled", RESPONSE_USAGE))
    _assert_settles(*recorder.rows)


def test_a_response_that_failed_is_settled_as_a_failure(recorder: CusRecordingReporter) -> None:
    error = {"code": "server_error", "message": "no: sk-proj-abcdef123456"}
    _retrieve(_response("failed", error=error))

    (row,) = recorder.rows
    assert (row["call_id"], row["error_code"], row["tokens_in"]) == (SETTLING, "server_error", 0)
    assert "abcdef123456" not in str(row)


def test_each_reader_reports_the_same(recorder: CusRecordingReporter) -> None:
    _retrieve(FINISHED)
    _retrieve_later(FINISHED)
    first, second = recorder.rows
    assert first == second


@needs_resuming
def test_a_call_and_its_answer_find_each_other_by_an_id_of_any_length(
    recorder: CusRecordingReporter,
) -> None:
    """Proxies put their own words into the ids of answers, and the provider's at the end."""
    names = ["resp_" + "a proxy's words" * 20 + end for end in ("1", "2")]
    for name in names:
        for document in (_response("queued", id=name), {**FINISHED, "id": name}):
            _retrieve(document)
        client = openai_client(whole(openai_http, _response("queued", id=name)))
        client.responses.create(**BACKGROUND)

    first, call, second, other = recorder.rows
    assert call["response_id"] == first["response_id"] != second["response_id"]
    assert len(call["response_id"]) == MAX_RESPONSE_ID_LENGTH
    assert other["response_id"] == second["response_id"]
    assert first["call_id"] == settlement_call_id(call["response_id"])
    assert second["call_id"] == settlement_call_id(other["response_id"]) != first["call_id"]


@needs_resuming
def test_a_stream_that_is_resumed_settles_the_call_at_its_end(
    recorder: CusRecordingReporter,
) -> None:
    client = openai_client(
        _events(("in_progress", _response("in_progress")), ("completed", FINISHED))
    )
    events = list(client.responses.retrieve("resp_1", stream=True, starting_after=3))

    assert [event.type for event in events] == ["response.in_progress", "response.completed"]
    _assert_settles(*recorder.rows)


@needs_resuming
def test_an_asynchronous_stream_does_so_too(recorder: CusRecordingReporter) -> None:
    async def read() -> list[str]:
        reply = _events(("completed", FINISHED))
        # An asynchronous transport takes asynchronous bodies alone.
        client = async_openai_client(lambda request: _here(reply(request)))
        stream = await client.responses.retrieve("resp_1", stream=True)
        return [event.type async for event in stream]

    assert asyncio.run(read()) == ["response.completed"]
    _assert_settles(*recorder.rows)


def _here(response: Any) -> Any:
    return openai_http.Response(200, content=response.read(), headers=response.headers)


@needs_resuming
def test_a_stream_that_is_left_before_the_end_settles_nothing(
    recorder: CusRecordingReporter,
) -> None:
    client = openai_client(
        _events(("in_progress", _response("in_progress")), ("completed", FINISHED))
    )
    with client.responses.retrieve("resp_1", stream=True) as stream:
        next(iter(stream))
    assert recorder.rows == []


def test_a_streamed_background_response_is_reported_and_settled(
    recorder: CusRecordingReporter,
) -> None:
    client = openai_client(_events(("created", _response("in_progress")), ("completed", FINISHED)))
    list(client.responses.create(**BACKGROUND, stream=True))

    call, settlement = recorder.rows
    assert (call["usage_known"], call["response_id"], call["tokens_in"]) == (False, "resp_1", 0)
    assert "tokens_estimated" not in call["metadata"]
    _assert_settles(settlement)


def test_a_streamed_background_response_that_is_left_runs_on_and_is_not_estimated(
    recorder: CusRecordingReporter,
) -> None:
    client = openai_client(_events(("created", _response("in_progress")), ("completed", FINISHED)))
    with client.responses.create(**BACKGROUND, stream=True) as stream:
        next(iter(stream))

    (call,) = recorder.rows
    assert (call["usage_known"], call["response_id"], call["tokens_in"]) == (False, "resp_1", 0)
    assert call["metadata"]["abandoned"] is True
    assert "cost_cents" not in call


def test_an_adapters_background_call_is_settled_too(recorder: CusRecordingReporter) -> None:
    cus_uninstall_middleware()
    client = openai_client(_events(("created", _response("in_progress")), ("completed", FINISHED)))
    ours = CusOpenAIProvider(client=client, reporter=recorder)
    list(ours.responses_create(**BACKGROUND, stream=True, call_id="ours"))

    call, settlement = recorder.rows
    assert (call["call_id"], call["usage_known"]) == ("ours", False)
    _assert_settles(settlement)


def test_a_block_around_a_background_call_is_unknown_and_polling_in_it_settles(
    recorder: CusRecordingReporter,
) -> None:
    queued = openai_client(whole(openai_http, _response("queued")))
    with cus_track("gpt-4o", provider="openai") as tracker:
        queued.responses.create(**BACKGROUND)
        tracker.set_usage_from_response(_retrieve(FINISHED))

    settlement, call = recorder.rows
    _assert_settles(settlement)
    assert (call["usage_known"], call["response_id"], call["tokens_in"]) == (False, "resp_1", 0)


def test_a_function_that_only_polls_is_no_call(recorder: CusRecordingReporter) -> None:
    poll = cus_telemetry(model="gpt-4o", provider="openai")(_retrieve)

    poll(_response("in_progress"))
    assert recorder.rows == []
    poll(FINISHED)
    _assert_settles(*recorder.rows)


def test_what_a_program_says_of_a_block_that_polls_is_reported(
    recorder: CusRecordingReporter,
) -> None:
    with cus_track("own-model") as tracker:
        _retrieve(_response("in_progress"))
        tracker.set_tokens(10, 5)
    assert [row["tokens_in"] for row in recorder.rows] == [10]


def test_a_failed_look_up_is_no_call(recorder: CusRecordingReporter) -> None:
    client = openai_client(whole(openai_http, {"error": {"message": "no"}}, status=404))
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_1")
    assert recorder.rows == []
