"""Budgets in code: a loop that stops at its dollar, with a server that counts and without one."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import openai
import pytest

from aos_sdk import (
    CusBlocked,
    CusCallTracker,
    CusEnforcer,
    CusLimitExceeded,
    CusOpenAIProvider,
    cus_context,
    cus_track,
)
from aos_sdk.cus_configuration import active
from aos_sdk.cus_enforcing.run_budget import CusRun
from aos_sdk.cus_scope import current_identity
from aos_sdk.cus_wire import CusOperation
from tests.sdk.cus_fake_servers import CusFakeGovernor, cus_refusal
from tests.sdk.cus_governed_programs import (
    PLENTY,
    Configure,
    asked_later,
    known_by,
    patched,
    records_of,
    wait_until,
)

# $0.18 of gpt-4o, and a request whose bound is $0.19.
TOKENS_IN, TOKENS_OUT = 6_464, 16_384
REQUEST: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "a" * 7_500}],
    "max_tokens": TOKENS_OUT,
}


@pytest.fixture
def telling(governor: CusFakeGovernor) -> CusFakeGovernor:
    """A server that knows budgets in code."""
    governor.configuration["limits"] = []
    return governor


@contextmanager
def call_of_18_cents(reporter: Any, model: str = "gpt-4o") -> Iterator[CusCallTracker]:
    """A call of $0.18 (of gpt-4o), as capture makes one."""
    call = CusCallTracker(reporter, "openai", model, operation=CusOperation.CHAT)
    call.arguments, call.gate = {**REQUEST, "model": model}, active.get().gate
    with call:
        yield call
        call.set_tokens(TOKENS_IN, TOKENS_OUT)


def calls_that_ran(reporter: Any, calls: int, model: str = "gpt-4o") -> int:
    """How many of so many calls ran."""
    ran = 0
    for _ in range(calls):
        try:
            with call_of_18_cents(reporter, model):
                ran += 1
        except CusBlocked:
            continue
    return ran


# --- What a block says --------------------------------------------------------------------------


def _run_here() -> CusRun | None:
    identity = current_identity()
    return identity.run if identity else None


def test_a_block_without_a_budget_has_none() -> None:
    with cus_context(session_id="s"):
        assert _run_here() is None


def test_of_two_budgets_of_one_session_the_smaller_counts_in_each_unit() -> None:
    with (
        cus_context(session_id="s", budget_cents=100, max_calls=5),
        cus_context(budget_cents=50, budget_tokens=7),
    ):
        run = _run_here()
    assert run is not None
    assert run.as_json() == {"cents": 50, "tokens": 7, "calls": 5}


def test_a_block_that_names_another_session_is_not_of_the_surrounding_budget() -> None:
    with cus_context(session_id="s", budget_cents=100), cus_context(session_id="t"):
        assert _run_here() is None
    with cus_context(session_id="s", budget_cents=100), cus_context(agent_id="a"):
        assert _run_here() is not None


@pytest.mark.parametrize("amount", [0, -1, 1.5, "10", True])
@pytest.mark.parametrize("name", ["budget_cents", "budget_tokens", "max_calls"])
def test_a_budget_that_is_no_whole_number_is_refused_at_once(name: str, amount: Any) -> None:
    with pytest.raises(ValueError, match=name):
        cus_context(**{name: amount})


# --- With a server that knows budgets in code ---------------------------------------------------


def test_checks_name_the_budget_of_their_session(
    configure: Configure, telling: CusFakeGovernor, client: openai.OpenAI
) -> None:
    configure()
    with cus_context(session_id="s", budget_cents=100, budget_tokens=10**6, max_calls=50):
        patched(client)
    (check,) = telling.checks
    assert check["session_id"] == "s"
    assert check["run"] == {"cents": 100, "tokens": 10**6, "calls": 50}


def test_without_a_session_the_block_makes_one_and_each_block_its_own(
    configure: Configure, telling: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    for _ in range(2):
        with cus_context(max_calls=50):
            patched(client)
            patched(client)
    sessions = [one["session_id"] for one in telling.checks]
    assert [sessions.index(one) for one in sessions] == [0, 0, 2, 2]
    assert {one["session_id"] for one in records_of(telling, reporter)} == set(sessions)


def test_the_session_of_the_configuration_is_the_budgets(
    configure: Configure, telling: CusFakeGovernor, client: openai.OpenAI
) -> None:
    configure(session_id="worker")
    with cus_context(max_calls=50):
        patched(client)
    assert telling.checks[0]["session_id"] == "worker"


def test_a_call_that_names_another_session_is_not_of_the_budget(
    configure: Configure, telling: CusFakeGovernor
) -> None:
    configure()
    with (
        cus_context(session_id="s", max_calls=1),
        cus_track("gpt-4o", max_tokens=1, session_id="t"),
    ):
        pass
    assert "run" not in telling.checks[0]


def test_a_call_of_an_adapter_that_names_another_session_is_not_of_the_budget(
    configure: Configure, telling: CusFakeGovernor, client: openai.OpenAI
) -> None:
    configure()
    adapter = CusOpenAIProvider(client=client)
    with cus_context(session_id="s", max_calls=1):
        adapter.chat_completions_create(**REQUEST, session_id="t")
        adapter.chat_completions_create(**REQUEST, session_id="s")
    assert [one.get("run") for one in telling.checks] == [None, {"calls": 1}]


def test_calls_with_a_budget_are_asked_about_where_nothing_else_limits_them(
    configure: Configure, telling: CusFakeGovernor, client: openai.OpenAI
) -> None:
    telling.configuration["is_limited"] = False
    reporter = configure()
    known_by(reporter).refresh()
    patched(client)
    assert telling.checks == []
    telling.room, telling.refusal = 0, cus_refusal(code="session_limit_exceeded")
    with cus_context(session_id="s", budget_cents=100), pytest.raises(CusBlocked):
        patched(client)


def test_what_the_server_admits_runs_whatever_is_counted_here(
    configure: Configure, telling: CusFakeGovernor
) -> None:
    """The server knows the tenant's own prices, by which the calls may cost less."""
    reporter = configure()
    known_by(reporter).refresh()
    with cus_context(session_id="s", budget_cents=20):
        assert calls_that_ran(reporter, 5) == 5


def test_a_lease_of_the_session_is_taken_of_once_the_server_knows_the_budget(
    configure: Configure, telling: CusFakeGovernor
) -> None:
    telling.lent = dict(PLENTY)
    reporter = configure()
    known_by(reporter).refresh()
    with cus_context(session_id="s", budget_cents=100, max_calls=50):
        assert calls_that_ran(reporter, 2) == 2
        wait_until(lambda: telling.owed)
        wait_until(lambda: any(line.current for line in reporter.decider.book._lines.values()))  # type: ignore[union-attr]
        checks = len(telling.checks)
        assert calls_that_ran(reporter, 3) == 3
        assert len(telling.checks) == checks
    (asked,) = [one for one in telling.lease_requests if "estimate" in one]
    assert asked["scopes"] == {"session_id": "s"}
    assert asked["run"] == {"cents": 100, "calls": 50}
    # A smaller budget of the session has to be told first.
    with cus_context(session_id="s", budget_cents=50):
        assert calls_that_ran(reporter, 1) == 1
    assert telling.checks[-1]["run"] == {"cents": 50}


def test_a_lease_that_is_not_of_the_budgets_limits_is_not_taken_of(
    configure: Configure, telling: CusFakeGovernor
) -> None:
    telling.lent = dict(PLENTY)
    telling._slices = lambda scopes: []  # type: ignore[method-assign]
    reporter = configure()
    known_by(reporter).refresh()
    with cus_context(session_id="s", budget_cents=100):
        assert calls_that_ran(reporter, 2) == 2
        wait_until(lambda: telling.set_aside)
        assert calls_that_ran(reporter, 1) == 1
    assert len(telling.checks) == 3


def test_a_refused_call_can_be_made_again_once_a_person_has_raised_the_limit(
    configure: Configure, telling: CusFakeGovernor
) -> None:
    reporter = configure()
    telling.room = 0
    telling.refusal = cus_refusal(
        code="session_limit_exceeded",
        limit_value=100,
        current_value=90,
        limit_id="11111111-1111-1111-1111-111111111111",
        scope="session_id",
        scope_value="s",
        window="life",
    )
    with cus_context(session_id="s", budget_cents=100):
        with pytest.raises(CusLimitExceeded) as refused, call_of_18_cents(reporter):
            pass
        error = refused.value
        assert (error.unit, error.left, error.resets_at) == ("cents", 10, None)
        assert (error.scope, error.scope_value, error.window) == ("session_id", "s", "life")
        telling.room = 10
        assert calls_that_ran(reporter, 1) == 1


def test_a_check_by_hand_and_a_guarded_block_name_the_budget(
    configure: Configure, telling: CusFakeGovernor
) -> None:
    reporter = configure()
    enforcer = CusEnforcer(reporter)
    with cus_context(max_calls=3):
        enforcer.check("gpt-4o", estimated_tokens=5)
        with enforcer.guard("gpt-4o", estimated_tokens=5) as call:
            call.set_tokens(1, 1)
    assert [one["run"] for one in telling.checks] == [{"calls": 3}] * 2
    sessions = {one["session_id"] for one in telling.checks}
    assert len(sessions) == 1
    assert {one["session_id"] for one in records_of(telling, reporter)} == sessions


# --- Without one --------------------------------------------------------------------------------


@pytest.fixture(params=["older", "older without limits", "away"])
def uncounted(request: pytest.FixtureRequest, governor: CusFakeGovernor) -> CusFakeGovernor:
    """Servers that count no budgets in code."""
    if request.param == "older without limits":
        governor.configuration["is_limited"] = False
    if request.param == "away":
        governor.trouble = [None]
    return governor


def test_a_loop_stops_at_its_dollar_in_this_process(
    configure: Configure, uncounted: CusFakeGovernor
) -> None:
    reporter = configure()
    known_by(reporter).refresh()
    with cus_context(session_id="s", budget_cents=100):
        assert calls_that_ran(reporter, 100) == 5
        with (
            pytest.raises(CusBlocked, match=r"\$0\.90 used") as refused,
            call_of_18_cents(reporter),
        ):
            pass
    assert (refused.value.left, refused.value.unit) == (10, "cents")
    assert (refused.value.scope, refused.value.scope_value) == ("session_id", "s")
    # As the server, where the least of all budgets of a session counts.
    with cus_context(session_id="s", budget_cents=200):
        assert calls_that_ran(reporter, 1) == 0
    uncounted.trouble = []
    refusals = [one for one in records_of(uncounted, reporter) if "decision" in one]
    codes = {one["decision"]["reasons"][0]["code"] for one in refusals}
    assert "estimate_exceeds_room" in codes


def test_threads_that_share_a_budget_never_pass_it(
    configure: Configure, uncounted: CusFakeGovernor
) -> None:
    reporter = configure(contention_seconds=20.0)
    known_by(reporter).refresh()
    context = cus_context(budget_cents=100)
    together = threading.Barrier(10)

    def loop(_: int) -> int:
        with context:
            together.wait()
            return calls_that_ran(reporter, 10)

    with ThreadPoolExecutor(10) as threads:
        assert sum(threads.map(loop, range(10))) == 5


def test_tasks_of_an_event_loop_share_a_budget(
    configure: Configure, uncounted: CusFakeGovernor, client: openai.OpenAI, provider: Any
) -> None:
    reporter = configure()
    known_by(reporter).refresh()
    patched(client)  # Without a budget, which needs none.

    async def ask() -> bool:
        try:
            await asked_later(provider)
        except CusBlocked:
            return False
        return True

    async def loop() -> list[bool]:
        with cus_context(max_calls=3):
            return list(await asyncio.gather(*(ask() for _ in range(8))))

    assert sum(asyncio.run(loop())) == 3


def test_calls_and_tokens_are_counted_as_well(
    configure: Configure, uncounted: CusFakeGovernor
) -> None:
    reporter = configure()
    known_by(reporter).refresh()
    with cus_context(max_calls=3), pytest.raises(CusBlocked, match="3 calls used") as refused:
        for _ in range(4):
            with call_of_18_cents(reporter):
                pass
    assert (refused.value.unit, refused.value.left) == ("calls", 0)
    with cus_context(budget_tokens=3 * (TOKENS_IN + TOKENS_OUT)):
        assert calls_that_ran(reporter, 10) == 3


def test_a_call_that_never_left_and_one_that_failed_cost_a_budget_nothing(
    configure: Configure, uncounted: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    known_by(reporter).refresh()
    with cus_context(max_calls=2, budget_cents=20):
        with pytest.raises(TypeError):
            client.chat.completions.create(**REQUEST, nonsense=1)  # type: ignore[call-overload]
        with pytest.raises(OSError, match="down"), call_of_18_cents(reporter):
            raise OSError("down")
        assert calls_that_ran(reporter, 5) == 1


def test_at_a_level_that_refuses_nothing_a_budget_refuses_nothing(
    configure: Configure, governor: CusFakeGovernor
) -> None:
    governor.configuration["enforcement_level"] = "warn"
    reporter = configure()
    known_by(reporter).refresh()
    with cus_context(max_calls=1):
        assert calls_that_ran(reporter, 3) == 3
