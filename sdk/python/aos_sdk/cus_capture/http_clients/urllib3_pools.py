"""Requests by urllib3, and so those by requests and botocore, which send by its pools."""

import functools
import weakref
from collections.abc import Callable, Generator
from typing import Any

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

PACKAGE = "urllib3.connectionpool"
CLASS = "HTTPConnectionPool"
METHOD = "urlopen"


def recording(original: Callable[..., Any], guard: never_raise) -> Callable[..., Any]:
    """The `urlopen` of a pool, recorded. A pool's own retries and redirects are of one call."""

    @functools.wraps(original)
    def urlopen(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        sending = _begin(self, method, url, args, kwargs, guard)
        if sending is None:
            return original(self, method, url, *args, **kwargs)
        count_governed(sending.call.origin.host or "")
        with sending:
            response = original(self, method, url, *args, **kwargs)
        sending.read(response)
        return response

    return urlopen


def _begin(
    pool: Any,
    method: str,
    url: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    guard: never_raise,
) -> CusHttpSending | None:
    with guard:
        body = args[0] if args else kwargs.get("body")
        headers = args[1] if len(args) > 1 else kwargs.get("headers")
        # A proxy's pool gets the whole address.
        address = url if "://" in url else f"{pool.scheme}://{pool.host}{url}"
        sent = pool.headers if headers is None else headers
        request = CusHttpRequest(method, address, lambda: plain_headers(sent), lambda: body)
        call = prepare_http_call(request, guard)
        is_read = kwargs.get("preload_content", True)
        return None if call is None else CusHttpSending(call, _read_whole if is_read else _watch)
    return None


def _read_whole(call: CusProviderCall, response: Any) -> None:
    if failed_by_status(call, response, response.status):
        return
    read_at_once(call, response.data, response.headers.get("content-type", ""))


def _watch(call: CusProviderCall, response: Any) -> None:
    """Read along while the program reads, by whichever method of the response."""
    if failed_by_status(call, response, response.status):
        return
    watch = body_watch(call, call.arguments, response.headers.get("content-type", ""))
    taps = _Taps(watch, response)
    response.read, response.read1 = taps.read, taps.read1
    response.read_chunked, response.stream = taps.read_chunked, taps.stream
    response.close = taps.close


class _Taps:
    """The reading methods of one response. Each is the response's own, and looks on.

    `stream` reads by `read` or by `read_chunked`. The response is held weakly: a cycle would delay
    the end of a dropped response until a collection. What `stream` and `read_chunked` return holds
    the response, as without us: the program may keep only that.
    """

    def __init__(self, watch: CusBodyWatch, response: Any) -> None:
        self._watch = watch
        self._copy = CusDecodedCopy()
        self._kind = type(response)
        self._alive = weakref.ref(response)

    def read(self, amt: int | None = None, *args: Any, **kwargs: Any) -> Any:
        return self._tapped(self._kind.read, amt, args, kwargs)

    def read1(self, amt: int | None = None, *args: Any, **kwargs: Any) -> Any:
        return self._tapped(self._kind.read1, amt, args, kwargs)

    def _tapped(
        self,
        read: Callable[..., Any],
        amt: int | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        response, self._watch.at_work = self._alive(), True
        try:
            data = read(response, amt, *args, **kwargs)
        except BaseException as error:
            self._watch.fail(error)
            raise
        finally:
            self._watch.at_work = False
        self._take(data)
        if not data if amt else amt is None:
            self._watch.end()
        return data

    def read_chunked(self, *args: Any, **kwargs: Any) -> Generator[bytes, None, None]:
        return self._chunks(self._kind.read_chunked(self._alive(), *args, **kwargs))

    def _chunks(self, body: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
        watch = self._watch
        watch.at_work = True
        try:
            for chunk in body:
                self._take(chunk)
                watch.at_work = False
                yield chunk
                watch.at_work = True
        except GeneratorExit:
            raise  # The program may read on by other means; closing or dropping ends the call.
        except BaseException as error:
            watch.fail(error)
            raise
        finally:
            watch.at_work = False
        watch.end()

    def stream(self, *args: Any, **kwargs: Any) -> Generator[bytes, None, None]:
        return self._to_its_end(self._kind.stream(self._alive(), *args, **kwargs))

    def _to_its_end(self, body: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
        yield from body
        self._watch.end()

    def _take(self, data: Any) -> None:
        if data:
            with self._watch.call.reporter.guard:
                self._watch.pass_on(self._copy.take(bytes(data)))

    def close(self) -> None:
        response = self._alive()
        if response is not None:
            try:
                self._kind.close(response)
            finally:
                self._watch.close()
