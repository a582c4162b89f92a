"""Clients of other platforms, tool runners and batches: what calls the providers in the end."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from aos_sdk import cus_install_middleware
from tests.sdk.cus_capture_cases import MESSAGES, CusRecordingReporter
from tests.sdk.cus_fake_providers import CusFakeProvider

MESSAGE: dict[str, Any] = {"model": "claude-sonnet-4", "max_tokens": 9, "messages": MESSAGES}


def test_azure_calls_are_azures(provider: CusFakeProvider, recorder: CusRecordingReporter) -> None:
    cus_install_middleware()
    with openai.AzureOpenAI(
        api_key="k", azure_endpoint=provider.url, api_version="2024-10-21"
    ) as client:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert [row["provider"] for row in recorder.rows] == ["azure_openai"]


def test_counting_tokens_is_free_and_no_call(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    with anthropic.Anthropic(api_key="k", base_url=provider.url) as client:
        client.messages.count_tokens(model="claude-sonnet-4", messages=MESSAGES)
    assert recorder.rows == []


def _bedrock(url: str, monkeypatch: pytest.MonkeyPatch, *, is_async: bool) -> Any:
    kind: Any = anthropic.AsyncAnthropicBedrock if is_async else anthropic.AnthropicBedrock
    if "api_key" in inspect.signature(kind).parameters:
        return kind(base_url=url, api_key="k", aws_region="us-east-1")
    # Old releases sign by boto3 alone; what they would sign is as good for the fake provider.
    monkeypatch.setattr("anthropic.lib.bedrock._auth.get_auth_headers", lambda **_: {})
    return kind(base_url=url, aws_access_key="k", aws_secret_key="s", aws_region="us-east-1")


def _vertex(url: str, monkeypatch: pytest.MonkeyPatch, *, is_async: bool) -> Any:
    kind: Any = anthropic.AsyncAnthropicVertex if is_async else anthropic.AnthropicVertex
    return kind(base_url=url, region="global", project_id="p", access_token="t")


PLATFORMS: dict[str, Callable[..., Any]] = {"bedrock": _bedrock, "vertex": _vertex}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_calls_by_a_platforms_client_are_the_platforms(
    platform: str,
    provider: CusFakeProvider,
    recorder: CusRecordingReporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cus_install_middleware()
    with PLATFORMS[platform](provider.url, monkeypatch, is_async=False) as client:
        client.messages.create(**MESSAGE)
        client.beta.messages.create(**MESSAGE)
        with client.messages.create(**MESSAGE, stream=True) as stream:
            assert [event.type for event in stream][-1] == "message_stop"
    _assert_told(recorder, platform)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_so_are_asynchronous_ones(
    platform: str,
    provider: CusFakeProvider,
    recorder: CusRecordingReporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ask() -> None:
        async with PLATFORMS[platform](provider.url, monkeypatch, is_async=True) as client:
            await client.messages.create(**MESSAGE)
            await client.beta.messages.create(**MESSAGE)
            async with await client.messages.create(**MESSAGE, stream=True) as stream:
                assert [event.type async for event in stream][-1] == "message_stop"

    cus_install_middleware()
    asyncio.run(ask())
    _assert_told(recorder, platform)


def _assert_told(recorder: CusRecordingReporter, platform: str) -> None:
    reported = [(row["provider"], row["tokens_in"], row["tokens_out"]) for row in recorder.rows]
    assert reported == [(platform, 1_000, 500)] * 3
    assert [row.get("stream", False) for row in recorder.rows] == [False, False, True]
    assert recorder.stats.faults == 0


needs_tool_runners = pytest.mark.skipif(
    not hasattr(anthropic, "beta_tool"), reason="this release has no tool runners"
)
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@needs_tool_runners
@STREAMED
def test_each_request_of_a_tool_runner_is_a_call(
    stream: bool, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    asked: list[str] = []

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Says how the weather is in a city."""
        asked.append(city)
        return "fine"

    cus_install_middleware()
    with anthropic.Anthropic(api_key="k", base_url=provider.url) as client:
        runner: Any = client.beta.messages.tool_runner(**MESSAGE, tools=[weather], stream=stream)
        assert runner.until_done().stop_reason == "end_turn"
    assert asked == ["Ada"]
    assert [row["tokens_out"] for row in recorder.rows] == [500, 500]
    assert len({row["call_id"] for row in recorder.rows}) == 2


@needs_tool_runners
@STREAMED
def test_so_is_each_of_an_asynchronous_one(
    stream: bool, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    asked: list[str] = []

    @anthropic.beta_async_tool
    async def weather(city: str) -> str:
        """Says how the weather is in a city."""
        asked.append(city)
        return "fine"

    async def ask() -> None:
        async with anthropic.AsyncAnthropic(api_key="k", base_url=provider.url) as client:
            runner: Any = client.beta.messages.tool_runner(
                **MESSAGE, tools=[weather], stream=stream
            )
            assert (await runner.until_done()).stop_reason == "end_turn"

    cus_install_middleware()
    asyncio.run(ask())
    assert asked == ["Ada"]
    assert [row["tokens_out"] for row in recorder.rows] == [500, 500]


def _results(url: str) -> list[str]:
    with anthropic.Anthropic(api_key="k", base_url=url) as client:
        return [result.custom_id for result in client.messages.batches.results("msgbatch_1")]


async def _results_later(url: str) -> list[str]:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=url) as client:
        results = await client.messages.batches.results("msgbatch_1")
        return [result.custom_id async for result in results]


def test_results_of_a_batch_cost_half_and_are_the_same_records_each_time(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    assert _results(provider.url) == ["a", "b", "c"]
    assert asyncio.run(_results_later(provider.url)) == ["a", "b", "c"]
    first, second, again, once_more = recorder.rows
    assert (first, second) == (again, once_more)
    assert first["call_id"] != second["call_id"]
    assert (first["service_tier"], first["tokens_in"]) == ("batch", 1_000)
    assert first["timestamp"].startswith("2026-11-22T11:00:00")
    assert first["cost_cents"] == 1
