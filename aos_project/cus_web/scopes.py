"""Convert a request from granian's form (RSGI) to Django's form (WSGI)."""

import io
import sys
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol

from integrations.cus_web.sdk_routes import ARRIVED

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class Headers(Protocol):
    """The headers of a request, by lower-case names."""

    def items(self) -> list[tuple[str, str]]:
        """All headers; a repeated header occurs repeatedly."""


class Scope(Protocol):
    """granian's description of a request. `client` and `server` are address and port."""

    scheme: str
    method: str
    path: str
    query_string: str
    http_version: str
    client: str
    server: str

    @property
    def headers(self) -> Headers:
        """The request's headers."""


class Transport(Protocol):
    """An answer that is sent in parts."""

    def send_bytes(self, data: bytes) -> Awaitable[None]:
        """Send a part; done when the client's connection has taken it."""


class Answering(Protocol):
    """Receives a request's body and sends its answer. Threads may send."""

    def __call__(self) -> Awaitable[bytes]:
        """The whole body."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Send an answer. Only the first call has an effect."""

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Transport:
        """Begin an answer that is sent in parts."""


class Request:
    """A request, read from granian once, because each access to its scope makes new objects."""

    __slots__ = ("arrived", "headers", "method", "named", "path", "peer", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method = scope.method
        self.path = scope.path
        self.headers = scope.headers.items()
        # Of a repeated header the last, which the nearest proxy has added.
        self.named = dict(self.headers)
        # Empty behind a Unix socket.
        self.peer = scope.client.rpartition(":")[0].strip("[]")
        # When the whole request had arrived, on the monotonic clock.
        self.arrived = time.monotonic()


_BASE: dict[str, Any] = {
    "GATEWAY_INTERFACE": "CGI/1.1",
    "SCRIPT_NAME": "",
    "SERVER_SOFTWARE": "granian",
    "wsgi.errors": sys.stderr,
    "wsgi.input_terminated": True,
    "wsgi.multiprocess": True,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.version": (1, 0),
}
# WSGI's names of the usual headers, so that they are not computed for each request.
_KEYS = {
    name: "HTTP_" + name.upper().replace("-", "_")
    for name in (
        *("accept", "accept-encoding", "accept-language", "authorization", "cache-control"),
        *("connection", "content-encoding", "cookie", "host", "if-match", "if-none-match"),
        *("origin", "referer", "user-agent", "x-cus-integration-key", "x-forwarded-for"),
        *("x-forwarded-proto", "x-request-id"),
    )
} | {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


def environ_of(request: Request, body: bytes) -> "WSGIEnvironment":
    """The WSGI environment of a request whose body has arrived."""
    scope = request.scope
    server, _, port = scope.server.rpartition(":")
    environ: WSGIEnvironment = {
        **_BASE,
        "REQUEST_METHOD": request.method,
        # WSGI's texts are bytes, decoded as Latin-1.
        "PATH_INFO": request.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "SERVER_NAME": server,
        "SERVER_PORT": port,
        "REMOTE_ADDR": request.peer,
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
        ARRIVED: request.arrived,
    }
    if scope.http_version == "1.1" and "host" not in request.named:
        # granian drops a header that it can't read; Django would then use the server's own name.
        environ["HTTP_HOST"] = ""
    for name, value in request.headers:
        key = _KEYS.get(name) or _key(name)
        if key in environ:
            _append(environ, key, value)
        elif key:
            environ[key] = value
    return environ


def _key(name: str) -> str:
    # Drop names with "_": Django would take X_Forwarded_For for X-Forwarded-For, and a proxy before
    # us does not replace X_Forwarded_For.
    return "" if "_" in name else "HTTP_" + name.upper().replace("-", "_")


def _append(environ: "WSGIEnvironment", key: str, value: str) -> None:
    environ[key] += f"; {value}" if key == "HTTP_COOKIE" else f",{value}"
