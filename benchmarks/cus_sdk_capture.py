"""What capture adds to a call and to a chunk: governed beside bare, in shuffled rounds of one run.

The client is real, its request is not: `_post` answers from memory, so that what is measured is the
client's and our own work in the caller's thread. Processor time; the medians of the rounds.
"""

import gc
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from aos_sdk import CusReporter, CusUsageRecord, cus_install_middleware, cus_uninstall_middleware
from aos_sdk.cus_configuration import CusConfiguration, active
from aos_sdk.cus_streams import CusStreamWatch, watch_stream
from aos_sdk.cus_surfaces import CHAT, prepare_call

ROUNDS: Final = 41
CALLS: Final = 1_000
CHUNKS: Final = 5_000
MODEL: Final = "gpt-4o"
MESSAGES: Final[Any] = [{"role": "user", "content": "Hello"}]
_NO_DETAILS: Final = {"cached_tokens": 0, "audio_tokens": 0}


class _Sink(CusReporter):
    """Keeps records in memory, as the reporter's buffer does, and sends nothing."""

    def __init__(self) -> None:
        super().__init__("tenant:integration:aosk_benchmark", "http://127.0.0.1:1")
        self.records: list[CusUsageRecord] = []

    def report(self, record: CusUsageRecord) -> None:
        self.records.append(record)


def _completion() -> ChatCompletion:
    usage = {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500}
    made = {"reasoning_tokens": 0, "audio_tokens": 0}
    details = {"prompt_tokens_details": _NO_DETAILS, "completion_tokens_details": made}
    message = {"role": "assistant", "content": "Hello."}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return ChatCompletion.construct(
        id="x",
        object="chat.completion",
        created=1,
        model=MODEL,
        choices=[choice],
        usage={**usage, **details},
    )


def _client() -> openai.OpenAI:
    client = openai.OpenAI(api_key="benchmark")
    answer = _completion()
    completions: Any = client.chat.completions
    completions._post = lambda *args, **kwargs: answer  # noqa: SLF001 - no request is measured
    return client


def _call_us(client: openai.OpenAI) -> float:
    create = client.chat.completions.create
    began = time.process_time_ns()
    for _ in range(CALLS):
        create(model=MODEL, messages=MESSAGES)
    return (time.process_time_ns() - began) / CALLS / 1_000


def _rounds(bare: Callable[[], float], governed: Callable[[], float]) -> tuple[float, float]:
    """The medians of both, in rounds whose order is shuffled."""
    found: dict[Callable[[], float], list[float]] = {bare: [], governed: []}
    for _ in range(ROUNDS):
        for measure in random.sample([bare, governed], 2):
            found[measure].append(measure())
    return statistics.median(found[bare]), statistics.median(found[governed])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def measure_calls(sink: _Sink) -> None:
    """Print what a call costs with and without us, and the blocks that its record keeps."""
    client = _client()

    def governed() -> float:
        cus_install_middleware(patch_anthropic=False)
        try:
            return _call_us(client)
        finally:
            cus_uninstall_middleware()
            sink.records.clear()

    bare_us, governed_us = _rounds(lambda: _call_us(client), governed)
    added = governed_us - bare_us
    _say(f"call: bare {bare_us:.1f} us, added {added:.1f} us, {governed_us / bare_us:.2f} x")
    cus_install_middleware(patch_anthropic=False)
    create = client.chat.completions.create
    create(model=MODEL, messages=MESSAGES)
    gc.disable()
    before = sys.getallocatedblocks()
    for _ in range(CALLS):
        create(model=MODEL, messages=MESSAGES)
    kept = (sys.getallocatedblocks() - before) / CALLS
    gc.enable()
    cus_uninstall_middleware()
    _say(f"call: {kept:.1f} memory blocks kept until it is sent")


class _Stream:
    """A stream as the providers' packages have it: an iterator within, and a response."""

    def __init__(self, chunks: list[Any]) -> None:
        self._iterator: Iterator[Any] = iter(chunks)
        self.response = self


def measure_chunks(sink: _Sink) -> None:
    """Print what a chunk of a stream costs more."""
    client = _client()
    delta = {"index": 0, "delta": {"content": "hello "}, "finish_reason": None}
    chunk = ChatCompletionChunk.construct(
        id="x", object="chat.completion.chunk", created=1, model=MODEL, choices=[delta], usage=None
    )
    chunks = [chunk] * CHUNKS

    def bare() -> float:
        return _read_ns(_Stream(chunks))

    def governed() -> float:
        stream = _Stream(chunks)
        call = prepare_call(CHAT, client, {"model": MODEL}, active.get(), sink)
        assert call is not None
        call.start()
        watch = CusStreamWatch(call, call.arguments)
        watch_stream(watch, stream)
        return _read_ns(stream)

    bare_ns, governed_ns = _rounds(bare, governed)
    _say(f"chunk: added {governed_ns - bare_ns:.0f} ns")


def _read_ns(stream: _Stream) -> float:
    iterator = stream._iterator  # noqa: SLF001
    began = time.process_time_ns()
    for index, _ in enumerate(iterator, 2):
        if index > CHUNKS:  # the end is a call's, not a chunk's
            break
    return (time.process_time_ns() - began) / CHUNKS


def main() -> None:
    """Measure and print; takes a minute."""
    sink = _Sink()
    active.replace(CusConfiguration(sink))
    measure_calls(sink)
    measure_chunks(sink)


if __name__ == "__main__":
    main()
