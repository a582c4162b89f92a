"""`python -m benchmarks.cus_enforced_calls [--calls N]`: many calls at once that are all checked.

Asynchronous calls of one event loop, and calls of many threads, each checked by a server in another
process before it runs, or admitted by a lease. The exit code is 1 if a call did not end. A turn is one
callback of the loop: no other task runs meanwhile. Its processor time is what is taken of the loop,
now and then with an interrupt of the machine's; its wall time has what else the machine does in it, as
that of the same calls unchecked shows. Python's collection of garbage is off: it is the program's.
"""

import argparse
import asyncio
import gc
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Final, Self

from aos_sdk import cus_configure, cus_shutdown, cus_wrap
from benchmarks.cus_conditions import machine
from benchmarks.cus_report import Section, new_console
from benchmarks.cus_sdk_setups import KEY
from benchmarks.cus_sdk_sink import LIMITED, Sink
from benchmarks.cus_targets import LOOP_TURN

_CALLS = 10_000
_AT_ONCE = 200
_THREADS = 32
_SLOW_NS = 1_000_000
_MODEL = "gpt-4o"
_UNCHECKED: Final = "unchecked"
_HOW: Final = ((_UNCHECKED, False), ("by leases", True), ("each checked", "check"))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.cus_enforced_calls", description=__doc__)
    parser.add_argument("--calls", type=int, default=_CALLS)
    calls = parser.parse_args(arguments).calls
    console = new_console()
    machine(("urllib3",)).show(console)
    section = Section(
        f"{calls:,} calls at once, decided by a server in another process",
        (
            *(
                "how",
                "ended",
                "seconds",
                "calls/s",
                "turns",
                "longest turn, processor ms",
                "target",
            ),
            *("of these > 1 ms", "longest, wall ms", "> 1 ms"),
        ),
    )
    with _serving() as url:
        looped = [(how, _in_a_loop(url, calls, enforce)) for how, enforce in _HOW]
        ended, seconds = _in_threads(url, calls)
    section.rows = [
        *(_row(how, calls, *found) for how, found in looped),
        (
            f"{_THREADS} threads",
            f"{ended:,}",
            f"{seconds:.1f}",
            f"{calls / seconds:,.0f}",
            *[""] * 6,
        ),
    ]
    section.show(console)
    ended_all = ended == calls and all(one == calls for _, (one, _, _) in looped)
    return 0 if ended_all else 1


def _row(how: str, calls: int, ended: int, seconds: float, turns: "LoopTurns") -> tuple[str, ...]:
    return (
        f"asyncio, {_AT_ONCE} at a time, {how}", f"{ended:,}", f"{seconds:.1f}",
        f"{calls / seconds:,.0f}", f"{turns.turns:,}", f"{turns.longest_cpu_ms:.2f}",
        LOOP_TURN.verdict(turns.longest_cpu_ms) if how != _UNCHECKED else "", f"{turns.slow_by_cpu:,}",
        f"{turns.longest_wall_ms:.1f}", f"{turns.slow_by_wall:,}",
    )  # fmt: skip


class LoopTurns:
    """Times each callback of event loops in its block."""

    def __init__(self) -> None:
        self.turns = self.slow_by_cpu = self.slow_by_wall = 0
        self._longest = [0, 0]

    @property
    def longest_cpu_ms(self) -> float:
        return self._longest[0] / 1e6

    @property
    def longest_wall_ms(self) -> float:
        return self._longest[1] / 1e6

    def __enter__(self) -> Self:
        gc.collect()
        gc.disable()
        # asyncio has no other place at which each turn passes.
        self._run = run = asyncio.events.Handle._run  # noqa: SLF001

        def timed(handle: asyncio.events.Handle) -> None:
            wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
            run(handle)
            self._note(time.thread_time_ns() - cpu, time.perf_counter_ns() - wall)

        asyncio.events.Handle._run = timed  # type: ignore[assignment,method-assign]  # noqa: SLF001
        return self

    def __exit__(self, *_error: object) -> None:
        asyncio.events.Handle._run = self._run  # type: ignore[method-assign]  # noqa: SLF001
        gc.enable()

    def _note(self, cpu: int, wall: int) -> None:
        self.turns += 1
        self.slow_by_cpu += cpu > _SLOW_NS
        self.slow_by_wall += wall > _SLOW_NS
        self._longest = [max(self._longest[0], cpu), max(self._longest[1], wall)]


def _in_a_loop(url: str, calls: int, enforce: Any) -> tuple[int, float, LoopTurns]:
    """How many calls ended, in how many seconds, and the turns of the loop."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as spool:
        cus_configure(KEY, url, spool_dir=spool, enforce=enforce, contention_seconds=30.0)
        began = time.perf_counter()
        with LoopTurns() as turns:
            ended = asyncio.run(_gathered(calls))
        seconds = time.perf_counter() - began
        cus_shutdown(30.0)
    return ended, seconds, turns


async def _gathered(calls: int) -> int:
    async def answer() -> dict[str, str]:
        await asyncio.sleep(0)
        return {"model": _MODEL}

    async def work(number: int) -> int:
        for _ in range(number):
            await _called(answer)
        return number

    # Not a task for each call: to make ten thousand takes the loop longer than any call.
    shares = [calls // _AT_ONCE + (n < calls % _AT_ONCE) for n in range(_AT_ONCE)]
    return sum(await asyncio.gather(*map(work, shares)))


def _called(answer: Callable[[], Awaitable[dict[str, str]]]) -> Awaitable[dict[str, str]]:
    return cus_wrap(answer, model=_MODEL, provider="openai", max_tokens=100)


def _in_threads(url: str, calls: int) -> tuple[int, float]:
    cus_configure(KEY, url, spool_dir=None, enforce=True, contention_seconds=30.0)

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
