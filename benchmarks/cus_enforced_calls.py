"""`python -m benchmarks.cus_enforced_calls [--calls N]`: many calls at once that are all checked.

Asynchronous calls of one event loop, and calls of many threads, each checked by a server in another
process before it runs. The exit code is 1 if a call did not end. The loop's longest turn is beside
that of the same calls unchecked.
"""

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection

from aos_sdk import cus_configure, cus_shutdown, cus_wrap
from benchmarks.cus_conditions import machine
from benchmarks.cus_report import Section, new_console
from benchmarks.cus_sdk_setups import KEY
from benchmarks.cus_sdk_sink import LIMITED, Sink

_CALLS = 10_000
_AT_ONCE = 200
_THREADS = 32
_TICK_SECONDS = 0.001
_MODEL = "gpt-4o"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.cus_enforced_calls", description=__doc__)
    parser.add_argument("--calls", type=int, default=_CALLS)
    calls = parser.parse_args(arguments).calls
    console = new_console()
    machine(("urllib3",)).show(console)
    section = Section(
        f"{calls:,} calls at once, each checked by a server in another process",
        ("how", "ended", "seconds", "calls/s", "longest turn of the loop ms", "unchecked ms"),
    )
    with _serving() as url, tempfile.TemporaryDirectory() as spool:
        unchecked = _in_a_loop(url, spool, calls, enforce=False)
        checked = _in_a_loop(url, spool, calls, enforce=True)
        ended, seconds = _in_threads(url, spool, calls)
    section.rows = [
        (
            f"asyncio, {_AT_ONCE} at a time", f"{checked[0]:,}", f"{checked[1]:.1f}",
            f"{calls / checked[1]:,.0f}", f"{checked[2]:.1f}", f"{unchecked[2]:.1f}",
        ),
        (f"{_THREADS} threads", f"{ended:,}", f"{seconds:.1f}", f"{calls / seconds:,.0f}", "", ""),
    ]  # fmt: skip
    section.show(console)
    return 0 if checked[0] == ended == calls else 1


def _in_a_loop(url: str, spool: str, calls: int, *, enforce: bool) -> tuple[int, float, float]:
    """How many calls ended, in how many seconds, and the loop's longest turn in milliseconds."""
    cus_configure(KEY, url, spool_dir=spool, enforce=enforce, contention_seconds=30.0)
    began = time.perf_counter()
    ended, longest = asyncio.run(_gathered(calls))
    seconds = time.perf_counter() - began
    cus_shutdown(30.0)
    return ended, seconds, longest * 1_000


async def _gathered(calls: int) -> tuple[int, float]:
    room, longest = asyncio.Semaphore(_AT_ONCE), 0.0

    async def answer() -> dict[str, str]:
        await asyncio.sleep(0)
        return {"model": _MODEL}

    async def call() -> int:
        async with room:
            await _called(answer)
        return 1

    async def tick() -> None:
        nonlocal longest
        while True:
            slept = time.perf_counter()
            await asyncio.sleep(_TICK_SECONDS)
            longest = max(longest, time.perf_counter() - slept - _TICK_SECONDS)

    ticking = asyncio.create_task(tick())
    ended = sum(await asyncio.gather(*(call() for _ in range(calls))))
    ticking.cancel()
    return ended, longest


def _called(answer: Callable[[], Awaitable[dict[str, str]]]) -> Awaitable[dict[str, str]]:
    return cus_wrap(answer, model=_MODEL, provider="openai", max_tokens=100)


def _in_threads(url: str, spool: str, calls: int) -> tuple[int, float]:
    cus_configure(KEY, url, spool_dir=spool, enforce=True, contention_seconds=30.0)

    def call(_: int) -> int:
        cus_wrap(dict, model=_MODEL, provider="openai", max_tokens=100)
        return 1

    began = time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as threads:
        ended = sum(threads.map(call, range(calls)))
    seconds = time.perf_counter() - began
    cus_shutdown(30.0)
    return ended, seconds


@contextmanager
def _serving() -> Iterator[str]:
    """The address of a server that admits every call, in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join(10)


def _serve(connection: Connection) -> None:
    with Sink() as sink:
        sink.configuration = LIMITED
        connection.send(sink.url)
        connection.recv()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
