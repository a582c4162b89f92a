"""From one state of health to the next, as a table."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.cus_health.rules import HealthState, next_health
from integrations.cus_providers.probe_answers import Verdict

OK, SLOW = "ok", "slow"
BAD, REFUSED, DOWN = Verdict.BAD_KEY, Verdict.CONFIG_REFUSED, Verdict.PROVIDER_DOWN
HARMLESS = (
    Verdict.MISSING_PERMISSION,
    Verdict.RATE_LIMITED,
    Verdict.PROVIDER_DOWN,
    Verdict.TIMEOUT,
    Verdict.UNEXPECTED,
    Verdict.NOT_CHECKABLE,
)


def _after(*outcomes: str, start: HealthState | None = None) -> HealthState:
    state = start or HealthState()
    for outcome in outcomes:
        verdict = Verdict.OK if outcome == SLOW else Verdict(outcome)
        state = next_health(state, verdict, slow=outcome == SLOW)
    return state


@pytest.mark.parametrize(
    ("outcomes", "health", "credential", "in_error"),
    [
        ([], "unknown", "unknown", False),
        # Nothing to recover from: the first pass is enough.
        ([OK], "healthy", "valid", False),
        ([SLOW], "degraded", "valid", False),
        ([DOWN], "degraded", "unknown", False),
        ([OK, DOWN], "degraded", "valid", False),
        ([OK, SLOW], "degraded", "valid", False),
        ([OK, DOWN, DOWN], "degraded", "valid", False),
        ([OK, DOWN, DOWN, DOWN], "failing", "valid", False),
        ([DOWN, BAD, REFUSED], "failing", "unknown", False),
        ([DOWN, DOWN, OK, DOWN], "degraded", "valid", False),
        # Two quick passes in a row: healthy again.
        ([OK, DOWN, OK], "degraded", "valid", False),
        ([OK, DOWN, OK, OK], "healthy", "valid", False),
        ([OK, DOWN, OK, SLOW, OK], "degraded", "valid", False),
        ([DOWN, DOWN, DOWN, OK], "degraded", "valid", False),
        ([DOWN, DOWN, DOWN, OK, OK], "healthy", "valid", False),
        ([DOWN, DOWN, DOWN, OK, DOWN], "degraded", "valid", False),
        ([DOWN, DOWN, DOWN, DOWN], "failing", "unknown", False),
        # The provider's "bad key" twice in a row.
        ([OK, BAD], "degraded", "valid", False),
        ([OK, BAD, BAD], "degraded", "invalid", False),
        ([OK, BAD, DOWN, BAD], "failing", "valid", False),
        ([BAD, BAD, DOWN], "failing", "invalid", False),
        ([BAD, BAD, OK], "degraded", "valid", False),
        ([BAD, BAD, SLOW], "degraded", "valid", False),
        # No credential: at once.
        ([OK, Verdict.CREDENTIAL_MISSING], "degraded", "invalid", False),
        ([OK, Verdict.CREDENTIAL_UNREADABLE], "degraded", "invalid", True),
        # The configuration refused three times in a row.
        ([OK, REFUSED, REFUSED], "degraded", "valid", False),
        ([OK, REFUSED, REFUSED, REFUSED], "failing", "valid", True),
        ([REFUSED, REFUSED, DOWN, REFUSED], "failing", "unknown", False),
        ([REFUSED, REFUSED, REFUSED, DOWN], "failing", "unknown", True),
        ([REFUSED, REFUSED, REFUSED, OK], "degraded", "valid", False),
    ],
)
def test_each_check_leads_to_one_state(
    outcomes: list[str], health: str, credential: str, in_error: bool
) -> None:
    state = _after(*outcomes)
    assert (state.health_state, state.credential_state, state.in_error) == (
        health,
        credential,
        in_error,
    )


def test_an_error_that_an_operator_opened_is_closed_by_a_pass_too() -> None:
    assert _after(DOWN, start=HealthState(in_error=True)).in_error
    assert not _after(OK, start=HealthState(in_error=True)).in_error


@given(st.lists(st.sampled_from([OK, SLOW, *HARMLESS]), max_size=30))
def test_no_outage_however_long_touches_what_a_decision_reads(outcomes: list[str]) -> None:
    state = _after(*outcomes)
    assert state.credential_state in ("unknown", "valid")
    assert not state.in_error


@given(st.lists(st.sampled_from([OK, SLOW, *Verdict]), max_size=30))
def test_the_counters_say_how_it_came_to_be(outcomes: list[str]) -> None:
    state = _after(*outcomes)
    passed = [outcome in (OK, SLOW) for outcome in outcomes]
    failures = len(list(itertools.takewhile(lambda ok: not ok, reversed(passed))))
    assert state.consecutive_failures == failures
    assert (state.health_state == "healthy") <= (failures == 0)
    assert (failures >= 3) <= (state.health_state == "failing")
    assert not (state.consecutive_failures and state.consecutive_passes)
