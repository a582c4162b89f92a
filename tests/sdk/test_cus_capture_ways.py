"""Decorator, block and wrapper around code of the program's own; calls within calls."""

import asyncio
import gc
import inspect
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from aos_sdk import (
    CusOpenAIProvider,
    CusProviderStatus,
    cus_context,
    cus_install_middleware,
    cus_telemetry,
    cus_track,
    cus_wrap,
)
from aos_sdk.cus_configuration import CusConfiguration, active
from aos_sdk.cus_counting.classes import MOST_REMEMBERED
from aos_sdk.cus_scope import in_governed_call
from tests.sdk.cus_capture_cases import CHAT, CusRecordingReporter
from tests.sdk.cus_fake_providers import CusFakeProvider
from tests.sdk.cus_fake_servers import cus_chat_completion

ANSWER = cus_chat_completion()
governed = cus_telemetry(model="gpt-4o", provider="openai")


@pytest.fixture
def client(provider: CusFakeProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="sk-test", base_url=f"{provider.url}/v1") as made:
        yield made


def test_a_decorated_function_stays_what_it_is(recorder: CusRecordingReporter) -> None:
    def plain(a: int, *, b: str = "x") -> dict[str, Any]:
        """Says something."""
        return {**ANSWER, "a": a, "b": b}

    async def later(a: int) -> dict[str, Any]:
        return {**ANSWER, "a": a}

    def steps(a: int) -> Iterator[int]:
        yield a

    async def steps_later(a: int) -> AsyncIterator[int]:
        yield a

    asks: tuple[Callable[[Any], bool], ...] = (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    )
    for function in (plain, later, steps, steps_later):
        decorated = governed(function)
        assert decorated.__wrapped__ is function  # type: ignore[attr-defined]
        assert inspect.signature(decorated) == inspect.signature(function)
        assert (decorated.__name__, decorated.__doc__) == (function.__name__, function.__doc__)
        assert [ask(decorated) for ask in asks] == [ask(function) for ask in asks]
    assert governed(plain)(1, b="y") == {**ANSWER, "a": 1, "b": "y"}
    assert asyncio.run(governed(later)(2)) == {**ANSWER, "a": 2}
    assert [row["tokens_in"] for row in recorder.rows] == [1_000, 1_000]


def test_a_decorated_generator_is_one_call_from_its_first_step_to_its_end(
    recorder: CusRecordingReporter,
) -> None:
    seen: list[Any] = []

    @governed
    def conversation() -> Any:
        seen.append((yield "one"))
        try:
            yield "two"
        except KeyError as error:
            seen.append(error)
        yield ANSWER
        return "end"

    steps = conversation()
    assert (next(steps), steps.send("sent")) == ("one", "two")
    assert not in_governed_call()
    thrown = KeyError("thrown")
    assert steps.throw(thrown) == ANSWER
    assert recorder.rows == []
    with pytest.raises(StopIteration) as stop:
        next(steps)
    assert stop.value.value == "end"
    assert seen == ["sent", thrown]
    assert [(row["tokens_in"], row["tokens_out"]) for row in recorder.rows] == [(1_000, 500)]


def test_a_decorated_asynchronous_generator_too(recorder: CusRecordingReporter) -> None:
    seen: list[Any] = []

    @governed
    async def conversation() -> Any:
        seen.append((yield "one"))
        try:
            yield "two"
        finally:
            seen.append("closed")

    async def talk() -> None:
        steps = conversation()
        assert await anext(steps) == "one"
        assert await steps.asend("sent") == "two"
        assert not in_governed_call()
        await steps.aclose()

    asyncio.run(talk())
    assert seen == ["sent", "closed"]
    assert [row["metadata"]["abandoned"] for row in recorder.rows] == [True]


def test_a_generator_that_fails_fails_as_it_would(recorder: CusRecordingReporter) -> None:
    @governed
    def fails() -> Iterator[str]:
        yield "one"
        raise RuntimeError("with a key sk-abcdef123456")

    with pytest.raises(RuntimeError, match="abcdef"):
        list(fails())
    assert [row["error_code"] for row in recorder.rows] == ["RuntimeError"]
    assert "abcdef" not in recorder.rows[0]["error_message"]


def test_a_wrapped_awaitable_is_measured_when_it_runs(recorder: CusRecordingReporter) -> None:
    async def later() -> Any:
        await asyncio.sleep(0.05)
        return ChatCompletion.model_validate(ANSWER)

    async def ask() -> None:
        prepared = cus_wrap(later, model="gpt-4o", provider="openai", call_id="c")
        assert recorder.rows == []
        assert type(await prepared) is ChatCompletion

    asyncio.run(ask())
    (row,) = recorder.rows
    assert (row["call_id"], row["tokens_in"], row["latency_ms"] >= 50) == ("c", 1_000, True)


def test_an_asynchronous_block_is_measured(recorder: CusRecordingReporter) -> None:
    async def ask() -> None:
        async with cus_track("gpt-4o", provider="openai", session_id="s") as tracker:
            await asyncio.sleep(0)
            tracker.set_usage_from_response(ANSWER, "openai").set_metadata(step=1)

    asyncio.run(ask())
    (row,) = recorder.rows
    assert (row["session_id"], row["tokens_out"], row["metadata"]) == ("s", 500, {"step": 1})


def _by_decorator(call: Callable[[], Any]) -> Any:
    return governed(call)()


def _by_wrapper(call: Callable[[], Any]) -> Any:
    return cus_wrap(call, model="gpt-4o", provider="openai")


def _by_block(call: Callable[[], Any]) -> Any:
    with cus_track("gpt-4o", provider="openai") as tracker:
        response = call()
        tracker.set_usage_from_response(response)
        return response


@pytest.mark.parametrize("outer", [_by_decorator, _by_wrapper, _by_block])
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_within_a_call_is_counted_once(
    outer: Callable[[Callable[[], Any]], Any],
    stream: bool,
    client: openai.OpenAI,
    recorder: CusRecordingReporter,
) -> None:
    cus_install_middleware()
    adapter = CusOpenAIProvider(client=client)

    def call() -> Any:
        return adapter.chat_completions_create(**CHAT, stream=stream)

    returned = outer(lambda: _by_wrapper(call))
    if stream:
        assert recorder.rows == []
        assert len(list(returned)) == 6
    (row,) = recorder.rows
    assert (row["operation"], row["stream"] if stream else None) == ("chat", stream or None)
    assert row["tokens_out"] == (6 if stream else 500)


def test_the_surrounding_call_gives_its_name_and_each_further_call_counts_itself(
    client: openai.OpenAI, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()

    @governed
    def agent() -> str:
        for _ in range(3):
            client.chat.completions.create(**CHAT)
        return "done"

    assert agent() == "done"
    assert [row["tokens_in"] for row in recorder.rows] == [1_000] * 3
    recorder.rows.clear()
    with cus_track("gpt-4o", call_id="mine", agent_id="a") as tracker:
        client.chat.completions.create(**CHAT)
        tracker.set_metadata(team="red")
    (row,) = recorder.rows
    assert (row["call_id"], row["agent_id"], row["metadata"]) == ("mine", "a", {"team": "red"})
    assert row["host"] == "127.0.0.1"


def test_a_coroutine_that_never_runs_takes_nothing_from_the_surrounding_call(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    client = openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1")
    with cus_track("gpt-4o") as tracker:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            client.chat.completions.create(**CHAT)  # type: ignore[unused-coroutine]
            # What is recorded holds the coroutine, and that the one within it.
            while caught:
                assert "never awaited" in str(caught.pop(0).message)
                gc.collect()
        tracker.set_tokens(3, 4)
    assert [(row["tokens_in"], row["tokens_out"]) for row in recorder.rows] == [(3, 4)]


def test_context_names_session_and_agent_in_threads_and_tasks(
    recorder: CusRecordingReporter,
) -> None:
    active.replace(CusConfiguration(recorder, session_id="whole", agent_id="program"))

    def call(name: str) -> None:
        with cus_track("gpt-4o", call_id=name):
            assert in_governed_call()

    async def tasks() -> None:
        async def one(name: str) -> None:
            with cus_context(agent_id=name):
                await asyncio.sleep(0)
                call(name)

        with cus_context(session_id="s"):
            await asyncio.gather(one("a"), one("b"), asyncio.to_thread(call, "c"))

    asyncio.run(tasks())
    with cus_context(agent_id="outer"), ThreadPoolExecutor(1) as pool:
        pool.submit(call, "d").result()
    assert not in_governed_call()
    named = {row["call_id"]: (row["session_id"], row["agent_id"]) for row in recorder.rows}
    assert named == {
        "a": ("s", "a"),
        "b": ("s", "b"),
        "c": ("s", "program"),
        "d": ("whole", "program"),
    }


def test_what_a_call_has_left_running_counts_itself(
    client: openai.OpenAI, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()

    async def later(is_over: asyncio.Event) -> None:
        await is_over.wait()
        client.chat.completions.create(**CHAT)

    async def program() -> None:
        is_over = asyncio.Event()
        with cus_track("gpt-4o"):
            task = asyncio.create_task(later(is_over))
        is_over.set()
        await task

    asyncio.run(program())
    assert [row["tokens_in"] for row in recorder.rows] == [0, 1_000]


def test_what_a_call_within_a_call_has_sent_is_not_kept(
    client: openai.OpenAI, recorder: CusRecordingReporter
) -> None:
    class Sent(list[Any]):
        """A list that can be referred to weakly."""

    def ask(**more: Any) -> tuple[Any, "weakref.ref[Sent]"]:
        sent = Sent(CHAT["messages"])
        answer = client.chat.completions.create(**{**CHAT, "messages": sent}, **more)
        return answer, weakref.ref(sent)

    cus_install_middleware()
    with cus_track("gpt-4o") as tracker:
        _, sent = ask()
    assert sent() is None
    assert tracker.has_inner
    stream, sent = ask(stream=True)
    next(stream)
    stream.close()
    gc.collect()
    assert sent() is None


def test_a_task_that_is_cancelled_before_it_begins_warns_of_nothing(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()

    async def cancel() -> None:
        client = openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1")
        task = asyncio.ensure_future(client.chat.completions.create(**CHAT))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(cancel())
        gc.collect()
    assert [str(warning.message) for warning in caught if "await" in str(warning.message)] == []
    assert recorder.rows == []


def test_a_coroutine_that_the_program_holds_is_its_own_to_run(
    recorder: CusRecordingReporter,
) -> None:
    async def works() -> str:
        return "done"

    async def program() -> str:
        mine = works()
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            cus_wrap(lambda: mine, model="gpt-4o")  # type: ignore[unused-coroutine]
        return await mine

    assert asyncio.run(program()) == "done"


def test_a_context_can_be_shared_and_left_where_it_was_not_entered(
    recorder: CusRecordingReporter,
) -> None:
    shared = cus_context(agent_id="shared")

    async def works(name: str, seconds: float) -> None:
        with shared, cus_context(session_id=name), shared:
            await asyncio.sleep(seconds)
            with cus_track("gpt-4o", call_id=name):
                pass
        with cus_track("gpt-4o", call_id=f"after {name}"):
            pass

    async def yields() -> AsyncIterator[None]:
        with cus_context(agent_id="generator"):
            yield

    async def tasks() -> None:
        await asyncio.gather(works("a", 0.01), works("b", 0.02))
        generator = yields()
        await anext(generator)
        await asyncio.create_task(generator.aclose())  # type: ignore[attr-defined]

    asyncio.run(tasks())
    named = {row["call_id"]: (row.get("session_id"), row.get("agent_id")) for row in recorder.rows}
    assert named == {
        "a": ("a", "shared"),
        "b": ("b", "shared"),
        "after a": (None, None),
        "after b": (None, None),
    }


def test_a_context_that_a_generator_still_holds_ends_with_the_block_around_it(
    recorder: CusRecordingReporter,
) -> None:
    def yields() -> Iterator[None]:
        with cus_context(agent_id="generator"):
            yield

    with cus_context(session_id="s"):
        generator = yields()
        next(generator)
    for _ in range(2):
        with cus_track("gpt-4o"):
            pass
        next(generator, None)
    assert [row.keys() & {"session_id", "agent_id"} for row in recorder.rows] == [set(), set()]


def test_classes_that_a_program_makes_as_it_goes_are_not_kept(
    recorder: CusRecordingReporter,
) -> None:
    made = []
    for number in range(MOST_REMEMBERED + 50):
        kind = type(f"Answer{number}", (), {"usage": None})
        made.append(weakref.ref(kind))
        cus_wrap(kind, model="gpt-4o")
    del kind
    gc.collect()
    assert sum(alive() is not None for alive in made) <= MOST_REMEMBERED


def test_calls_in_many_threads_are_each_counted_once(
    client: openai.OpenAI, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()

    def work() -> None:
        for _ in range(5):
            client.chat.completions.create(**CHAT)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({row["call_id"] for row in recorder.rows}) == len(recorder.rows) == 20


def test_without_auto_report_everything_passes_unseen(
    client: openai.OpenAI, recorder: CusRecordingReporter
) -> None:
    active.replace(CusConfiguration(recorder, auto_report=False))
    cus_install_middleware()
    client.chat.completions.create(**CHAT)
    _by_block(lambda: ANSWER)
    assert recorder.rows == []


def test_a_call_that_fails_names_the_model_of_an_enumeration_and_an_id_that_says_nothing_is_none(
    recorder: CusRecordingReporter,
) -> None:
    class Model(str, Enum):  # noqa: UP042 - its members call themselves otherwise than they are
        CHEAP = "gpt-4o-mini"

    with openai.OpenAI(api_key="k", base_url="http://127.0.0.1:9", max_retries=0) as nowhere:
        adapter = CusOpenAIProvider(client=nowhere)
        with pytest.raises(openai.APIConnectionError):
            adapter.chat_completions_create(**{**CHAT, "model": Model.CHEAP}, call_id="")
    with cus_track(Model.CHEAP):
        pass
    assert [row["model"] for row in recorder.rows] == ["gpt-4o-mini"] * 2
    assert all(row["call_id"] for row in recorder.rows)


def test_an_adapter_asks_in_one_line_and_knows_how_its_calls_go(
    client: openai.OpenAI, recorder: CusRecordingReporter
) -> None:
    adapter = CusOpenAIProvider(client=client.with_options(max_retries=0))
    before = adapter.status
    assert adapter.ask("Hello?", "gpt-4o", agent_id="a") == "The quick brown fox jumps."
    assert (before, adapter.status) == (CusProviderStatus.UNKNOWN, CusProviderStatus.HEALTHY)
    seen = []
    for _ in range(3):
        with pytest.raises(openai.RateLimitError):
            adapter.complete("Hello?", "gpt-4o/refused")
        seen.append(adapter.status.value)
    assert seen == ["degraded", "degraded", "failing"]
    assert recorder.rows[0]["agent_id"] == "a"


@pytest.mark.parametrize(
    "broken",
    [
        "aos_sdk.cus_measured_call.extract_token_usage",
        "aos_sdk.cus_delivery.ended_call.cost_of_call",
    ],
)
def test_faults_of_our_own_are_counted_and_nothing_else(
    broken: str,
    client: openai.OpenAI,
    recorder: CusRecordingReporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def explode(*args: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(broken, explode)
    cus_install_middleware()
    assert client.chat.completions.create(**CHAT).id == "chatcmpl-1"
    assert len(recorder.rows) == 1
    assert recorder.stats.faults == 1
