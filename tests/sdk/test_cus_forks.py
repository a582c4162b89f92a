"""A child that is forked in the middle of something begins with nothing of its parent's."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import openai
import pytest

from aos_sdk import cus_imports, cus_install_middleware, cus_track, cus_uninstall_middleware
from aos_sdk.cus_capture.patch import PATCHES
from aos_sdk.cus_imports import forks_wait
from tests.sdk.cus_capture_cases import CHAT, CusRecordingReporter
from tests.sdk.cus_fake_providers import CusFakeProvider
from tests.sdk.cus_fake_servers import CusFakeCollector

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture
def client(provider: CusFakeProvider) -> Iterator[openai.OpenAI]:
    cus_install_middleware(detect_bypass=False)
    with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1") as made:
        yield made


def _exit_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_that_is_forked_in_a_call_is_in_none(recorder: CusRecordingReporter) -> None:
    with cus_track("gpt-4o"):
        if not (child := os.fork()):
            for number in range(3):
                with cus_track("gpt-4o", call_id=f"child-{number}"):
                    pass
            os._exit(len(recorder.rows))  # no call of the parent's swallows one
    assert _exit_of(child) == 3
    assert len(recorder.rows) == 1


def test_a_call_that_runs_during_a_fork_is_told_of_by_the_parent_alone(
    client: openai.OpenAI, recorder: CusRecordingReporter
) -> None:
    block = cus_track("gpt-4o")
    with block, client.chat.completions.create(**CHAT, stream=True) as stream:
        next(stream)
        if not (child := os.fork()):
            stream.close()
            block.end()
            os._exit(len(recorder.rows))
        assert _exit_of(child) == 0
    assert len(recorder.rows) == 1


# The sender imports its HTTP client about when the program forks.
FORKING = """
import os, sys, time
from aos_sdk import CusReporter, CusUsageRecord
reporter = CusReporter(
    "t:i:aosk_s", sys.argv[1], batch_size=1, batch_interval=0.01, spool_dir=None
)
reporter.report(CusUsageRecord("parent", "gpt-4o"))
children = []
for number in range(6):
    sockets = "aos_sdk.cus_delivery.sockets"
    while number and len(sys.modules) < before + 15 and sockets not in sys.modules:
        time.sleep(0.001)
    before = len(sys.modules)
    if not (child := os.fork()):
        reporter.report(CusUsageRecord(f"child-{number}", "gpt-4o"))
        os._exit(reporter.flush(20.0))
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
assert reporter.flush(20.0) == 0
"""


def test_a_child_that_is_forked_while_the_sender_imports_sends(
    collector: CusFakeCollector,
) -> None:
    subprocess.run([sys.executable, "-c", FORKING, collector.url], check=True, timeout=60)
    assert sorted(collector.stored) == [*(f"child-{number}" for number in range(6)), "parent"]


# A thread holds the lock of the kept connections when the program forks: in the child, for ever.
LOCKED = """
import os, sys, threading
from aos_sdk import CusReporter, CusUsageRecord
reporter = CusReporter("t:i:aosk_s", sys.argv[1], spool_dir=None)
reporter.report(CusUsageRecord("parent", "gpt-4o"))
assert reporter.flush(20.0) == 0
lock = reporter._sender._transport._pool.pool.mutex
holder = threading.Thread(target=lock.acquire)
holder.start()
holder.join()
if not (child := os.fork()):
    reporter.report(CusUsageRecord("child", "gpt-4o"))
    sys.exit(reporter.flush(20.0))
lock.release()
assert os.waitpid(child, 0)[1] == 0
reporter.report(CusUsageRecord("parent-again", "gpt-4o"))
assert reporter.flush(20.0) == 0
"""


def test_a_child_ends_though_a_thread_of_its_parent_held_the_lock_of_its_connections(
    collector: CusFakeCollector,
) -> None:
    subprocess.run([sys.executable, "-c", LOCKED, collector.url], check=True, timeout=120)
    assert list(collector.stored) == ["parent", "child", "parent-again"]
    assert collector.connections == 2


def test_a_child_may_take_the_patch_off_though_a_thread_of_its_parent_was_putting_it_on() -> None:
    lock = PATCHES["openai"]._lock
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            release.wait(30.0)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30.0)
    if not (child := os.fork()):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)  # or it would wait for ever
        cus_uninstall_middleware()
        os._exit(0)
    try:
        assert _exit_of(child) == 0
    finally:
        release.set()
        holder.join()


def test_a_fork_waits_for_an_import_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cus_imports, "LONGEST_WAIT_SECONDS", 0.05)
    begun, over = threading.Event(), threading.Event()

    def hang() -> None:
        with forks_wait():
            begun.set()
            over.wait(30.0)

    thread = threading.Thread(target=hang)
    thread.start()
    assert begun.wait(30.0)
    for _ in range(2):
        if not (child := os.fork()):
            with forks_wait():
                os._exit(7)
        assert _exit_of(child) == 7
    over.set()
    thread.join()
    with forks_wait():
        pass
