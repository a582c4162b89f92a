"""Delivery: nothing is lost, nothing counts twice, and the host program never notices."""

import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from aos_sdk import (
    CusDeliveryDelayed,
    CusDeliveryError,
    CusKeyRefused,
    CusLimitExceeded,
    CusPolicyResult,
    CusRecordRefused,
    CusReporter,
    CusTokenUsage,
    CusUsageRecord,
    cus_exit,
    cus_sender,
    generate_call_id,
)
from aos_sdk.cus_connection import CusConnection
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_transport import _retry_after
from aos_sdk.cus_wire import mask_secrets
from tests.sdk.conftest import KEY, MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector


def _record(number: int, **changes: Any) -> CusUsageRecord:
    return CusUsageRecord(f"call-{number}", "gpt-4o", 10, 5, 1, **changes)


def _report(reporter: CusReporter, count: int) -> list[str]:
    for number in range(count):
        reporter.report(_record(number))
    return [f"call-{number}" for number in range(count)]


def _eventually(condition: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def test_records_arrive_with_process_sequence_and_start(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    before = datetime.now(UTC)
    ids = _report(reporter, 120)
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


def test_batches_hold_at_most_the_batch_size_and_share_one_connection(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(batch_size=50)
    _report(reporter, 130)
    reporter.flush(5.0)
    assert max(len(batch) for batch in collector.batches) <= 50
    assert collector.connections == 1
    path, headers, _ = collector.requests[0]
    assert path == "/api/v1/cus/telemetry/llm-usage/batch"
    assert headers["X-CUS-Integration-Key"] == KEY


def test_the_interval_sends_what_does_not_fill_a_batch(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    make_reporter(batch_size=50).report(_record(1))
    _eventually(lambda: collector.stored)


def test_without_batching_a_record_leaves_at_once(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(batch_interval=60.0)
    reporter.disable_batching()
    reporter.report(_record(1))
    _eventually(lambda: collector.stored)
    reporter.enable_batching(max_size=2, flush_interval_seconds=60.0)
    reporter.report(_record(2))
    reporter.report(_record(3))
    _eventually(lambda: len(collector.stored) == 3)


def test_a_server_that_asks_to_wait_gets_everything_once_it_is_back(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    told: list[CusDeliveryError] = []
    collector.script.extend([(503, {"Retry-After": "1"}), (429, {}), (408, {}), (500, {})])
    reporter = make_reporter(on_error=told.append)
    began = time.monotonic()
    ids = _report(reporter, 30)
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
    ids = _report(reporter, 20)
    assert reporter.flush(5.0) == 0
    assert set(collector.stored) == set(ids)
    assert reporter.stats.sent == 20


def test_a_lost_answer_is_a_duplicate_and_not_a_second_call(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    collector.lose_answers = 1
    reporter = make_reporter(batch_size=10, batch_interval=60.0)
    _report(reporter, 10)
    assert reporter.flush(5.0) == 0
    assert (reporter.stats.sent, reporter.stats.duplicates) == (0, 10)
    assert len(collector.stored) == 10


def test_a_refused_record_is_named_and_does_not_block_the_others(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    told: list[CusDeliveryError] = []
    collector.refuses.add("call-3")
    reporter = make_reporter(on_error=told.append)
    _report(reporter, 10)
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
    reporter.report(_record(1))
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
    _report(reporter, 40)
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
    ids = _report(reporter, 50)
    assert reporter.flush(5.0) == 0
    assert list(collector.stored) == ids
    assert reporter.stats.rejected == 0


def test_a_body_over_the_limit_is_halved_before_it_is_sent(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cus_sender, "MAX_BATCH_BYTES", 1_000)
    reporter = make_reporter()
    _report(reporter, 20)
    assert reporter.flush(5.0) == 0
    assert len(collector.stored) == 20
    assert all(len(json.dumps(body)) < 1_200 for _, _, body in collector.requests)


def test_a_record_that_no_json_can_hold_is_refused_alone(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    told: list[CusDeliveryError] = []
    reporter = make_reporter(on_error=told.append)
    reporter.report(CusUsageRecord("bad", "gpt-4o", object()))  # type: ignore[arg-type]
    _report(reporter, 3)
    assert reporter.flush(5.0) == 0
    assert len(collector.stored) == 3
    assert reporter.stats.rejected == 1
    assert "bad" in str(told[0])


class Mute:
    def __str__(self) -> str:
        raise RuntimeError


def _nested(levels: int) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for _ in range(levels - 1):
        nested = {"in": nested}
    return nested


@pytest.mark.parametrize(
    "record",
    [
        CusUsageRecord("bad-\ud800", "gpt-4o"),
        CusUsageRecord("bad-", "gpt-4o", timestamp=10**27),
        CusUsageRecord("bad-", Mute()),  # type: ignore[arg-type]
        CusUsageRecord("bad-", "gpt-4o", error_message=Mute()),  # type: ignore[arg-type]
        CusUsageRecord("bad-", "gpt-4o", billed_units=_nested(2_000)),
        CusUsageRecord(Mute(), "gpt-4o"),  # type: ignore[arg-type]
        "no record at all",
    ],
    ids=["surrogate", "timestamp", "model", "error", "depth", "call_id", "no_record"],
)
def test_a_record_whose_encoding_fails_in_whatever_way_is_refused_alone(
    make_reporter: MakeReporter, collector: CusFakeCollector, record: Any
) -> None:
    told: list[CusDeliveryError] = []
    reporter = make_reporter(on_error=told.append)
    reporter.report(record)
    ids = _report(reporter, 3)
    assert reporter.flush(2.0) == 0
    assert list(collector.stored) == ids
    assert (reporter.stats.sent, reporter.stats.rejected) == (3, 1)
    (error,) = told
    assert isinstance(error, CusRecordRefused)
    assert error.code == "unencodable"
    assert error.call_id in ("bad-", "bad-?", "?")


def test_a_record_that_the_server_fails_on_is_isolated_and_set_aside(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cus_sender, "FIRST_ASIDE_SECONDS", 0.2)
    told: list[CusDeliveryError] = []
    collector.fails_on.add("call-13")
    reporter = make_reporter(on_error=told.append)
    _report(reporter, 40)
    assert reporter.flush(20.0) == 1
    assert len(collector.stored) == 39
    assert (reporter.stats.queued, reporter.stats.rejected) == (1, 0)
    assert len([error for error in told if "call-13" in str(error)]) == 1

    reporter.report(_record(41))
    began = time.monotonic()
    assert reporter.flush(5.0) == 1
    assert time.monotonic() - began < 1.0, "a flush waited for what was set aside"

    # Twice as long each time, and alone: in a second it is seldom tried again.
    before = len(collector.batches)
    time.sleep(1.0)
    assert 1 <= len(collector.batches) - before <= 4
    assert all(len(batch) == 1 for batch in collector.batches[before:])

    collector.fails_on.clear()
    _eventually(lambda: "call-13" in collector.stored)
    _eventually(lambda: reporter.stats.queued == 0)
    assert reporter.stats.sent == 41


@pytest.mark.parametrize("status", [502, 503, 504, 429])
def test_a_server_that_is_away_gets_its_batch_whole(
    make_reporter: MakeReporter, collector: CusFakeCollector, status: int
) -> None:
    collector.script.extend([(status, {})] * 7)
    reporter = make_reporter()
    _report(reporter, 20)
    assert reporter.flush(20.0) == 0
    assert {len(batch) for batch in collector.batches} == {20}


def test_a_flush_without_failure_does_not_shorten_a_later_pause(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = make_reporter()
    reporter.report(_record(1))
    assert reporter.flush(5.0) == 0
    monkeypatch.setattr(cus_sender, "FIRST_RETRY_SECONDS", 60.0)
    monkeypatch.setattr(cus_sender, "LONGEST_RETRY_SECONDS", 60.0)
    collector.script.append((503, {}))
    reporter.report(_record(2))
    _eventually(lambda: reporter.stats.retries == 1)
    time.sleep(0.3)
    assert len(collector.batches) == 2
    assert reporter.flush(5.0) == 0


@pytest.mark.parametrize("status", [404, 405, 302])
def test_an_answer_about_the_way_there_costs_no_record(
    make_reporter: MakeReporter, collector: CusFakeCollector, status: int
) -> None:
    collector.script.append((status, {"Location": "http://127.0.0.1:9/"}))
    reporter = make_reporter()
    _report(reporter, 5)
    assert reporter.flush(5.0) == 0
    assert reporter.stats.sent == 5


def test_a_two_hundred_that_is_no_receipt_acknowledges_nothing(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    collector.script.append((200, {}))
    reporter = make_reporter()
    _report(reporter, 5)
    assert reporter.flush(5.0) == 0
    assert len(collector.stored) == reporter.stats.sent == 5


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_keeps_the_records(
    make_reporter: MakeReporter,
    collector: CusFakeCollector,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setattr(cus_sender, "KEY_RETRY_SECONDS", 0.2)
    told: list[CusDeliveryError] = []
    collector.script.extend([(status, {}), (status, {})])
    reporter = make_reporter(on_error=told.append)
    _report(reporter, 5)
    assert reporter.flush(0.1) == 5
    assert reporter.flush(5.0) == 0
    assert reporter.stats.sent == 5
    assert [type(error) for error in told] == [CusKeyRefused]


def test_a_full_queue_drops_the_oldest_and_counts_them(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(base_url="http://127.0.0.1:9", max_queue=10, batch_interval=60.0)
    _report(reporter, 25)
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
    _report(reporter, 3)
    began = time.monotonic()
    assert reporter.flush(0.2) == 3
    assert reporter.shutdown(0.3) == 3
    assert time.monotonic() - began < 1.5


def test_a_report_after_shutdown_takes_delivery_up_again(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    reporter.report(_record(1))
    assert reporter.shutdown(5.0) == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "aos-sdk-sender"]
    reporter.report(_record(2))
    assert reporter.flush(5.0) == 0
    assert len(collector.stored) == 2


def test_a_forked_child_sends_its_own_records_as_a_process_of_its_own(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(batch_interval=60.0)
    reporter.report(_record(1))
    parent_id = generate_call_id()
    child = os.fork()
    if child == 0:
        # Whatever happens here, the child must not go on to run the other tests.
        try:
            queued = reporter.stats.queued
            reporter.report(_record(2))
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


EXITING_PROGRAM = """
import sys
from aos_sdk import CusReporter, CusUsageRecord
reporter = CusReporter("t:i:aosk_s", sys.argv[1], batch_interval=60.0)
for number in range(20):
    reporter.report(CusUsageRecord(f"exit-{number}", "gpt-4o"))
"""


def _run(url: str, program: str = EXITING_PROGRAM) -> tuple[float, str]:
    began = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, url],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return time.monotonic() - began, run.stderr


def test_a_program_that_ends_sends_what_waits(collector: CusFakeCollector) -> None:
    _, errors = _run(collector.url)
    assert len(collector.stored) == 20
    assert errors == ""


def test_a_dead_server_holds_an_exit_up_for_a_second_at_most() -> None:
    seconds, errors = _run("http://127.0.0.1:9")
    assert seconds < 4.0  # an interpreter's start included, on a busy machine
    assert "Traceback" not in errors


def test_an_exit_sends_thousands_and_says_once_how_many_are_left(
    collector: CusFakeCollector,
) -> None:
    program = EXITING_PROGRAM.replace("range(20)", "range(5_000)")
    _, errors = _run(collector.url, program)
    assert len(collector.stored) == 5_000
    assert errors == ""
    assert max(len(batch) for batch in collector.batches) == 1_000

    two_servers = (
        program
        + f"""
other = CusReporter("t:i:aosk_s", "{collector.url}", batch_interval=60.0)
other.report(CusUsageRecord("other", "gpt-4o"))
"""
    )
    _, errors = _run("http://127.0.0.1:9", two_servers)
    assert "other" in collector.stored, "one dead server took all of the time"
    assert errors.count("5000 usage records could not be sent") == 1


@pytest.mark.parametrize(
    ("package", "method"),
    [
        ("multiprocessing", "fork"),
        ("multiprocessing", "spawn"),
        ("multiprocessing", "forkserver"),
        ("billiard", "fork"),
    ],
)
def test_a_child_of_multiprocessing_sends_what_waits(
    collector: CusFakeCollector, tmp_path: Path, package: str, method: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"""
import {package} as multiprocessing, sys, time
from aos_sdk import CusReporter, CusUsageRecord

def work(url):
    reporter = CusReporter("t:i:aosk_s", url, batch_interval=60.0)
    for number in range(20):
        reporter.report(CusUsageRecord(f"child-{{number}}", "gpt-4o"))

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    for url in sys.argv[1:]:
        began = time.monotonic()
        child = context.Process(target=work, args=(url,))
        child.start()
        child.join()
    print(time.monotonic() - began)
""")
    arguments = [sys.executable, str(program), collector.url, "http://127.0.0.1:9"]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    assert len(collector.stored) == 20
    assert float(run.stdout) < 4.0
    assert run.stderr.count("20 usage records could not be sent") == 1


WAITING_PROGRAM = """
import signal, sys, time
from aos_sdk import CusReporter, CusUsageRecord
HANDLER
reporter = CusReporter("t:i:aosk_s", sys.argv[1], batch_interval=60.0)
for number in range(20):
    reporter.report(CusUsageRecord(f"term-{number}", "gpt-4o"))
print("ready", flush=True)
time.sleep(60)
"""


def _terminate(url: str, handler: str = "") -> tuple[int, float]:
    program = WAITING_PROGRAM.replace("HANDLER", handler)
    arguments = [sys.executable, "-c", program, url]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        began = time.monotonic()
        process.terminate()
        return process.wait(30), time.monotonic() - began


def test_sigterm_sends_what_waits_and_ends_the_program_as_before(
    collector: CusFakeCollector,
) -> None:
    code, _ = _terminate(collector.url)
    assert code == -signal.SIGTERM
    assert len(collector.stored) == 20
    code, seconds = _terminate("http://127.0.0.1:9")
    assert code == -signal.SIGTERM
    assert seconds < 3.0


def test_a_program_that_handles_sigterm_keeps_its_handler(collector: CusFakeCollector) -> None:
    code, _ = _terminate(
        collector.url, "import os; signal.signal(signal.SIGTERM, lambda *_: os._exit(7))"
    )
    assert code == 7
    assert not collector.stored


def test_without_a_key_it_says_so_once_and_is_inert(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "aos_sdk"):
        reporters = [CusReporter(), CusReporter()]
    assert len(caplog.records) == 1
    assert "CUS_INTEGRATION_KEY" in caplog.text
    reporter = reporters[0]
    with reporter.track_call("openai", "gpt-4o") as tracker:
        tracker.set_tokens(1, 1)
    reporter.report(_record(1))
    reporter.enable_batching()
    reporter.disable_batching()
    assert (reporter.flush(), reporter.shutdown(), reporter.stats.queued) == (0, 0, 0)
    assert reporter.tenant_id is reporter.integration_id is None
    assert repr(reporter) == "CusReporter(inert)"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://127.0.0.1.example.com",
        "http://127.0.0.1@example.com",
        "https://user:word@example.com",
        "ftp://example.com",
        "http://[broken",
    ],
)
def test_an_address_that_would_give_the_key_away_is_refused(url: str) -> None:
    reporter = CusReporter(KEY, url)
    assert reporter.problem
    assert "verysecret" not in reporter.problem


def test_plain_http_needs_loopback_or_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://127.0.0.1:8000", "http://localhost", "http://[::1]:8000", "https://a.b/c/"):
        assert CusConnection.resolve(KEY, url).base_url == url.rstrip("/")
    monkeypatch.setenv("AOS_ALLOW_HTTP", "1")
    assert CusReporter(KEY, "http://example.com").problem is None


def test_key_and_address_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUS_INTEGRATION_KEY", KEY + "\n")
    monkeypatch.setenv("AOS_BASE_URL", "https://aos.example/")
    connection = CusConnection.resolve(None, None, os.environ)
    assert connection.base_url == "https://aos.example"
    assert CusReporter().tenant_id == "tenant-1"
    assert CusReporter().integration_id == "integration-1"
    monkeypatch.delenv("AOS_BASE_URL")
    assert CusConnection.resolve(None, None, os.environ).base_url == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    "key", ["x", "a:b", "a:b:c:d", "a::c", "a:b:c d", "a:b:c\r\nX: y", "a:b:ü"]
)
def test_a_malformed_key_is_refused_without_being_shown(key: str) -> None:
    reporter = CusReporter(key)
    assert reporter.problem is not None
    assert "malformed" in reporter.problem


def test_the_key_shows_in_no_repr_log_or_error(
    make_reporter: MakeReporter, collector: CusFakeCollector, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[CusDeliveryError] = []
    collector.script.append((500, {}))
    with caplog.at_level(logging.DEBUG):
        reporter = make_reporter(on_error=told.append)
        _report(reporter, 2)
        reporter.flush(5.0)
    shown = [repr(reporter), repr(vars(reporter)), caplog.text, *map(repr, told)]
    assert not [text for text in shown if "verysecret" in text]
    assert "tenant-1" in repr(reporter)


def test_an_on_error_that_fails_is_counted_and_harms_nothing(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    def fail(error: CusDeliveryError) -> None:
        raise RuntimeError

    collector.script.append((500, {}))
    reporter = make_reporter(on_error=fail)
    _report(reporter, 2)
    assert reporter.flush(5.0) == 0
    assert (reporter.stats.sent, reporter.stats.faults) == (2, 1)


def test_a_tracked_call_is_timed_priced_and_reported(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    with reporter.track_call("openai", "gpt-4o", call_id="c", session_id="s", agent_id="a") as call:
        time.sleep(0.02)
        call.set_tokens(1_000, 500).set_metadata(team="red").set_metadata(step=1)
        call.set_policy_result("warned").set_policy_result("nonsense")
    reporter.flush(5.0)
    row = collector.stored["c"]
    assert row["cost_cents"] == 1
    assert row["pricing_version"] == "2026-01-17"
    assert 20 <= row["latency_ms"] < 5_000
    assert row["metadata"] == {"team": "red", "step": 1}
    assert row["policy_result"] == CusPolicyResult.WARNED
    assert (row["provider"], row["session_id"], row["agent_id"]) == ("openai", "s", "a")
    assert reporter.stats.faults == 1


def test_what_is_not_billed_by_the_token_is_reported_and_priced(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    with reporter.track_call("anthropic", "claude-sonnet-4") as call:
        call.set_usage(CusTokenUsage(1_000, 500), "standard", {"searches": 2})
    assert reporter.flush(5.0) == 0
    (row,) = collector.stored.values()
    assert (row["billed_units"], row["cost_cents"]) == ({"searches": 2}, 4)
    assert reporter.stats.faults == 0


def test_a_tracked_call_that_fails_passes_its_exception_on_and_masks_it(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    failure = LookupError("key sk-proj-abcdef123456 " + "x" * 2_000)
    with (
        pytest.raises(LookupError) as caught,
        reporter.track_call("openai", "gpt-4o", call_id="c"),
    ):
        raise failure
    assert caught.value is failure
    reporter.flush(5.0)
    row = collector.stored["c"]
    assert row["error_code"] == "LookupError"
    assert row["error_message"].startswith("key [masked] xxx")
    assert len(row["error_message"]) == 1_000


def test_an_exception_that_cannot_say_what_it_is_is_reported_all_the_same(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    reporter = make_reporter()
    with pytest.raises(MuteError), reporter.track_call("openai", "gpt-4o", call_id="c"):
        raise MuteError
    reporter.flush(5.0)
    assert collector.stored["c"]["error_code"] == "MuteError"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupted_call_is_reported_and_stays_interrupted(
    make_reporter: MakeReporter, collector: CusFakeCollector, error: type[BaseException]
) -> None:
    reporter = make_reporter()
    with pytest.raises(error), reporter.track_call("openai", "gpt-4o", call_id="c"):
        raise error
    reporter.flush(5.0)
    assert collector.stored["c"]["error_code"] == error.__name__


def test_a_signal_handler_that_reports_within_a_report_does_not_hang(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(max_queue=100_000)
    before = signal.signal(signal.SIGALRM, lambda *_: reporter.report(_record(10**9)))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
    try:
        _report(reporter, 20_000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert reporter.flush(20.0) == 0
    assert len(collector.stored) >= 20_000


def test_a_call_that_cannot_be_priced_goes_without_a_cost(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    with reporter.track_call("custom", "nobody-knows", call_id="unpriced") as call:
        call.set_tokens(10, 10)
    with reporter.track_call("custom", "nobody-knows", call_id="told") as call:
        call.set_tokens(10, 10).set_cost(7)
    with reporter.track_call("openai", "gpt-4o", call_id="silent"):
        pass
    reporter.flush(5.0)
    assert "cost_cents" not in collector.stored["unpriced"]
    assert collector.stored["told"]["cost_cents"] == 7
    assert "cost_cents" not in collector.stored["silent"]


def test_texts_are_cut_to_what_the_wire_takes() -> None:
    record = CusUsageRecord(
        "c", "m" * 200, session_id="s" * 200, error_message="\ud800 Bearer abcdef"
    )
    data = record.to_dict()
    assert (len(data["model"]), len(data["session_id"])) == (100, 100)
    assert data["error_message"] == "? [masked]"
    assert CusUsageRecord("c", "m", session_id="sk-9876").to_dict()["session_id"] == "sk-9876"


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": "x" * 20_000},
        {"a": object()},
        {"a": float("nan")},
        {"a": "\ud800"},
        _nested(9),
        _nested(5_000),
    ],
)
def test_metadata_that_cannot_travel_is_replaced_by_a_note(metadata: dict[str, Any]) -> None:
    data = CusUsageRecord("c", "m", metadata=metadata).to_dict()
    assert list(data["metadata"]) == ["metadata_dropped"]


def test_metadata_at_its_limits_travels_as_it_is() -> None:
    for metadata in (_nested(8), {"a": "x" * (16 * 1024 - 8)}, {"a": "ü" * 8_000}):
        assert CusUsageRecord("c", "m", metadata=metadata).to_dict()["metadata"] == metadata


def test_a_timestamp_of_any_kind_goes_out_as_iso_with_a_zone() -> None:
    moment = datetime(2026, 1, 17, 12, 0, 0, 250_000, tzinfo=UTC)
    nanoseconds = int(moment.timestamp()) * 10**9 + 250_000_000
    for timestamp in (moment, nanoseconds, "2026-01-17T12:00:00.250000+00:00"):
        record = CusUsageRecord("c", "m", timestamp=timestamp)
        assert record.to_dict()["timestamp"] == "2026-01-17T12:00:00.250000+00:00"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdef123456",
        "sk-ant-api03-abcdef",
        "sk-abc*****xyz",
        "aosk_abcdef",
        "tenant:integration:aosk_abcdef",
        "Bearer abcdef.ghi",
        "api_key='abcdefgh'",
        "AKIAABCDEFGHIJKLMNOP",
    ],
)
def test_what_looks_like_a_key_is_masked(secret: str) -> None:
    assert mask_secrets(f"before {secret} after").replace("'", "") == "before [masked] after"


def test_masking_a_hostile_text_takes_no_time() -> None:
    began = time.perf_counter()
    mask_secrets("a" * 4_000 + "a:" * 2_000)
    assert time.perf_counter() - began < 0.5


def test_the_guard_lets_limits_and_interrupts_through_and_counts_the_rest() -> None:
    counted: list[int] = []
    guard = never_raise(count=lambda: counted.append(1))
    with guard:
        raise RuntimeError
    for error in (CusLimitExceeded, KeyboardInterrupt):
        with pytest.raises(error), guard:
            raise error
    assert counted == [1]


def test_retry_after_is_read_in_both_of_its_forms() -> None:
    later = format_datetime(datetime.fromtimestamp(time.time() + 30, UTC), usegmt=True)
    assert _retry_after("7") == 7.0
    assert 25 < (_retry_after(later) or 0) <= 30
    assert _retry_after("soon") is _retry_after(None) is None


def test_a_reporter_that_is_dropped_still_delivers(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    CusReporter(KEY, collector.url, batch_interval=0.05).report(_record(1))
    gc.collect()
    _eventually(lambda: collector.stored)
    for sender in list(cus_exit._senders):
        sender.stop(2.0)
