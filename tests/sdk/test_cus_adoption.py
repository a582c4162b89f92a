"""What dead processes left is taken over ring by ring, by programs of any length."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aos_sdk.cus_delivery.connection import CusConnection
from aos_sdk.cus_delivery.ring_buffer import CusAdoptedRing
from aos_sdk.cus_delivery.spool import CusSpool
from tests.sdk.conftest import KEY, MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector
from tests.sdk.cus_reports import cus_record

RECORDS = 3


def _leave_rings(url: str, tmp_path: Path, count: int) -> set[str]:
    """What so many processes that were killed have left; the call ids in it."""
    spool = CusSpool(str(tmp_path / "spool"), CusConnection.resolve(KEY, url))
    for ring in range(count):
        buffer = spool.create(64)
        for number in range(RECORDS):
            buffer.append(cus_record(100 + ring * RECORDS + number))
        buffer.abandon()
    return {cus_record(100 + number).call_id for number in range(count * RECORDS)}


def test_rings_are_taken_over_one_by_one_and_after_a_programs_own_records(
    make_reporter: MakeReporter,
    collector: CusFakeCollector,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """After an outage there may be hundreds, and reading them all takes longer than an exit may."""
    left = _leave_rings(collector.url, tmp_path, 4)
    adopt, seen = CusSpool.adopt, []

    def watched(spool: CusSpool) -> Iterator[CusAdoptedRing]:
        for ring in adopt(spool):
            seen.append(len(collector.stored))
            yield ring

    monkeypatch.setattr(CusSpool, "adopt", watched)
    reporter = make_reporter(batch_size=1)
    reporter.report(cus_record(1))
    while not left <= set(collector.stored):
        time.sleep(0.01)
    assert seen == [1 + ring * RECORDS for ring in range(4)]


def test_a_program_of_one_call_takes_over_what_it_has_time_for(
    collector: CusFakeCollector, tmp_path: Path
) -> None:
    left = _leave_rings(collector.url, tmp_path, 4)
    program = (
        "import sys\n"
        "from aos_sdk import CusReporter, CusUsageRecord\n"
        "from aos_sdk.cus_delivery import exit as cus_exit\n"
        "cus_exit.EXIT_SECONDS = 30.0\n"  # a busy machine may need more than there is
        "CusReporter(*sys.argv[1:3]).report(CusUsageRecord('own', 'gpt-4o'))\n"
    )
    arguments = [sys.executable, "-c", program, KEY, collector.url]
    subprocess.run(arguments, check=True, timeout=60)
    assert set(collector.stored) == {"own", *left}
    assert list((tmp_path / "spool").glob("*/*.ring")) == []


def test_an_exit_waits_for_no_take_over_that_fails(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path
) -> None:
    reporter = make_reporter()
    reporter.report(cus_record(1))
    assert reporter.flush(30.0) == 0
    collector.script.extend([(503, {})] * 1_000)
    _leave_rings(collector.url, tmp_path, 1)
    sender = reporter._sender
    assert sender
    sender._adoption._adopt_at = 0.0
    began = time.monotonic()
    sender.stop(60.0, adopt=True)
    assert time.monotonic() - began < 30.0
    assert len(list((tmp_path / "spool").glob("*/*.ring"))) == 2
