"""What a process says of itself: how far it counted and what it dropped, exactly and seldom."""

from typing import Any

import pytest

from aos_sdk.cus_delivery import announcements as cus_announcements
from aos_sdk.cus_delivery import delivery as cus_delivery
from aos_sdk.cus_delivery.transport import _retry_after
from aos_sdk.cus_reporter import CusReporter
from tests.sdk.conftest import MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector
from tests.sdk.cus_reports import cus_record, cus_report


@pytest.fixture(autouse=True, params=["ring", "memory"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "memory":
        monkeypatch.setenv("CUS_SPOOL_DIR", "off")
    return str(request.param)


def _announcements(collector: CusFakeCollector) -> list[dict[str, Any]]:
    """What was said beside each batch."""
    return [
        {name: value for name, value in body.items() if name != "records"}
        for _, _, body in collector.requests
    ]


def _report_meanwhile(reporter: CusReporter, collector: CusFakeCollector, count: int) -> None:
    """Report so many calls while the collector has the first batch."""
    answer = collector._answer

    def answer_late(path: str, body: dict[str, Any]) -> Any:
        if len(collector.requests) == 1:
            cus_report(reporter, count)
        return answer(path, body)

    collector._answer = answer_late


def test_the_first_batch_says_how_far_the_process_has_counted_and_the_next_do_not(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(batch_size=1_000, batch_interval=60.0)
    for count in (900, 5, 5):  # A thousand would be sent before the last of them was reported.
        cus_report(reporter, count)
        assert reporter.flush(5.0) == 0
    process = collector.batches[0][0]["process_id"]
    announced = _announcements(collector)
    assert announced[0] == {"process_id": process, "last_sequence": 900}
    assert announced[1:] == [{}, {}]


def test_a_burst_that_goes_on_is_said_before_it_is_sent(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(batch_size=1_000, batch_interval=60.0)
    _report_meanwhile(reporter, collector, 1_500)
    cus_report(reporter, 10)
    reporter.flush(5.0)
    assert reporter.flush(5.0) == 0
    assert [announced.get("last_sequence") for announced in _announcements(collector)][:3] == [
        10,
        1_510,
        None,
    ]


def test_it_is_said_again_once_a_minute_and_at_the_end(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = make_reporter()
    for number in range(2):
        reporter.report(cus_record(number))
        assert reporter.flush(5.0) == 0
    monkeypatch.setattr(cus_announcements, "ANNOUNCE_SECONDS", 0.0)
    reporter.report(cus_record(2))
    assert reporter.flush(5.0) == 0
    monkeypatch.setattr(cus_announcements, "ANNOUNCE_SECONDS", 60.0)
    assert reporter._sender
    reporter.report(cus_record(3))
    reporter._sender.hurry_up()
    assert reporter.flush(5.0) == 0
    assert [announced.get("last_sequence") for announced in _announcements(collector)] == [
        1,
        None,
        3,
        4,
    ]


def test_what_was_dropped_is_said_with_the_next_batch_and_not_forgotten_by_a_failure(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(max_queue=10, batch_interval=60.0)
    cus_report(reporter, 25)
    collector.script.extend([(503, {}), None])
    assert reporter.flush(5.0) == 0
    assert reporter.stats.dropped == 15
    assert [announced["dropped"] for announced in _announcements(collector)] == [{"full": 15}] * 3


def test_what_is_dropped_while_a_batch_is_under_way_is_said_with_the_one_after(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(max_queue=10, batch_interval=60.0)
    _report_meanwhile(reporter, collector, 30)
    cus_report(reporter, 5)
    reporter.flush(5.0)
    assert reporter.flush(5.0) == 0
    assert reporter.stats.dropped == 20
    announced = _announcements(collector)
    assert "dropped" not in announced[0]
    assert {"full": 20} in [one.get("dropped") for one in announced[1:]]


def test_a_record_refused_before_any_server_counted_it_is_said_to_be_refused(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    collector.poison.add("call-1")
    reporter = make_reporter(batch_interval=60.0)
    cus_report(reporter, 3)
    assert reporter.flush(5.0) == 0
    reporter.report(cus_record(4))
    assert reporter.flush(5.0) == 0
    assert {"refused": 1} in [announced.get("dropped") for announced in _announcements(collector)]


def test_a_server_that_fails_on_everything_costs_no_memory(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cus_delivery, "MOST_ASIDE", 2)
    reporter = make_reporter(batch_interval=60.0, batch_size=1)
    collector.fails_on.update(f"call-{number}" for number in range(10))
    monkeypatch.setattr(cus_delivery, "FAILURES_BEFORE_SETTING_ASIDE", 1)
    cus_report(reporter, 10)
    assert reporter.flush(1.0) == 10
    assert reporter._sender
    assert len(reporter._sender._delivery._aside) == 2
    collector.fails_on.clear()
    reporter.flush(5.0)
    assert len(collector.stored) == 8


def test_a_wait_until_a_moment_is_by_the_servers_own_clock() -> None:
    asked = "Sun, 06 Nov 1994 08:49:37 GMT"
    assert _retry_after(asked, "Sun, 06 Nov 1994 08:49:07 GMT") == 30.0
    assert _retry_after(asked, "nonsense") == 0.0
    assert _retry_after("Fri, 31 Dec 9999 23:59:59 GMT") is not None
