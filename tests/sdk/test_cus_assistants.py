"""Runs of assistants: calls of unknown usage, settled by whoever reads the finished run."""

import asyncio
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import openai
import pytest

from aos_sdk import cus_install_middleware, cus_telemetry, cus_uninstall_middleware
from aos_sdk.cus_wire import settlement_call_id
from tests.sdk.cus_capture_cases import CusRecordingReporter
from tests.sdk.cus_provider_http import openai_http
from tests.sdk.cus_scripted_clients import async_openai_client, openai_client, whole

SETTLING = settlement_call_id("run_1")
USAGE = {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500}


def _run(status: str, usage: Any = None, **fields: Any) -> dict[str, Any]:
    head = {"id": "run_1", "object": "thread.run", "created_at": 1_768_651_200, "model": "gpt-4o"}
    more = {"thread_id": "thread_1", "assistant_id": "asst_1", "tools": [], "instructions": "x"}
    return {**head, **more, "status": status, "usage": usage, **fields}


FINISHED = _run("completed", USAGE)


@pytest.fixture(autouse=True)
def _governed(recorder: CusRecordingReporter) -> Iterator[None]:
    cus_install_middleware(detect_bypass=False)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        yield


def _runs(document: Any) -> Any:
    return openai_client(whole(openai_http, document)).beta.threads.runs


def _created(document: Any) -> Any:
    return _runs(document).create("thread_1", assistant_id="asst_1")


def _created_with_a_thread(document: Any) -> Any:
    threads = openai_client(whole(openai_http, document)).beta.threads
    return threads.create_and_run(assistant_id="asst_1")


def _created_later(document: Any) -> Any:
    runs = async_openai_client(whole(openai_http, document)).beta.threads.runs
    return asyncio.run(runs.create("thread_1", assistant_id="asst_1"))


def _created_raw(document: Any) -> Any:
    runs = _runs(document).with_raw_response
    return runs.create("thread_1", assistant_id="asst_1").parse()


MAKERS: dict[str, Callable[[Any], Any]] = {
    "create": _created,
    "create_and_run": _created_with_a_thread,
    "asynchronous": _created_later,
    "raw": _created_raw,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_run_that_is_queued_is_a_call_of_unknown_usage(
    make: Any, recorder: CusRecordingReporter
) -> None:
    run = make(_run("queued"))

    assert type(run) is openai.types.beta.threads.Run
    (row,) = recorder.rows
    assert (row["usage_known"], row["response_id"], row["model"]) == (False, "run_1", "gpt-4o")
    assert row["call_id"] != SETTLING
    assert not {"cost_cents", "error_code"} & row.keys()
    assert recorder.stats.faults == 0


def _retrieved(document: Any) -> Any:
    return _runs(document).retrieve("run_1", thread_id="thread_1")


def _retrieved_later(document: Any) -> Any:
    runs = async_openai_client(whole(openai_http, document)).beta.threads.runs
    return asyncio.run(runs.retrieve("run_1", thread_id="thread_1"))


def _polled(document: Any) -> Any:
    return _runs(document).poll("run_1", thread_id="thread_1")


def _cancelled(document: Any) -> Any:
    return _runs(document).cancel("run_1", thread_id="thread_1")


def _answered(document: Any) -> Any:
    return _runs(document).submit_tool_outputs("run_1", thread_id="thread_1", tool_outputs=[])


READERS: dict[str, Callable[[Any], Any]] = {
    "retrieve": _retrieved,
    "asynchronous": _retrieved_later,
    "poll": _polled,
    "cancel": _cancelled,
    "submit_tool_outputs": _answered,
}
EACH_READER = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


def _assert_settles(row: dict[str, Any]) -> None:
    assert (row["call_id"], row["response_id"]) == (SETTLING, "run_1")
    assert (row["tokens_in"], row["tokens_out"], row["model"]) == (1_000, 500, "gpt-4o")
    assert (row["timestamp"], row["cost_cents"]) == ("2026-01-17T12:00:00.000000+00:00", 1)
    assert not {"usage_known", "error_code"} & row.keys()


@EACH_READER
def test_whoever_reads_the_finished_run_settles_it(
    read: Any, recorder: CusRecordingReporter
) -> None:
    assert read(FINISHED).usage.total_tokens == 1_500

    _assert_settles(*recorder.rows)
    assert recorder.stats.faults == 0


@pytest.mark.parametrize("status", ["queued", "in_progress", "requires_action", "cancelling"])
def test_a_run_that_goes_on_settles_nothing(status: str, recorder: CusRecordingReporter) -> None:
    assert _retrieved(_run(status)).status == status
    assert recorder.rows == []


@pytest.mark.parametrize("status", ["failed", "expired", "incomplete"])
def test_a_run_that_ended_otherwise_is_settled_with_what_it_used(
    status: str, recorder: CusRecordingReporter
) -> None:
    _retrieved(_run(status, USAGE))
    _assert_settles(*recorder.rows)


def test_a_run_that_failed_before_it_used_anything_is_settled_with_its_error(
    recorder: CusRecordingReporter,
) -> None:
    _retrieved(_run("failed", last_error={"code": "server_error", "message": "overloaded"}))

    (row,) = recorder.rows
    assert (row["call_id"], row["tokens_in"]) == (SETTLING, 0)
    assert (row["error_code"], row["error_message"]) == ("server_error", "overloaded")


def test_a_run_that_is_created_and_polled_is_one_call_and_its_settlement(
    recorder: CusRecordingReporter,
) -> None:
    documents = iter((_run("queued"), _run("in_progress"), FINISHED))

    def reply(_request: Any) -> Any:
        headers = {"openai-poll-after-ms": "1"}
        return openai_http.Response(200, json=next(documents), headers=headers)

    runs = openai_client(reply).beta.threads.runs
    run = runs.create_and_poll(thread_id="thread_1", assistant_id="asst_1")

    assert run.status == "completed"
    unknown, settled = recorder.rows
    assert unknown["usage_known"] is False
    _assert_settles(settled)


def _step(kind: str, **fields: Any) -> dict[str, Any]:
    data = {"id": "step_1", "object": "thread.run.step", "run_id": "run_1", **fields}
    return {"event": f"thread.run.step.{kind}", "data": data}


EVENTS = (
    {"event": "thread.run.created", "data": _run("queued")},
    _step("completed", usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}),
    {"event": "thread.run.completed", "data": FINISHED},
)


def _events(*events: Any) -> Callable[[Any], Any]:
    text = "".join(
        f"event: {event['event']}\ndata: {openai_http.Response(200, json=event['data']).text}\n\n"
        for event in events
    )
    headers = {"content-type": "text/event-stream"}
    return lambda _request: openai_http.Response(
        200, content=iter([text.encode(), b"data: [DONE]\n\n"]), headers=headers
    )


def test_a_streamed_run_is_a_call_and_its_last_event_the_settlement(
    recorder: CusRecordingReporter,
) -> None:
    runs = openai_client(_events(*EVENTS)).beta.threads.runs
    stream = runs.create("thread_1", assistant_id="asst_1", stream=True)

    assert [event.event for event in stream] == [event["event"] for event in EVENTS]
    unknown, settled = recorder.rows
    assert (unknown["usage_known"], unknown["stream"]) == (False, True)
    assert unknown["response_id"] == "run_1"
    _assert_settles(settled)
    assert recorder.stats.faults == 0


@pytest.mark.parametrize("name", ["stream", "create_and_stream"])
def test_so_is_one_of_the_stream_helpers(name: str, recorder: CusRecordingReporter) -> None:
    runs = openai_client(_events(*EVENTS)).beta.threads.runs
    with getattr(runs, name)(thread_id="thread_1", assistant_id="asst_1") as stream:
        stream.until_done()

    assert [row.get("usage_known", True) for row in recorder.rows] == [False, True]
    _assert_settles(recorder.rows[1])


def test_outputs_of_tools_that_are_streamed_settle_the_run(recorder: CusRecordingReporter) -> None:
    runs = openai_client(_events(*EVENTS)).beta.threads.runs
    outputs = {"run_id": "run_1", "thread_id": "thread_1", "tool_outputs": []}
    with runs.submit_tool_outputs_stream(**outputs) as stream:
        stream.until_done()
    _assert_settles(*recorder.rows)


def test_a_stream_that_is_left_is_a_call_of_unknown_usage(recorder: CusRecordingReporter) -> None:
    runs = openai_client(_events(*EVENTS)).beta.threads.runs
    with runs.create("thread_1", assistant_id="asst_1", stream=True) as stream:
        next(stream)

    (row,) = recorder.rows
    assert (row["usage_known"], row["metadata"]["abandoned"]) == (False, True)


def test_a_function_that_reads_a_run_is_no_call_of_its_own(recorder: CusRecordingReporter) -> None:
    @cus_telemetry(model="gpt-4o", provider="openai")
    def wait() -> Any:
        return _retrieved(FINISHED)

    assert wait().status == "completed"
    _assert_settles(*recorder.rows)


def test_a_refused_run_is_an_error_and_nothing_unknown(recorder: CusRecordingReporter) -> None:
    refused = whole(openai_http, {"error": {"message": "no such thread"}}, 404)
    with suppress(openai.NotFoundError):
        openai_client(refused).beta.threads.runs.create("thread_1", assistant_id="asst_1")

    (row,) = recorder.rows
    assert (row["error_code"], row["tokens_in"]) == ("NotFoundError", 0)
    assert "usage_known" not in row


def test_the_program_gets_the_same_run_with_us_and_without(recorder: CusRecordingReporter) -> None:
    governed = _created(FINISHED)
    cus_uninstall_middleware()
    assert governed == _created(FINISHED)
