"""What never left the program is no call: no record, no governed call, no bypass (ruling F8a)."""

import asyncio
import contextlib
from typing import Any

import anthropic
import openai
import pydantic
import pytest

from aos_sdk import (
    CusAnthropicProvider,
    CusOpenAIProvider,
    CusProviderStatus,
    cus_install_middleware,
    cus_telemetry,
    cus_track,
)
from aos_sdk.cus_capture.bypass_transports import watch_of
from tests.sdk.cus_capture_cases import CHAT, MESSAGE, CusRecordingReporter
from tests.sdk.cus_fake_providers import CusFakeProvider
from tests.sdk.cus_provider_http import openai_http

SYNC_AND_ASYNC = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
# So many tokens take longer than ten minutes, for which the client wants a stream.
LONG: Any = {**MESSAGE, "max_tokens": 60_000}
WANTS_STREAMS = pytest.mark.skipif(
    not hasattr(anthropic.Anthropic, "_calculate_nonstreaming_timeout"),
    reason="this release of anthropic sends long requests without a stream",
)
WITHOUT_MESSAGES: Any = {"model": "gpt-4o"}


def _openai(provider: CusFakeProvider, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(api_key="sk-test", base_url=f"{provider.url}/v1", **options)


def _anthropic(provider: CusFakeProvider) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="sk-test", base_url=provider.url)


def _refuse_locally(provider: CusFakeProvider, *, is_async: bool) -> None:
    """The client refuses arguments before it sends anything."""
    if not is_async:
        with _openai(provider) as client, pytest.raises(TypeError):
            client.chat.completions.create(**WITHOUT_MESSAGES)
        return

    async def ask() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
            with pytest.raises(TypeError):
                await client.chat.completions.create(**WITHOUT_MESSAGES)

    asyncio.run(ask())


def _counts(recorder: CusRecordingReporter) -> tuple[int, int]:
    return watch_of(recorder).snapshot()[:2]


@SYNC_AND_ASYNC
def test_arguments_that_the_client_refuses_are_no_call(
    is_async: bool, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    sent = len(provider.requests)

    _refuse_locally(provider, is_async=is_async)

    assert (recorder.rows, _counts(recorder), len(provider.requests)) == ([], (0, 0), sent)


@WANTS_STREAMS
def test_a_program_that_falls_back_to_a_stream_has_made_one_call(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    with _anthropic(provider) as client:
        with pytest.raises(ValueError, match="Streaming"):
            client.messages.create(**LONG)
        with client.messages.stream(**LONG) as stream:
            stream.get_final_message()

    (row,) = recorder.rows
    assert (row["tokens_out"], row.get("error_code")) == (500, None)
    assert _counts(recorder) == (1, 0)


def test_a_function_that_falls_back_to_a_stream_has_the_streams_usage(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()

    @cus_telemetry(model="claude-sonnet-4", provider="anthropic")
    def ask(client: anthropic.Anthropic) -> Any:
        try:
            return client.messages.create(**LONG)
        except ValueError:
            with client.messages.stream(**LONG) as stream:
                return stream.get_final_message()

    with _anthropic(provider) as client:
        ask(client)

    (row,) = recorder.rows
    assert (row["tokens_in"], row["tokens_out"]) == (1_000, 500)


def test_a_function_whose_only_call_was_refused_is_no_call_though_it_raises_an_error_of_its_own(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()

    @cus_telemetry(model="gpt-4o", provider="openai")
    def ask(client: openai.OpenAI) -> Any:
        try:
            return client.chat.completions.create(**WITHOUT_MESSAGES)
        except TypeError as error:
            raise RuntimeError("bad request") from error

    with _openai(provider) as client:
        with pytest.raises(RuntimeError):
            ask(client)
        with pytest.raises(TypeError), cus_track("gpt-4o"), cus_track("gpt-4o"):
            client.chat.completions.create(**WITHOUT_MESSAGES)

    assert recorder.rows == []


def test_a_function_that_fails_by_itself_is_a_failed_call_as_before(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    """It may have called its provider by a library that the SDK does not watch."""
    cus_install_middleware()

    @cus_telemetry(model="gpt-4o", provider="openai")
    def ask(client: openai.OpenAI) -> Any:
        with contextlib.suppress(TypeError):
            client.chat.completions.create(**WITHOUT_MESSAGES)
        int("no number")

    with _openai(provider) as client, pytest.raises(ValueError, match="no number"):
        ask(client)

    # Raised after the refusal was handled, not because of it.
    assert [row["error_code"] for row in recorder.rows] == ["ValueError"]


def test_a_function_that_answers_after_a_refusal_is_a_call(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()

    @cus_telemetry(model="gpt-4o", provider="openai")
    def ask(client: openai.OpenAI) -> str:
        try:
            client.chat.completions.create(**WITHOUT_MESSAGES)
        except TypeError:
            return "a canned answer"
        return "an answer"

    with _openai(provider) as client:
        ask(client)

    (row,) = recorder.rows
    assert (row["usage_known"], row.get("error_code")) == (False, None)


def test_an_adapter_alone_tells_by_the_error(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    """Without the middleware nothing notes what leaves."""
    with _openai(provider, max_retries=0) as client, _anthropic(provider) as other:
        adapter = CusOpenAIProvider(client=client)
        with pytest.raises(TypeError):
            adapter.chat_completions_create(**WITHOUT_MESSAGES)
        with pytest.raises(TypeError):
            CusAnthropicProvider(client=other).messages_create(**WITHOUT_MESSAGES)
        assert recorder.rows == []
        assert adapter.status is CusProviderStatus.UNKNOWN
        with pytest.raises(openai.RateLimitError):
            adapter.chat_completions_create(**{**CHAT, "model": "gpt-4o/refused"})

    assert [row["error_code"] for row in recorder.rows] == ["RateLimitError"]


class _Scripted:
    """A client of no known package, whose only method raises an error."""

    def __init__(self, error: Exception) -> None:
        self.chat = self.completions = self
        self._error = error

    def create(self, **_: Any) -> Any:
        raise self._error


@pytest.mark.parametrize("is_installed", [False, True])
def test_a_client_of_an_unknown_kind_has_made_a_call_unless_its_arguments_were_wrong(
    is_installed: bool, recorder: CusRecordingReporter
) -> None:
    if is_installed:
        cus_install_middleware()
    for error in (RuntimeError("a"), ValueError("b"), TypeError("c"), TimeoutError("d")):
        client: Any = _Scripted(error)
        with pytest.raises(type(error)):
            CusOpenAIProvider(client=client).chat_completions_create(**CHAT)

    assert [row["error_code"] for row in recorder.rows] == ["RuntimeError", "TimeoutError"]


def test_an_answer_that_the_program_cannot_parse_was_a_call(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    class Weather(pydantic.BaseModel):
        degrees: int

    cus_install_middleware()
    with _openai(provider) as client, pytest.raises(pydantic.ValidationError):
        client.beta.chat.completions.parse(**CHAT, response_format=Weather)

    assert [row["error_code"] for row in recorder.rows] == ["ValidationError"]
    assert _counts(recorder) == (1, 0)


def test_a_connection_that_is_refused_was_tried(recorder: CusRecordingReporter) -> None:
    cus_install_middleware(detect_bypass=False)
    options: Any = {"api_key": "k", "base_url": "http://127.0.0.1:1/v1", "max_retries": 0}
    with openai.OpenAI(**options) as client, pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(**CHAT)

    assert [row["error_code"] for row in recorder.rows] == ["APIConnectionError"]


def test_a_transport_of_the_program_is_watched_too(recorder: CusRecordingReporter) -> None:
    def fail(_: Any) -> Any:
        raise KeyError("the program's own transport")

    cus_install_middleware()
    http = openai_http.Client(transport=openai_http.MockTransport(fail))
    options: Any = {"api_key": "k", "http_client": http, "max_retries": 0}
    # Some releases of the package raise an error of their own instead.
    errors = (KeyError, openai.APIConnectionError)
    with openai.OpenAI(**options) as client, pytest.raises(errors):
        client.chat.completions.create(**CHAT)

    assert len(recorder.rows) == 1


def test_a_request_that_a_hook_of_the_client_refuses_never_left(
    recorder: CusRecordingReporter,
) -> None:
    class Refusing(openai.OpenAI):
        def _prepare_options(self, options: Any) -> Any:
            raise PermissionError("no token for this user")

    cus_install_middleware()
    with Refusing(api_key="k") as client, pytest.raises(PermissionError):
        client.chat.completions.create(**CHAT)

    assert (recorder.rows, _counts(recorder)) == ([], (0, 0))
