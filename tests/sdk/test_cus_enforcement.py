"""Captured calls are decided before they begin: allowed, warned, throttled, blocked (§6.2)."""

import asyncio
import os
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from aos_sdk import (
    CusBaseProvider,
    CusBlocked,
    CusCallContext,
    CusHardBlocked,
    CusLimitExceeded,
    CusLimitWarning,
    CusOpenAIProvider,
    CusThrottled,
    cus_install_middleware,
    cus_telemetry,
    cus_track,
    cus_wrap,
)
from aos_sdk.cus_enforcing import configuration as cus_known
from tests.sdk import cus_governed_programs
from tests.sdk.cus_capture_cases import CHAT, MESSAGE
from tests.sdk.cus_fake_providers import CusFakeProvider
from tests.sdk.cus_fake_servers import CusFakeGovernor, cus_refusal
from tests.sdk.cus_governed_programs import (
    Configure,
    asked_later,
    known_by,
    patched,
    records_of,
    wait_until,
)

# --- Ways of capture --------------------------------------------------------------------------


def _posted(client: openai.OpenAI) -> Any:
    cus_install_middleware()
    return client.post("/chat/completions", body=CHAT, cast_to=object)


def _streamed(client: openai.OpenAI) -> Any:
    cus_install_middleware()
    return list(client.chat.completions.create(stream=True, **CHAT))


def _helped(client: openai.OpenAI) -> Any:
    cus_install_middleware()
    with client.chat.completions.with_streaming_response.create(**CHAT) as response:
        return response.read()


def _adapted(client: openai.OpenAI) -> Any:
    return CusOpenAIProvider(client=client).chat_completions_create(**CHAT)


class _OwnProvider(CusBaseProvider[openai.OpenAI]):
    """An adapter as programs define them."""

    def _create_client(self, api_key: str | None, **kwargs: Any) -> openai.OpenAI:
        raise NotImplementedError

    def _get_provider_name(self) -> str:
        return "openai"

    def _extract_usage(self, response: Any) -> tuple[int, int]:
        return 10, 5

    def _calculate_cost(self, model: str, tokens_in: int, tokens_out: int) -> int:
        return 1


def _of_own_provider(client: openai.OpenAI) -> Any:
    context = CusCallContext("own", "gpt-4o", time.time())
    return _OwnProvider(client=client)._execute_with_telemetry(
        context, lambda: client.chat.completions.create(**CHAT)
    )


def _wrapped(client: openai.OpenAI) -> Any:
    return cus_wrap(lambda: client.chat.completions.create(**CHAT), model="gpt-4o")


def _decorated(client: openai.OpenAI) -> Any:
    @cus_telemetry("gpt-4o")
    def ask() -> Any:
        return client.chat.completions.create(**CHAT)

    return ask()


def _yielded(client: openai.OpenAI) -> Any:
    @cus_telemetry("gpt-4o")
    def ask() -> Iterator[Any]:
        yield client.chat.completions.create(**CHAT)

    return list(ask())


def _tracked(client: openai.OpenAI) -> Any:
    with cus_track("gpt-4o", max_tokens=100) as call:
        call.set_tokens(1, 1)
        return client.chat.completions.create(**CHAT)


_WAYS = [
    *(
        patched,
        _posted,
        _streamed,
        _helped,
        _adapted,
        _of_own_provider,
        _wrapped,
        _decorated,
        _yielded,
    ),
    _tracked,
]


@pytest.mark.parametrize("ask", _WAYS)
def test_a_call_of_every_way_is_checked_once_and_reported_under_the_id_it_was_checked_with(
    ask: Callable[[openai.OpenAI], Any],
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
) -> None:
    reporter = configure()
    ask(client)
    (record,) = records_of(governor, reporter)
    (check,) = governor.checks
    assert record["call_id"] == check["call_id"]
    assert record["policy_result"] == "allowed"
    assert check["model"] == "gpt-4o"


@pytest.mark.parametrize("ask", _WAYS)
def test_a_refused_call_of_every_way_never_reaches_the_provider(
    ask: Callable[[openai.OpenAI], Any],
    configure: Configure,
    governor: CusFakeGovernor,
    provider: CusFakeProvider,
    client: openai.OpenAI,
) -> None:
    reporter = configure()
    governor.room = 0
    before = len(provider.requests)
    with pytest.raises(CusBlocked) as caught:
        ask(client)
    assert len(provider.requests) == before
    (record,) = records_of(governor, reporter)
    assert record["policy_result"] == "blocked"
    assert record["error_code"] == "budget_exceeded"
    assert (record["tokens_in"], record["tokens_out"]) == (0, 0)
    assert "cost_cents" not in record
    assert caught.value.decision is not None
    assert record["call_id"] == caught.value.decision.call_id


@pytest.mark.parametrize("is_refused", [False, True])
def test_asynchronous_calls_are_decided_off_the_event_loop(
    configure: Configure,
    governor: CusFakeGovernor,
    provider: CusFakeProvider,
    *,
    is_refused: bool,
) -> None:
    reporter = configure()
    governor.delay_seconds = 0.3
    governor.room = 0 if is_refused else 1
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    async def ask() -> None:
        counting = asyncio.create_task(count())
        try:
            await asked_later(provider)
        finally:
            counting.cancel()

    cus_install_middleware()
    if is_refused:
        with pytest.raises(CusBlocked):
            asyncio.run(ask())
    else:
        asyncio.run(ask())
    assert turns >= 5
    assert len(records_of(governor, reporter)) == 1
    assert len(governor.checks) == 1


def test_asynchronous_generators_and_blocks_are_decided_once(
    configure: Configure, governor: CusFakeGovernor
) -> None:
    reporter = configure()

    @cus_telemetry("gpt-4o", max_tokens=10)
    async def tokens() -> Any:
        yield "a"

    async def ask() -> None:
        async for _ in tokens():
            pass
        async with cus_track("gpt-4o", max_tokens=10) as call:
            call.set_tokens(1, 1)

    asyncio.run(ask())
    assert len(governor.checks) == 2
    assert {one["call_id"] for one in records_of(governor, reporter)} == {
        check["call_id"] for check in governor.checks
    }


def test_anthropics_stream_manager_is_decided_once(
    configure: Configure, governor: CusFakeGovernor, provider: CusFakeProvider
) -> None:
    reporter = configure()
    known_by(reporter).refresh()
    cus_install_middleware()
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        with client.messages.stream(**MESSAGE) as stream:
            stream.get_final_message()
    (check,) = governor.checks
    assert [one["call_id"] for one in records_of(governor, reporter)] == [check["call_id"]]


def test_nothing_is_asked_where_nothing_is_enforced(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure(enforce=False)
    governor.room = 0
    patched(client)
    assert len(records_of(governor, reporter)) == 1
    assert not governor.checks
    assert not governor.asked


# --- Estimates, errors, warnings --------------------------------------------------------------


def test_the_error_says_what_happened_what_to_do_and_where_to_look(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    configure()
    governor.room = 0
    with pytest.raises(CusBlocked) as caught:
        patched(client)
    error = caught.value
    assert error.decision is not None
    assert error.reason is not None
    assert (error.reason.code, error.reason.limit_value) == ("budget_exceeded", 5)
    assert str(error) == (
        "The monthly budget of $0.05 has no room: $0.05 used. "
        "Increase limit or wait until 1 December. "
        f"See {governor.url}/console/evidence/call/{error.decision.call_id}"
        "?integration=integration-1"
    )
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_refusal_for_the_estimate_alone_says_to_set_max_tokens(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    configure()
    governor.room, governor.refusal = 0, cus_refusal(current_value=1)
    with pytest.raises(CusBlocked, match="Set max_tokens: what was used leaves room"):
        patched(client)
    # The prompt was counted by the tokenizer, because its bound did not fit.
    bound, counted = (check["estimated_tokens"] for check in governor.checks)
    assert counted < bound


@pytest.mark.parametrize(
    ("result", "kind", "error_code"),
    [
        ("blocked", CusBlocked, "other"),
        ("hard_blocked", CusHardBlocked, "cus_hard_blocked"),
        ("throttled", CusThrottled, "cus_throttled"),
    ],
)
def test_each_result_has_an_error_of_its_own(
    result: str,
    kind: type[CusLimitExceeded],
    error_code: str,
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
) -> None:
    reporter = configure()
    governor.room, governor.refusal = 0, {**cus_refusal(code="other"), "result": result}
    with pytest.raises(kind):
        patched(client)
    (record,) = records_of(governor, reporter)
    assert record["error_code"] == error_code


def test_a_warned_call_runs_and_warns_once_a_minute(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    governor.verdict = {**cus_refusal(code="budget_warning"), "result": "warned"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patched(client)
        patched(client)
    (warned,) = [one for one in caught if issubclass(one.category, CusLimitWarning)]
    assert warned.filename == cus_governed_programs.__file__
    assert str(warned.message) == cus_refusal()["reasons"][0]["message"]
    assert {one["policy_result"] for one in records_of(governor, reporter)} == {"warned"}


def test_a_program_that_turns_warnings_into_errors_is_not_disturbed(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    governor.verdict = {**cus_refusal(code="budget_warning"), "result": "warned"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", CusLimitWarning)
        patched(client)
    assert reporter.stats.faults == 1


def test_a_throttled_call_waits_once_if_it_is_told_to(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    configure(throttle="wait")
    governor.room = 0
    governor.refusal = {
        **cus_refusal(code="rate_limit_exceeded"),
        "result": "throttled",
        "retry_after_seconds": 0,
    }
    with pytest.raises(CusThrottled) as caught:
        patched(client)
    assert caught.value.retry_after_seconds == 0
    assert len(governor.checks) == 2


def test_contention_is_tried_again_until_its_time_is_over(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    configure(contention_seconds=5.0)
    governor.room = 0
    governor.refusal = {**cus_refusal(code="contention"), "result": "throttled"}

    def heal() -> None:
        wait_until(lambda: len(governor.checks) >= 3)
        governor.room = 1

    healing = threading.Thread(target=heal)
    healing.start()
    patched(client)
    healing.join()
    assert len({check["call_id"] for check in governor.checks}) == 1


@pytest.mark.parametrize(
    ("answer", "admits"),
    [
        ({"result": "postponed", "hold_expires_at": "2026-11-29T00:00:00Z"}, True),
        ({"result": "postponed", "retry_after_seconds": 9}, False),
        ({"result": "postponed"}, False),
    ],
)
def test_a_newer_servers_word_means_what_that_server_did(
    answer: dict[str, Any],
    admits: bool,
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
) -> None:
    configure()
    governor.verdict = {"reasons": [], **answer}
    if admits:
        patched(client)
    else:
        with pytest.raises(CusLimitExceeded):
            patched(client)


# --- The configuration ------------------------------------------------------------------------


def test_an_integration_without_limits_costs_no_request_once_its_state_is_known(
    configure: Configure, client: openai.OpenAI, governor: CusFakeGovernor
) -> None:
    governor.configuration["is_limited"] = False
    reporter = configure()
    patched(client)
    wait_until(lambda: known_by(reporter).is_fresh)
    before = len(governor.checks)
    for _ in range(5):
        patched(client)
    assert len(governor.checks) == before
    assert len(records_of(governor, reporter)) == 6


@pytest.mark.parametrize("level", ["visibility", "control_plane"])
def test_a_level_that_heeds_no_limits_costs_no_request(
    level: str, configure: Configure, client: openai.OpenAI, governor: CusFakeGovernor
) -> None:
    governor.configuration["enforcement_level"] = level
    reporter = configure()
    patched(client)
    wait_until(lambda: known_by(reporter).is_fresh)
    before = len(governor.checks)
    patched(client)
    assert len(governor.checks) == before


def test_a_changed_configuration_is_taken_over_in_the_background(
    configure: Configure,
    client: openai.OpenAI,
    governor: CusFakeGovernor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cus_known, "REFRESH_SECONDS", 0.05)
    governor.configuration["is_limited"] = False
    reporter = configure()
    patched(client)
    wait_until(lambda: known_by(reporter).is_fresh)
    governor.configuration |= {"is_limited": True, "config_version": 2}
    wait_until(lambda: known_by(reporter).current["is_limited"])
    governor.room = 0
    with pytest.raises(CusBlocked):
        patched(client)


def _kept_configurations() -> list[Path]:
    return list(Path(os.environ["CUS_SPOOL_DIR"]).rglob("configuration"))


def test_the_configuration_outlives_the_process_without_the_key(
    configure: Configure, client: openai.OpenAI, governor: CusFakeGovernor
) -> None:
    configure()
    patched(client)
    (file,) = wait_until(_kept_configurations)
    assert file.stat().st_mode & 0o077 == 0
    assert "aosk_" not in file.read_text()
    governor.trouble = [None]
    governor.configuration["status"] = "disabled"
    reporter = configure()
    patched(client)
    assert known_by(reporter).current["status"] == "enabled"


@pytest.mark.parametrize("content", ["", "[]", '{"configuration": 1, "etag": 2}', "{" * 90_000])
def test_a_damaged_file_of_the_configuration_is_as_none(
    content: str, configure: Configure, client: openai.OpenAI, governor: CusFakeGovernor
) -> None:
    configure()
    patched(client)
    (file,) = wait_until(_kept_configurations)
    file.write_text(content)
    reporter = configure()
    patched(client)
    assert reporter.stats.faults == 0
