"""Warnings of the providers' packages point at the same line of the program as without the SDK."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import anthropic
import pytest

from aos_sdk import (
    CusAnthropicProvider,
    cus_install_middleware,
    cus_telemetry,
    cus_wrap,
)
from tests.sdk.cus_capture_cases import DEPRECATED_MODEL, MESSAGES, CusRecordingReporter
from tests.sdk.cus_fake_providers import CusFakeProvider

_OLD: dict[str, Any] = {"model": DEPRECATED_MODEL, "max_tokens": 9, "messages": MESSAGES}


def _whole(client: Any) -> None:
    client.messages.create(**_OLD)


def _beta(client: Any) -> None:
    client.beta.messages.create(**_OLD)


def _raw(client: Any) -> None:
    client.messages.with_raw_response.create(**_OLD)


def _streamed(client: Any) -> None:
    for _ in client.messages.create(stream=True, **_OLD):
        pass


def _helper(client: Any) -> None:
    with client.messages.stream(**_OLD) as stream:
        stream.until_done()


async def _awaited(client: Any) -> None:
    await client.messages.create(**_OLD)


async def _nested(client: Any) -> None:
    async def ask() -> None:
        await client.messages.create(**_OLD)

    await ask()


async def _beta_awaited(client: Any) -> None:
    await client.beta.messages.create(**_OLD)


async def _task(client: Any) -> None:
    await asyncio.ensure_future(client.messages.create(**_OLD))


async def _gathered(client: Any) -> None:
    await asyncio.gather(client.messages.create(**_OLD))


async def _raw_awaited(client: Any) -> None:
    await client.messages.with_raw_response.create(**_OLD)


async def _body_awaited(client: Any) -> None:
    async with client.messages.with_streaming_response.create(**_OLD) as response:
        await response.read()


async def _streamed_awaited(client: Any) -> None:
    async for _ in await client.messages.create(stream=True, **_OLD):
        pass


async def _helper_awaited(client: Any) -> None:
    async with client.messages.stream(**_OLD) as stream:
        await stream.until_done()


_SYNC = [_whole, _beta, _raw, _streamed, _helper]
_ASYNC = [
    _awaited,
    _nested,
    _beta_awaited,
    _task,
    _gathered,
    _raw_awaited,
    _body_awaited,
    _streamed_awaited,
    _helper_awaited,
]


def _warned(call: Callable[[], object]) -> list[tuple[str, int]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [
        (warning.filename, warning.lineno)
        for warning in caught
        if issubclass(warning.category, DeprecationWarning)
    ]


@pytest.mark.parametrize("use", _SYNC)
@pytest.mark.usefixtures("recorder")
def test_a_warning_of_a_call_points_where_it_would(
    use: Callable[[Any], None], provider: CusFakeProvider
) -> None:
    with anthropic.Anthropic(api_key="k", base_url=provider.url) as client:
        ask = partial(use, client)
        bare = _warned(ask)
        cus_install_middleware()
        assert _warned(ask) == bare


@pytest.mark.parametrize("use", _ASYNC)
@pytest.mark.usefixtures("recorder")
def test_a_warning_of_an_asynchronous_call_points_where_it_would(
    use: Callable[[Any], Any], provider: CusFakeProvider
) -> None:
    async def ask() -> None:
        async with anthropic.AsyncAnthropic(api_key="k", base_url=provider.url) as client:
            await use(client)

    bare = _warned(lambda: asyncio.run(ask()))
    cus_install_middleware()
    assert _warned(lambda: asyncio.run(ask())) == bare


def test_a_warning_points_at_the_line_that_calls_an_adapter(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    with anthropic.Anthropic(api_key="k", base_url=provider.url) as client:
        adapter = CusAnthropicProvider(client=client, reporter=recorder)
        (place,) = _warned(lambda: adapter.messages_create(**_OLD))
    assert place[0] == __file__


def _warn() -> str:
    warnings.warn("old", DeprecationWarning, stacklevel=2)
    return "an answer"


async def _warn_later() -> str:
    return _warn_above()


def _warn_above() -> str:
    warnings.warn("old", DeprecationWarning, stacklevel=3)
    return "an answer"


def _yield() -> Iterator[str]:
    warnings.warn("old", DeprecationWarning, stacklevel=2)
    yield "an answer"


async def _yield_later() -> AsyncIterator[str]:
    yield _warn_above()


def _use(function: Callable[..., Any]) -> None:
    async def until_done(answer: Any) -> None:
        if hasattr(answer, "__await__"):
            await answer
        else:
            async for _ in answer:
                pass

    answer = function()
    if hasattr(answer, "__await__") or hasattr(answer, "__aiter__"):
        asyncio.run(until_done(answer))
    else:
        list(answer)


@pytest.mark.parametrize("function", [_warn, _warn_later, _yield, _yield_later])
@pytest.mark.usefixtures("recorder")
def test_a_warning_of_a_decorated_function_points_where_it_would(
    function: Callable[..., Any],
) -> None:
    bare = _warned(lambda: _use(function))
    assert bare
    assert _warned(lambda: _use(cus_telemetry("gpt-4o")(function))) == bare


@pytest.mark.usefixtures("recorder")
def test_a_warning_of_a_wrapped_call_points_at_the_program() -> None:
    ((file, _),) = _warned(lambda: cus_wrap(_warn, model="gpt-4o"))
    assert file == __file__
