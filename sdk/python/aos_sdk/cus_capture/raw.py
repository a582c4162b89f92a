"""Raw responses: the caller gets the body, as bytes or parsed, and the SDK reads along.

The SDK requests nothing of the provider that the caller did not, and holds no byte back.
"""

import json
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from io import BytesIO
from typing import Any, Final

from aos_sdk.cus_capture.batches import CusLinesLookup
from aos_sdk.cus_capture.decoding import CusDecodedCopy
from aos_sdk.cus_capture.streams import CusStreamWatch, note_request_id, watch_close
from aos_sdk.cus_counting.stream_text import gather_json_text
from aos_sdk.cus_tracker import NOTHING, CusCallTracker

_LAST_EVENTS: Final = frozenset(
    {"message_stop", "response.completed", "response.failed", "response.incomplete"}
)
# A body larger than this (an image, a speech) is not read for its usage.
_MAX_BODY_BYTES: Final = 4 * 1024 * 1024


class CusBodyWatch(CusStreamWatch):
    """Watches a body while it is read: server-sent events, or one JSON document."""

    def __init__(
        self,
        call: CusCallTracker,
        arguments: dict[str, Any],
        *,
        is_event_stream: bool,
        is_here: bool = False,
    ) -> None:
        """`is_here`: the whole body has come already, so nothing tells when it began to come."""
        super().__init__(call, arguments if is_event_stream else NOTHING)
        call.stream = is_event_stream
        self._is_event_stream = is_event_stream
        self._is_too_large = False
        self._rest = b""
        self._bytes = 0  # that have passed
        self._has_begun = is_here
        self._is_done = False
        self.at_work = False
        # Not a bound method: a reference cycle would delay the report of a dropped body.
        alive = weakref.ref(self)
        self.running = lambda: (watch := alive()) is not None and watch.at_work

    @property
    def wants_more(self) -> bool:
        """Whether the rest of the body may tell anything."""
        return True

    def pass_on(self, chunk: bytes) -> None:
        """Take bytes that are passed to the caller."""
        if self._is_too_large:
            return
        self.passed.append(chunk)
        self._bytes += len(chunk)
        if self._is_event_stream or self._bytes > _MAX_BODY_BYTES:
            self.look()

    def look(self) -> None:
        """Read the complete lines that have passed, or collect the document's bytes."""
        with self.call.reporter.guard:
            data, self.passed[:] = b"".join((self._rest, *self.passed)), ()
            if self._is_event_stream:
                *lines, self._rest = data.splitlines(keepends=True) or [b""]
                if len(self._rest) > _MAX_BODY_BYTES:
                    self._rest = b""  # No event of a model is as long.
                if self._rest.endswith((b"\r", b"\n")):
                    lines, self._rest = [*lines, self._rest], b""
                for line in lines:
                    # Of its own: what is wrong with one line must not cost those after it.
                    with self.call.reporter.guard:
                        self._read_line(line)
            elif len(data) > _MAX_BODY_BYTES:
                self._rest, self._is_too_large = b"", True
            else:
                self._rest = data

    def _read_line(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        if line[5:].strip() == b"[DONE]":
            self._is_done = True
            return
        event = _json(line[5:])
        if not isinstance(event, dict):
            return
        self._is_done = self._is_done or event.get("type") in _LAST_EVENTS
        if not self._has_begun:
            self._has_begun = True
            self.first()
        self.note(event)
        gather_json_text(event, self._texts)

    def abandon(self) -> None:
        """Note that the caller stops reading. After the last event the stream is complete."""
        if self.passed:
            self.look()
        if self._is_done:
            self.end()
        else:
            super().abandon()

    def _settle(self) -> None:
        self.look()
        with self.call.reporter.guard:
            if not self._is_event_stream and not self._is_too_large:
                document = _json(self._rest)
                self._rest = b""
                if isinstance(document, dict):
                    self.call.read(document)
                    return
        if self._is_event_stream:
            super()._settle()
        else:
            with self.call.reporter.guard:
                self.call.read_units(None)


class CusLinesWatch(CusBodyWatch):
    """A body of JSON lines: the request hears of each whole line, as long as it wants any."""

    def __init__(self, call: CusLinesLookup) -> None:
        super().__init__(call, NOTHING, is_event_stream=True)
        self._lookup = call

    @property
    def wants_more(self) -> bool:
        """Whether the rest of the body may tell anything."""
        return self._lookup.wants_lines

    def pass_on(self, chunk: bytes) -> None:
        """Some bytes are on their way to the caller."""
        if not self.wants_more:
            return
        self.passed.append(chunk)
        self._bytes += len(chunk)
        if b"\n" in chunk:
            self._bytes = 0
            self.look()
        elif self._bytes > _MAX_BODY_BYTES:
            self._lookup.wants_lines = False
            self.passed.clear()

    def _read_line(self, line: bytes) -> None:
        self._lookup.read_line(line)

    def _settle(self) -> None:
        self.look()
        rest, self._rest = self._rest, b""
        if rest.strip():
            self._read_line(rest)


def watch_body(call: CusCallTracker, arguments: dict[str, Any], response: Any) -> None:
    """Look on at the body of an HTTP response that the caller reads, or has at once."""
    note_request_id(call, response)
    content_type = response.headers.get("content-type", "")
    if response.is_closed:
        read_at_once(call, response.content, content_type)
        return
    watch = body_watch(call, arguments, content_type)
    taps = _Taps(watch, response)
    response.iter_bytes, response.aiter_bytes = taps.iter_bytes, taps.aiter_bytes
    response.iter_raw, response.aiter_raw = taps.iter_raw, taps.aiter_raw
    watch_close(watch, response)


class _Taps:
    """The reading methods of one response. Each is the response's own, and looks on.

    The response is held weakly: a cycle would delay the end of a dropped response until a
    collection. What a method returns holds the response, as without us: the program may keep only
    that.
    """

    def __init__(self, watch: CusBodyWatch, response: Any) -> None:
        self._watch = watch
        self._kind: Any = type(response)
        self._alive = weakref.ref(response)

    def iter_bytes(self, chunk_size: int | None = None) -> Generator[bytes, None, None]:
        return reading(self._kind.iter_bytes(self._alive(), chunk_size), self._watch)

    def aiter_bytes(self, chunk_size: int | None = None) -> AsyncGenerator[bytes, None]:
        return reading_async(self._kind.aiter_bytes(self._alive(), chunk_size), self._watch)

    def iter_raw(self, chunk_size: int | None = None) -> Generator[bytes, None, None]:
        body: Generator[bytes, None, None] = self._kind.iter_raw(self._alive(), chunk_size)
        if self._watch.at_work:  # `iter_bytes` reads by this
            return body
        return reading(body, self._watch, CusDecodedCopy().take)

    def aiter_raw(self, chunk_size: int | None = None) -> AsyncGenerator[bytes, None]:
        body: AsyncGenerator[bytes, None] = self._kind.aiter_raw(self._alive(), chunk_size)
        if self._watch.at_work:  # `aiter_bytes` reads by this
            return body
        return reading_async(body, self._watch, CusDecodedCopy().take)


def is_encoded(response: Any) -> bool:
    """Whether the body is compressed, so that its raw bytes tell nothing."""
    encoding: str = response.headers.get("content-encoding", "identity")
    return encoding != "identity"


def body_watch(
    call: CusCallTracker, arguments: dict[str, Any], content_type: str, *, is_here: bool = False
) -> CusBodyWatch:
    """A watch for a body of this content type."""
    if isinstance(call, CusLinesLookup):
        return CusLinesWatch(call)
    is_event_stream = "event-stream" in content_type
    return CusBodyWatch(call, arguments, is_event_stream=is_event_stream, is_here=is_here)


def read_at_once(call: CusCallTracker, content: bytes, content_type: str) -> None:
    """Read a body that is here as a whole, and end the call."""
    if "event-stream" in content_type or isinstance(call, CusLinesLookup):
        watch = body_watch(call, call.arguments, content_type, is_here=True)
        # Line by line: a file that is no batch's is not even split.
        for line in BytesIO(content):
            watch.pass_on(line)
            if not watch.wants_more:
                break
        watch.end()
        return
    with call.reporter.guard:  # An answer that can't be read is reported all the same.
        if "json" in content_type and len(content) <= _MAX_BODY_BYTES:
            call.read(_json(content))
        else:
            call.read_units(None)
    call.end()


def _as_it_is(chunk: bytes) -> bytes:
    return chunk


def reading(
    body: Any, watch: CusBodyWatch, decoded: Callable[[bytes], bytes] = _as_it_is
) -> Generator[bytes, None, None]:
    """The body's chunks, unchanged; the watch reads each, as `decoded` gives it."""
    watch.at_work = True
    with watch:
        for chunk in body:
            watch.at_work = False
            watch.pass_on(decoded(chunk))
            yield chunk
            watch.at_work = True


async def reading_async(
    body: Any, watch: CusBodyWatch, decoded: Callable[[bytes], bytes] = _as_it_is
) -> AsyncGenerator[bytes, None]:
    """The same of an asynchronous body."""
    watch.at_work = True
    with watch:
        try:
            async for chunk in body:
                watch.at_work = False
                watch.pass_on(decoded(chunk))
                yield chunk
                watch.at_work = True
        except GeneratorExit:
            watch.abandon()
            await body.aclose()
            raise


def _json(text: bytes) -> Any:
    """What a JSON text holds; None if it is no JSON, or nested deeper than Python reads."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # "[DONE]", a gateway's text, a million brackets
        return None
