"""Budgets in code that a person raised, and what a program counts for itself without a server."""

import uuid
from typing import Any

import pytest

from aos_sdk import CusBlocked, CusEnforcer, CusLimitExceeded, cus_context
from aos_sdk.cus_enforcing import runs
from aos_sdk.cus_enforcing.asked import CusAsked
from aos_sdk.cus_enforcing.assumed import assumed_use
from aos_sdk.cus_enforcing.run_budget import CusRun, CusRunUse
from aos_sdk.cus_enforcing.runs import CusRuns
from tests.sdk.cus_fake_servers import CusFakeGovernor, cus_refusal
from tests.sdk.cus_governed_programs import PLENTY, Configure, known_by, wait_until
from tests.sdk.test_cus_run_budgets import call_of_18_cents, calls_that_ran

_RAISED = {"result": "allowed", "reasons": [], "run_raised": {"cents": 200}}
_NOT_RAISED = {"result": "allowed", "reasons": [], "run_raised": {}}


@pytest.fixture
def telling(governor: CusFakeGovernor) -> CusFakeGovernor:
    """A server that knows budgets in code."""
    governor.configuration["limits"] = []
    return governor


def _gone_away(governor: CusFakeGovernor, reporter: Any) -> None:
    governor.trouble = [None]
    known_by(reporter).note_absence()


def test_a_program_goes_by_what_the_server_last_told_of_an_increase(
    configure: Configure, telling: CusFakeGovernor
) -> None:
    reporter = configure()
    telling.verdict = _RAISED
    with cus_context(session_id="s", budget_cents=100):
        assert calls_that_ran(reporter, 1) == 1
        _gone_away(telling, reporter)
        assert calls_that_ran(reporter, 100) == 10
        with pytest.raises(CusBlocked, match=r"\$2\.00, has no room"), call_of_18_cents(reporter):
            pass
    # A smaller budget in code doesn't undo the increase, and other sessions have their own.
    with cus_context(session_id="s", budget_cents=20):
        assert calls_that_ran(reporter, 1) == 0
    with cus_context(session_id="t", budget_cents=100):
        assert calls_that_ran(reporter, 100) == 5


def test_an_increase_that_was_taken_back_holds_no_more(
    configure: Configure, telling: CusFakeGovernor
) -> None:
    reporter = configure()
    with cus_context(session_id="s", budget_cents=100):
        for verdict in (_RAISED, _NOT_RAISED):
            telling.verdict = verdict
            assert calls_that_ran(reporter, 1) == 1
        # A server that can't read the budget tells nothing.
        telling.verdict = {"result": "allowed", "reasons": [], "run_raised": None}
        assert calls_that_ran(reporter, 1) == 1
        _gone_away(telling, reporter)
        assert calls_that_ran(reporter, 100) == 2


def test_a_program_with_leases_learns_of_an_increase_by_the_next_lease(
    configure: Configure, telling: CusFakeGovernor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lend = telling._lend

    def lend_and_tell(body: dict[str, Any]) -> Any:
        status, answer, headers = lend(body)  # type: ignore[misc]
        return status, answer | {"decision": _RAISED}, headers

    monkeypatch.setattr(telling, "_lend", lend_and_tell)
    telling.lent, telling.verdict = dict(PLENTY), _NOT_RAISED
    reporter = configure()
    known_by(reporter).refresh()
    with cus_context(session_id="s", budget_cents=100):
        assert calls_that_ran(reporter, 2) == 2
        lines = reporter.decider.book._lines  # type: ignore[union-attr]
        wait_until(lambda: any(line.current for line in lines.values()))
        checks = len(telling.checks)
        assert calls_that_ran(reporter, 1) == 1
        assert len(telling.checks) == checks
        _gone_away(telling, reporter)
        for line in lines.values():
            if line.current:
                line.current.close()
        assert calls_that_ran(reporter, 100) == 8


def test_a_refusal_by_a_budget_in_code_leads_to_where_it_is_raised(
    configure: Configure, telling: CusFakeGovernor
) -> None:
    reporter = configure()
    telling.room = 0
    telling.refusal = cus_refusal(
        code="session_limit_exceeded", scope="session_id", scope_value="chat/1 a", window="life"
    )
    decider = reporter.decider
    assert decider
    page = f"{decider.base_url}/console/run-limits/{decider.integration_id}/chat%2F1%20a"
    with cus_context(session_id="chat/1 a", budget_cents=100):
        with pytest.raises(CusLimitExceeded) as refused, call_of_18_cents(reporter):
            pass
        assert str(refused.value).endswith(f"See {page}")
        with pytest.raises(CusLimitExceeded) as refused:
            CusEnforcer(reporter).enforce("gpt-4o", estimated_tokens=5)
        assert str(refused.value).endswith(f"See {page}")
        # Other limits' refusals lead to the call.
        telling.refusal = cus_refusal()
        with pytest.raises(CusLimitExceeded, match="/console/evidence/call/"):
            CusEnforcer(reporter).enforce("gpt-4o", estimated_tokens=5)


# --- Without a server ---------------------------------------------------------------------------


@pytest.fixture(params=["older", "away"])
def uncounted(request: pytest.FixtureRequest, governor: CusFakeGovernor) -> CusFakeGovernor:
    """Servers that count no budgets in code."""
    if request.param == "away":
        governor.configuration["limits"] = []
    return governor


def test_calls_of_a_model_without_a_price_do_not_pass_a_budget(
    configure: Configure, governor: CusFakeGovernor
) -> None:
    """They count as the most that a call of the default model costs: $0.49 of gpt-4o."""
    governor.configuration |= {"limits": [], "default_model": "gpt-4o"}
    reporter = configure()
    known_by(reporter).refresh()
    _gone_away(governor, reporter)
    with cus_context(session_id="s", budget_cents=100):
        assert calls_that_ran(reporter, 100, model="house-model-1") == 2
        # Each call of a model with a price counts as what it costs.
        assert calls_that_ran(reporter, 100) == 0


def test_without_a_default_model_a_model_without_a_price_counts_as_the_dearest_known(
    configure: Configure, uncounted: CusFakeGovernor
) -> None:
    reporter = configure()
    known_by(reporter).refresh()
    _gone_away(uncounted, reporter)
    with cus_context(budget_cents=100):
        assert calls_that_ran(reporter, 10, model="house-model-1") == 0
    with cus_context(budget_cents=100_000):
        assert 0 < calls_that_ran(reporter, 100, model="house-model-1") < 100


def test_what_counts_of_a_call_is_never_less_than_what_it_says() -> None:
    known = CusAsked("c", "gpt-4o", tokens=10, cents=3)
    assert assumed_use(known, None) == CusRunUse(3, 10)
    # $10.00 for a million tokens of output.
    assert assumed_use(CusAsked("c", "gpt-4o", tokens=1_000_000), None) == CusRunUse(1_000, 10**6)
    by_list = CusAsked("c", "gpt-4o", tokens=1_000_000, list_cents=7)
    assert assumed_use(by_list, None) == CusRunUse(7, 10**6)
    exact = CusAsked("c", "house-model-1", tokens=10, microcents=2_000_001)
    assert assumed_use(exact, None) == CusRunUse(3, 10)
    most = assumed_use(CusAsked("c", "gpt-4o"), None)
    assert most == CusRunUse(49, 128_000 + 16_384)
    assert assumed_use(CusAsked("c"), "gpt-4o") == most
    assert assumed_use(CusAsked("c", "house-model-1"), None).cents > most.cents


def test_a_session_with_a_running_call_is_not_forgotten_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "_MOST_SESSIONS", 3)
    counting, budget, use = CusRuns(), CusRun(cents=100), CusRunUse(60, 10)
    running = [uuid.uuid4() for _ in range(2)]
    for number, call in enumerate(running):
        assert counting.begin_if_it_fits(call, f"running-{number}", budget, use) is None
    for number in range(20):
        assert counting.begin_if_it_fits(number, f"short-{number}", budget, use) is None
        counting.end(number, use)
    assert len(counting._sessions) == 3
    for number, call in enumerate(running):
        assert counting.begin_if_it_fits("next", f"running-{number}", budget, use) is not None
        counting.end(call, use)
        assert counting.begin_if_it_fits("next", f"running-{number}", budget, use) is not None
    # More sessions with running calls than are kept in mind: all of them are.
    for number in range(10):
        assert counting.begin_if_it_fits(f"c{number}", f"many-{number}", budget, use) is None
    assert {f"many-{number}" for number in range(10)} <= set(counting._sessions)
