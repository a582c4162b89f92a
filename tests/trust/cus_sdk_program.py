"""A customer's program in one fault window: reports, notes what was accepted, and ends somehow.

`python -m tests.trust.cus_sdk_program '{"url": …}'` writes, after each report that returned, how
many did to the file `accepted`, from where a kill cannot take it back.
"""

import atexit
import contextlib
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

from aos_sdk import CusReporter, CusUsageRecord
from aos_sdk.cus_delivery import adoption
from aos_sdk.cus_delivery import exit as cus_exit
from aos_sdk.cus_delivery import waits as cus_waits

KEY = "11111111-1111-1111-1111-111111111111:22222222-2222-2222-2222-222222222222:aosk_trust"
PATIENCE_SECONDS = 30.0
YEAR_SECONDS = 365 * 86_400.0


def make_reporter(options: dict[str, Any]) -> CusReporter:
    """A reporter in a hurry: a window must not last as long as an outage does."""
    hurried = {"FIRST_RETRY_SECONDS": 0.02, "LONGEST_RETRY_SECONDS": 0.1, "KEY_RETRY_SECONDS": 0.1}
    vars(cus_waits).update(hurried)
    vars(adoption).update(ADOPT_SECONDS=0.2)
    return CusReporter(
        options.get("key", KEY),
        options["url"],
        timeout=options.get("timeout", 0.5),
        batch_interval=0.05,
        max_queue=options.get("max_queue", 65_536),
        spool_dir=options["spool"],
    )


class Accepted:
    """The number of returned reports of one writer, visible to other processes."""

    def __init__(self, folder: str, name: str) -> None:
        self.name = name
        self._file = os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT)

    def note(self, number: int) -> None:
        os.pwrite(self._file, number.to_bytes(8, "little"), 0)


def report(reporter: CusReporter, accepted: Accepted, options: dict[str, Any]) -> None:
    """So many records, some of them too long for a slot."""
    pause = options.get("pause", 0.0)
    for number in range(1, options["count"] + 1):
        metadata = {"text": "x" * (number % 7 * 150)} if number % 5 == 0 else None
        name, now = f"{accepted.name}-{number}", time.time_ns()
        reporter.report(CusUsageRecord(name, "gpt-4o", number, timestamp=now, metadata=metadata))
        accepted.note(number)
        if pause and number % 10 == 0 and number > options.get("burst", 0):
            time.sleep(pause)


def in_child(reporter: CusReporter, options: dict[str, Any]) -> None:
    """A forked child that reports as a process of its own, and leaves without a word."""
    report(reporter, Accepted(options["accepted"], f"{options['name']}.child"), options)
    os._exit(0)


def fork_under_load(reporter: CusReporter, options: dict[str, Any]) -> None:
    """Fork again and again while other threads report and the sender sends."""
    writers = [
        threading.Thread(
            target=report,
            args=(reporter, Accepted(options["accepted"], f"{options['name']}.t{n}"), options),
        )
        for n in range(2)
    ]
    for writer in writers:
        writer.start()
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                in_child(reporter, {**options, "name": f"{options['name']}.f{number}"})
            os._exit(70)
        children.append(child)
    for child in children:
        _, status = os.waitpid(child, 0)
        if status:
            raise SystemExit(f"a child ended with {status}")
    for writer in writers:
        writer.join()


def pool_worker(options: dict[str, Any]) -> None:
    """What a process of multiprocessing runs; killed at its end."""
    name = f"{options['name']}.worker"
    report(make_reporter(options), Accepted(options["accepted"], name), options)
    os.kill(os.getpid(), signal.SIGKILL)


def end(fate: str, reporter: CusReporter) -> None:
    """How the program ends once it has reported."""
    if fate == "os_exit":
        os._exit(0)
    if fate == "suicide":
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == "term":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    if fate == "shutdown":
        reporter.shutdown(0.3)
    if fate == "exit_in_send":
        reporter.flush(0.0)


def say(reporter: CusReporter) -> None:
    """The program's own figures, for its parent."""
    figures = {
        "stats": {name: getattr(reporter.stats, name) for name in reporter.stats.__slots__},
        "durable": reporter.durable,
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


class ExitClock:
    """Says how long the SDK's own work at exit took, as the program's last line."""

    def __init__(self) -> None:
        # Handlers run last in, first out: one before the SDK's and one after it.
        atexit.unregister(cus_exit.send_what_waits)
        atexit.register(self._end)
        atexit.register(cus_exit.send_what_waits)
        atexit.register(self._begin)

    def _begin(self) -> None:
        self._began = _run_seconds()

    def _end(self) -> None:
        sys.stdout.write(json.dumps({"exit_seconds": _run_seconds() - self._began}) + "\n")
        sys.stdout.flush()


def _run_seconds() -> float:
    """The monotonic clock, without the time for which this thread was ready and got no processor."""
    now = time.monotonic()
    with contextlib.suppress(OSError):
        delay = Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]
        return now - int(delay) / 1e9
    return now


def let_the_clock_jump(seed: str) -> None:
    """From now on the host's clock is wrong, each time by another while."""
    now_ns, chance = time.time_ns, random.Random(seed)

    def wrong_ns() -> int:
        return now_ns() + int(chance.uniform(-YEAR_SECONDS, YEAR_SECONDS) * 1e9)

    time.time_ns = wrong_ns
    time.time = lambda: wrong_ns() / 1e9


def wait_for_a_failure(reporter: CusReporter) -> None:
    """Until a request has gone out whose answer was none."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reporter.stats.retries and time.monotonic() < deadline:
        time.sleep(0.005)


def sweep(options: dict[str, Any]) -> None:
    """The next process of the host: adopts until nothing of a dead process is left."""
    reporter = make_reporter(options)
    accepted = Accepted(options["accepted"], options["name"])
    deadline = time.monotonic() + PATIENCE_SECONDS
    for number in count(1):
        # A dead process' unannounced drops are announced beside another process' records.
        reporter.report(CusUsageRecord(f"{options['name']}-{number}", "gpt-4o"))
        accepted.note(number)
        while reporter.stats.queued and time.monotonic() < deadline:
            time.sleep(0.01)
        # The one that is left is our own.
        if len(list(Path(options["spool"]).glob("*/*.ring"))) <= 1 or time.monotonic() > deadline:
            break
    say(reporter)


def main(options: dict[str, Any]) -> None:
    """One program of a window."""
    if options["fate"] == "sweep":
        sweep(options)
        return
    if limit := options.get("file_bytes"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if options.get("clock_jumps"):
        let_the_clock_jump(options["name"])
    reporter = make_reporter(options)
    ExitClock()
    if options["fate"] == "fork":
        fork_under_load(reporter, options)
    elif options["fate"] == "pool":
        context = multiprocessing.get_context("fork")
        child = context.Process(target=pool_worker, args=(options,))
        child.start()
        child.join()
    else:
        report(reporter, Accepted(options["accepted"], options["name"]), options)
    if wait := options.get("flush"):
        reporter.flush(wait)
    if options.get("fails"):
        wait_for_a_failure(reporter)
    say(reporter)
    end(options["fate"], reporter)


if __name__ == "__main__":
    assert cus_exit.EXIT_SECONDS < 1.0
    main(json.loads(sys.argv[1]))
