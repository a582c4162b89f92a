"""Requests by a client's own `post` and `request` are calls, as if a method had made them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic._base_client import AsyncAPIClient as AsyncAnthropicClient
from anthropic._base_client import SyncAPIClient as AnthropicClient
from anthropic.types import Message, RawMessageStreamEvent
from openai._base_client import AsyncAPIClient, SyncAPIClient
from openai.types import Completion, CreateEmbeddingResponse, ImagesResponse
from openai.types.audio import Transcription
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

from aos_sdk import cus_context, cus_install_middleware, cus_telemetry, cus_uninstall_middleware
from aos_sdk.cus_capture.bypass_transports import watch_of
from aos_sdk.cus_providers import paths
from aos_sdk.cus_providers.registry import PROVIDERS
from aos_sdk.cus_providers.requests import CusCost
from tests.sdk.cus_capture_cases import CHAT, INPUT, MESSAGE, CusRecordingReporter, dumped
from tests.sdk.cus_fake_providers import CusFakeProvider
from tests.sdk.cus_provider_http import openai_http

SYNC_AND_ASYNC = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
RAW: Any = {"headers": {"X-Stainless-Raw-Response": "true"}}
TEXT: Any = {"model": "gpt-3.5-turbo-instruct", "prompt": "a very private prompt"}
EMBEDDING: Any = {"model": "text-embedding-3-small", "input": "a very private text"}
PICTURE: Any = {"model": "gpt-image-1", "prompt": "a very private picture"}
CLIP: Any = {"model": "gpt-4o-transcribe"}

# Path, body, the class of the answer, the operation.
OF_OPENAI: dict[str, tuple[str, Any, Any, str]] = {
    "chat": ("/chat/completions", CHAT, ChatCompletion, "chat"),
    "responses": ("/responses", INPUT, Response, "responses"),
    "completions": ("/completions", TEXT, Completion, "completion"),
    "embeddings": ("/embeddings", EMBEDDING, CreateEmbeddingResponse, "embedding"),
    "images": ("/images/generations", PICTURE, ImagesResponse, "image"),
    "transcriptions": ("/audio/transcriptions", CLIP, Transcription, "audio"),
}


def _client(provider: CusFakeProvider, *, is_async: bool = False, **options: Any) -> Any:
    kind: Any = openai.AsyncOpenAI if is_async else openai.OpenAI
    return kind(api_key="sk-test", base_url=f"{provider.url}/v1", **options)


def _anthropic(provider: CusFakeProvider, *, is_async: bool = False) -> Any:
    kind: Any = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
    return kind(api_key="sk-test", base_url=provider.url)


def _post(client: Any, *args: Any, **kwargs: Any) -> Any:
    """Post, and dump the answer, or each chunk of the stream."""
    if not isinstance(client, openai.AsyncOpenAI | anthropic.AsyncAnthropic):
        with client:
            answer = client.post(*args, **kwargs)
            return list(map(dumped, answer)) if kwargs.get("stream") else dumped(answer)

    async def post() -> Any:
        async with client:
            answer = await client.post(*args, **kwargs)
            if kwargs.get("stream"):
                return [dumped(chunk) async for chunk in answer]
            return dumped(answer)

    return asyncio.run(post())


def _counts(recorder: CusRecordingReporter) -> tuple[int, int]:
    return watch_of(recorder).snapshot()[:2]


@SYNC_AND_ASYNC
@pytest.mark.parametrize("name", OF_OPENAI)
def test_a_post_to_a_known_path_is_one_governed_call(
    name: str, is_async: bool, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    path, body, answer, operation = OF_OPENAI[name]
    bare = _post(_client(provider, is_async=is_async), path, cast_to=answer, body=body)
    cus_install_middleware()

    governed = _post(_client(provider, is_async=is_async), path, cast_to=answer, body=body)

    assert governed == bare
    (row,) = recorder.rows
    assert (row["operation"], row["model"], row["host"]) == (operation, body["model"], "127.0.0.1")
    assert row["tokens_in"] == 1_000
    assert _counts(recorder) == (1, 0)


@SYNC_AND_ASYNC
def test_a_post_to_messages_is_one_governed_call(
    is_async: bool, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    client = _anthropic(provider, is_async=is_async)
    _post(client, "/v1/messages", cast_to=Message, body=MESSAGE)

    client = _anthropic(provider, is_async=is_async)
    streamed: Any = anthropic.AsyncStream if is_async else anthropic.Stream
    _post(
        client,
        "/v1/messages?beta=true",
        cast_to=Message,
        body={**MESSAGE, "stream": True},
        stream=True,
        stream_cls=streamed[RawMessageStreamEvent],
    )

    assert [(row["operation"], row["tokens_in"], row["tokens_out"]) for row in recorder.rows] == [
        ("chat", 1_000, 500),
        ("chat", 1_000, 500),
    ]
    assert _counts(recorder) == (2, 0)


@SYNC_AND_ASYNC
def test_a_streamed_post_is_one_call_and_shows_the_same_chunks(
    is_async: bool, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    streamed: Any = openai.AsyncStream if is_async else openai.Stream
    asked = {
        "cast_to": ChatCompletion,
        "body": {**CHAT, "stream": True},
        "stream": True,
        "stream_cls": streamed[ChatCompletionChunk],
    }
    bare = _post(_client(provider, is_async=is_async), "/chat/completions", **asked)
    cus_install_middleware()

    assert _post(_client(provider, is_async=is_async), "/chat/completions", **asked) == bare
    (row,) = recorder.rows
    assert (row["stream"], row["tokens_out"]) == (True, 6)
    assert row["metadata"]["tokens_estimated"]


def test_a_streamed_post_to_responses_has_its_reported_usage(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    _post(
        _client(provider),
        "/responses",
        cast_to=Response,
        body={**INPUT, "stream": True},
        stream=True,
        stream_cls=openai.Stream[ResponseStreamEvent],
    )

    (row,) = recorder.rows
    assert (row["operation"], row["tokens_out"], row["stream"]) == ("responses", 500, True)


@SYNC_AND_ASYNC
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_a_raw_post_is_read_on_its_way_and_sends_what_the_program_sent(
    is_stream: bool, is_async: bool, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    body = {**CHAT, "stream": is_stream, "stream_options": {"include_usage": True}}
    asked: Any = {"cast_to": ChatCompletion, "body": body, "stream": is_stream, "options": RAW}
    streamed: Any = openai.AsyncStream if is_async else openai.Stream
    if is_stream:
        asked["stream_cls"] = streamed[ChatCompletionChunk]

    async def ask_later() -> Any:
        async with _client(provider, is_async=True) as client:
            raw = await client.post("/chat/completions", **asked)
            return [chunk async for chunk in raw.parse()] if is_stream else raw.parse()

    if is_async:
        asyncio.run(ask_later())
    else:
        with _client(provider) as client:
            answer = client.post("/chat/completions", **asked).parse()
            _ = list(answer) if is_stream else answer

    (row,) = recorder.rows
    assert (row["tokens_in"], row["tokens_out"]) == (1_000, 500)
    assert provider.requests[-1][1] == body


def _at_openai(provider: CusFakeProvider) -> Any:
    """A client of OpenAI's own address, whose requests go to the fake provider."""
    inner = openai_http.HTTPTransport()

    class Rerouted(openai_http.BaseTransport):  # type: ignore[misc]  # of one of two packages
        def handle_request(self, request: Any) -> Any:
            request.url = openai_http.URL(f"{provider.url}{request.url.path}")
            return inner.handle_request(request)

        def close(self) -> None:
            inner.close()

    http = openai_http.Client(transport=Rerouted())
    return openai.OpenAI(api_key="sk-test", http_client=http)


def test_a_streamed_post_to_openai_is_asked_for_its_usage_which_the_program_does_not_see(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    body = {**CHAT, "stream": True}
    asked: Any = {
        "cast_to": ChatCompletion,
        "body": body,
        "stream": True,
        "stream_cls": openai.Stream[ChatCompletionChunk],
    }
    bare = _post(_at_openai(provider), "/chat/completions", **asked)
    cus_install_middleware()

    assert _post(_at_openai(provider), "/chat/completions", **asked) == bare
    assert recorder.rows[0]["tokens_out"] == 500
    assert provider.requests[-1][1]["stream_options"] == {"include_usage": True}
    assert body == {**CHAT, "stream": True}


def test_a_stream_of_chunks_of_no_known_class_is_left_as_it_is(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    with _at_openai(provider) as client:
        stream = client.post(
            "/chat/completions",
            cast_to=object,
            body={**CHAT, "stream": True},
            stream=True,
            stream_cls=openai.Stream[object],
        )
        list(stream)

    assert "stream_options" not in provider.requests[-1][1]
    assert len(recorder.rows) == 1


def test_a_method_is_one_call_though_it_sends_by_the_same_request(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    with _client(provider) as client:
        client.chat.completions.create(**CHAT)
        client.chat.completions.with_raw_response.create(**CHAT)
        client.with_options(max_retries=1).post(
            "/chat/completions", cast_to=ChatCompletion, body=CHAT
        )

    assert len(recorder.rows) == 3
    assert _counts(recorder) == (3, 0)


def test_a_failed_post_is_a_failed_call_and_its_retries_are_of_one_call(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    with _client(provider, max_retries=0) as client, pytest.raises(openai.RateLimitError):
        client.post(
            "/chat/completions", cast_to=ChatCompletion, body={**CHAT, "model": "gpt-4o/refused"}
        )
    with _client(provider, max_retries=3) as client:
        client.post(
            "/chat/completions",
            cast_to=ChatCompletion,
            body={**CHAT, "model": "gpt-4o/fails", "user": "retried"},
        )

    assert [row.get("error_code") for row in recorder.rows] == ["RateLimitError", None]
    assert _counts(recorder) == (2, 0)


def test_a_post_within_a_function_is_that_functions_call(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()

    @cus_telemetry(model="gpt-4o", provider="openai")
    def ask() -> Any:
        with _client(provider) as client:
            return client.post("/chat/completions", cast_to=ChatCompletion, body=CHAT)

    with cus_context(session_id="chat-17"):
        ask()

    (row,) = recorder.rows
    assert (row["session_id"], row["tokens_out"]) == ("chat-17", 500)


def test_a_post_to_a_path_that_no_model_answers_is_no_call(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    with _client(provider) as client:
        client.post("/threads/t/messages", cast_to=object, body={"content": "a note"})
        client.post("/moderations", cast_to=object, body={"input": "a text"})
        client.uploads.complete("upload_1", part_ids=["part_1"])

    assert recorder.rows == []


def test_no_path_of_the_lists_that_is_no_call_is_taken_for_a_call() -> None:
    others = {
        kind.path.replace("{}", "x").replace("**", "x")
        for info in PROVIDERS
        for kind in info.requests
        if kind.cost is not CusCost.CAPTURED
    }

    taken = {path for path in others if paths.surface_of_path("POST", f"/v1{path}")}

    # A response that is cancelled is looked up; that is no call either.
    assert taken == {"/responses/x/cancel"}


@pytest.fixture
def finished() -> Iterator[Any]:
    """A client whose provider has finished a background response."""
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    answer = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "created_at": 1,
        "model": "gpt-4o",
        "background": True,
        "output": [],
        "usage": usage,
    }
    transport = openai_http.MockTransport(lambda _: openai_http.Response(200, json=answer))
    with openai.OpenAI(api_key="k", http_client=openai_http.Client(transport=transport)) as client:
        yield client


def test_a_background_response_is_settled_by_whatever_request_reads_it(
    finished: Any, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    finished.get("/responses/resp_1", cast_to=Response)
    finished.post("/responses/resp_1/cancel", cast_to=Response)

    assert [row["tokens_out"] for row in recorder.rows] == [5, 5]
    assert len({row["call_id"] for row in recorder.rows}) == 1


def test_the_clients_request_is_the_original_again_after_uninstalling(
    recorder: CusRecordingReporter,
) -> None:
    kinds: list[Any] = [SyncAPIClient, AsyncAPIClient, AnthropicClient, AsyncAnthropicClient]
    originals = [kind.request for kind in kinds]
    posts = [kind.post for kind in kinds]
    cus_install_middleware()
    assert all(
        kind.request.__wrapped__ is original
        for kind, original in zip(kinds, originals, strict=True)
    )
    assert [kind.post for kind in kinds] == posts

    cus_uninstall_middleware()

    assert [kind.request for kind in kinds] == originals


def test_every_path_that_is_captured_counts_for_coverage() -> None:
    billed = {path for info in PROVIDERS for path in info.paths}

    assert {end.encode() for end, _ in paths._SURFACES} <= billed
