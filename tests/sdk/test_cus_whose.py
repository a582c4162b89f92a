"""Whose a call was: session, agent, end user and tags, by block, call and program (ruling E3a)."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from typing import Any

import pytest

from aos_sdk import (
    CusBaseProvider,
    CusCallContext,
    CusOpenAIProvider,
    cus_configure,
    cus_context,
    cus_install_middleware,
    cus_shutdown,
    cus_telemetry,
    cus_track,
    cus_wrap,
)
from aos_sdk import cus_tags as tags_module
from aos_sdk.cus_configuration import CusConfiguration, active
from tests.sdk.conftest import KEY
from tests.sdk.cus_capture_cases import CHAT, CusRecordingReporter
from tests.sdk.cus_fake_servers import CusFakeCollector, cus_chat_completion
from tests.sdk.cus_provider_http import openai_http
from tests.sdk.cus_scripted_clients import async_openai_client, openai_client, whole

COMPLETION = whole(openai_http, cus_chat_completion())
FIELDS = ("session_id", "agent_id", "end_user", "tags")


def _whose(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in FIELDS)


def _only(recorder: CusRecordingReporter) -> tuple[Any, ...]:
    (row,) = recorder.rows
    recorder.rows.clear()
    assert recorder.stats.faults == 0
    return _whose(row)


def _tracked(recorder: CusRecordingReporter, **said: Any) -> tuple[Any, ...]:
    with cus_track("gpt-4o", **said):
        pass
    return _only(recorder)


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], int]]:
    """How often the log has said that a tag was cut or left out."""
    caplog.set_level(logging.WARNING, logger="aos_sdk")
    tags_module._unlogged[:] = [tags_module._PROBLEM]
    tags_module._merged.cache_clear()
    yield lambda: sum("a tag is cut or left out" in line for line in caplog.messages)
    tags_module._unlogged[:] = [tags_module._PROBLEM]


def test_inner_blocks_add_tags_and_override_keys_and_names(recorder: CusRecordingReporter) -> None:
    with cus_context(session_id="s", end_user="ada", tags={"team": "search", "env": "prod"}):
        with cus_context(agent_id="a", end_user="bob", tags={"env": "test", "step": 1}):
            assert _tracked(recorder) == ("s", "a", "bob", ["team=search", "env=test", "step=1"])
        with cus_context(agent_id="a"):
            assert _tracked(recorder) == ("s", "a", "ada", ["team=search", "env=prod"])
    assert _tracked(recorder) == (None, None, None, None)


def test_a_calls_own_names_override_those_of_its_block(recorder: CusRecordingReporter) -> None:
    with cus_context(session_id="s", end_user="ada", tags={"team": "search", "env": "prod"}):
        whose = _tracked(recorder, agent_id="own", end_user="eve", tags={"env": "test"})
        assert whose == ("s", "own", "eve", ["team=search", "env=test"])


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"team": "search"}, ["team=search"]),
        (["team=search", "env=prod"], ["team=search", "env=prod"]),
        ("team=search, env=prod", ["team=search", "env=prod"]),
        ({"team": None, "env": "prod"}, ["env=prod"]),
        (["team=search", "team=ads"], ["team=ads"]),
        ({"key": "sk-proj-abcdefghijklmnopqrstuvwxyz012345"}, ["key=[masked]"]),
        ({}, None),
        (None, None),
    ],
)
def test_tags_are_given_as_a_mapping_texts_or_one_text(
    given: Any, sent: list[str] | None, recorder: CusRecordingReporter, warned: Callable[[], int]
) -> None:
    with cus_context(tags=given):
        assert _tracked(recorder)[3] == sent
    assert warned() == 0


class _Unreadable:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({f"key{number}": number for number in range(7)}, [f"key{n}={n}" for n in range(5)]),
        ({"long": "x" * 100}, [f"long={'x' * 59}"]),
        (["no tag", "=nor this", "env=prod"], ["env=prod"]),
        ({"": "no key"}, None),
        (5, None),
        ({"key": _Unreadable()}, None),
    ],
)
def test_tags_that_do_not_fit_are_cut_or_left_out_and_the_log_says_so_once(
    given: Any, sent: list[str] | None, recorder: CusRecordingReporter, warned: Callable[[], int]
) -> None:
    for _ in range(2):
        with cus_context(tags=given):
            assert _tracked(recorder)[3] == sent
        assert _tracked(recorder, tags=given)[3] == sent
    assert warned() == 1


def test_of_too_many_tags_those_of_the_outer_blocks_are_left_out(
    recorder: CusRecordingReporter, warned: Callable[[], int]
) -> None:
    outer = {f"outer{number}": number for number in range(4)}
    with cus_context(tags=outer), cus_context(tags={"outer3": "own", "inner": 1, "more": 2}):
        assert _tracked(recorder)[3] == [
            "outer1=1", "outer2=2", "outer3=own", "inner=1", "more=2",
        ]  # fmt: skip
    assert warned() == 1


def test_an_end_user_may_be_named_by_a_number_and_a_long_name_is_cut(
    recorder: CusRecordingReporter,
) -> None:
    with cus_context(end_user=42):  # type: ignore[arg-type]
        assert _tracked(recorder)[2] == "42"
    with cus_context(end_user="x" * 200):
        assert _tracked(recorder)[2] == "x" * 100


def test_threads_and_tasks_keep_the_names_that_they_began_with(
    recorder: CusRecordingReporter,
) -> None:
    def call(name: str) -> None:
        with cus_track("gpt-4o", call_id=name):
            pass

    async def one(name: str) -> None:
        with cus_context(end_user=name, tags={"task": name}):
            await asyncio.sleep(0)
            call(name)

    async def tasks() -> None:
        with cus_context(tags={"team": "search"}):
            await asyncio.gather(one("a"), one("b"), asyncio.to_thread(call, "c"))

    asyncio.run(tasks())
    with cus_context(end_user="outer"), ThreadPoolExecutor(1) as pool:
        pool.submit(call, "plain thread").result()
        pool.submit(copy_context().run, call, "thread with the context").result()
    assert {row["call_id"]: _whose(row)[2:] for row in recorder.rows} == {
        "a": ("a", ["team=search", "task=a"]),
        "b": ("b", ["team=search", "task=b"]),
        "c": (None, ["team=search"]),
        "plain thread": (None, None),
        "thread with the context": ("outer", None),
    }


def _patched(names: dict[str, Any]) -> None:
    with cus_context(**names):
        openai_client(COMPLETION).chat.completions.create(**CHAT)


def _patched_later(names: dict[str, Any]) -> None:
    async def program() -> None:
        with cus_context(**names):
            await async_openai_client(COMPLETION).chat.completions.create(**CHAT)

    asyncio.run(program())


def _by_adapter(names: dict[str, Any]) -> None:
    client = openai_client(COMPLETION)
    CusOpenAIProvider(client=client).chat_completions_create(**CHAT, **names)


def _by_wrapper(names: dict[str, Any]) -> None:
    cus_wrap(lambda: None, model="gpt-4o", **names)


def _by_decorator(names: dict[str, Any]) -> None:
    cus_telemetry("gpt-4o", **names)(lambda: None)()


def _by_block(names: dict[str, Any]) -> None:
    with cus_track("gpt-4o", **names):
        pass


class _Echo(CusBaseProvider[None]):
    def _create_client(self, api_key: str | None, **_: Any) -> None:
        return None

    def _get_provider_name(self) -> str:
        return "echo"

    def _extract_usage(self, response: Any) -> tuple[int, int]:
        return len(response), 0

    def _calculate_cost(self, model: str, tokens_in: int, tokens_out: int) -> int:
        return 0


def _by_own_adapter(names: dict[str, Any]) -> None:
    context = CusCallContext("echo-1", "echo-model", 0.0, **names)
    _Echo()._execute_with_telemetry(context, lambda: "four")


WAYS = [
    _patched, _patched_later, _by_adapter, _by_wrapper, _by_decorator, _by_block, _by_own_adapter,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_capture_says_whose_a_call_was(
    way: Callable[[dict[str, Any]], None], recorder: CusRecordingReporter
) -> None:
    cus_install_middleware(detect_bypass=False)
    way({"session_id": "s", "agent_id": "a", "end_user": "ada", "tags": {"team": "search"}})
    assert _only(recorder) == ("s", "a", "ada", ["team=search"])


@pytest.mark.parametrize("way", WAYS)
def test_the_programs_own_tags_are_in_each_call_and_a_block_overrides_them(
    way: Callable[[dict[str, Any]], None], recorder: CusRecordingReporter
) -> None:
    active.replace(CusConfiguration(recorder, tags=("team=search", "env=prod")))
    cus_install_middleware(detect_bypass=False)
    way({})
    assert _only(recorder)[3] == ["team=search", "env=prod"]
    way({"tags": {"team": "ads"}})
    assert _only(recorder)[3] == ["env=prod", "team=ads"]


@pytest.mark.parametrize("way", WAYS)
def test_a_call_of_nobody_in_particular_says_nothing(
    way: Callable[[dict[str, Any]], None], recorder: CusRecordingReporter
) -> None:
    cus_install_middleware(detect_bypass=False)
    way({})
    (row,) = recorder.rows
    assert not row.keys() & set(FIELDS)


@pytest.mark.parametrize("outer", [{}, {"end_user": "eve", "tags": {"team": "ads"}}])
def test_names_of_a_block_within_a_call_reach_the_calls_record(
    outer: dict[str, Any], recorder: CusRecordingReporter
) -> None:
    cus_install_middleware(detect_bypass=False)
    with cus_track("gpt-4o", **outer):
        _patched({"session_id": "s", "end_user": "ada", "tags": {"team": "search", "step": 1}})
    expected = (
        ("s", None, "eve", ["step=1", "team=ads"])
        if outer
        else ("s", None, "ada", ["team=search", "step=1"])
    )
    assert _only(recorder) == expected


@pytest.mark.parametrize("durable", [True, False])
def test_the_environments_tags_reach_the_server(
    durable: bool, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("CUS_DEFAULT_TAGS", "team=search,env=prod,nonsense")
    spool: Any = tmp_path if durable else None
    try:
        cus_configure(KEY, collector.url, batch_interval=0.05, spool_dir=spool)
        with cus_context(end_user="ada") if durable else nullcontext(), cus_track("gpt-4o"):
            pass
        assert cus_shutdown(5.0) == 0
    finally:
        active.replace(None)
    (row,) = collector.stored.values()
    assert row["tags"] == ["team=search", "env=prod"]
    assert row.get("end_user") == ("ada" if durable else None)
