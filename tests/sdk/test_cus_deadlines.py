"""No server holds a request, a flush or an exit up, however slowly it answers."""

import time

import pytest

from aos_sdk.cus_delivery.sockets import CusDeadline
from aos_sdk.cus_delivery.waits import CusPoll
from tests.sdk.conftest import MakeReporter
from tests.sdk.cus_reports import cus_eventually, cus_record
from tests.trust.cus_sdk_sink import Sink


@pytest.mark.parametrize("fault", ["hung", "half_open", "drip", "drip_headers"])
def test_a_request_ends_at_its_deadline_and_the_records_go_out_again(
    make_reporter: MakeReporter, fault: str
) -> None:
    with Sink() as sink:
        sink.misbehave(fault)
        reporter = make_reporter(base_url=sink.url, timeout=0.4)
        reporter.report(cus_record(1))
        # Dripping to its end would take the sink fifty seconds and more.
        cus_eventually(lambda: reporter.stats.retries >= 2, 40.0)
        sink.misbehave("")
        assert reporter.flush(10.0) == 0
        assert list(sink.stored) == ["call-1"]


def test_a_deadline_that_has_passed_is_a_timeout() -> None:
    deadline = CusDeadline()
    deadline.begin(60.0)
    assert 59.0 < deadline.left() <= 60.0
    deadline.begin(-1.0)
    with pytest.raises(TimeoutError):
        deadline.left()


def test_a_hung_server_does_not_hold_a_flush_up(make_reporter: MakeReporter) -> None:
    with Sink() as sink:
        sink.misbehave("hung")
        reporter = make_reporter(base_url=sink.url, timeout=30.0)
        reporter.report(cus_record(1))
        began = time.monotonic()
        assert reporter.flush(0.2) == 1
        assert reporter.shutdown(0.2) == 1
        assert time.monotonic() - began < 5.0


def test_the_sender_looks_as_often_as_batches_fill_and_once_a_second_when_idle() -> None:
    poll = CusPoll(0.0)
    now = 0.0
    looks = []
    for _ in range(10):
        now += poll.seconds
        poll.looked(now, 0, emptied=False, batch=50, interval=5.0)
        looks.append(poll.seconds)
    assert looks[-1] == 1.0
    for _ in range(6):
        # A thousand records a second: a batch of fifty each fiftieth of one.
        waiting = int(poll.seconds * 1_000)
        now += poll.seconds
        poll.looked(now, waiting, emptied=True, batch=50, interval=5.0)
    assert 0.02 <= poll.seconds <= 0.1


def test_what_waits_is_due_after_the_interval_and_not_before() -> None:
    poll = CusPoll(0.0)
    poll.looked(1.0, 0, emptied=False, batch=50, interval=5.0)
    poll.looked(2.0, 1, emptied=False, batch=50, interval=5.0)
    assert not poll.is_due(5.9, 5.0)
    assert poll.is_due(6.0, 5.0)
    poll.looked(5.5, 1, emptied=False, batch=50, interval=5.0)
    assert poll.seconds <= 0.5
