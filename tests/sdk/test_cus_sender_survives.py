"""The sender's thread outlives whatever is raised in it, pauses, and leaves no socket behind."""

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aos_sdk import CusDeliveryError, CusUsageRecord
from aos_sdk.cus_delivery import buffer as cus_buffer
from aos_sdk.cus_delivery import transport as cus_transport
from aos_sdk.cus_delivery import waits as cus_waits
from aos_sdk.cus_delivery.announcements import CusAnnouncements
from aos_sdk.cus_delivery.delivery import CusDelivery
from aos_sdk.cus_delivery.recounts import CusRecounts
from aos_sdk.cus_delivery.ring_buffer import CusAdoptedRing
from aos_sdk.cus_delivery.sockets import _PlainSocket
from aos_sdk.cus_delivery.spool import CusSpool
from aos_sdk.cus_delivery.transport import CusReceipt
from aos_sdk.cus_delivery.waits import CusPoll, CusWaits
from aos_sdk.cus_reporter import CusReporter
from tests.sdk.conftest import KEY, MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector
from tests.sdk.cus_reports import cus_eventually, cus_record, cus_report
from tests.sdk.test_cus_spool import _die


class Blocked(BaseException):
    """What test tools raise where a test uses the network."""


# Kept and raised again and again: its traceback holds the frames in which it was raised.
_BLOCKED = Blocked("the network is blocked")
_FAILURES = 4

_PLACES: dict[str, tuple[Any, str]] = {
    "resolving the name": (socket, "getaddrinfo"),
    "making a socket": (socket, "socket"),
    "connecting": (socket.socket, "connect"),
    "keeping the deadline": (_PlainSocket, "settimeout"),
    "sending": (_PlainSocket, "sendall"),
    "reading": (_PlainSocket, "recv_into"),
    "importing": (cus_transport, "_import_client"),
    "reading the body": (cus_transport, "_read_bounded"),
    "reading the receipt": (CusReceipt, "read"),
    "settling": (CusDelivery, "_settle"),
    "announcing": (CusAnnouncements, "of"),
    "encoding": (cus_buffer, "plain_json"),
    "counting": (CusRecounts, "applied"),
    "adopting": (CusSpool, "adopt"),
    "reading a ring": (CusAdoptedRing, "take"),
    "waiting": (CusWaits, "for_work"),
    "planning": (CusPoll, "looked"),
}


# A record on which encoding raises twice is refused.
_MOST_FAILURES = {"encoding": 1}


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    _BLOCKED.__traceback__ = None


def _sender_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "aos-sdk-sender"]


def _sockets() -> int:
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            count += os.readlink(descriptor).startswith("socket:")
        except FileNotFoundError:
            continue  # The descriptor of this listing.
    return count


def _block(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, failures: int = _FAILURES
) -> list[threading.Thread]:
    """Let a function raise so many times; return the threads in which it did."""
    original = getattr(owner, name)
    original = getattr(original, "__func__", original)
    raised: list[threading.Thread] = []

    def blocked(*arguments: Any, **named: Any) -> Any:
        thread = threading.current_thread()
        if thread.name == "aos-sdk-sender" and len(raised) < failures:
            raised.append(thread)
            raise _BLOCKED
        return original(*arguments, **named)

    is_of_class = isinstance(owner.__dict__.get(name), classmethod)
    monkeypatch.setattr(owner, name, classmethod(blocked) if is_of_class else blocked)
    return raised


@pytest.mark.parametrize("place", _PLACES)
def test_a_thread_survives_what_is_raised_in_it_and_then_delivers(
    make_reporter: MakeReporter,
    collector: CusFakeCollector,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    if place == "reading a ring":
        _die(collector.url)
    before = _sockets()
    failures = _MOST_FAILURES.get(place, _FAILURES)
    raised = _block(monkeypatch, *_PLACES[place], failures)
    reporter = make_reporter()
    cus_report(reporter, 20)
    cus_eventually(lambda: len(collector.stored) >= 20 and len(raised) == failures, 20.0)
    assert len(set(raised)) == 1
    assert _sender_threads() == raised[:1], "the thread has ended"
    reporter.shutdown(10.0)
    cus_eventually(lambda: _sockets() <= before)


def test_a_blocked_network_costs_few_attempts_and_no_sockets(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cus_waits, "FIRST_RETRY_SECONDS", 30.0)
    before = _sockets()
    raised = _block(monkeypatch, socket.socket, "connect", 1_000)
    told: list[CusDeliveryError] = []
    reporter = make_reporter(on_error=told.append)
    for number in range(2_000):
        reporter.report(cus_record(number))
    cus_eventually(lambda: told)
    assert reporter.flush(0.1) == 2_000
    # The first attempt, and the one that the flush asked for.
    assert len(raised) <= 2
    assert len(_sender_threads()) == 1
    assert "delayed (Blocked)" in str(told[0])
    assert _sockets() <= before
    monkeypatch.undo()


def test_a_failed_handshake_leaves_no_socket(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _sockets()
    raised = _block(monkeypatch, ssl.SSLSocket, "do_handshake", 1_000)
    address = collector.url.replace("http:", "https:")
    reporter = make_reporter(base_url=address)
    reporter.report(cus_record(1))
    cus_eventually(lambda: len(raised) >= _FAILURES)
    assert len(_sender_threads()) == 1
    reporter.shutdown(0.1)
    cus_eventually(lambda: _sockets() <= before)


def _exit_program(_: object) -> None:
    raise SystemExit(1)


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("on_error", [_exit_program, _interrupt])
def test_an_on_error_that_ends_the_program_ends_no_delivery(
    make_reporter: MakeReporter,
    collector: CusFakeCollector,
    on_error: Callable[[object], None],
) -> None:
    collector.script.append((503, {}))
    collector.poison.add("call-3")
    reporter = make_reporter(on_error=on_error)
    cus_report(reporter, 10)
    assert reporter.flush(20.0) == 0
    assert len(collector.stored) == 9
    assert reporter.stats.rejected == 1
    assert reporter.stats.faults >= 2


class _Raising:
    """A value of the program's whose text can't be had."""

    def __str__(self) -> str:
        raise SystemExit(1)


@pytest.mark.parametrize("spool", ["state", None])
def test_a_record_whose_values_end_the_program_is_refused_alone(
    make_reporter: MakeReporter, collector: CusFakeCollector, spool: str | None
) -> None:
    reporter = make_reporter(spool_dir=spool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aos_sdk.cus_delivery.ring_buffer.encode_any", _encoded_later)
        bad: Any = _Raising()
        reporter.report(CusUsageRecord("bad", "gpt-4o", session_id=bad))
        reporter.report(cus_record(1))
    assert reporter.flush(20.0) == 0
    assert list(collector.stored) == ["call-1"]
    assert reporter.stats.rejected == 1


def _encoded_later(_: object) -> bytes:
    raise ValueError


def test_a_thread_that_cannot_be_started_is_not_tried_for_every_record(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cus_waits, "FIRST_RETRY_SECONDS", 600.0)
    tried: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        tried.append(thread)
        raise RuntimeError("can't start new thread")

    reporter = make_reporter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        cus_report(reporter, 500)
        assert len(tried) == 1
        reporter.flush(5.0)  # A caller that waits is worth another attempt.
        assert len(tried) == 2
    assert reporter.flush(20.0) == 0
    assert len(collector.stored) == 500


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_start_that_is_interrupted_leaves_one_thread(
    make_reporter: MakeReporter,
    collector: CusFakeCollector,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    start = threading.Thread.start
    reporter = make_reporter()

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "aos-sdk-sender":
            raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        try:
            reporter.report(cus_record(0))
        except KeyboardInterrupt:
            assert error is KeyboardInterrupt
    reporter.report(cus_record(1))
    assert reporter.flush(20.0) == 0
    assert set(collector.stored) == {"call-0", "call-1"}
    cus_eventually(lambda: len(_sender_threads()) == 1)


def test_handlers_of_the_programs_log_stop_no_delivery(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise _BLOCKED

    monkeypatch.setattr("aos_sdk.cus_delivery.delivery.logger.warning", refuse)
    monkeypatch.setattr("aos_sdk.cus_delivery.delivery.logger.info", refuse)
    collector.script.append((503, {}))
    reporter = make_reporter()
    cus_report(reporter, 5)
    assert reporter.flush(20.0) == 0
    assert (len(collector.stored), reporter.stats.duplicates) == (5, 0)


def test_the_thread_ends_with_its_reporter_though_everything_raises(
    collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = _block(monkeypatch, CusWaits, "for_work", 1_000_000)
    reporter = CusReporter(KEY, collector.url)
    reporter.report(cus_record(1))
    cus_eventually(lambda: raised)
    reporter.shutdown(0.1)
    cus_eventually(lambda: not _sender_threads())
