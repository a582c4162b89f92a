"""How the steps of a decision wait: in a thread of the program's, or beside its event loop."""

import asyncio
import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")
# Threads for the checks of asynchronous programs, whose event loops must not wait. Few: the loop gets
# its turn behind all that run.
_THREADS: Final = 8
_threads: ThreadPoolExecutor | None = None
# A decision in steps: what it yields are seconds to wait before the next step.
CusSteps: TypeAlias = Generator[float, None, T]


def run_steps(steps: "CusSteps[T]", wait: Callable[[float], object]) -> T:
    """The result of the steps, in this thread."""
    try:
        while True:
            wait(next(steps))
    except StopIteration as ended:
        result: T = ended.value
        return result


async def in_thread(work: Callable[[], T]) -> T:
    """Run in a thread, and let the event loop go on: asyncio's, or another by anyio."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import anyio.to_thread

        return await anyio.to_thread.run_sync(work)
    try:
        later = loop.run_in_executor(_pool(), work)
    except RuntimeError:  # No thread can be started, as at the interpreter's end.
        return work()
    return await later


async def sleep_in_loop(seconds: float) -> None:
    """Wait in the event loop that runs: asyncio's, or another by anyio."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        import anyio

        await anyio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


def _pool() -> ThreadPoolExecutor:
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="aos-sdk-check")
    return _threads


def _forget_pool() -> None:
    global _threads
    _threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
