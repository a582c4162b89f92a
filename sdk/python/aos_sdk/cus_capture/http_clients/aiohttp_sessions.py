"""Requests by aiohttp: recorded in a session's `_request`, by which all its methods send.

aiohttp's reader of a body takes no attributes, so a watched reader gets a class of ours that is
derived from its own and has the same name.
"""

import functools
import weakref
from collections.abc import Callable
from typing import Any, Final

from aos_sdk.cus_capture.bypass_transports import count_governed
from aos_sdk.cus_capture.decoding import CusDecodedCopy
from aos_sdk.cus_capture.http_clients.requests import (
    CusHttpRequest,
    CusHttpSending,
    failed_by_status,
    plain_headers,
    prepare_http_call,
)
from aos_sdk.cus_capture.raw import CusBodyWatch, body_watch, read_at_once
from aos_sdk.cus_capture.surfaces import CusProviderCall
from aos_sdk.cus_guard import never_raise

PACKAGE: Final = "aiohttp.client"
CLASS: Final = "ClientSession"
METHOD: Final = "_request"
_READER: Final = "StreamReader"


def recording(original: Callable[..., Any], guard: never_raise) -> Callable[..., Any]:
    """The `_request` of a session, recorded. Redirects are of one call."""

    @functools.wraps(original)
    async def _request(self: Any, method: str, str_or_url: Any, **kwargs: Any) -> Any:
        sending = _begin(self, method, str_or_url, kwargs, guard)
        if sending is None:
            return await original(self, method, str_or_url, **kwargs)
        await sending.admitted()
        count_governed(sending.call.origin.host or "")
        with sending:
            response = await original(self, method, str_or_url, **kwargs)
        sending.read(response)
        return response

    return _request


def _begin(
    session: Any, method: str, address: Any, kwargs: dict[str, Any], guard: never_raise
) -> CusHttpSending | None:
    with guard:
        body = kwargs.get("data") if kwargs.get("json") is None else kwargs["json"]
        url = str(session._build_url(address))  # noqa: SLF001 - a session may have a base address
        request = CusHttpRequest(method, url, lambda: _headers(session, kwargs), lambda: body)
        call = prepare_http_call(request, guard)
        return None if call is None else CusHttpSending(call, _watch)
    return None


def _headers(session: Any, kwargs: dict[str, Any]) -> dict[str, str]:
    return {**plain_headers(session.headers), **plain_headers(kwargs.get("headers"))}


def _watch(call: CusProviderCall, response: Any) -> None:
    if failed_by_status(call, response, response.status):
        return
    content_type = response.headers.get("Content-Type", "")
    reader: Any = response.content
    if type(reader).__name__ != _READER:  # an empty body
        read_at_once(call, b"", content_type)
        return
    watch = body_watch(call, call.arguments, content_type)
    _watched[id(reader)] = _Watched(watch)
    kind: Any = type(reader)
    reader.__class__ = _watched_class(kind)
    if reader.at_eof():
        watch.end()
    _watch_release(response, watch)


class _Watched:
    """What is known of a watched reader."""

    __slots__ = ("_copy", "_watch")

    def __init__(self, watch: CusBodyWatch) -> None:
        self._watch = watch
        self._copy = CusDecodedCopy()

    def take(self, data: bytes) -> None:
        with self._watch.call.reporter.guard:
            self._watch.pass_on(self._copy.take(bytes(data)))

    def end(self) -> None:
        self._watch.end()

    def fail(self, error: BaseException) -> None:
        self._watch.fail(error)


# By the readers' addresses. A reader leaves when it is gone.
_watched: Final[dict[int, _Watched]] = {}


class _Reader:
    """What a watched reader does beside its own: tell its watch what the program reads."""

    __slots__ = ()

    def _read_nowait_chunk(self, n: int) -> Any:
        own: Any = super()
        data = own._read_nowait_chunk(n)  # noqa: SLF001 - every way to read leads through this
        watched = _watched.get(id(self))
        if watched is not None:
            watched.take(data)
            self._end_if_read()
        return data

    def feed_eof(self) -> None:
        own: Any = super()
        own.feed_eof()
        self._end_if_read()

    def _end_if_read(self) -> None:
        reader: Any = self
        watched = _watched.get(id(self))
        if watched is not None and reader.at_eof():
            watched.end()

    def set_exception(self, exc: BaseException, *args: Any) -> None:
        watched = _watched.get(id(self))
        if watched is not None:
            watched.fail(exc)
        own: Any = super()
        own.set_exception(exc, *args)

    def __del__(self) -> None:
        _watched.pop(id(self), None)


@functools.cache
def _watched_class(kind: type) -> type:
    """The class of watched readers that are otherwise of this class."""
    names = {"__slots__": (), "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (_Reader, kind), names)


def _watch_release(response: Any, watch: CusBodyWatch) -> None:
    """Note that the program leaves an answer: by `close` or `release`, or the end of a block."""
    kind, alive = type(response), weakref.ref(response)

    def close() -> Any:
        if (response := alive()) is not None:
            watch.close()
            return kind.close(response)
        return None

    def release() -> Any:
        if (response := alive()) is not None:
            watch.close()
            return kind.release(response)
        return None

    response.close, response.release = close, release
