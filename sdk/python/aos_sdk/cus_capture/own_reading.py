"""A program that has a stream may read the stream's response itself, such as by `iter_lines`.

A watch of the body then takes over from the watch of the stream, and the usage that the SDK has asked
for is hidden there, too. Where the SDK has asked for nothing, no byte is changed.
"""

import contextlib
import json
import re
import weakref
from collections.abc import AsyncGenerator, Generator
from typing import Any, Final

from aos_sdk.cus_capture.raw import CusBodyWatch, is_encoded, reading, reading_async
from aos_sdk.cus_capture.streams import CusStreamWatch, watch_close

_BETWEEN_EVENTS: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_NO_USAGE: Final = re.compile(rb',\s*"usage"\s*:\s*null|"usage"\s*:\s*null\s*,')


def watch_own_reading(watch: CusStreamWatch, response: Any) -> None:
    """Watch for a program that reads the response, and not the stream.

    If the body is compressed, its decoded bytes are watched, and the raw ones are not.
    """
    if "text/event-stream" not in response.headers.get("content-type", ""):
        return
    name = "iter_bytes" if is_encoded(response) else "iter_raw"
    reader = _Reader(watch, response, name)
    setattr(response, name, reader.read)
    setattr(response, f"a{name}", reader.read_async)


class _Reader:
    """Takes the place of a response's method that all its other methods read by.

    Holds the response weakly, and what the method returns holds it, as without us.
    """

    __slots__ = ("_alive", "_body", "_kind", "_name", "_watch")

    def __init__(self, watch: CusStreamWatch, response: Any, name: str) -> None:
        self._watch = watch
        self._alive = weakref.ref(response)
        self._kind = type(response)
        self._name = name
        self._body: CusBodyWatch | None = None

    def read(self, chunk_size: int | None = None) -> Any:
        method = getattr(self._kind, self._name)
        if self._watch.running():  # The stream itself reads.
            return method(self._alive(), chunk_size)
        return self._reading(self._alive(), method, chunk_size)

    def read_async(self, chunk_size: int | None = None) -> Any:
        method = getattr(self._kind, f"a{self._name}")
        if self._watch.running():
            return method(self._alive(), chunk_size)
        return self._reading_async(self._alive(), method, chunk_size)

    def _reading(
        self, response: Any, method: Any, size: int | None
    ) -> Generator[bytes, None, None]:
        watch = self._taking_over(response)
        if watch is None:
            yield from method(response, size)
        elif not self._watch.hides_usage:
            yield from reading(method(response, size), watch)
        else:
            shown = _Shown(size)
            for chunk in reading(method(response), watch):
                yield from shown.after(chunk)
            yield from shown.at_the_end()

    async def _reading_async(
        self, response: Any, method: Any, size: int | None
    ) -> AsyncGenerator[bytes, None]:
        watch = self._taking_over(response)
        if watch is None:
            chunks, shown = method(response, size), None
        elif not self._watch.hides_usage:
            chunks, shown = reading_async(method(response, size), watch), None
        else:
            chunks, shown = reading_async(method(response), watch), _Shown(size)
        # Closed at once, as without us, if the program leaves.
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                for part in (chunk,) if shown is None else shown.after(chunk):
                    yield part
        for part in () if shown is None else shown.at_the_end():
            yield part

    def _taking_over(self, response: Any) -> CusBodyWatch | None:
        """The watch that takes over; None if there is nothing to read or to report any more."""
        if response is None or response.is_stream_consumed:
            return None
        with self._watch.call.reporter.guard:
            arguments = self._watch.hand_over()
            if arguments is not None:
                watch = CusBodyWatch(self._watch.call, arguments, is_event_stream=True)
                watch_close(watch, response)
                return watch
        return None


class _Shown:
    """What a program sees of a body of events: everything but the usage that we asked for.

    Holds the bytes of an event back until the event is whole. `size` is the size of chunks that the
    program asked for.
    """

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._rest = b""
        self._short = b""

    def after(self, chunk: bytes) -> list[bytes]:
        """The chunks to show after this chunk has come."""
        data, start = self._rest + chunk, 0
        shown = []
        for end in _BETWEEN_EVENTS.finditer(data):
            shown.append(_without_usage(data[start : end.end()]))
            start = end.end()
        self._rest = data[start:]
        return self._sized(b"".join(shown))

    def at_the_end(self) -> list[bytes]:
        """The chunks to show at the end of the body."""
        shown = self._sized(_without_usage(self._rest))
        return [*shown, self._short] if self._short else shown

    def _sized(self, data: bytes) -> list[bytes]:
        if self._size is None:
            return [data] if data else []
        data = self._short + data
        whole = len(data) - len(data) % self._size
        self._short = data[whole:]
        return [data[start : start + self._size] for start in range(0, whole, self._size)]


def _without_usage(event: bytes) -> bytes:
    """The event as it would be if usage was not asked for: none if it only tells usage."""
    if b'"usage"' not in event:
        return event
    body = _body_of(event)
    if body is None or "usage" not in body:
        return event
    if body["usage"] is not None:
        return event if body.get("choices") else b""
    del body["usage"]
    # Another member, or a text, may look like it; the body's own is usually the last.
    for found in reversed(list(_NO_USAGE.finditer(event))):
        changed = event[: found.start()] + event[found.end() :]
        if _body_of(changed) == body:
            return changed
    return event


def _body_of(event: bytes) -> dict[str, Any] | None:
    lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
    try:
        body = json.loads(b"\n".join(lines))
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None
