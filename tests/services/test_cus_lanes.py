"""The threads that answer requests: none of them ends with a request that could not be answered."""

import queue
from collections.abc import Callable

import pytest

from aos_project.cus_web.answers import Refusal
from aos_project.cus_web.lanes import Job, Lane

_LONG = 30.0


def _raising(error: BaseException) -> Callable[[Refusal | None], None]:
    def run(_refusal: Refusal | None) -> None:
        raise error

    return run


# As an answer fails whose header can't be sent, and as a view does that wants to end the process.
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [UnicodeEncodeError("utf-8", "", 0, 1, "no"), SystemExit()])
def test_a_request_that_fails_costs_its_lane_no_thread(error: BaseException) -> None:
    lane, answered = Lane("test", 2, _LONG), queue.Queue[str]()
    lane.start()

    for _ in range(4):
        lane.submit(Job("sender", _raising(error)))
    lane.submit(Job("sender", lambda _refusal: answered.put("answered")))

    assert answered.get(timeout=_LONG / 3) == "answered"
