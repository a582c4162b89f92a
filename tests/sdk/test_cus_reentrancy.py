"""Code that interrupts ours at any point (a finalizer, a signal handler) and reports, never hangs.

Each test runs in a thread of its own: one that waited for itself would be left behind, and told.
"""

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from aos_sdk import CusReporter, count_tokens, cus_configuration, cus_token_counter
from aos_sdk.cus_configuration import CusConfiguration, active
from aos_sdk.cus_delivery import storage as cus_storage
from tests.sdk.conftest import MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector
from tests.sdk.cus_reports import cus_record

IN_RING_AND_MEMORY = pytest.mark.parametrize(
    "options", [{}, {"spool_dir": None}], ids=["ring", "memory"]
)


def _within(seconds: float, do: Callable[[], object]) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            do()
        except BaseException as error:  # noqa: BLE001 - told below, in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it waits for itself"
    assert errors == []


class _Dropped:
    """Reports when the collector finds it, in the middle of whatever runs then."""

    def __init__(self, reporter: CusReporter, number: int) -> None:
        self._reporter, self._number, self._circle = reporter, number, self

    def __del__(self) -> None:
        self._reporter.report(cus_record(self._number))


@IN_RING_AND_MEMORY
def test_finalizers_report_while_others_report(
    options: dict[str, Any], make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(**options)

    def report() -> None:
        for number in range(300):
            _Dropped(reporter, 1_000 + number)
            reporter.report(cus_record(number))
        gc.collect()

    usual = gc.get_threshold()
    gc.set_threshold(3, 1, 1)  # in the sender's thread, too
    try:
        _within(30.0, report)
        assert reporter.flush(10.0) == 0
    finally:
        gc.set_threshold(*usual)
    assert len(collector.stored) == 600
    assert reporter.stats.faults == 0


@IN_RING_AND_MEMORY
def test_a_report_while_the_first_one_opens_the_buffer(
    options: dict[str, Any],
    make_reporter: MakeReporter,
    collector: CusFakeCollector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reporter = make_reporter(**options)
    opens, interruptions = cus_storage.CusStorage.open, [cus_record(2)]

    def interrupted(self: cus_storage.CusStorage) -> Any:
        if interruptions:
            reporter.report(interruptions.pop())
        return opens(self)

    monkeypatch.setattr(cus_storage.CusStorage, "open", interrupted)
    _within(10.0, lambda: reporter.report(cus_record(1)))
    assert reporter.flush(5.0) == 0
    assert sorted(collector.stored) == ["call-1", "call-2"]
    assert sorted(row["sequence"] for row in collector.stored.values()) == [1, 2]


def test_a_count_while_the_encoding_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    encodings = cus_token_counter._Encodings()
    build, interruptions = encodings._build, ["cl100k_base"]

    def interrupted(name: str) -> Any:
        if interruptions:
            encodings.get(interruptions.pop())
        return build(name)

    monkeypatch.setattr(encodings, "_build", interrupted)
    monkeypatch.setattr(cus_token_counter, "_encodings", encodings)
    _within(30.0, lambda: count_tokens("hello", "gpt-4"))
    assert interruptions == []
    assert count_tokens("hello world", "gpt-4") == 2


def test_a_call_while_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: Callable[..., CusConfiguration] = cus_configuration._configuration
    interruptions: list[Callable[[], object]] = [active.get]

    def interrupted(**given: Any) -> CusConfiguration:
        if interruptions:
            interruptions.pop()()
        return read(**given)

    monkeypatch.setattr(cus_configuration, "_configuration", interrupted)
    active.replace(None)
    try:
        _within(10.0, active.get)
        assert active.configuration is not None
    finally:
        active.replace(None)
