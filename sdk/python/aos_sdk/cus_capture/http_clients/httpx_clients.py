"""Requests by httpx and httpx2: recorded where their `send` is watched (`bypass_transports`)."""

from typing import Any

from aos_sdk.cus_capture.http_clients.requests import (
    CusHttpRequest,
    CusHttpSending,
    failed_by_status,
    plain_headers,
    prepare_http_call,
)
from aos_sdk.cus_capture.raw import watch_body
from aos_sdk.cus_capture.surfaces import CusProviderCall
from aos_sdk.cus_guard import never_raise


class CusHttpxRecorder:
    """Records the requests of these clients."""

    def __init__(self, guard: never_raise) -> None:
        self._guard = guard

    def begin(self, request: Any) -> CusHttpSending | None:
        """The call to record with a request."""
        with self._guard:
            plain = CusHttpRequest(
                request.method,
                str(request.url),
                lambda: plain_headers(request.headers),
                lambda: _body(request),
            )
            call = prepare_http_call(plain, self._guard)
            return None if call is None else CusHttpSending(call, _read)
        return None


def _body(request: Any) -> bytes | None:
    # A request whose body is a stream of the program has no content until that is consumed.
    content: bytes | None = getattr(request, "_content", None)
    return content


def _read(call: CusProviderCall, response: Any) -> None:
    if not failed_by_status(call, response, response.status_code):
        watch_body(call, call.arguments, response)
