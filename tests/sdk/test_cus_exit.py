"""The end of a program, in memory alone: what waits is sent within a second, or counted as lost."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sdk.cus_fake_servers import CusFakeCollector
from tests.sdk.cus_reports import PATIENT

# Where an exit must not take long, for ever is what it would take otherwise.
NOT_FOR_EVER_SECONDS = 20.0

EXITING_PROGRAM = """
import sys
from aos_sdk import CusReporter, CusUsageRecord
reporter = CusReporter("t:i:aosk_s", sys.argv[1], batch_interval=60.0, spool_dir=None)
for number in range(20):
    reporter.report(CusUsageRecord(f"exit-{number}", "gpt-4o"))
"""


def _run(url: str, program: str = EXITING_PROGRAM) -> tuple[float, str]:
    began = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, url],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return time.monotonic() - began, run.stderr


def test_a_program_that_ends_sends_what_waits(collector: CusFakeCollector) -> None:
    _, errors = _run(collector.url, PATIENT + EXITING_PROGRAM)
    assert len(collector.stored) == 20
    assert errors == ""


def test_a_dead_server_holds_an_exit_up_for_a_second_at_most() -> None:
    seconds, errors = _run("http://127.0.0.1:9")
    assert seconds < NOT_FOR_EVER_SECONDS
    assert "Traceback" not in errors


def test_an_exit_sends_thousands_and_says_once_how_many_are_left(
    collector: CusFakeCollector,
) -> None:
    program = EXITING_PROGRAM.replace("range(20)", "range(5_000)")
    _, errors = _run(collector.url, PATIENT + program)
    assert len(collector.stored) == 5_000
    assert errors == ""
    assert max(len(batch) for batch in collector.batches) == 1_000

    two_servers = (
        program
        + f"""
other = CusReporter("t:i:aosk_s", "{collector.url}", batch_interval=60.0, spool_dir=None)
other.report(CusUsageRecord("other", "gpt-4o"))
"""
    )
    patient = PATIENT.replace("30.0", "5.0")
    _, errors = _run("http://127.0.0.1:9", patient + two_servers)
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
    if url == sys.argv[1]:
        {PATIENT}
    reporter = CusReporter("t:i:aosk_s", url, batch_interval=60.0, spool_dir=None)
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
    assert float(run.stdout) < NOT_FOR_EVER_SECONDS
    assert run.stderr.count("20 usage records could not be sent") == 1


WAITING_PROGRAM = """
import signal, sys, time
from aos_sdk import CusReporter, CusUsageRecord
HANDLER
reporter = CusReporter("t:i:aosk_s", sys.argv[1], batch_interval=60.0, spool_dir=None)
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
        return process.wait(120), time.monotonic() - began


def test_sigterm_sends_what_waits_and_ends_the_program_as_before(
    collector: CusFakeCollector,
) -> None:
    code, _ = _terminate(collector.url, PATIENT)
    assert code == -signal.SIGTERM
    assert len(collector.stored) == 20
    code, seconds = _terminate("http://127.0.0.1:9")
    assert code == -signal.SIGTERM
    assert seconds < NOT_FOR_EVER_SECONDS


def test_a_program_that_handles_sigterm_keeps_its_handler(collector: CusFakeCollector) -> None:
    code, _ = _terminate(
        collector.url, "import os; signal.signal(signal.SIGTERM, lambda *_: os._exit(7))"
    )
    assert code == 7
    assert not collector.stored
