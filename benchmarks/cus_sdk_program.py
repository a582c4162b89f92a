"""A measured program: one contestant in a process of its own, which does what its input orders.

`python -m benchmarks.cus_sdk_program '{"contestant": "durable", "url": …, "spool": …}'` reads one
order a line as JSON and answers each with a line of figures. Bare and governed calls alternate
in shuffled blocks of the same process: bare is the method of a client that was there before the
contestant came.
"""

import ctypes
import functools
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any, Final

from benchmarks.cus_sdk_client import MESSAGES, MODEL, new_client, prepare, stream_length
from benchmarks.cus_sdk_setups import SETUPS

ANSWERS: Final = 400
_CALLS_BETWEEN_SENDS = 20
_BLOCK: Final = 25
_PAUSE_EVERY: Final = 4
_PAUSE_SECONDS: Final = 0.005
_SHORT: Final = 100
_STREAMS: Final = 4

Create = Callable[..., Any]


class Program:
    """The orders of one contestant."""

    def __init__(self, contestant: str, url: str, spool: str, *, messages: bool = False) -> None:
        prepare(ANSWERS)
        # The client keeps the method, so no later patch has an effect.
        self._client = new_client()
        self._bare: Create = self._client.chat.completions.create
        self._messages = _of_anthropic() if messages else None
        self._bare_message = self._messages.create() if self._messages else None
        self._governed_client, self._flush = SETUPS[contestant](url, spool)
        self._governed: Create = self._governed_client.chat.completions.create

    def calls(self, calls: int) -> dict[str, Any]:
        """So many calls, and as many bare ones; then everything is sent."""
        bare_us, added_us, walls = [], [], []
        process, called = time.process_time_ns(), 0
        for number in range(calls // _BLOCK):
            spent: dict[Create, int] = {}
            for create in random.sample([self._bare, self._governed], 2):
                spent[create], waited = _block(create)
                walls += waited if create is self._governed else []
            called += sum(spent.values())
            bare_us.append(spent[self._bare] / _BLOCK / 1_000)
            # Of neighbours in time: what the machine does meanwhile meets both.
            added_us.append(spent[self._governed] / _BLOCK / 1_000 - bare_us[-1])
            if number % _PAUSE_EVERY == 0:
                time.sleep(_PAUSE_SECONDS)  # a program that does something else, too
        self._flush()
        background = time.process_time_ns() - process - called
        return {
            "calls": calls // _BLOCK * _BLOCK,
            "bare_us": bare_us,
            "added_us": added_us,
            "p99_us": sorted(walls)[int(len(walls) * 0.99)] / 1_000,
            "background_us": background / calls / 1_000,
            "rss_mib": rss_mib(),
        }

    def chunks(self, chunks: int) -> dict[str, Any]:
        """What one chunk more costs: long streams less short ones, so that the call isn't in it."""
        ask = functools.partial(functools.partial, model=MODEL, messages=MESSAGES)
        told = _a_chunk(ask(self._bare), ask(self._governed), stream_length, chunks)
        streams = 1
        if self._messages and self._bare_message:
            governed = self._messages.create()
            more = _a_chunk(self._bare_message, governed, self._messages.stream_length, chunks)
            told |= {f"anthropic_{name}": figures for name, figures in more.items()}
            streams = 2
        self._flush()
        return {"calls": _STREAMS * 2 * streams, **told}

    def mallocs(self, calls: int) -> dict[str, Any]:
        """Of the caller's thread alone; the counter must be loaded before this process' libc."""
        count = ctypes.CDLL(None).cus_mallocs
        count.restype = ctypes.c_long
        governed = self._mallocs(count, self._governed, calls)
        bare = self._mallocs(count, self._bare, calls)
        return {"calls": calls, "added": governed - bare, "bare": bare}

    def _mallocs(self, count: Callable[[], int], create: Create, calls: int) -> float:
        """The median of a call's.

        Python keeps objects that are given back, up to 80 of a type, and hands them out again without
        malloc. So all records are sent before each few calls: else the sender's turns would decide
        how many objects of earlier records can be had again.
        """
        counts = []
        for done in range(calls):
            if done % _CALLS_BETWEEN_SENDS == 0:
                self._flush()
            before = count()
            create(model=MODEL, messages=MESSAGES)
            counts.append(count() - before)
        return median(counts)


def _block(create: Create) -> tuple[int, list[int]]:
    """Its nanoseconds of processor time in this thread, and of wall time for each call."""
    walls = []
    clock = time.perf_counter_ns
    began = time.thread_time_ns()
    for _ in range(_BLOCK):
        at = clock()
        create(model=MODEL, messages=MESSAGES)
        walls.append(clock() - at)
    return time.thread_time_ns() - began, walls


def _a_chunk(
    bare: Create, governed: Create, stream_length: Callable[[int], None], chunks: int
) -> dict[str, list[float]]:
    turns = [(bare, _SHORT), (governed, _SHORT), (bare, chunks), (governed, chunks)]
    bare_ns, added_ns = [], []
    for _ in range(_STREAMS):
        spent: dict[tuple[Create, int], int] = {}
        for create, length in random.sample(turns, len(turns)):
            stream_length(length)
            spent[create, length] = _stream_ns(create)
        more = chunks - _SHORT
        bare_ns.append((spent[bare, chunks] - spent[bare, _SHORT]) / more)
        added_ns.append((spent[governed, chunks] - spent[governed, _SHORT]) / more - bare_ns[-1])
    return {"bare_ns": bare_ns, "added_ns": added_ns}


def _stream_ns(create: Create) -> int:
    began = time.thread_time_ns()
    for _ in create(stream=True):
        pass
    return time.thread_time_ns() - began


def _of_anthropic() -> ModuleType | None:
    """Its client, where the package is: peers are measured on OpenAI's alone."""
    try:
        from benchmarks import cus_sdk_messages
    except ImportError:
        return None
    return cus_sdk_messages


def rss_mib() -> float:
    """What this process holds of its own, without files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


def own_output() -> Any:
    """Where our lines go: what packages print themselves must not come between them."""
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return lines


def main(options: dict[str, Any]) -> None:
    lines = own_output()
    program = Program(**options)
    # With the versions that are really here, not those that were asked for.
    import openai

    lines.write(json.dumps({"openai": openai.__version__}) + "\n")
    lines.flush()
    for line in sys.stdin:
        order = json.loads(line)
        answer = getattr(program, order["order"])(order["number"])
        lines.write(json.dumps(answer) + "\n")
        lines.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
