"""Streams: the caller gets the provider's own object, and the SDK watches from inside it.

The SDK replaces the stream's iterator by one that reads each chunk. The end of a stream (read to
its end, broken by an error, closed, dropped, cancelled) shows in that iterator, in the response's
`close`, or when the garbage collector takes the stream; the first of these reports the call.
"""

import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from time import perf_counter
from typing import Any, Final, Self

from aos_sdk.cus_capture.frames import passed_over_by_warnings
from aos_sdk.cus_capture.unanswered import COUNTABLE
from aos_sdk.cus_counting.estimates import count_call
from aos_sdk.cus_counting.stream_text import read_events
from aos_sdk.cus_delivery.exit import before_sending
from aos_sdk.cus_reported_usage import CusReportedUsage
from aos_sdk.cus_tracker import NOTHING, CusCallTracker
from aos_sdk.cus_usage import CusStreamUsage

# The chunks that are read at once: cheaper for each chunk, and few chunks are kept in memory.
_AT_A_TIME: Final = 32
# The headers with the id of a request: of OpenAI and compatible servers, Anthropic, Bedrock.
_REQUEST_ID_HEADERS: Final = ("x-request-id", "request-id", "x-amzn-requestid")
# The header with the project: of Anthropic. OpenAI's is left to the client, because the package
# does not keep it with whole answers.
_PROJECT_HEADER: Final = "anthropic-workspace-id"

# The methods of a response that are watched until it is closed, as attributes of the response.
_WATCHED_METHODS: Final = (
    "close",
    "aclose",
    "iter_bytes",
    "aiter_bytes",
    "iter_raw",
    "aiter_raw",
)

# The running streams, by their watches' addresses. A dictionary, because its values can be listed
# while other threads change it; a WeakSet's can't.
_running: "dict[int, weakref.ref[CusStreamWatch]]" = {}


class CusStreamWatch:
    """Watches a running stream: its usage and its text so far, and whether it has ended."""

    def __init__(
        self, call: CusCallTracker, arguments: dict[str, Any], *, hides_usage: bool = False
    ) -> None:
        self.call = call
        self.hides_usage = hides_usage
        self.passed: list[Any] = []
        self.running: Callable[[], bool] = bool  # whether the iterator is running just now
        self._arguments = arguments
        self._usage = CusStreamUsage(call.origin.dialect or call.provider)
        self._texts: list[str] = []
        self._open = [None]
        self._process = os.getpid()
        _running[id(self)] = weakref.ref(self)
        call.stream = True

    def first(self) -> None:
        """Note the arrival of the first chunk."""
        with self.call.reporter.guard:
            elapsed = perf_counter() - self.call.began
            self.call.set_metadata(time_to_first_token_ms=int(elapsed * 1_000 + 0.5))

    def look(self) -> None:
        """Read the chunks that have passed since the last look, and forget them."""
        with self.call.reporter.guard:
            passed, self.passed[:] = self.passed[:], ()
            read_events(passed, self._texts, self._usage)

    def take(self, item: Any) -> None:
        """Take an item of the program's own generator, which may be a provider's chunk."""
        self.passed.append(item)
        if len(self.passed) >= _AT_A_TIME:
            self.look()

    def note(self, event: Any) -> None:
        """Take the usage that one event reports."""
        self._usage.add(event)

    def end(self) -> None:
        """Note that the stream was read to its end."""
        if self._ends():
            self._settle()
            self.call.end()

    def fail(self, error: BaseException) -> None:
        """Note that the stream broke with this error, or was cancelled."""
        if self._ends():
            self._settle()
            self.call.fail(error)

    def abandon(self) -> None:
        """Note that the caller stops reading before the end."""
        if self._ends():
            self.call.set_metadata(abandoned=True)
            self._settle()
            self.call.end()

    def hand_over(self) -> dict[str, Any] | None:
        """The call's arguments, for another watch that reports the call instead; None if the stream
        has ended.
        """
        return self._arguments if self._ends() else None

    def close(self) -> None:
        """Note that the connection is closed, by the caller or by the stream itself.

        If the stream closed it, `end`, `fail` or `abandon` follows.
        """
        if not self.running():
            self.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Note how the block that reads the stream ended: read, closed by the caller, or broken."""
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
        """Set the call's usage: as reported, or else as counted here (ruling T2)."""
        self.look()
        with self.call.reporter.guard:
            if self._usage.named is not None:
                self.call.set_names_from(self._usage.named)
            usage = self._usage.usage
            if usage.reported:
                self.call.set_reported(usage)
            if not self._is_reported(usage) and not self.call.is_late:
                self._count(usage)
        # Drop prompt and answer, however long the program keeps the stream.
        self._arguments, self._texts = NOTHING, []

    def _is_reported(self, usage: CusReportedUsage) -> bool:
        # Anthropic's first count of output tokens is a guess, until `message_delta` has the count.
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
        """Note that no more will be read. In a forked child do nothing: the parent reports."""
        if self._open and self._process == os.getpid():
            self.abandon()

    def __del__(self) -> None:
        # The stream was neither read to its end nor closed.
        self.leave()


def _leave_all() -> None:
    """Report the running streams at the end of the program, with what is known of them."""
    for alive in list(_running.values()):
        if (watch := alive()) is not None:
            with watch.call.reporter.guard:
                watch.leave()


before_sending(_leave_all)


def watch_stream(watch: CusStreamWatch, stream: Any) -> None:
    """Watch a provider's `Stream`."""
    note_request_id(watch.call, stream.response)
    watched = _watched(stream._iterator, watch)  # noqa: SLF001 - the one place to look on from
    stream._iterator = watched  # noqa: SLF001
    alive: weakref.ref[Any] = weakref.ref(watched)
    watch.running = lambda: (iterator := alive()) is not None and iterator.gi_running
    watch_close(watch, stream.response)


def watch_async_stream(watch: CusStreamWatch, stream: Any) -> None:
    """Watch a provider's `AsyncStream`."""
    note_request_id(watch.call, stream.response)
    watched = _watched_async(stream._iterator, watch)  # noqa: SLF001
    stream._iterator = watched  # noqa: SLF001
    alive: weakref.ref[Any] = weakref.ref(watched)
    watch.running = lambda: (iterator := alive()) is not None and iterator.ag_running
    watch_close(watch, stream.response)


@passed_over_by_warnings
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


@passed_over_by_warnings
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
            await inner.aclose()  # type: ignore[attr-defined]  # close at once, as without us
            raise


def _forget_usage(chunk: Any) -> bool:
    """Whether this is the extra chunk with usage; restore other chunks to their form without it.

    If usage is requested, OpenAI sends `"usage": null` in all other chunks, which their dumps show.
    """
    if getattr(chunk, "usage", None) is not None:
        return not chunk.choices
    fields_set = getattr(chunk, "__pydantic_fields_set__", None)
    if fields_set is not None:
        fields_set.discard("usage")
    return False


def note_request_id(call: CusCallTracker, response: Any) -> None:
    """The provider's id of the request, and its project, by the headers of its answer."""
    with call.reporter.guard:
        headers = response.headers
        call.note_request_id(next(filter(None, map(headers.get, _REQUEST_ID_HEADERS)), None))
        call.note_project(headers.get(_PROJECT_HEADER))


def watch_close(watch: CusStreamWatch, response: Any) -> None:
    """Watch for the first `close` of a response, to which every end of a stream leads."""
    kind, alive = type(response), weakref.ref(response)

    def forget(response: Any) -> None:
        for name in _WATCHED_METHODS:
            response.__dict__.pop(name, None)

    # These functions hold the response weakly: a cycle would delay its end until a collection.
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
