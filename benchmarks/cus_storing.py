"""A program that stores batches in one database, in turns that it times itself.

One a database: the product's connections belong to a process, so each contestant has the
process that it would have. Its first line of orders is the SDK key; each line after it is a
turn; it answers each with its seconds.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import django


def main() -> None:
    django.setup()
    from benchmarks.cus_databases import sender_of
    from benchmarks.cus_traffic import call_ids

    sender, ids = sender_of(sys.stdin.readline().strip()), call_ids()
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        pieces, work = _prepare(order["work"], sender, ids, order["batch"], order["batches"])
        sys.stdout.write(f"{_timed(pieces, work)}\n")
        sys.stdout.flush()


def _prepare(
    kind: str, sender: Any, ids: Iterator[str], batch: int, batches: int
) -> tuple[Sequence[Any], Callable[[Any], object]]:
    """What to store, made off the clock, and what stores one piece of it."""
    from benchmarks import cus_copy_floor as floor
    from benchmarks.cus_traffic import row_batches
    from telemetry.cus_evidence.store import store_batch

    tenant_id = sender.principal.tenant_id
    rows = row_batches(sender, ids, size=batch, number=batches)
    if kind == "copy":
        return [floor.copy_text(tenant_id, some) for some in rows], floor.copy_in
    if kind == "copy_rows":
        return rows, lambda some: floor.copy_rows(tenant_id, some)
    return rows, lambda some: store_batch(tenant_id, some)


def _timed(pieces: Sequence[Any], work: Callable[[Any], object]) -> float:
    gc.collect()
    started = time.perf_counter()
    for piece in pieces:
        work(piece)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
