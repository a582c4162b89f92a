"""What the SDK costs the program it lives in: allocations, system calls, processor time.

Counted, not timed, so that a busy machine changes nothing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cus_sdk_calls import added_mallocs
from benchmarks.cus_sdk_contestants import LEASED, OURS
from benchmarks.cus_targets import SDK_MALLOCS

PROGRAM = """
import sys, gc
from aos_sdk import CusReporter, CusTokenUsage
reporter = CusReporter(
    "tenant-1:integration-1:aosk_s", "http://127.0.0.1:9", batch_interval=3600.0, batch_size=1000
)
usage = CusTokenUsage(1000, 500)

def call():
    with reporter.track_call("openai", "gpt-4o", session_id="session") as tracker:
        tracker.set_usage(usage)
"""

# The sender must not run in between: nothing but the caller's own allocations is counted.
ALLOCATIONS = (
    PROGRAM
    + """
from threading import Thread
Thread.start = lambda self: None
gc.collect()
gc.disable()
# Calls fill the interpreter's lists of spare dictionaries, which the collection emptied.
for _ in range(500):
    call()

blocks = sys.getallocatedblocks
kept = blocks()
for _ in range(100):
    call()
print((blocks() - kept) / 100)
"""
)


def _run(program: str, spool: Path | str) -> str:
    environment = {**os.environ, "CUS_SPOOL_DIR": str(spool)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_a_call_in_memory_keeps_no_more_blocks_than_it_must(tmp_path: Path) -> None:
    assert float(_run(ALLOCATIONS, "off")) <= 12


def test_a_call_on_the_ring_keeps_nothing_in_the_callers_memory(tmp_path: Path) -> None:
    assert float(_run(ALLOCATIONS, tmp_path)) < 0.5


# More than the target: the answer's id and the request's id are new texts in each record, which are
# joined and encoded.
MALLOCS_ABOVE_TARGET = {"durable": 3, "memory": 0}


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("mode", [mode.name for mode in OURS])
def test_a_governed_call_asks_for_memory_no_more_often_than_it_may(mode: str) -> None:
    """Of the C library, with Python's own store of memory set aside: the same on every machine."""
    found, notes = added_mallocs([one for one in OURS if one.name == mode], 200)
    assert not notes
    assert 0 < found[mode] <= SDK_MALLOCS[mode].bound + MALLOCS_ABOVE_TARGET[mode]


# A call under a limit also sets numbers of its own aside, under two locks, and names them in its record.
MALLOCS_OF_A_LEASE = 24


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_call_under_a_limit_asks_for_memory_for_little_more_than_its_numbers() -> None:
    found, notes = added_mallocs([LEASED], 200)
    assert not notes
    bound = SDK_MALLOCS["durable"].bound + MALLOCS_ABOVE_TARGET["durable"] + MALLOCS_OF_A_LEASE
    assert found["leased"] <= bound


SWITCHES = (
    PROGRAM
    + """
import resource, time
call()
time.sleep(3)  # until it looks once a second
before = resource.getrusage(resource.RUSAGE_SELF)
time.sleep(3)
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_nvcsw - before.ru_nvcsw)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
"""
)


@pytest.mark.parametrize("spool", ["ring", "off"])
def test_an_idle_program_wakes_once_a_second_and_uses_no_processor_time(
    tmp_path: Path, spool: str
) -> None:
    program = SWITCHES.replace("batch_interval=3600.0", "batch_interval=5.0").replace(
        "call()\ntime", "time"
    )
    # A waiting record without a server would be sent again and again, so begin without records.
    program = program.replace(
        "import resource, time\n", "import resource, time\nreporter.flush(0)\n"
    )
    program = program.replace("time.sleep(3)", "reporter._sender._start(); time.sleep(3)")
    folder = str(tmp_path) if spool == "ring" else "off"
    switches, seconds = (float(line) for line in _run(program, folder).split())
    assert switches <= 20
    assert seconds < 0.1


OUTAGE = """
import time
from pathlib import Path
from aos_sdk import CusReporter, CusUsageRecord
reporter = CusReporter(
    "tenant-1:integration-1:aosk_s", "http://127.0.0.1:9", batch_interval=0.05, max_queue=2_000
)

def report(count):
    for number in range(count):
        metadata = {"text": f"{number}" * 100} if number % 4 == 0 else None
        reporter.report(CusUsageRecord(f"call-{number}", "gpt-4o", metadata=metadata))

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

report(4_000)
while not reporter.stats.retries:
    time.sleep(0.01)  # the HTTP client is imported by then
before = resident_bytes()
report(60_000)
print(resident_bytes() - before, reporter.stats.queued, reporter.stats.dropped)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize("spool", ["ring", "off"])
def test_an_outage_takes_no_more_memory_than_the_queue(tmp_path: Path, spool: str) -> None:
    folder = str(tmp_path) if spool == "ring" else "off"
    grown, queued, dropped = (int(word) for word in _run(OUTAGE, folder).split())
    # Without a bound it would be more than 20 MiB.
    assert grown < 8 * 1024**2
    assert queued + dropped == 64_000
    assert queued <= 2_100


@pytest.mark.skipif(not Path("/usr/bin/strace").exists(), reason="needs strace")
def test_a_call_on_the_ring_makes_no_system_call(tmp_path: Path) -> None:
    program = PROGRAM + (
        "import os\nfrom threading import Thread\nThread.start = lambda self: None\n"
        "for _ in range(100): call()\nos.getppid()\nfor _ in range(50): call()\nos.getppid()\n"
    )
    trace = tmp_path / "trace"
    subprocess.run(
        ["/usr/bin/strace", "-o", str(trace), sys.executable, "-c", program],
        env={**os.environ, "CUS_SPOOL_DIR": str(tmp_path / "spool")},
        check=True,
        timeout=60,
        stderr=subprocess.DEVNULL,
    )
    lines = trace.read_text().splitlines()
    first, last = (n for n, line in enumerate(lines) if line.startswith("getppid"))
    assert [line for line in lines[first + 1 : last] if not line.startswith(("brk", "mmap"))] == []
