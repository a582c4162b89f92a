"""The call that a plain HTTP request makes: by its address, its headers and its body.

Each request that is sent is a call: a program that tries again makes another call.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from aos_sdk.cus_capture.http_clients.hosts import recorded
from aos_sdk.cus_capture.kinds import KINDS
from aos_sdk.cus_capture.streams import note_request_id
from aos_sdk.cus_capture.surfaces import DECIDED, CusProviderCall, identify, is_part_of_a_call
from aos_sdk.cus_configuration import CusConfiguration, active
from aos_sdk.cus_delivery.ended_call import CusOrigin
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_providers.paths import surface_of_path
from aos_sdk.cus_providers.registry import provider_of_host
from aos_sdk.cus_scope import enter_call, leave_call_anywhere
from aos_sdk.cus_wire import MAX_KEY_HINT_LENGTH

# The model of a larger body is known by its answer alone.
_MAX_BODY_BYTES: Final = 1024 * 1024
_ERROR_STATUS: Final = 400
# No hint for a shorter key: four characters would reveal too much of it.
_SHORTEST_KEY: Final = 20
_KEY_SCHEMES: Final = ("", "bearer")
# JSON Web Tokens, and Google's tokens.
_TOKEN_STARTS: Final = ("eyJ", "ya29.")
_KEY_HEADERS: Final = ("authorization", "x-api-key", "api-key")
_PROJECT_HEADERS: Final = ("openai-project", "openai-organization")


class CusHttpRequest(NamedTuple):
    """A request that a client is about to send.

    `headers` returns the headers, with names in lower case. `body` returns the body, or what it is
    made of; None if reading the body would consume it. Neither is asked for unless the request is
    recorded.
    """

    method: str
    url: str
    headers: Callable[[], Mapping[str, str]]
    body: Callable[[], Any]


class CusHttpSending:
    """The block that sends a recorded request. What the request raises ends the call."""

    __slots__ = ("_read", "_token", "call")

    def __init__(self, call: CusProviderCall, read: Callable[[CusProviderCall, Any], None]) -> None:
        """`read` takes the call and its answer, and ends the call when its body has been read."""
        self.call = call
        self._read = read

    async def admitted(self) -> None:
        """In an event loop: wait until the call may be made. Raises CusLimitExceeded."""
        self.call.start()
        if self.call.gate is not None:
            await self.call.gate.enter_later(self.call)

    def __enter__(self) -> Self:
        self.call.start()
        if self.call.gate is not None:
            self.call.gate.enter(self.call)
        self._token = enter_call(self.call)
        self.call.departed = True
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        leave_call_anywhere(self._token)
        if error is not None:
            self.call.fail(error)

    def read(self, response: Any) -> None:
        """Take the answer; the program gets it unchanged."""
        try:
            self._read(self.call, response)
        except Exception as error:  # noqa: BLE001 - as the guard does
            self.call.reporter.guard.swallow(error)
            self.call.end()


def failed_by_status(call: CusProviderCall, response: Any, status: int) -> bool:
    """Whether the answer is an error; ends the call with the status, without reading the body."""
    note_request_id(call, response)
    if status < _ERROR_STATUS:
        return False
    call.set_error(f"HTTP {status}")
    call.end()
    return True


def prepare_http_call(request: CusHttpRequest, guard: never_raise) -> CusProviderCall | None:
    """The call that a request makes; None if it is not to be recorded.

    It is not, if its host or its path is not a model's, or if it is a part of a measured call.
    """
    surface = surface_of_path(request.method, request.url)
    if surface is None or is_part_of_a_call():
        return None
    with guard:
        host = (urlsplit(request.url).hostname or "").lower()
        configuration = active.configuration or active.get()
        if configuration.auto_report and recorded.includes(host):
            return _prepared(request, host, surface, configuration)
    return None


def _prepared(
    request: CusHttpRequest, host: str, surface: Any, configuration: CusConfiguration
) -> CusProviderCall:
    served_by = provider_of_host(host)
    headers, arguments = request.headers(), _arguments_of(request.body())
    call = KINDS[surface.role](
        configuration.reporter, served_by.key if served_by else None, surface, arguments
    )
    region_of = served_by.region_of_host if served_by else None
    call.origin = CusOrigin(
        host,
        region_of(host) if region_of else None,
        _first(headers, _PROJECT_HEADERS),
        _hint_of(headers),
        surface.provider,
    )
    identify(call, configuration)
    if surface.role in DECIDED:
        call.gate = configuration.gate
    return call


def _arguments_of(body: Any) -> dict[str, Any]:
    if isinstance(body, dict):
        return body
    if not isinstance(body, str | bytes | bytearray) or len(body) > _MAX_BODY_BYTES:
        return {}
    try:
        arguments = json.loads(body)
    except ValueError:  # a form
        return {}
    return arguments if isinstance(arguments, dict) else {}


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next(filter(None, map(headers.get, names)), None)


def _hint_of(headers: Mapping[str, str]) -> str | None:
    scheme, _, key = (_first(headers, _KEY_HEADERS) or "").strip().rpartition(" ")
    # A password, a signature or a short-lived token is no key: its end would name nothing, or
    # reveal a part of a password.
    is_key = scheme.lower() in _KEY_SCHEMES and not key.startswith(_TOKEN_STARTS)
    return key[-MAX_KEY_HINT_LENGTH:] if is_key and len(key) >= _SHORTEST_KEY else None


def plain_headers(headers: Any) -> dict[str, str]:
    """The headers with names in lower case, of a mapping that may have bytes."""
    return {_text(name).lower(): _text(value) for name, value in dict(headers or {}).items()}


def _text(part: Any) -> str:
    return part.decode("latin-1") if isinstance(part, bytes) else str(part)
