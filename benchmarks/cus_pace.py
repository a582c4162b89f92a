"""The machine's own times for the parts of every check, back to back and at a pace.

A machine that is half idle wakes up for each message and each flush, so the same work takes it
longer than at once after another. What is under load is read beside this.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import LiteralString

from benchmarks.cus_databases import superuser
from benchmarks.cus_rounds import percentile

# A round trip, and one that ends with a flush of the log to the disk.
_PARTS: dict[str, LiteralString] = {
    "a round trip": "SELECT 1",
    "one with a durable commit": "SELECT pg_logical_emit_message(true, '', '')",
}
_WARM_UP = 20


def parts_of_a_check(database: str, *, every: float, seconds: float) -> list[str]:
    """A sentence for each part: p50 and p99 at once after another, and once in so many seconds."""
    found = []
    with superuser(database) as connection:
        for name, statement in _PARTS.items():
            work = partial(connection.execute, statement)
            hot, paced = (_times(work, gap, seconds) for gap in (0.0, every))
            found.append(f"This machine, idle: {name} {hot}, every {every * 1_000:.0f} ms {paced}.")
    return found


def _times(work: Callable[[], object], gap: float, seconds: float) -> str:
    for _ in range(_WARM_UP):
        work()
    times = list[float]()
    ends_at = time.perf_counter() + seconds
    while not times or time.perf_counter() < ends_at:
        time.sleep(gap)
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1_000)
    return f"{percentile(times, 0.5):.2f}/{percentile(times, 0.99):.1f} ms"
