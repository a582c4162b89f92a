"""Captured calls are decided before they begin: allowed, warned, throttled, blocked (§6.2)."""

import asyncio
import os
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from aos_sdk import (
    CusBlocked,
    CusEnforcer,
    CusHardBlocked,
    CusLimitExceeded,
    CusLimitWarning,
    CusOpenAIProvider,
    CusReporter,
    CusThrottled,
    cus_configure,
    cus_install_middleware,
    cus_telemetry,
    cus_track,
    cus_uninstall_middleware,
    cus_wrap,
)
from aos_sdk.cus_configuration import active
from aos_sdk.cus_enforcing import configuration as cus_known
from tests.sdk.conftest import KEY
from tests.sdk.cus_capture_cases import CHAT, MESSAGE
from tests.sdk.cus_fake_providers import CusFakeProvider
from tests.sdk.cus_fake_servers import CusFakeGovernor, cus_error, cus_refusal

Configure = Callable[..., CusReporter]


@pytest.fixture
def governor() -> Iterator[CusFakeGovernor]:
    with CusFakeGovernor() as running:
        yield running


@pytest.fixture
def configure(governor: CusFakeGovernor) -> Iterator[Configure]:
    made: list[CusReporter] = []

    def make(**changes: Any) -> CusReporter:
        settings: dict[str, Any] = {
            "integration_key": KEY,
            "base_url": governor.url,
            "enforce": "auto",
            "batch_interval": 0.05,
            "contention_seconds": 0.1,
            **changes,
        }
        made.append(cus_configure(**settings))
        return made[-1]

    yield make
    cus_uninstall_middleware()
    active.replace(None)
    governor.trouble, governor.delay_seconds = [], 0.0
    for reporter in made:
        reporter.shutdown(1.0)


@pytest.fixture
def client(provider: CusFakeProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as made:
        yield made


def _records(governor: CusFakeGovernor, reporter: CusReporter) -> list[dict[str, Any]]:
    assert reporter.flush(5.0) == 0
    return list(governor.stored.values())


async def _asked_later(provider: CusFakeProvider) -> None:
    async with openai.AsyncOpenAI(
        api_key="k", base_url=f"{provider.url}/v1", max_retries=0
    ) as client:
        await client.chat.completions.create(**CHAT)


def _known(reporter: CusReporter) -> Any:
    assert reporter.decider is not None
    return reporter.decider.known


def _until(condition: Callable[[], object]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not become true")


# --- Ways of capture --------------------------------------------------------------------------


def _patched(client: openai.OpenAI) -> Any:
    cus_install_middleware()
    return client.chat.completions.create(**CHAT)


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
    *(_patched, _posted, _streamed, _helped, _adapted, _wrapped, _decorated, _yielded),
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
    (record,) = _records(governor, reporter)
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
    (record,) = _records(governor, reporter)
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
            await _asked_later(provider)
        finally:
            counting.cancel()

    cus_install_middleware()
    if is_refused:
        with pytest.raises(CusBlocked):
            asyncio.run(ask())
    else:
        asyncio.run(ask())
    assert turns >= 5
    assert len(_records(governor, reporter)) == 1
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
    assert {one["call_id"] for one in _records(governor, reporter)} == {
        check["call_id"] for check in governor.checks
    }


def test_anthropics_stream_manager_is_decided_once(
    configure: Configure, governor: CusFakeGovernor, provider: CusFakeProvider
) -> None:
    reporter = configure()
    _known(reporter).refresh()
    cus_install_middleware()
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        with client.messages.stream(**MESSAGE) as stream:
            stream.get_final_message()
    (check,) = governor.checks
    assert [one["call_id"] for one in _records(governor, reporter)] == [check["call_id"]]


def test_nothing_is_asked_where_nothing_is_enforced(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure(enforce=False)
    governor.room = 0
    _patched(client)
    assert len(_records(governor, reporter)) == 1
    assert not governor.checks
    assert not governor.asked


# --- Estimates, errors, warnings --------------------------------------------------------------


def test_the_error_says_what_happened_what_to_do_and_where_to_look(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    configure()
    governor.room = 0
    with pytest.raises(CusBlocked) as caught:
        _patched(client)
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
        _patched(client)
    # The prompt was counted by the tokenizer, because its bound did not fit.
    bound, counted = (check["estimated_tokens"] for check in governor.checks)
    assert counted < bound


@pytest.mark.parametrize(
    ("result", "kind"),
    [("blocked", CusBlocked), ("hard_blocked", CusHardBlocked), ("throttled", CusThrottled)],
)
def test_each_result_has_an_error_of_its_own(
    result: str,
    kind: type[CusLimitExceeded],
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
) -> None:
    configure()
    governor.room, governor.refusal = 0, {**cus_refusal(code="other"), "result": result}
    with pytest.raises(kind):
        _patched(client)


def test_a_warned_call_runs_and_warns_once_a_minute(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    governor.verdict = {**cus_refusal(code="budget_warning"), "result": "warned"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _patched(client)
        _patched(client)
    (warned,) = [one for one in caught if issubclass(one.category, CusLimitWarning)]
    assert warned.filename == __file__
    assert str(warned.message) == cus_refusal()["reasons"][0]["message"]
    assert {one["policy_result"] for one in _records(governor, reporter)} == {"warned"}


def test_a_program_that_turns_warnings_into_errors_is_not_disturbed(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    governor.verdict = {**cus_refusal(code="budget_warning"), "result": "warned"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", CusLimitWarning)
        _patched(client)
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
        _patched(client)
    assert caught.value.retry_after_seconds == 0
    assert len(governor.checks) == 2


def test_contention_is_tried_again_until_its_time_is_over(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    configure(contention_seconds=5.0)
    governor.room = 0
    governor.refusal = {**cus_refusal(code="contention"), "result": "throttled"}

    def heal() -> None:
        _until(lambda: len(governor.checks) >= 3)
        governor.room = 1

    healing = threading.Thread(target=heal)
    healing.start()
    _patched(client)
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
        _patched(client)
    else:
        with pytest.raises(CusLimitExceeded):
            _patched(client)


# --- The configuration ------------------------------------------------------------------------


def test_an_integration_without_limits_costs_no_request_once_its_state_is_known(
    configure: Configure, client: openai.OpenAI, governor: CusFakeGovernor
) -> None:
    governor.configuration["is_limited"] = False
    reporter = configure()
    _patched(client)
    _until(lambda: _known(reporter).is_fresh)
    before = len(governor.checks)
    for _ in range(5):
        _patched(client)
    assert len(governor.checks) == before
    assert len(_records(governor, reporter)) == 6


@pytest.mark.parametrize("level", ["visibility", "control_plane"])
def test_a_level_that_heeds_no_limits_costs_no_request(
    level: str, configure: Configure, client: openai.OpenAI, governor: CusFakeGovernor
) -> None:
    governor.configuration["enforcement_level"] = level
    reporter = configure()
    _patched(client)
    _until(lambda: _known(reporter).is_fresh)
    before = len(governor.checks)
    _patched(client)
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
    _patched(client)
    _until(lambda: _known(reporter).is_fresh)
    governor.configuration |= {"is_limited": True, "config_version": 2}
    _until(lambda: _known(reporter).current["is_limited"])
    governor.room = 0
    with pytest.raises(CusBlocked):
        _patched(client)


def test_the_configuration_outlives_the_process_without_the_key(
    configure: Configure, client: openai.OpenAI, governor: CusFakeGovernor
) -> None:
    reporter = configure()
    _patched(client)
    _until(lambda: _known(reporter).is_fresh)
    (file,) = Path(os.environ["CUS_SPOOL_DIR"]).rglob("configuration")
    assert file.stat().st_mode & 0o077 == 0
    assert "aosk_" not in file.read_text()
    governor.trouble = [None]
    governor.configuration["status"] = "disabled"
    reporter = configure()
    _patched(client)
    assert _known(reporter).current["status"] == "enabled"


@pytest.mark.parametrize("content", ["", "[]", '{"configuration": 1, "etag": 2}', "{" * 90_000])
def test_a_damaged_file_of_the_configuration_is_as_none(
    content: str, configure: Configure, client: openai.OpenAI, governor: CusFakeGovernor
) -> None:
    reporter = configure()
    _patched(client)
    _until(lambda: _known(reporter).is_fresh)
    (file,) = Path(os.environ["CUS_SPOOL_DIR"]).rglob("configuration")
    file.write_text(content)
    reporter = configure()
    _patched(client)
    assert reporter.stats.faults == 0


# --- Without the server (F6, F6a, F6b) --------------------------------------------------------

_ABSENT: list[Any] = [None, (502, "bad gateway"), (503, None), (504, {"message": "timeout"})]
_BUSY: list[Any] = [
    (429, cus_error("throttled")),
    (503, cus_error("overload")),
    (500, cus_error("server_error")),
]


@pytest.mark.parametrize("trouble", _ABSENT)
@pytest.mark.parametrize(
    ("settings", "runs"),
    [
        ({"enforce": "auto"}, True),
        ({"enforce": True}, False),
        ({"enforce": "check"}, False),
        ({"enforce": "auto", "on_unavailable": "block"}, False),
    ],
)
def test_where_no_state_was_ever_known_auto_runs_degraded_and_true_blocks(
    settings: dict[str, Any],
    runs: bool,
    trouble: Any,
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
) -> None:
    governor.trouble = [trouble]
    reporter = configure(**settings)
    if runs:
        _patched(client)
    else:
        with pytest.raises(CusHardBlocked, match="state is not known"):
            _patched(client)
    (record,) = _records(governor, reporter)
    assert record["degraded"] is True
    assert record["decision"]["reasons"][0]["code"] == "state_unknown"
    assert record["policy_result"] == ("allowed" if runs else "blocked")


@pytest.mark.parametrize("trouble", _ABSENT)
@pytest.mark.parametrize(
    ("state", "settings", "code", "error"),
    [
        ({}, {}, "evidence_unavailable", None),
        ({}, {"enforce": True}, "evidence_unavailable", None),
        ({}, {"on_unavailable": "block"}, "evidence_unavailable", CusBlocked),
        ({"status": "disabled"}, {}, "integration_disabled", CusHardBlocked),
        ({"status": "created"}, {}, "integration_not_enabled", CusHardBlocked),
        ({"status": "error"}, {}, "integration_error", CusHardBlocked),
        ({"credential_state": "invalid"}, {}, "credentials_invalid", CusHardBlocked),
    ],
)
def test_the_last_state_decides_while_the_server_is_away(
    state: dict[str, Any],
    settings: dict[str, Any],
    code: str,
    error: type[CusLimitExceeded] | None,
    trouble: Any,
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
) -> None:
    governor.configuration |= state
    reporter = configure(**settings)
    _known(reporter).refresh()
    governor.trouble = [trouble]
    if error is None:
        _patched(client)
    else:
        with pytest.raises(error):
            _patched(client)
    (record,) = _records(governor, reporter)
    assert record["decision"]["reasons"][0]["code"] == code
    assert record.get("degraded", False) is (code == "evidence_unavailable")


@pytest.mark.parametrize("trouble", _BUSY)
def test_load_is_never_absence(
    trouble: Any, configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    governor.trouble = [trouble]
    with pytest.raises(CusThrottled, match="too busy"):
        _patched(client)
    (record,) = _records(governor, reporter)
    assert record["decision"]["reasons"][0]["code"] == "contention"
    assert len({check["call_id"] for check in governor.checks}) == 1


def test_silence_is_load_while_the_server_has_just_answered(
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aos_sdk.cus_enforcing.server.CHECK_SECONDS", 0.1)
    configure(contention_seconds=0.0)
    _patched(client)
    governor.delay_seconds = 0.4
    with pytest.raises(CusThrottled):
        _patched(client)
    monkeypatch.setattr("aos_sdk.cus_enforcing.server.SILENT_SECONDS", 0.0)
    _patched(client)


def test_an_absent_server_is_not_asked_again_for_each_call_and_healing_is_found(
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cus_known, "FIRST_PAUSE_SECONDS", 0.3)
    governor.trouble = [None]
    reporter = configure()
    for _ in range(20):
        _patched(client)
    assert len(governor.checks) <= 2
    governor.trouble = []
    _until(lambda: not _known(reporter).is_away)
    _patched(client)
    assert reporter.decider is not None
    assert (reporter.decider.stats.asked, reporter.decider.stats.degraded) == (1, 20)


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_refused_key_or_an_older_server_is_told_once_and_calls_run(
    status: int, configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    told: list[Exception] = []
    configure(on_error=told.append)
    governor.trouble = [(status, cus_error("no"))]
    _patched(client)
    _patched(client)
    assert len(told) == 1


# --- What is held -----------------------------------------------------------------------------


def test_what_is_held_for_a_call_that_never_left_serves_the_next(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    cus_install_middleware()
    _known(reporter).refresh()
    governor.room = 1
    with pytest.raises(TypeError):
        client.chat.completions.create(**CHAT, nonsense=1)  # type: ignore[call-overload]
    client.chat.completions.create(**CHAT)
    (record,) = _records(governor, reporter)
    assert governor.held == {record["call_id"]}


def test_a_stream_that_is_prepared_and_never_entered_holds_for_no_call(
    configure: Configure, governor: CusFakeGovernor, provider: CusFakeProvider
) -> None:
    reporter = configure()
    _known(reporter).refresh()
    cus_install_middleware()
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        for _ in range(5):
            client.messages.stream(**MESSAGE)
        client.messages.create(**MESSAGE)
    assert reporter.decider is not None
    assert not reporter.decider.running
    assert len(governor.held) == 1
    assert len(_records(governor, reporter)) == 1


def test_a_call_id_of_the_programs_own_is_given_to_no_other_call(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    adapter = CusOpenAIProvider(client=client)
    with pytest.raises(TypeError):
        adapter.chat_completions_create(**CHAT, call_id="mine", nonsense=1)  # type: ignore[call-overload]
    adapter.chat_completions_create(**CHAT)
    assert "mine" not in governor.stored
    assert {one["call_id"] for one in _records(governor, reporter)} < governor.held


def test_an_asynchronous_warning_points_at_the_programs_line(
    configure: Configure, governor: CusFakeGovernor, provider: CusFakeProvider
) -> None:
    configure()
    governor.verdict = {**cus_refusal(code="budget_warning"), "result": "warned"}
    cus_install_middleware()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(_asked_later(provider))
    (warned,) = [one for one in caught if issubclass(one.category, CusLimitWarning)]
    assert warned.filename == __file__


def test_an_estimate_that_fails_leaves_the_estimate_to_the_server(
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise LookupError

    monkeypatch.setattr("aos_sdk.cus_enforcing.gate.estimate_call", fails)
    reporter = configure()
    governor.room = 0
    with pytest.raises(CusBlocked):
        _patched(client)
    assert "estimated_tokens" not in governor.checks[0]
    assert reporter.stats.faults == 1


@pytest.mark.parametrize("limit", ["budget_limit_cents", "token_limit_month", "rate_limit_rpm"])
def test_a_server_that_does_not_say_whether_there_is_a_limit_is_known_by_its_limits(
    limit: str, configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    del governor.configuration["is_limited"]
    governor.configuration[limit] = 7
    reporter = configure()
    _known(reporter).refresh()
    governor.room = 0
    with pytest.raises(CusBlocked):
        _patched(client)


def test_a_cancelled_wait_gives_back_what_was_held(
    configure: Configure, governor: CusFakeGovernor, provider: CusFakeProvider
) -> None:
    reporter = configure()
    _known(reporter).refresh()
    governor.delay_seconds = 0.2
    cus_install_middleware()

    async def ask() -> None:
        async with openai.AsyncOpenAI(
            api_key="k", base_url=f"{provider.url}/v1", max_retries=0
        ) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.chat.completions.create(**CHAT), 0.05)
            await asyncio.sleep(0.4)
            await client.chat.completions.create(**CHAT)

    asyncio.run(ask())
    assert len(governor.held) == 1


def test_a_forked_child_asks_by_itself(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    _patched(client)
    child = os.fork()
    if child == 0:
        try:
            CusEnforcer().check("gpt-4o", call_id="child")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert "child" in governor.held
    assert _records(governor, reporter)


def test_hundreds_of_calls_at_once_are_all_decided(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure(contention_seconds=5.0)
    governor.room = 150
    cus_install_middleware()

    def ask(_: int) -> bool:
        try:
            client.chat.completions.create(**CHAT)
        except CusBlocked:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        ran = sum(threads.map(ask, range(200)))
    assert ran == 150
    records = _records(governor, reporter)
    assert len(records) == 200
    assert sum(one["policy_result"] == "blocked" for one in records) == 50


# --- By hand ----------------------------------------------------------------------------------


def test_the_enforcer_checks_enforces_and_guards(
    configure: Configure, governor: CusFakeGovernor
) -> None:
    reporter = configure()
    enforcer = CusEnforcer()
    decision = enforcer.check("gpt-4o", estimated_tokens=100, call_id="by-hand")
    assert (decision.admits, decision.call_id) == (True, "by-hand")
    with enforcer.guard("gpt-4o", estimated_tokens=100) as call:
        call.set_tokens(10, 5)
    (record,) = _records(governor, reporter)
    assert record["call_id"] == governor.checks[-1]["call_id"]
    governor.room = 0
    with pytest.raises(CusBlocked):
        enforcer.enforce("gpt-4o", estimated_tokens=100)
    entered = False
    with pytest.raises(CusBlocked), enforcer.guard("gpt-4o"):
        entered = True
    assert not entered
