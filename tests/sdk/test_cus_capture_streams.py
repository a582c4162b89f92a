"""Streams that are left, dropped or cancelled; usage that is asked for; what the caller sees of it."""

import asyncio
import copy
import gc
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import anthropic
import openai
import pytest

from aos_sdk import count_message_tokens, count_tokens, cus_install_middleware
from aos_sdk.cus_capture.surfaces import _takes_stream_options
from aos_sdk.cus_configuration import CusConfiguration, active
from tests.sdk.cus_capture_cases import (
    CASES,
    CHAT,
    MESSAGE,
    MESSAGES,
    CusRecordingReporter,
    client_of,
    dumped,
)
from tests.sdk.cus_fake_providers import WORDS, CusFakeProvider
from tests.sdk.cus_provider_http import anthropic_http, openai_http

STREAMS = ["chat stream", "responses stream", "messages stream"]


@pytest.fixture(autouse=True)
def _governed(recorder: CusRecordingReporter) -> None:
    cus_install_middleware()


def _close(stream: Any) -> None:
    stream.close()


def _leave_block(stream: Any) -> None:
    with stream:
        for _ in stream:
            break


def _drop(stream: Any) -> None:
    for _ in stream:
        break


def _close_twice(stream: Any) -> None:
    stream.close()
    stream.close()


LEAVES: dict[str, Callable[[Any], None]] = {
    "closed": _close,
    "left by break": _leave_block,
    "dropped": _drop,
    "closed twice": _close_twice,
}


@pytest.mark.parametrize("leave", LEAVES.values(), ids=LEAVES)
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_left_is_reported_once_with_what_is_known(
    name: str,
    leave: Callable[[Any], None],
    provider: CusFakeProvider,
    recorder: CusRecordingReporter,
) -> None:
    case = replace(CASES[name], mood="endless")
    with client_of(case, provider.url) as client:
        stream = case.call(client)
        next(iter(stream))
        assert recorder.rows == []
        leave(stream)
        del stream
        gc.collect()
    (row,) = recorder.rows
    assert row["metadata"].items() >= {"abandoned": True, "tokens_estimated": True}.items()
    assert (row["stream"], row["tokens_in"] > 0) == (True, True)
    assert "error_code" not in row


@pytest.mark.parametrize("name", STREAMS)
def test_an_asynchronous_stream_that_is_left_is_reported_once(
    name: str, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    case = replace(CASES[name], mood="endless")

    async def leave() -> None:
        async with client_of(case, provider.url, is_async=True) as client:
            async with await case.call(client) as stream:
                async for _ in stream:
                    break
            assert len(recorder.rows) == 1

    asyncio.run(leave())
    (row,) = recorder.rows
    assert row["metadata"]["abandoned"] is True


def test_a_stream_that_nobody_reads_is_reported_when_it_is_gone(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    case = CASES["messages stream"]
    with client_of(case, provider.url) as client:
        case.call(client)
        gc.collect()
    (row,) = recorder.rows
    assert row["metadata"]["abandoned"] is True


@pytest.mark.parametrize(
    "name", [*STREAMS, "chat", "messages", "messages helper", "beta chat helper"]
)
def test_a_cancelled_task_is_cancelled_and_its_call_reported_once(
    name: str, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    mood = "endless" if CASES[name].is_stream else "silent"
    case = replace(CASES[name], mood=mood)

    async def talk(started: asyncio.Event) -> None:
        async with client_of(case, provider.url, is_async=True) as client:
            if case.use == "helper":
                async with case.call(client) as stream:
                    async for _ in stream:
                        started.set()
            elif case.is_stream:
                async for _ in await case.call(client):
                    started.set()
            else:
                await case.call(client)

    async def cancel() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(talk(started))
        if case.is_stream:
            await started.wait()
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    (row,) = recorder.rows
    assert row["error_code"] == "CancelledError"


def test_a_read_timeout_in_a_stream_is_its_error(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    case = replace(CASES["messages stream"], mood="endless")
    with client_of(case, provider.url, timeout=0.2, max_retries=0) as client:
        with pytest.raises(anthropic_http.ReadTimeout):
            list(case.call(client))
    (row,) = recorder.rows
    assert (row["error_code"], row["tokens_in"]) == ("ReadTimeout", 1_000)


def test_an_abandoned_stream_counts_what_was_said_so_far(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    case = replace(CASES["chat stream"], mood="slow")
    with client_of(case, provider.url) as client, case.call(client) as stream:
        received = [next(stream).choices[0].delta.content for _ in range(3)]
    (row,) = recorder.rows
    assert received == WORDS[:3]
    assert row["tokens_out"] == count_tokens("".join(received), "gpt-4o")
    assert row["tokens_in"] == count_message_tokens(MESSAGES, "gpt-4o")


class _ToTheFake(openai_http.HTTPTransport):  # type: ignore[misc]  # which of two, is not known
    """Sends what is meant for a well-known host to the fake provider."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = openai_http.URL(url)

    def handle_request(self, request: Any) -> Any:
        request.url = request.url.copy_with(scheme="http", host=self._url.host, port=self._url.port)
        return super().handle_request(request)


@pytest.fixture
def at_openai(provider: CusFakeProvider) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(transport=_ToTheFake(provider.url))
    with openai.OpenAI(api_key="sk-test", http_client=http) as client:
        yield client


def test_usage_is_asked_for_at_openai_and_the_caller_does_not_see_it(
    at_openai: openai.OpenAI,
    provider: CusFakeProvider,
    recorder: CusRecordingReporter,
) -> None:
    request: Any = {**CHAT, "stream": True}
    seen = [dumped(chunk) for chunk in at_openai.chat.completions.create(**request)]
    assert provider.requests[-1][1]["stream_options"] == {"include_usage": True}
    (row,) = recorder.rows
    assert (row["tokens_in"], row["tokens_out"], row["tokens_reasoning"]) == (1_000, 500, 100)
    assert "tokens_estimated" not in row["metadata"]
    with openai.OpenAI(api_key="sk-test", base_url=f"{provider.url}/v1") as bare:
        assert seen == [dumped(chunk) for chunk in bare.chat.completions.create(**request)]
    assert "stream_options" not in request


def _chat_helper(client: openai.OpenAI) -> Any:
    # Old releases have it below `beta` alone.
    completions: Any = getattr(client.chat.completions, "stream", None)
    return (completions or client.beta.chat.completions.stream)(model="gpt-4o", messages=MESSAGES)


def test_the_stream_helper_at_openai_ends_as_without_us(
    at_openai: openai.OpenAI, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    with _chat_helper(at_openai) as stream:
        governed = stream.get_final_completion()
    with openai.OpenAI(api_key="sk-test", base_url=f"{provider.url}/v1") as client:
        with _chat_helper(client) as stream:
            assert stream.get_final_completion().to_dict() == governed.to_dict()
    assert governed.usage is None
    assert recorder.rows[0]["tokens_out"] == 500


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"stream_options": {"include_usage": True}}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False}}, {"include_usage": False}),
        (
            {"stream_options": {"include_obfuscation": False}},
            {"include_obfuscation": False, "include_usage": True},
        ),
        ({"extra_body": {"stream_options": {"x": 1}}}, {"x": 1}),
    ],
)
def test_what_the_caller_says_of_usage_himself_holds(
    at_openai: openai.OpenAI,
    provider: CusFakeProvider,
    recorder: CusRecordingReporter,
    changes: Any,
    asked: Any,
) -> None:
    request: Any = {**CHAT, "stream": True, **changes}
    chunks = list(at_openai.chat.completions.create(**request))
    assert provider.requests[-1][1]["stream_options"] == asked
    wanted = changes.get("stream_options", {}).get("include_usage") is True
    assert (chunks[-1].usage is not None) == wanted
    assert len(recorder.rows) == 1


def test_nothing_is_asked_for_raw_or_by_estimate_or_elsewhere(
    at_openai: openai.OpenAI, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    request: Any = {**CHAT, "stream": True}
    list(at_openai.chat.completions.with_raw_response.create(**request).parse())
    assert "stream_options" not in provider.requests[-1][1]
    active.replace(CusConfiguration(recorder, stream_usage="estimate"))
    list(at_openai.chat.completions.create(**request))
    assert "stream_options" not in provider.requests[-1][1]
    assert [row["metadata"]["tokens_estimated"] for row in recorder.rows] == [True, True]


@pytest.mark.parametrize(
    ("base_url", "takes"),
    [
        (None, True),
        ("https://eu.api.openai.com/v1", True),
        ("https://openrouter.ai/api/v1", False),
        ("https://api.openai.com.evil.test/v1", False),
        ("https://x.openai.azure.com/openai/v1/", True),
    ],
)
def test_the_hosts_that_are_known_to_take_the_question(base_url: str | None, takes: bool) -> None:
    with openai.OpenAI(api_key="k", base_url=base_url) as client:
        assert _takes_stream_options(client) is takes


@pytest.mark.parametrize(
    ("version", "takes"),
    [("2024-10-21", True), ("2025-04-01-preview", True), ("2024-02-01", False)],
)
def test_the_versions_of_azure_that_are_known_to_take_the_question(
    version: str, takes: bool
) -> None:
    azure = "https://x.openai.azure.com"
    with openai.AzureOpenAI(api_key="k", azure_endpoint=azure, api_version=version) as client:
        assert _takes_stream_options(client) is takes


def test_a_stream_read_in_another_thread_is_one_call(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    case = CASES["messages stream"]
    with client_of(case, provider.url) as client:
        stream = case.call(client)
        reader = threading.Thread(target=lambda: list(stream))
        reader.start()
        reader.join()
    assert [row["tokens_out"] for row in recorder.rows] == [500]


def test_a_helpers_block_can_be_entered_again_and_each_time_is_a_call(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    with anthropic.Anthropic(api_key="k", base_url=provider.url) as client:
        manager = client.messages.stream(**MESSAGE)
        assert recorder.rows == []
        for _ in range(2):
            with manager as stream:
                assert stream.get_final_message().usage.output_tokens == 500
    assert [row["tokens_out"] for row in recorder.rows] == [500, 500]
    assert len({row["call_id"] for row in recorder.rows}) == 2


def test_a_helper_that_is_never_entered_is_no_call(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    with anthropic.Anthropic(api_key="k", base_url=provider.url) as client:
        client.messages.stream(**MESSAGE)
        copy.copy(client.messages.stream(**MESSAGE))
    gc.collect()
    assert recorder.rows == []
