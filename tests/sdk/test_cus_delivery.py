"""Delivery, from a ring and from memory: nothing is lost, nothing counts twice."""

import gc
import json
import os
import signal
import threading
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import count

import pytest

from aos_sdk import (
    CusDeliveryDelayed,
    CusDeliveryError,
    CusKeyRefused,
    CusRecordRefused,
    CusReporter,
    CusUsageRecord,
    generate_call_id,
)
from aos_sdk.cus_delivery import delivery as cus_delivery
from aos_sdk.cus_delivery import exit as cus_exit
from aos_sdk.cus_delivery import waits as cus_waits
from aos_sdk.cus_delivery.transport import _retry_after
from tests.sdk.conftest import KEY, MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector
from tests.sdk.cus_reports import cus_eventually, cus_record, cus_report


@pytest.fixture(autouse=True, params=["ring", "memory"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything here holds wherever records wait."""
    if request.param == "memory":
        monkeypatch.setenv("CUS_SPOOL_DIR", "off")
    return str(request.param)


def test_records_arrive_with_process_sequence_and_start(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    before = datetime.now(UTC)
    ids = cus_report(reporter, 120)
    assert reporter.flush(5.0) == 0
    assert list(collector.stored) == ids
    rows = list(collector.stored.values())
    assert [row["sequence"] for row in rows] == list(range(1, 121))
    assert len({row["process_id"] for row in rows}) == 1
    start = datetime.fromisoformat(rows[0]["timestamp"])
    assert start.utcoffset() is not None
    assert abs((start - before).total_seconds()) < 5
    assert reporter.stats.sent == 120
    assert reporter.stats.queued == 0


def test_all_records_that_wait_share_a_request_and_all_requests_a_connection(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(batch_size=2_000, batch_interval=60.0)
    cus_report(reporter, 1_500)
    reporter.flush(5.0)
    assert [len(batch) for batch in collector.batches] == [1_000, 500]
    assert collector.connections == 1
    path, headers, _ = collector.requests[0]
    assert path == "/api/v1/cus/telemetry/llm-usage/batch"
    assert headers["X-CUS-Integration-Key"] == KEY


def test_the_interval_sends_what_does_not_fill_a_batch(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    make_reporter(batch_size=50).report(cus_record(1))
    cus_eventually(lambda: collector.stored)


def test_without_batching_a_record_leaves_at_once(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(batch_interval=60.0)
    reporter.disable_batching()
    reporter.report(cus_record(1))
    cus_eventually(lambda: collector.stored)
    reporter.enable_batching(max_size=2, flush_interval_seconds=60.0)
    reporter.report(cus_record(2))
    reporter.report(cus_record(3))
    cus_eventually(lambda: len(collector.stored) == 3)


def test_a_server_that_asks_to_wait_gets_everything_once_it_is_back(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    told: list[CusDeliveryError] = []
    collector.script.extend([(503, {"Retry-After": "1"}), (429, {}), (408, {}), (500, {})])
    reporter = make_reporter(on_error=told.append)
    began = time.monotonic()
    ids = cus_report(reporter, 30)
    assert reporter.flush(10.0) == 0
    assert time.monotonic() - began >= 1.0
    assert set(collector.stored) == set(ids)
    assert reporter.stats.retries == 4
    assert [type(error) for error in told] == [CusDeliveryDelayed]


def test_broken_connections_lose_nothing(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    collector.script.extend([None, None, None])
    reporter = make_reporter()
    ids = cus_report(reporter, 20)
    assert reporter.flush(5.0) == 0
    assert set(collector.stored) == set(ids)
    assert reporter.stats.sent == 20


def test_a_lost_answer_is_a_duplicate_and_not_a_second_call(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    collector.lose_answers = 1
    reporter = make_reporter(batch_size=10, batch_interval=60.0)
    cus_report(reporter, 10)
    assert reporter.flush(5.0) == 0
    assert (reporter.stats.sent, reporter.stats.duplicates) == (0, 10)
    assert len(collector.stored) == 10


def test_a_refused_record_is_named_and_does_not_block_the_others(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    told: list[CusDeliveryError] = []
    collector.refuses.add("call-3")
    reporter = make_reporter(on_error=told.append)
    cus_report(reporter, 10)
    assert reporter.flush(5.0) == 0
    assert (reporter.stats.sent, reporter.stats.rejected) == (9, 1)
    (error,) = told
    assert isinstance(error, CusRecordRefused)
    assert (error.call_id, error.status, error.attr) == ("call-3", "rejected", "tokens_in")


def test_a_conflict_is_told_and_counted(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    told: list[CusDeliveryError] = []
    reporter = make_reporter(on_error=told.append)
    reporter.report(cus_record(1))
    reporter.report(CusUsageRecord("call-1", "gpt-4o", 11, 5))
    assert reporter.flush(5.0) == 0
    assert (reporter.stats.sent, reporter.stats.conflicts) == (1, 1)
    assert "conflict" in str(told[0])


def test_a_batch_refused_as_a_whole_is_halved_down_to_the_bad_record(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    told: list[CusDeliveryError] = []
    collector.poison.add("call-13")
    reporter = make_reporter(on_error=told.append)
    cus_report(reporter, 40)
    assert reporter.flush(5.0) == 0
    assert len(collector.stored) == 39
    assert reporter.stats.rejected == 1
    assert isinstance(told[0], CusRecordRefused)
    assert (told[0].call_id, told[0].code) == ("call-13", "malformed")


def test_a_batch_that_is_too_large_is_halved_until_it_fits(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    collector.largest_batch = 7
    reporter = make_reporter()
    ids = cus_report(reporter, 50)
    assert reporter.flush(5.0) == 0
    assert list(collector.stored) == ids
    assert reporter.stats.rejected == 0


def test_a_body_over_the_limit_is_halved_before_it_is_sent(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cus_delivery, "MAX_BATCH_BYTES", 1_000)
    reporter = make_reporter()
    cus_report(reporter, 20)
    assert reporter.flush(5.0) == 0
    assert len(collector.stored) == 20
    assert all(len(json.dumps(body)) < 1_200 for _, _, body in collector.requests)


def test_a_record_that_the_server_fails_on_is_isolated_and_set_aside(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cus_waits, "LONGEST_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(cus_delivery, "FIRST_ASIDE_SECONDS", 0.2)
    told: list[CusDeliveryError] = []
    collector.fails_on.add("call-13")
    reporter = make_reporter(on_error=told.append)
    cus_report(reporter, 40)
    assert reporter.flush(20.0) == 1
    assert len(collector.stored) == 39
    assert (reporter.stats.queued, reporter.stats.rejected) == (1, 0)
    assert len([error for error in told if "call-13" in str(error)]) == 1

    reporter.report(cus_record(41))
    began = time.monotonic()
    assert reporter.flush(60.0) == 1
    assert time.monotonic() - began < 30.0, "a flush waited for what was set aside"

    # Twice as long each time, and alone: in a second it is seldom tried again.
    before = len(collector.batches)
    time.sleep(1.0)
    assert len(collector.batches) - before <= 4
    cus_eventually(lambda: len(collector.batches) > before)
    assert all(len(batch) == 1 for batch in collector.batches[before:])

    collector.fails_on.clear()
    cus_eventually(lambda: "call-13" in collector.stored)
    cus_eventually(lambda: reporter.stats.queued == 0)
    assert reporter.stats.sent == 41


@pytest.mark.parametrize("status", [502, 503, 504, 429])
def test_a_server_that_is_away_gets_its_batch_whole(
    make_reporter: MakeReporter,
    collector: CusFakeCollector,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setattr(cus_waits, "LONGEST_RETRY_SECONDS", 0.05)
    collector.script.extend([(status, {})] * 7)
    reporter = make_reporter()
    cus_report(reporter, 20)
    assert reporter.flush(20.0) == 0
    assert {len(batch) for batch in collector.batches} == {20}


def test_a_flush_without_failure_does_not_shorten_a_later_pause(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = make_reporter()
    reporter.report(cus_record(1))
    assert reporter.flush(5.0) == 0
    monkeypatch.setattr(cus_waits, "FIRST_RETRY_SECONDS", 60.0)
    monkeypatch.setattr(cus_waits, "LONGEST_RETRY_SECONDS", 60.0)
    collector.script.append((503, {}))
    reporter.report(cus_record(2))
    cus_eventually(lambda: reporter.stats.retries == 1)
    time.sleep(0.3)
    assert len(collector.batches) == 2
    assert reporter.flush(5.0) == 0


@pytest.mark.parametrize("status", [404, 405, 302])
def test_an_answer_about_the_way_there_costs_no_record(
    make_reporter: MakeReporter, collector: CusFakeCollector, status: int
) -> None:
    collector.script.append((status, {"Location": "http://127.0.0.1:9/"}))
    reporter = make_reporter()
    cus_report(reporter, 5)
    assert reporter.flush(5.0) == 0
    assert reporter.stats.sent == 5


def test_a_two_hundred_that_is_no_receipt_acknowledges_nothing(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    collector.script.append((200, {}))
    reporter = make_reporter()
    cus_report(reporter, 5)
    assert reporter.flush(5.0) == 0
    assert len(collector.stored) == reporter.stats.sent == 5


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_keeps_the_records(
    make_reporter: MakeReporter,
    collector: CusFakeCollector,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setattr(cus_waits, "KEY_RETRY_SECONDS", 0.2)
    told: list[CusDeliveryError] = []
    collector.script.extend([(status, {}), (status, {})])
    reporter = make_reporter(on_error=told.append)
    cus_report(reporter, 5)
    assert reporter.flush(0.1) == 5
    assert reporter.flush(5.0) == 0
    assert reporter.stats.sent == 5
    assert [type(error) for error in told] == [CusKeyRefused]


def test_a_full_queue_drops_the_oldest_and_counts_them(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(base_url="http://127.0.0.1:9", max_queue=10, batch_interval=60.0)
    cus_report(reporter, 25)
    stats = reporter.stats
    assert (stats.queued, stats.dropped) == (10, 15)


def test_many_threads_lose_nothing_and_number_everything_once(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()

    def work(worker: int) -> None:
        for number in range(200):
            reporter.report(CusUsageRecord(f"call-{worker}-{number}", "gpt-4o"))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reporter.flush(10.0) == 0
    assert len(collector.stored) == reporter.stats.sent == 1_600
    assert len({row["sequence"] for row in collector.stored.values()}) == 1_600


def test_flush_and_shutdown_return_in_time_and_say_what_is_left(
    make_reporter: MakeReporter,
) -> None:
    reporter = make_reporter(base_url="http://127.0.0.1:9")
    cus_report(reporter, 3)
    began = time.monotonic()
    assert reporter.flush(0.2) == 3
    assert reporter.shutdown(0.3) == 3
    # Far less than the sender's own patience, however busy the machine is.
    assert time.monotonic() - began < 10.0


def test_a_report_after_shutdown_takes_delivery_up_again(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    reporter.report(cus_record(1))
    assert reporter.shutdown(5.0) == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "aos-sdk-sender"]
    reporter.report(cus_record(2))
    assert reporter.flush(5.0) == 0
    assert len(collector.stored) == 2


def test_a_forked_child_sends_its_own_records_as_a_process_of_its_own(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(batch_interval=60.0)
    reporter.report(cus_record(1))
    parent_id = generate_call_id()
    child = os.fork()
    if child == 0:
        # Whatever happens here, the child must not go on to run the other tests.
        try:
            queued = reporter.stats.queued
            reporter.report(cus_record(2))
            left = reporter.flush(5.0)
            own_id = generate_call_id().split("-")[0] != parent_id.split("-")[0]
            os._exit(0 if (queued, left, own_id) == (0, 0, True) else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert reporter.flush(5.0) == 0
    first, second = collector.stored["call-1"], collector.stored["call-2"]
    assert first["process_id"] != second["process_id"]
    assert first["sequence"] == second["sequence"] == 1
    assert reporter.stats.duplicates == 0


def test_an_on_error_that_fails_is_counted_and_harms_nothing(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    def fail(error: CusDeliveryError) -> None:
        raise RuntimeError

    collector.script.append((500, {}))
    reporter = make_reporter(on_error=fail)
    cus_report(reporter, 2)
    assert reporter.flush(5.0) == 0
    assert (reporter.stats.sent, reporter.stats.faults) == (2, 1)


def test_a_signal_handler_that_reports_within_a_report_does_not_hang(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(max_queue=100_000)
    interruptions = count()

    def report_again(*_: object) -> None:
        reporter.report(cus_record(10**9 + next(interruptions)))

    # By the clock of our own work, which a busy machine stops: handlers never pile up. And not
    # by SIGALRM, which is the test runner's own.
    before = signal.signal(signal.SIGVTALRM, report_again)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
    try:
        cus_report(reporter, 20_000)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        time.sleep(0)  # what has come already is handled by our own
        signal.signal(signal.SIGVTALRM, before)
    interrupted = next(interruptions)
    assert interrupted > 0
    assert reporter.flush(20.0) == 0
    assert len(collector.stored) == 20_000 + interrupted


def test_retry_after_is_read_in_both_of_its_forms() -> None:
    later = format_datetime(datetime.fromtimestamp(time.time() + 30, UTC), usegmt=True)
    assert _retry_after("7") == 7.0
    assert 25 < (_retry_after(later) or 0) <= 30
    assert _retry_after("soon") is _retry_after(None) is None


def test_a_reporter_that_is_dropped_still_delivers(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    CusReporter(KEY, collector.url, batch_interval=0.05).report(cus_record(1))
    gc.collect()
    cus_eventually(lambda: collector.stored)
    for sender in list(cus_exit._senders):
        sender.stop(2.0)
