"""Replay a trace in the way a customer's program makes calls."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from aos_project.cus_demo.cus_local_provider import prompt_for
from aos_project.cus_demo.cus_trace import Trace
from aos_sdk import CusOpenAIProvider, cus_configure

MODEL = "gpt-4o"
_CALLERS = 4
# How long the last records may take to arrive after the last call.
DELIVERY_SECONDS = 120.0


@dataclass(frozen=True)
class Delivery:
    """The SDK reporter's counts of its records by outcome."""

    sent: int
    duplicates: int
    conflicts: int
    rejected: int
    dropped: int
    undelivered: int


class Replay:
    """Makes every call of a trace through the SDK. `speed` 1: real time; 0: as fast as possible."""

    def __init__(
        self, trace: Trace, *, key: str, base_url: str, provider_url: str, speed: float
    ) -> None:
        self.trace = trace
        self.speed = speed
        # The calls were made long ago, so no limit stops them now.
        self.reporter = cus_configure(
            key, base_url, batch_size=200, batch_interval=0.5, enforce=False
        )
        self.provider = CusOpenAIProvider(
            "sk-local-provider", reporter=self.reporter, base_url=provider_url
        )
        self._done: SimpleQueue[int] = SimpleQueue()

    def run(self) -> Iterator[int]:
        """Make the calls; yield the number of each finished call. Raises the error of a call."""
        started = time.monotonic()
        with ThreadPoolExecutor(_CALLERS) as pool:
            callers = [pool.submit(self._call_every, first, started) for first in range(_CALLERS)]
            while not all(caller.done() for caller in callers) or not self._done.empty():
                try:
                    yield self._done.get(timeout=0.2)
                except Empty:
                    continue
            for caller in callers:
                caller.result()

    def finish(self) -> Delivery:
        """Wait until the records are delivered; return their counts by outcome."""
        undelivered = self.reporter.shutdown(DELIVERY_SECONDS)
        self.provider.client.close()
        stats = self.reporter.stats
        return Delivery(
            stats.sent,
            stats.duplicates,
            stats.conflicts,
            stats.rejected,
            stats.dropped,
            undelivered,
        )

    def _call_every(self, first: int, started: float) -> None:
        call_ids = self.trace.call_ids
        for number in range(first, len(call_ids), _CALLERS):
            self._wait_for_turn(number, started)
            self.provider.chat_completions_create(
                call_id=call_ids[number],
                session_id=self.trace.digest,
                agent_id="demo",
                model=MODEL,
                messages=[{"role": "user", "content": prompt_for(number)}],
            )
            self._done.put(number)

    def _wait_for_turn(self, number: int, started: float) -> None:
        if self.speed:
            due = started + self.trace.calls[number].offset_seconds / self.speed
            time.sleep(max(0.0, due - time.monotonic()))
