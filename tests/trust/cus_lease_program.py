"""A customer's program that races for a budget: `python -m tests.trust.cus_lease_program '{…}'`.

Each thread makes one call after the other. Before a call's request leaves, the program appends to a
file what the call will cost, so that a kill at any moment leaves at most one call of each thread in the
file that never left. What was refused is counted and tried again a moment later.
"""

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

OPTIONS: dict[str, Any] = json.loads(sys.argv[1])


_real_clock: Callable[[int], float] = time.clock_gettime


def _set_clocks(offset: float, pace: float) -> None:
    """Programs' clocks differ; set before the SDK is imported, which takes over the functions."""
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + offset
    time.time_ns = lambda: real_ns() + int(offset * 1e9)
    # By this clock a lease ends.
    time.clock_gettime = lambda clock: _real_clock(clock) * pace


_set_clocks(OPTIONS["clock_offset"], OPTIONS["lease_pace"])

import httpx2  # noqa: E402
import openai  # noqa: E402

from aos_sdk import (  # noqa: E402
    CusLimitExceeded,
    cus_configure,
    cus_install_middleware,
    cus_shutdown,
)
from aos_sdk.cus_cost import calculate_cost_microcents  # noqa: E402
from aos_sdk.cus_delivery.ended_call import CusReserved  # noqa: E402
from aos_sdk.cus_enforcing import lease_book, lease_line  # noqa: E402
from aos_sdk.cus_enforcing.lease import CusLease  # noqa: E402

MODEL = "gpt-4o"
MAX_TOKENS = 1_000
PROMPT_TOKENS = 20
_PATIENCE_SECONDS = 0.05
_LEASE_SECONDS = 5.0


class Provider:
    """Answers in memory, after a moment, and notes each call before."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._random = random.Random(os.getpid())

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """The answer to a chat, of random length."""
        tokens = self._random.randint(1, MAX_TOKENS)
        cost = calculate_cost_microcents(MODEL, PROMPT_TOKENS, tokens)
        os.write(self._file, f"{cost}\n".encode())
        time.sleep(self._random.uniform(0.001, OPTIONS["longest_call"]))
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens}
        return httpx2.Response(
            200,
            json={
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL,
                "choices": [{"index": 0, "finish_reason": "stop",
                             "message": {"role": "assistant", "content": "Hello."}}],
                "usage": usage | {"total_tokens": PROMPT_TOKENS + tokens},
            },
        )  # fmt: skip


class WatchedLease(CusLease):
    """Notes each call that begins after the lease's end, by the real clock."""

    _late = os.open(OPTIONS["late_calls"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # A moment after its request was begun.
        self._got_at = _real_clock(time.CLOCK_BOOTTIME)
        if OPTIONS["lease_pace"] < 1.0:
            # Whoever keeps the time badly asks late for the next one.
            self._renew_at = self.until

    def take(self, *amounts: int) -> CusReserved | None:
        """As any lease."""
        reserved = super().take(*amounts)
        if reserved and _real_clock(time.CLOCK_BOOTTIME) - self._got_at > _LEASE_SECONDS:
            os.write(self._late, b"late\n")
        return reserved


def main() -> None:
    # Leases of the dead are returned within the campaign's lives.
    vars(lease_book).update(_ADOPT_SECONDS=0.5, _LONGEST_PAUSE_SECONDS=0.5, CusLease=WatchedLease)
    vars(lease_line).update(_LONGEST_PAUSE_SECONDS=0.5)
    cus_configure(
        OPTIONS["key"],
        OPTIONS["url"],
        spool_dir=OPTIONS["spool"],
        batch_interval=0.05,
        on_unavailable="block",
        # A ring of a hundred processes each would fill the spool.
        max_queue=2_048,
    )
    cus_install_middleware()
    transport = httpx2.MockTransport(Provider(OPTIONS["calls"]).answer)
    client = openai.OpenAI(
        api_key="k", max_retries=0, http_client=httpx2.Client(transport=transport)
    )
    over = threading.Event()
    threads = [
        threading.Thread(target=_call, args=(client, over), daemon=True)
        for _ in range(OPTIONS["threads"])
    ]
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    over.set()
    for thread in threads:
        thread.join()
    left = cus_shutdown(20.0)
    sys.stdout.write(f"{left}\n")
    sys.stdout.flush()


def _call(client: openai.OpenAI, over: threading.Event) -> None:
    messages: Any = [{"role": "user", "content": "Which way?"}]
    while not over.is_set():
        try:
            client.chat.completions.create(model=MODEL, messages=messages, max_tokens=MAX_TOKENS)
            over.wait(OPTIONS["pause"])
        except CusLimitExceeded:
            over.wait(_PATIENCE_SECONDS)


if __name__ == "__main__":
    main()
