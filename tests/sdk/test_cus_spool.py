"""The spool: one ring a process, private, bounded; what a dead process left finds its way."""

import logging
import multiprocessing
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from aos_sdk import CusDeliveryError, CusReporter, CusSpoolUnavailable
from aos_sdk.cus_delivery import adoption
from aos_sdk.cus_delivery import spool as cus_spool
from aos_sdk.cus_delivery.codec import decode_record
from aos_sdk.cus_delivery.connection import CusConnection
from aos_sdk.cus_delivery.ring import CusRing
from aos_sdk.cus_delivery.spool import CusSpool, spool_folder
from tests.sdk.conftest import KEY, MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector
from tests.sdk.cus_reports import PATIENT, cus_eventually, cus_record, cus_report

DYING = """
import os, sys
from aos_sdk import CusReporter, CusUsageRecord
url, count, key = sys.argv[1], int(sys.argv[2]), sys.argv[3]
reporter = CusReporter(key, url, batch_interval=60.0)
for number in range(count):
    reporter.report(CusUsageRecord(f"dead-{number}", "gpt-4o", 10, 5, 1))
os.kill(os.getpid(), 9)
"""


def _die(url: str, count: int = 10, key: str = KEY) -> None:
    subprocess.run([sys.executable, "-c", DYING, url, str(count), key], timeout=120)


def _rings(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "spool").glob("*/*.ring"))


def test_the_next_process_sends_what_a_killed_one_left(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path
) -> None:
    _die(collector.url, 500)
    assert not collector.stored
    reporter = make_reporter()
    reporter.report(cus_record(1))
    cus_eventually(lambda: len(collector.stored) == 501)
    cus_eventually(lambda: len(_rings(tmp_path)) == 1)
    dead = [row for row in collector.stored.values() if row["call_id"] != "call-1"]
    assert sorted(row["sequence"] for row in dead) == list(range(1, 501))
    assert len({row["process_id"] for row in dead}) == 1
    assert {row["integration_id"] for row in dead} == {"integration-1"}
    cus_eventually(lambda: reporter.stats.queued == 0)
    assert (reporter.stats.adopted, reporter.stats.sent) == (500, 501)


def test_a_long_lived_process_adopts_again_and_again(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "ADOPT_SECONDS", 0.1)
    make_reporter().report(cus_record(1))
    cus_eventually(lambda: collector.stored)
    _die(collector.url)
    cus_eventually(lambda: len(collector.stored) == 11)


@pytest.mark.parametrize("key", ["tenant-2:integration-1:aosk_s", "tenant-1:integration-2:aosk_s"])
def test_another_integrations_ring_is_not_ours(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path, key: str
) -> None:
    _die(collector.url, key=key)
    reporter = make_reporter()
    reporter.report(cus_record(1))
    assert reporter.flush(5.0) == 0
    assert list(collector.stored) == ["call-1"]
    assert len(_rings(tmp_path)) == 2


def test_a_new_key_of_the_integration_sends_what_the_old_one_could_not(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    _die(collector.url, key="tenant-1:integration-1:aosk_revoked")
    make_reporter().report(cus_record(1))
    cus_eventually(lambda: len(collector.stored) == 11)


def test_a_living_processes_ring_is_left_alone(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    first = make_reporter(base_url=collector.url, batch_interval=60.0)
    first.report(cus_record(1))
    second = make_reporter()
    second.report(cus_record(2))
    assert second.flush(5.0) == 0
    assert (list(collector.stored), second.stats.adopted) == (["call-2"], 0)


def test_of_many_processes_one_adopts_each_ring(
    collector: CusFakeCollector, tmp_path: Path
) -> None:
    for _ in range(3):
        _die(collector.url)
    program = DYING.replace("os.kill(os.getpid(), 9)", "reporter.flush(20)").replace(
        "dead-{number}", "{os.getpid()}-{number}"
    )
    arguments = [sys.executable, "-c", program, collector.url, "1", KEY]
    running = [subprocess.Popen(arguments) for _ in range(4)]
    assert [process.wait(120) for process in running] == [0] * 4
    cus_eventually(lambda: len(collector.stored) == 14)
    rows = [row["call_id"] for batch in collector.batches for row in batch]
    assert len(rows) <= 34, "a ring was sent by more than one"


@pytest.mark.parametrize("content", [b"", b"AOSRING\0\2\0\0\0" + bytes(5_000), os.urandom(9_000)])
def test_a_file_that_we_do_not_know_is_left_alone(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path, content: bytes
) -> None:
    _die(collector.url)
    folder = _rings(tmp_path)[0].parent
    strange = folder / "strange.ring"
    strange.write_bytes(content)
    reporter = make_reporter()
    reporter.report(cus_record(1))
    cus_eventually(lambda: len(collector.stored) == 11)
    assert strange.read_bytes() == content
    assert reporter.stats.faults == 0


def test_folders_and_files_are_private_and_hold_no_key(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        make_reporter(batch_interval=60.0).report(cus_record(1, error_message="sk-abcdefgh"))
    finally:
        os.umask(before)
    (ring,) = _rings(tmp_path)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (ring, ring.parent, tmp_path / "spool")]
    assert modes == [0o600, 0o700, 0o700]
    assert b"verysecret" not in ring.read_bytes()
    assert b"sk-abcdefgh" not in ring.read_bytes()
    assert "tenant" not in str(ring)


def test_a_folder_that_others_can_read_is_closed_to_them(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path
) -> None:
    connection = CusConnection.resolve(KEY, collector.url)
    folder = Path(CusSpool(str(tmp_path / "spool"), connection).folder)
    folder.mkdir(parents=True, mode=0o755)
    make_reporter().report(cus_record(1))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_a_folder_of_another_user_is_not_used(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path
) -> None:
    connection = CusConnection.resolve(KEY, collector.url)
    folder = Path(CusSpool(str(tmp_path / "spool"), connection).folder)
    folder.mkdir(parents=True)
    os.chown(folder, 12_345, 12_345)
    reporter = make_reporter()
    reporter.report(cus_record(1))
    assert (reporter.durable, list(folder.iterdir())) == (False, [])


def _no_room(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("trouble", ["full", "unwritable", "quota", "windows"])
def test_without_room_for_a_ring_it_says_so_once_and_works_in_memory(
    make_reporter: MakeReporter,
    collector: CusFakeCollector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    trouble: str,
) -> None:
    if trouble == "full":
        monkeypatch.setattr("aos_sdk.cus_delivery.ring.allocate", _no_room)
    if trouble == "unwritable":
        (tmp_path / "file").touch()
        monkeypatch.setenv("CUS_SPOOL_DIR", str(tmp_path / "file"))
    if trouble == "quota":
        monkeypatch.setattr(cus_spool, "QUOTA_BYTES", 1_000)
    if trouble == "windows":
        monkeypatch.setattr(sys, "platform", "win32")
    told: list[CusDeliveryError] = []
    reporter = make_reporter(on_error=told.append)
    with caplog.at_level(logging.WARNING, "aos_sdk"):
        cus_report(reporter, 3)
        assert reporter.flush(5.0) == 0
    assert (len(collector.stored), reporter.durable, reporter.stats.faults) == (3, False, 0)
    assert [type(error) for error in told] == [CusSpoolUnavailable]
    assert len(caplog.records) == 1
    assert not _rings(tmp_path)
    assert not list((tmp_path / "spool").glob("*/*.new")), "half a ring was left behind"


def test_two_reporters_of_one_process_have_a_ring_each(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path
) -> None:
    for number in range(2):
        make_reporter(batch_interval=60.0).report(cus_record(number))
    assert len(_rings(tmp_path)) == 2


def test_an_exit_leaves_no_file_behind(collector: CusFakeCollector, tmp_path: Path) -> None:
    program = PATIENT + DYING.replace("os.kill(os.getpid(), 9)", "")
    arguments = [sys.executable, "-c", program, collector.url, "20", KEY]
    subprocess.run(arguments, check=True, timeout=120)
    assert len(collector.stored) == 20
    assert _rings(tmp_path) == []


def _report_and_die(url: str) -> None:
    reporter = CusReporter(KEY, url, batch_interval=60.0)
    cus_report(reporter, 20)
    time.sleep(60)


def test_a_killed_child_of_multiprocessing_loses_nothing(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path
) -> None:
    child = multiprocessing.get_context("spawn").Process(
        target=_report_and_die, args=(collector.url,)
    )
    child.start()
    cus_eventually(lambda: _rings(tmp_path))
    cus_eventually(lambda: _rings(tmp_path)[0].read_bytes().count(b"call-") == 20)
    child.kill()
    child.join()
    make_reporter().report(cus_record(100))
    cus_eventually(lambda: len(collector.stored) == 21)


def test_a_fork_lets_the_parents_ring_go(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path
) -> None:
    """A child that lives on must not keep the lock of a parent that died."""
    program = """
import os, sys, time
from aos_sdk import CusReporter, CusUsageRecord
reporter = CusReporter(sys.argv[2], sys.argv[1], batch_interval=60.0)
reporter.report(CusUsageRecord("parents", "gpt-4o"))
if os.fork() == 0:
    print(os.getpid(), flush=True)
    os.close(1)
    time.sleep(60)
os.kill(os.getpid(), 9)
"""
    arguments = [sys.executable, "-c", program, collector.url, KEY]
    run = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, timeout=120)
    try:
        make_reporter().report(cus_record(1))
        cus_eventually(lambda: "parents" in collector.stored)
    finally:
        os.kill(int(run.stdout), 9)


@pytest.mark.parametrize("step", ["cus_ring.allocate", "cus_spool.os.rename"])
def test_a_fork_while_a_thread_opens_the_ring_lets_it_go(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path, step: str
) -> None:
    program = """
import os, sys, threading, time
from aos_sdk import CusReporter, CusUsageRecord
from aos_sdk.cus_delivery import ring as cus_ring
from aos_sdk.cus_delivery import spool as cus_spool
reached, forked = threading.Event(), threading.Event()
owner, _, name = "STEP".rpartition(".")
owner = eval(owner)
step = getattr(owner, name)

def slow(*arguments):
    reached.set()
    forked.wait(30)
    return step(*arguments)

setattr(owner, name, slow)
reporter = CusReporter(sys.argv[2], sys.argv[1], batch_interval=60.0)
record = CusUsageRecord("parents", "gpt-4o")
thread = threading.Thread(target=reporter.report, args=(record,))
thread.start()
reached.wait(30)
if os.fork() == 0:
    print(os.getpid(), flush=True)
    os.close(1)
    time.sleep(60)
forked.set()
thread.join()
os.kill(os.getpid(), 9)
"""
    program = program.replace("STEP", step)
    arguments = [sys.executable, "-c", program, collector.url, KEY]
    run = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, timeout=60)
    try:
        assert len(_rings(tmp_path)) == 1
        make_reporter().report(cus_record(1))
        cus_eventually(lambda: "parents" in collector.stored)
    finally:
        os.kill(int(run.stdout), 9)


def test_a_report_that_is_under_way_when_the_program_ends_is_kept(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon thread may have found the ring, and get its next turn once the ring is gone."""
    reporter = make_reporter()
    sender = reporter._sender
    assert sender
    reporter.report(cus_record(1))
    reporter.flush(5.0)
    late, gone = threading.Event(), threading.Event()
    append = CusRing.append

    def append_late(ring: CusRing, payload: bytes) -> int:
        if threading.current_thread() is thread:
            late.set()
            gone.wait(30)
        return append(ring, payload)

    monkeypatch.setattr(CusRing, "append", append_late)
    thread = threading.Thread(target=reporter.report, args=(cus_record(2),))
    thread.start()
    assert late.wait(30)
    sender.stop(5.0)
    sender.discard_if_empty()
    gone.set()
    thread.join()
    assert reporter.durable
    assert reporter.flush(5.0) == 0
    assert set(collector.stored) == {cus_record(1).call_id, cus_record(2).call_id}


def test_a_call_that_is_stored_twice_at_the_end_has_one_name(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the program takes the ring away while a call is stored there, and then leaves it."""
    reporter = make_reporter()
    sender = reporter._sender
    assert sender
    append, stored = CusRing.append, list[dict[str, Any]]()

    def end_meanwhile(ring: CusRing, payload: bytes) -> int:
        sequence = append(ring, payload)
        if not stored:
            sender.buffer = None
        stored.append(decode_record(payload, ring.process_id, sequence))
        return sequence

    monkeypatch.setattr(CusRing, "append", end_meanwhile)
    with reporter.track_call("openai", "gpt-4o") as call:
        call.set_tokens(1, 1)
        call.call_id = None
    first, second = stored
    assert first["call_id"] == second["call_id"] == f"{first['process_id']}-{first['sequence']:x}"
    assert first["process_id"] != second["process_id"]
    assert reporter.flush(5.0) == 0
    assert set(collector.stored) == {first["call_id"]}


def test_a_ring_that_somebody_takes_while_it_is_made_is_made_anew(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process does whose clock has jumped, so that a young file looks forgotten."""
    create, taken = CusRing.create, list[str]()

    def take_meanwhile(descriptor: int, slots: int, process_id: str) -> CusRing:
        if not taken:
            taken.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            os.unlink(taken[0])
        return create(descriptor, slots, process_id)

    monkeypatch.setattr(CusRing, "create", take_meanwhile)
    reporter = make_reporter()
    reporter.report(cus_record(1))
    assert taken
    assert reporter.durable


def test_without_a_home_nothing_is_written_where_the_program_happens_to_be(
    make_reporter: MakeReporter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CUS_SPOOL_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    # What it answers for a user whom the host does not know.
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    told: list[CusDeliveryError] = []
    reporter = make_reporter(on_error=told.append)
    reporter.report(cus_record(1))
    assert reporter.flush(5.0) == 0
    assert not reporter.durable
    assert "no home" in str(told[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "variable", "ends"),
    [
        ("state", "", "/state/aos-sdk/spool"),
        ("state", "/var/x", "/var/x"),
        ("state", "off", None),
        ("/tmp/y", "/var/x", "/tmp/y"),
        (Path("/tmp/y"), "", "/tmp/y"),
        (None, "/var/x", None),
    ],
)
def test_where_rings_are_kept(
    monkeypatch: pytest.MonkeyPatch, argument: Any, variable: str, ends: str | None
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    monkeypatch.setenv("CUS_SPOOL_DIR", variable)
    assert spool_folder(argument) == ends
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("CUS_SPOOL_DIR")
    assert spool_folder("state") == "/home/me/.local/state/aos-sdk/spool"
