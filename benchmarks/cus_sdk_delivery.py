"""What delivery costs a program: `python -m benchmarks.cus_sdk_delivery [--soak] [--calls 20000]`.

Each figure is of a process of its own, reporting to a local sink that acknowledges everything. The
caller's time is its thread's processor time for one tracked call with tokens and a session, less
that of the same call on an inert reporter; allocations are counted by a C library put before
malloc, where this machine can compile one. Background is the whole process' processor time less
the caller's, an event.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

MODES: Final = ("ring", "memory")
TARGETS: Final = {
    "ring": {"added_us": 10.0, "mallocs": 24.0, "background_us": 15.0},
    "memory": {"added_us": 4.0, "mallocs": 12.0, "background_us": 15.0},
}
_COUNTER: Final = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
static long count;
static void *(*real)(size_t);
void *malloc(size_t n) {
    if (!real) real = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
    return real(n);
}
long cus_mallocs(void) { return count; }
"""


class _Acknowledge(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        total = len(body["records"])
        counts = {"total": total, "accepted": total, "duplicates": 0, "conflicts": 0}
        answer = json.dumps({**counts, "rejected": 0, "results": []}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def _program(options: dict[str, Any]) -> None:
    """What a measured process does: prints its figures as JSON."""
    from aos_sdk import CusReporter, CusTokenUsage

    usage = CusTokenUsage(1_000, 500, 100)
    spool = options["spool"]
    if options["mode"] == "inert":
        reporter = CusReporter("no key")
    else:
        key = "11111111-1111-1111-1111-111111111111:22222222-2222-2222-2222-222222222222:aosk_s"
        reporter = CusReporter(
            key, options["url"], spool_dir=spool if options["mode"] == "ring" else None
        )

    def call() -> None:
        with reporter.track_call("openai", "gpt-4o", session_id="session") as tracker:
            tracker.set_usage(usage)

    for _ in range(1_000):
        call()
    reporter.flush(10.0)
    counted = _count_mallocs(call)
    times, walls, background = _timed(call, options["calls"], options["pause_every"])
    left = reporter.flush(60.0)
    told = {
        "caller_us": statistics.median(times) * 1e6,
        "p99_us": sorted(walls)[int(len(walls) * 0.99)] * 1e6,
        "background_us": background() / options["calls"] * 1e6,
        "mallocs": counted,
        "left": left,
        "dropped": reporter.stats.dropped,
        "rss_mib": _rss_mib(),
    }
    sys.stdout.write(json.dumps(told))


def _timed(call: Any, calls: int, pause_every: int) -> tuple[list[float], list[float], Any]:
    """Per call: the caller's processor time (in blocks of 50, the clock being coarse), and wall time."""
    process, own = time.process_time(), time.thread_time()
    times, walls = [], []
    for start in range(0, calls, 50):
        began = time.thread_time()
        for _ in range(50):
            wall = time.perf_counter()
            call()
            walls.append(time.perf_counter() - wall)
        times.append((time.thread_time() - began) / 50)
        if start % pause_every == 0:
            time.sleep(0.02)  # a program that does something else, too
    return times, walls, lambda: (time.process_time() - process) - (time.thread_time() - own)


def _count_mallocs(call: Any) -> float | None:
    if "LD_PRELOAD" not in os.environ:
        return None
    import ctypes

    mallocs = ctypes.CDLL(None).cus_mallocs
    mallocs.restype = ctypes.c_long
    counts = []
    for _ in range(200):
        before = mallocs()
        call()
        counts.append(mallocs() - before)
    # The sender allocates in between, now and then: the least is the caller's own.
    return float(min(counts)) - float(_empty(mallocs))


def _empty(mallocs: Any) -> int:
    before = mallocs()
    return int(mallocs() - before)


def _rss_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


def _preloaded(folder: Path) -> dict[str, str]:
    """The environment that counts mallocs; empty where nothing can be compiled."""
    source, library = folder / "counter.c", folder / "counter.so"
    source.write_text(_COUNTER)
    command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc"}


def _measure(mode: str, url: str, folder: Path, calls: int, extra: dict[str, str]) -> Any:
    options = {
        "mode": mode,
        "url": url,
        "spool": str(folder / "spool"),
        "calls": calls,
        "pause_every": 250,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cus_sdk_delivery", "--program", json.dumps(options)],
        env={**os.environ, **extra},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def run(calls: int, *, soak: bool) -> int:
    """Measure both modes and print what came out beside the targets. The exit code is 0."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Acknowledge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    table = Table("", "ring", "target", "memory", "target", title="SDK delivery")
    with tempfile.TemporaryDirectory(prefix="cus-bench-sdk-") as name:
        folder = Path(name)
        extra = _preloaded(folder)
        inert = _measure("inert", url, folder, calls, {})
        found = {mode: _measure(mode, url, folder, calls, {}) for mode in MODES}
        for mode in MODES:
            found[mode]["added_us"] = found[mode]["caller_us"] - inert["caller_us"]
            found[mode]["whole_us"] = found[mode]["caller_us"]
            if extra:
                counted = _measure(mode, url, folder, 50, extra)
                found[mode]["mallocs"] = counted["mallocs"]
    server.shutdown()
    server.server_close()
    names = ("added_us", "whole_us", "p99_us", "mallocs", "background_us", "rss_mib", "left")
    for row in (*names, "dropped"):
        cells = []
        for mode in MODES:
            value, target = found[mode][row], TARGETS[mode].get(row)
            cells += ["-" if value is None else f"{value:,.1f}", "" if not target else f"{target}"]
        table.add_row(row, *cells)
    Console().print(table)
    if soak and found["ring"]["left"]:
        return 1
    return 0


def main(arguments: list[str]) -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="make bench-sdk-delivery", description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--soak", action="store_true", help="1,000,000 events")
    parser.add_argument("--program", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.program:
        _program(json.loads(options.program))
        return 0
    return run(1_000_000 if options.soak else options.calls, soak=options.soak)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
