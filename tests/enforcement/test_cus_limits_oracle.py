"""Every answer about limits at scopes equals that of an independent oracle, over random histories."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.enforcement.cus_limits_machine import LimitsMachine, clock_of_limits

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

_STEPS_OF_A_HISTORY = 40
# Hypothesis ends some histories early.
_LEAST_STEPS_OF_A_HISTORY = 20


def test_random_histories_equal_the_oracle(request: pytest.FixtureRequest) -> None:
    """`make trust-limits` goes through 10,000 steps."""
    steps: int = request.config.getoption("--limit-steps")
    LimitsMachine.steps = 0
    with clock_of_limits():
        run_state_machine_as_test(
            LimitsMachine,
            settings=settings(
                max_examples=max(steps // _LEAST_STEPS_OF_A_HISTORY, 1),
                stateful_step_count=_STEPS_OF_A_HISTORY,
                deadline=None,
                database=None,
                derandomize=steps < 1_000,
                suppress_health_check=list(HealthCheck),
            ),
        )
    assert LimitsMachine.steps >= steps, "histories were shorter than asked for"
