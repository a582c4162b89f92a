"""Capture and bypass detection together: what one governs, the other counts as governed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import openai
import pytest

from aos_sdk import (
    CusOpenAIProvider,
    cus_install_middleware,
    cus_telemetry,
    cus_track,
    cus_wrap,
)
from aos_sdk.cus_capture.bypass import CusBypassCounts
from aos_sdk.cus_capture.bypass_transports import detect_bypass, unwatch_transports, watch_of
from tests.sdk.cus_capture_cases import CASES, CHAT, WAYS, CusRecordingReporter, tried
from tests.sdk.cus_fake_providers import CusFakeProvider
from tests.sdk.cus_provider_http import openai_http

SYNC_AND_ASYNC = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
Call = Callable[[], Any]
CallLater = Callable[[], Awaitable[Any]]


@pytest.fixture(autouse=True)
def _unwatched() -> Iterator[None]:
    yield
    unwatch_transports()


def _counts(recorder: CusRecordingReporter) -> CusBypassCounts:
    return watch_of(recorder).snapshot()


@SYNC_AND_ASYNC
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_captured_call_is_governed_and_the_same_call_uncaptured_is_bypassed(
    name: str, is_async: bool, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    detect_bypass()
    tried(None, CASES[name], provider.url, is_async=is_async)
    assert _counts(recorder) == (0, 1, {"127.0.0.1": 1})
    tried(WAYS["middleware"], CASES[name], provider.url, is_async=is_async)
    assert _counts(recorder) == (1, 1, {"127.0.0.1": 1})


def _in_decorated(call: Call) -> Any:
    return cus_telemetry(model="gpt-4o", provider="openai")(lambda: call())()


def _in_wrapped(call: Call) -> Any:
    return cus_wrap(call, model="gpt-4o", provider="openai")


def _in_block(call: Call) -> Any:
    with cus_track("gpt-4o", provider="openai") as tracker:
        response = call()
        tracker.set_usage_from_response(response)
        return response


async def _in_decorated_later(call: CallLater) -> Any:
    @cus_telemetry(model="gpt-4o", provider="openai")
    async def ask() -> Any:
        return await call()

    return await ask()


async def _in_wrapped_later(call: CallLater) -> Any:
    return await cus_wrap(call, model="gpt-4o", provider="openai")


async def _in_block_later(call: CallLater) -> Any:
    async with cus_track("gpt-4o", provider="openai") as tracker:
        response = await call()
        tracker.set_usage_from_response(response)
        return response


AROUND: dict[str, tuple[Any, Any]] = {
    "decorator": (_in_decorated, _in_decorated_later),
    "wrapper": (_in_wrapped, _in_wrapped_later),
    "block": (_in_block, _in_block_later),
}
# Whether the client is patched, and whether an adapter is asked.
INNERMOST = {"patch": (True, False), "adapter": (False, True), "both": (True, True)}


def _innermost(client: Any, name: str, *, stream: bool) -> Any:
    patched, adapted = INNERMOST[name]
    if patched:
        cus_install_middleware()
    else:
        detect_bypass()
    if adapted:
        return CusOpenAIProvider(client=client).chat_completions_create(**CHAT, stream=stream)
    return client.chat.completions.create(**CHAT, stream=stream)


class Nested(NamedTuple):
    """A way to capture within another, and what the call at the bottom does."""

    outer: str
    inner: str
    innermost: str
    stream: bool


NESTED = [Nested(*ways) for ways in product(AROUND, AROUND, INNERMOST, [False, True])]
every_nesting = pytest.mark.parametrize("nested", NESTED, ids=lambda ways: "-".join(map(str, ways)))


@every_nesting
def test_every_way_within_every_other_is_one_call(
    nested: Nested, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    outer, inner, innermost, stream = nested
    with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
        around, within = AROUND[outer][0], AROUND[inner][0]
        returned = around(lambda: within(lambda: _innermost(client, innermost, stream=stream)))
        _assert_told(recorder, len(list(returned)) if stream else None)


@every_nesting
def test_so_it_is_of_asynchronous_ones(
    nested: Nested, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    outer, inner, innermost, stream = nested

    async def ask() -> int | None:
        around, within = AROUND[outer][1], AROUND[inner][1]
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:

            async def call() -> Any:
                return await _innermost(client, innermost, stream=stream)

            returned = await around(lambda: within(call))
            return len([chunk async for chunk in returned]) if stream else None

    _assert_told(recorder, asyncio.run(ask()))


def _assert_told(recorder: CusRecordingReporter, chunks: int | None) -> None:
    assert chunks in (None, 6)
    (row,) = recorder.rows
    reported = (row["provider"], row["operation"], row["model"], row.get("stream", False))
    assert reported == ("openai", "chat", "gpt-4o", chunks is not None)
    assert row["tokens_out"] == (6 if chunks else 500)
    assert _counts(recorder) == (1, 0, {})
    assert recorder.stats.faults == 0


def test_a_blocks_request_to_a_server_of_no_model_is_no_call_of_a_provider(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    """Programs have servers of their own, whose paths are like some of a provider's."""
    cus_install_middleware()
    answers = openai_http.MockTransport(lambda _request: openai_http.Response(200))
    with (
        openai_http.Client(transport=answers) as own,
        openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1") as client,
    ):
        with cus_track("gpt-4o"):
            own.post("https://accounts.example.com/sessions")
            client.chat.completions.create(**CHAT)
        own.post("https://accounts.example.com/sessions")

    assert [row["tokens_out"] for row in recorder.rows] == [500]
    assert _counts(recorder) == (1, 0, {})
