"""What the server holds for calls: taken over, given back, renewed; and checks by hand."""

import asyncio
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai
import pytest

from aos_sdk import (
    CusBlocked,
    CusEnforcer,
    CusLimitWarning,
    CusOpenAIProvider,
    cus_install_middleware,
    cus_track,
)
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


def test_what_is_held_for_a_call_that_never_left_serves_the_next(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    cus_install_middleware()
    known_by(reporter).refresh()
    governor.room = 1
    with pytest.raises(TypeError):
        client.chat.completions.create(**CHAT, nonsense=1)  # type: ignore[call-overload]
    client.chat.completions.create(**CHAT)
    (record,) = records_of(governor, reporter)
    assert governor.held == {record["call_id"]}


def test_a_stream_that_is_prepared_and_never_entered_holds_for_no_call(
    configure: Configure, governor: CusFakeGovernor, provider: CusFakeProvider
) -> None:
    reporter = configure()
    known_by(reporter).refresh()
    cus_install_middleware()
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        for _ in range(5):
            client.messages.stream(**MESSAGE)
        client.messages.create(**MESSAGE)
    assert reporter.decider is not None
    assert not reporter.decider.held.running
    assert len(governor.held) == 1
    assert len(records_of(governor, reporter)) == 1


def test_a_call_id_of_the_programs_own_is_given_to_no_other_call(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    adapter = CusOpenAIProvider(client=client)
    with pytest.raises(TypeError):
        adapter.chat_completions_create(**CHAT, call_id="mine", nonsense=1)  # type: ignore[call-overload]
    adapter.chat_completions_create(**CHAT)
    assert "mine" not in governor.stored
    assert {one["call_id"] for one in records_of(governor, reporter)} < governor.held


def test_an_asynchronous_warning_points_at_the_programs_line(
    configure: Configure, governor: CusFakeGovernor, provider: CusFakeProvider
) -> None:
    configure()
    governor.verdict = {**cus_refusal(code="budget_warning"), "result": "warned"}
    cus_install_middleware()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(asked_later(provider))
    (warned,) = [one for one in caught if issubclass(one.category, CusLimitWarning)]
    assert warned.filename == cus_governed_programs.__file__


def test_an_estimate_that_fails_leaves_the_estimate_to_the_server(
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise LookupError

    monkeypatch.setattr("aos_sdk.cus_enforcing.estimator.estimate_call", fails)
    reporter = configure()
    governor.room = 0
    with pytest.raises(CusBlocked):
        patched(client)
    assert "estimated_tokens" not in governor.checks[0]
    assert reporter.stats.faults == 1


@pytest.mark.parametrize("limit", ["budget_limit_cents", "token_limit_month", "rate_limit_rpm"])
def test_a_server_that_does_not_say_whether_there_is_a_limit_is_known_by_its_limits(
    limit: str, configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    del governor.configuration["is_limited"]
    governor.configuration[limit] = 7
    reporter = configure()
    known_by(reporter).refresh()
    governor.room = 0
    with pytest.raises(CusBlocked):
        patched(client)


def test_a_cancelled_wait_gives_back_what_was_held(
    configure: Configure, governor: CusFakeGovernor, provider: CusFakeProvider
) -> None:
    reporter = configure()
    known_by(reporter).refresh()
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
    patched(client)
    child = os.fork()
    if child == 0:
        try:
            CusEnforcer().check("gpt-4o", call_id="child")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert "child" in governor.held
    assert records_of(governor, reporter)


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
    records = records_of(governor, reporter)
    assert len(records) == 200
    assert sum(one["policy_result"] == "blocked" for one in records) == 50


@pytest.fixture
def quick_renewals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds are renewed after a fifth of a second, and a program is idle after a tenth."""
    monkeypatch.setattr("aos_sdk.cus_enforcing.held_calls._RENEW_AFTER_SECONDS", 0.2)
    monkeypatch.setattr("aos_sdk.cus_enforcing.decider.REFRESH_SECONDS", 0.05)
    monkeypatch.setattr("aos_sdk.cus_enforcing.configuration.REFRESH_SECONDS", 0.05)
    monkeypatch.setattr("aos_sdk.cus_enforcing.configuration._IDLE_SECONDS", 0.1)


@pytest.mark.usefixtures("quick_renewals")
def test_the_hold_of_a_call_that_runs_alone_is_renewed_until_the_call_ends(
    configure: Configure, governor: CusFakeGovernor
) -> None:
    reporter = configure()
    with cus_track("gpt-4o", max_tokens=10) as call:
        wait_until(lambda: len(governor.checks) >= 4)
        call.set_tokens(1, 1)
    assert {check["call_id"] for check in governor.checks} == {call.call_id}
    wait_until(lambda: known_by(reporter)._thread is None)


@pytest.mark.usefixtures("quick_renewals")
def test_a_hold_that_is_taken_by_hand_is_not_renewed(
    configure: Configure, governor: CusFakeGovernor
) -> None:
    reporter = configure()
    CusEnforcer().check("gpt-4o", call_id="by-hand")
    wait_until(lambda: known_by(reporter)._thread is None)
    assert len(governor.checks) == 1


@pytest.mark.usefixtures("quick_renewals")
def test_a_call_that_never_ends_is_forgotten_after_a_day(
    configure: Configure, governor: CusFakeGovernor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aos_sdk.cus_enforcing.held_calls._LONGEST_CALL_SECONDS", 0.1)
    reporter = configure()
    with cus_track("gpt-4o", max_tokens=10):
        wait_until(lambda: known_by(reporter)._thread is None)
    assert len(governor.checks) == 1


def test_a_call_within_a_call_of_track_call_is_checked_under_the_id_that_is_reported(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    with reporter.track_call("openai", "gpt-4o", call_id="outer"):
        patched(client)
    (record,) = records_of(governor, reporter)
    assert (record["call_id"], governor.held) == ("outer", {"outer"})


def test_a_refused_call_within_a_call_that_goes_on_leaves_two_records(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    governor.room = 0
    with reporter.track_call("openai", "gpt-4o", call_id="outer") as outer:
        with pytest.raises(CusBlocked):
            patched(client)
        outer.set_tokens(1, 1)
    records = {one["call_id"]: one["policy_result"] for one in records_of(governor, reporter)}
    assert records.pop("outer") == "blocked"
    assert list(records.values()) == ["allowed"]


def test_calls_that_wait_for_their_turn_hold_no_thread(
    configure: Configure, governor: CusFakeGovernor, provider: CusFakeProvider
) -> None:
    """With a thread for each, the waits of sixteen calls would keep all others from being checked."""
    configure(throttle="wait")
    governor.room = 0
    governor.refusal = {
        **cus_refusal(code="rate_limit_exceeded"),
        "result": "throttled",
        "retry_after_seconds": 30,
    }
    cus_install_middleware()

    async def ask() -> None:
        waiting = [asyncio.create_task(asked_later(provider)) for _ in range(16)]
        while len(governor.checks) < 16:
            await asyncio.sleep(0.01)
        # Room for all: the last of the sixteen may be decided only now.
        governor.room = 100
        await asyncio.wait_for(asked_later(provider), 20.0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(ask())
    assert governor.held


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
    (record,) = records_of(governor, reporter)
    assert record["call_id"] == governor.checks[-1]["call_id"]
    governor.room = 0
    with pytest.raises(CusBlocked):
        enforcer.enforce("gpt-4o", estimated_tokens=100)
    entered = False
    with pytest.raises(CusBlocked), enforcer.guard("gpt-4o"):
        entered = True
    assert not entered
