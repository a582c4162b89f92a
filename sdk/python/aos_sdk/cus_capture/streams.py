"""Streams: the provider's own object goes on to the caller, and we look on from inside it.

Its iterator is set to one that looks at what passes. How a stream ends (read to its end, broken by
an error, closed, dropped, cancelled) is seen there, at its response's `close`, or when the collector
takes it; the first of these reports.
"""

import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Self

from aos_sdk.cus_capture.unanswered import COUNTABLE
from aos_sdk.cus_counting.estimates import count_call
from aos_sdk.cus_counting.stream_text import read_events
from aos_sdk.cus_delivery.exit import before_sending
from aos_sdk.cus_reported_usage import CusReportedUsage
from aos_sdk.cus_tracker import NOTHING, CusCallTracker
from aos_sdk.cus_usage import CusStreamUsage

# Chunks are looked at so many at a time: cheaper for each, and a long stream keeps few of them.
_AT_A_TIME: Final = 32
# Under which name providers send the id of a request: OpenAI and its like, Anthropic, Bedrock.
_REQUEST_ID_HEADERS: Final = ("x-request-id", "request-id", "x-amzn-requestid")

# The streams that run, by their watches' addresses: a dictionary's items can be listed at any moment,
# whatever other threads do to it meanwhile, which is not so of a WeakSet.
_running: "dict[int, weakref.ref[CusStreamWatch]]" = {}


class CusStreamWatch:
    """What is known of a stream that runs: its usage and its text so far, and whether it has ended."""

    def __init__(
        self, call: CusCallTracker, arguments: dict[str, Any], *, hides_usage: bool = False
    ) -> None:
        self.call = call
        self.hides_usage = hides_usage
        self.passed: list[Any] = []
        self.running: Callable[[], bool] = bool  # whether the iterator is at work just now
        self._arguments = arguments
        self._usage = CusStreamUsage(call.origin.dialect or call.provider)
        self._texts: list[str] = []
        self._open = [None]
        self._process = os.getpid()
        _running[id(self)] = weakref.ref(self)
        call.stream = True

    def first(self) -> None:
        """The first chunk is here."""
        with self.call.reporter.guard:
            elapsed = perf_counter() - self.call.began
            self.call.set_metadata(time_to_first_token_ms=int(elapsed * 1_000 + 0.5))

    def look(self) -> None:
        """Look at what has passed since the last time, and forget it."""
        with self.call.reporter.guard:
            passed, self.passed[:] = self.passed[:], ()
            read_events(passed, self._texts, self._usage)

    def take(self, item: Any) -> None:
        """What a generator of the program's own yields: perhaps a provider's chunk, perhaps not."""
        self.passed.append(item)
        if len(self.passed) >= _AT_A_TIME:
            self.look()

    def note(self, event: Any) -> None:
        """What one event reports of usage."""
        self._usage.add(event)

    def end(self) -> None:
        """The stream was read to its end."""
        if self._ends():
            self._settle()
            self.call.end()

    def fail(self, error: BaseException) -> None:
        """The stream broke with this error, or was cancelled."""
        if self._ends():
            self._settle()
            self.call.fail(error)

    def abandon(self) -> None:
        """The caller wants no more of it."""
        if self._ends():
            self.call.set_metadata(abandoned=True)
            self._settle()
            self.call.end()

    def close(self) -> None:
        """Its connection is closed: by the stream itself, which goes on to say why, or by the caller."""
        if not self.running():
            self.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """The block that reads the stream is over: to its end, closed by the caller, or broken."""
        if error is None:
            self.end()
        elif isinstance(error, GeneratorExit):
            self.abandon()
        else:
            self.fail(error)

    def _ends(self) -> bool:
        try:
            self._open.pop()  # atomic: a stream may be closed by another thread than its reader's
        except IndexError:
            return False
        _running.pop(id(self), None)
        return True

    def _settle(self) -> None:
        """Tell the call what it used: as reported, else as counted here (ruling T2)."""
        self.look()
        with self.call.reporter.guard:
            if self._usage.named is not None:
                self.call.set_names_from(self._usage.named)
            usage = self._usage.usage
            if usage.reported:
                self.call.set_reported(usage)
            if not self._is_told(usage) and not self.call.is_late:
                self._count(usage)
        # What was sent and said is the program's alone, however long it keeps the stream.
        self._arguments, self._texts = NOTHING, []

    def _is_told(self, usage: CusReportedUsage) -> bool:
        # What Anthropic says first of its own words is a guess, until `message_delta` counts them.
        return usage.reported and not self._usage.is_first_guess

    def _count(self, known: CusReportedUsage) -> None:
        if self.call.operation in COUNTABLE:
            self._estimate(known)
        elif not known.reported:
            self.call.read_units(None)

    def _estimate(self, known: CusReportedUsage) -> None:
        answer = "".join(self._texts)
        count = count_call(self._arguments, answer, self.call.model, known.tokens)
        self.call.set_local_count(count)

    def leave(self) -> None:
        """Nobody will read on. In a forked child the stream is the parent's to tell of."""
        if self._open and self._process == os.getpid():
            self.abandon()

    def __del__(self) -> None:
        # A stream that nobody read to its end, nor closed.
        self.leave()


def _leave_all() -> None:
    """The program ends: what is known of the streams that still run is all that will be."""
    for alive in list(_running.values()):
        if (watch := alive()) is not None:
            with watch.call.reporter.guard:
                watch.leave()


before_sending(_leave_all)


def watch_stream(watch: CusStreamWatch, stream: Any) -> None:
    """Look on at a provider's `Stream`."""
    note_request_id(watch.call, stream.response)
    watched = _watched(stream._iterator, watch)  # noqa: SLF001 - the one place to look on from
    stream._iterator = watched  # noqa: SLF001
    alive: weakref.ref[Any] = weakref.ref(watched)
    watch.running = lambda: (it := alive()) is not None and it.gi_running
    watch_close(watch, stream.response)


def watch_async_stream(watch: CusStreamWatch, stream: Any) -> None:
    """Look on at a provider's `AsyncStream`."""
    note_request_id(watch.call, stream.response)
    watched = _watched_async(stream._iterator, watch)  # noqa: SLF001
    stream._iterator = watched  # noqa: SLF001
    alive: weakref.ref[Any] = weakref.ref(watched)
    watch.running = lambda: (it := alive()) is not None and it.ag_running
    watch_close(watch, stream.response)


def _watched(inner: Iterator[Any], watch: CusStreamWatch) -> Generator[Any, None, None]:
    passed = watch.passed
    keep = passed.append
    hides = watch.hides_usage
    with watch:
        for item in inner:
            watch.first()
            keep(item)
            if hides:
                _forget_usage(item)
            yield item
            break
        for item in inner:
            keep(item)
            if len(passed) >= _AT_A_TIME:
                watch.look()
            if hides and _forget_usage(item):
                continue
            yield item


async def _watched_async(
    inner: AsyncIterator[Any], watch: CusStreamWatch
) -> AsyncGenerator[Any, None]:
    passed = watch.passed
    keep = passed.append
    hides = watch.hides_usage
    with watch:
        try:
            async for item in inner:
                watch.first()
                keep(item)
                if hides:
                    _forget_usage(item)
                yield item
                break
            async for item in inner:
                keep(item)
                if len(passed) >= _AT_A_TIME:
                    watch.look()
                if hides and _forget_usage(item):
                    continue
                yield item
        except GeneratorExit:
            watch.abandon()
            await inner.aclose()  # type: ignore[attr-defined]  # as without us: at once, not later
            raise


def _forget_usage(chunk: Any) -> bool:
    """Whether the chunk is the extra one that we asked for; all others are made as if we had not.

    Asked for usage, OpenAI sends `"usage": null` in every other chunk, which shows in its dump.
    """
    if getattr(chunk, "usage", None) is not None:
        return not chunk.choices
    told = getattr(chunk, "__pydantic_fields_set__", None)
    if told is not None:
        told.discard("usage")
    return False


def note_request_id(call: CusCallTracker, response: Any) -> None:
    """The provider's id of the request, by the headers of its answer."""
    with call.reporter.guard:
        headers = response.headers
        call.note_request_id(next(filter(None, map(headers.get, _REQUEST_ID_HEADERS)), None))


def watch_close(watch: CusStreamWatch, response: Any) -> None:
    """Hear of the first `close` of a response, which is where every way to end a stream leads."""
    kind, alive = type(response), weakref.ref(response)

    def forget(response: Any) -> None:
        response.__dict__.pop("close", None)
        response.__dict__.pop("aclose", None)

    # They refer to the response weakly: in a circle with it, it would wait for the collector.
    def close() -> None:
        if (response := alive()) is not None:
            forget(response)
            try:
                kind.close(response)
            finally:
                watch.close()

    async def aclose() -> None:
        if (response := alive()) is not None:
            forget(response)
            try:
                await kind.aclose(response)
            finally:
                watch.close()

    response.close, response.aclose = close, aclose
