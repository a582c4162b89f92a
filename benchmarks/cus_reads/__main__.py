"""`python -m benchmarks.cus_reads [--rows N] [--rounds N]`: on servers of its own.

Each read is asked for in turn with several arguments, through the whole of Django, without a
network. The exit code is 1 if a read is refused or takes longer than its target.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from aos_project.cus_embedded import ServiceError, throw_away_services

if TYPE_CHECKING:
    from benchmarks.cus_reads.reads import Read
    from benchmarks.cus_report import Section

_ROWS = 10_000_000
_DAY_ROWS = (10_000, 100_000, 1_000_000)
_ROUNDS = 20


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.cus_reads", description=__doc__)
    parser.add_argument("--rows", type=int, default=_ROWS, help="rows of evidence to read from")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="how often each read is asked")
    parser.add_argument("--day-rows", type=int, nargs="*", default=_DAY_ROWS, help="rows of a day")
    options = parser.parse_args(arguments)
    try:
        with throw_away_services(durable=True) as environment:
            os.environ.update(environment)
            return _run(options.rows, options.rounds, options.day_rows)
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(rows: int, rounds: int, day_rows: Sequence[int]) -> int:
    # The settings are read from the environment, so nothing of Django's may come before it.
    os.environ["DJANGO_SETTINGS_MODULE"] = "aos_project.settings"
    import django

    django.setup()
    from benchmarks.cus_conditions import machine
    from benchmarks.cus_reads.reads import api_reads, console_pages
    from benchmarks.cus_reads.rollups import rollups
    from benchmarks.cus_reads.world import SPAN, make_world, migrate
    from benchmarks.cus_report import new_console

    migrate()
    console = new_console()
    machine(("django", "djangorestframework", "psycopg")).show(console)
    started = time.monotonic()
    world = make_world(rows)
    made = time.monotonic() - started
    console.print(f"{rows:,} rows over {SPAN.days} days, made and rolled up in {made:,.0f} s\n")
    failed = False
    for title, reads in (("API", api_reads(world)), ("Console", console_pages(world))):
        section, has_failed = _measured(f"{title}, {rounds} times each", reads, rounds)
        section.show(console)
        failed |= has_failed
    if day_rows:
        rollups(day_rows).show(console)
    return int(failed)


def _measured(title: str, reads: "Iterable[Read]", rounds: int) -> "tuple[Section, bool]":
    from benchmarks.cus_report import Section
    from benchmarks.cus_rounds import percentile
    from benchmarks.cus_targets import READ_P95

    section = Section(title, ("read", "p50 ms", "p95 ms", "target", "queries", "answer"))
    failed = False
    for read in reads:
        answer, queries = _asked_once(read)
        times = [_milliseconds(read, turn) for turn in range(rounds)]
        slowest = percentile(times, 0.95)
        failed |= not (answer == 200 and READ_P95.reached(slowest))
        section.rows.append(
            (
                read.name, f"{percentile(times, 0.5):.1f}", f"{slowest:.1f}",
                READ_P95.verdict(slowest), str(queries), str(answer),
            )
        )  # fmt: skip
    return section, failed


def _asked_once(read: "Read") -> tuple[int, int]:
    """The answer's status, and how many statements it took. Also warms all caches.

    What is loaded then is out of the garbage collector's way, as in a web process.
    """
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        answer = read.client.get(read.addresses[0])
    gc.collect()
    gc.freeze()
    return answer.status_code, len(queries)


def _milliseconds(read: "Read", turn: int) -> float:
    address = read.addresses[turn % len(read.addresses)]
    started = time.perf_counter()
    read.client.get(address)
    return (time.perf_counter() - started) * 1_000


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
