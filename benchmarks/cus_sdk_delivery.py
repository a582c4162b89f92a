"""The cost of delivery to a program that reports without a break: time, memory, lost events.

`--full` makes it a soak of a million events. Here nothing is captured: `track_call` with tokens and a
session, less the same on an inert reporter, in a process of its own that reports to the sink.
"""

import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.cus_report import Section
from benchmarks.cus_sdk_contestants import OURS
from benchmarks.cus_sdk_program import rss_mib
from benchmarks.cus_sdk_setups import KEY
from benchmarks.cus_sdk_sink import Sink
from benchmarks.cus_targets import SDK_BACKGROUND, SDK_LOST

_MODES: Final = ("inert", "durable", "memory")
_BLOCK: Final = 50
_PAUSE_EVERY: Final = 5
_PAUSE_SECONDS: Final = 0.02
_WARM_UP: Final = 1_000
_FLUSH_SECONDS: Final = 60.0
Told = dict[str, Any]


def measure(events: int) -> tuple[list[Section], bool]:
    """The figures, and whether every event arrived once."""
    results = {mode: _run(mode, events) for mode in _MODES}
    inert = results["inert"]["caller_us"]
    section = Section(
        f"Delivery: {events:,} events without a break",
        (
            *("", "caller us", "over inert", "background us", "target"),
            *("RSS MiB after 1/10", "at the end", "lost", "target"),
        ),
    )
    for contestant in OURS:
        found = results[contestant.name]
        section.rows.append(
            [
                contestant.title,
                f"{found['caller_us']:,.1f}",
                f"{found['caller_us'] - inert:,.1f}",
                f"{found['background_us']:,.1f}",
                SDK_BACKGROUND.verdict(found["background_us"]),
                f"{found['rss_mib'][0]:,.1f}",
                f"{found['rss_mib'][-1]:,.1f}",
                f"{found['lost']:,}",
                SDK_LOST.verdict(found["lost"]),
            ]
        )
    pause = f"{_PAUSE_SECONDS * 1_000:.0f} ms after {_BLOCK * _PAUSE_EVERY} events"
    section.notes = [
        f"lost: reported, and not with the sink. The program sleeps {pause}, as who waits for answers.",
        "over inert: of processes one after another, so coarser than the calls above.",
    ]
    return [section], not any(results[contestant.name]["lost"] for contestant in OURS)


def _run(mode: str, events: int) -> Told:
    with Sink() as sink, tempfile.TemporaryDirectory(prefix="cus-bench-sdk-") as folder:
        options = {"mode": mode, "url": sink.url, "spool": f"{folder}/spool", "events": events}
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cus_sdk_delivery", json.dumps(options)],
            env=OURS[0].environment(Path(folder)),
            stdout=subprocess.PIPE,
        )
        # What came is read as it comes: a million records are too many to keep.
        while process.poll() is None:
            sink.read()
            time.sleep(0.5)
        assert process.stdout is not None
        with process.stdout:
            results: Told = json.loads(process.stdout.read())
        sink.read()
        results["lost"] = results["reported"] - len(sink.marks)
    return results


def _program(options: dict[str, Any]) -> Told:
    """The orders of a measured process, and its results."""
    from aos_sdk import CusReporter, CusTokenUsage

    # That it has no key, the inert one needn't say.
    logging.getLogger("aos_sdk").disabled = options["mode"] == "inert"
    usage, mode = CusTokenUsage(1_000, 500, 100), options["mode"]
    spool = options["spool"] if mode == "durable" else None
    key = "no key" if mode == "inert" else KEY
    reporter = CusReporter(key, options["url"], spool_dir=spool)

    def call() -> None:
        with reporter.track_call("openai", "gpt-4o", session_id="session") as tracker:
            tracker.set_usage(usage)

    for _ in range(_WARM_UP):
        call()
    reporter.flush(_FLUSH_SECONDS)
    blocks, memory = options["events"] // _BLOCK, []
    process, spent = time.process_time_ns(), []
    for number in range(blocks):
        began = time.thread_time_ns()
        for _ in range(_BLOCK):
            call()
        spent.append(time.thread_time_ns() - began)
        if number % _PAUSE_EVERY == 0:
            time.sleep(_PAUSE_SECONDS)
        if (number + 1) % max(blocks // 10, 1) == 0:
            memory.append(rss_mib())
    reporter.flush(_FLUSH_SECONDS)
    background = time.process_time_ns() - process - sum(spent)
    reported = blocks * _BLOCK
    return {
        "caller_us": median(spent) / _BLOCK / 1_000,
        "background_us": background / reported / 1_000,
        "rss_mib": memory,
        "reported": reported + _WARM_UP,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_program(json.loads(sys.argv[1]))))
