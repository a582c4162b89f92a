"""A request as granian hands it over (RSGI), and as Django takes it (WSGI)."""

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
        """All of them, a repeated name repeatedly."""


class Scope(Protocol):
    """What granian tells of a request. `client` and `server` are address and port."""

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
    """An answer that goes out in parts."""

    def send_bytes(self, data: bytes) -> Awaitable[None]:
        """Send a part; done when the client's connection has taken it."""


class Answering(Protocol):
    """Where a request's body comes from and its answer goes. Threads may answer."""

    def __call__(self) -> Awaitable[bytes]:
        """The whole body."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer. Every call but the first is without effect."""

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Transport:
        """Begin an answer that goes out in parts."""


class Request:
    """A request, read from granian once: each look at its scope makes new objects."""

    __slots__ = ("arrived", "headers", "method", "named", "path", "peer", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method = scope.method
        self.path = scope.path
        self.headers = scope.headers.items()
        # Of a repeated name the last one, which is the one that the nearest proxy added.
        self.named = dict(self.headers)
        # Empty behind a Unix socket.
        self.peer = scope.client.rpartition(":")[0].strip("[]")
        # When all of it was here, on the monotonic clock.
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
# Of the usual headers, so that they are not spelt anew for each request.
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
    """A request for a WSGI application, whose body is here already."""
    scope = request.scope
    server, _, port = scope.server.rpartition(":")
    environ: WSGIEnvironment = {
        **_BASE,
        "REQUEST_METHOD": request.method,
        # WSGI's texts are bytes in disguise.
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
        # granian leaves out what it can't read; Django would take the server's own name for it.
        environ["HTTP_HOST"] = ""
    for name, value in request.headers:
        key = _KEYS.get(name) or _key(name)
        if key in environ:
            _append(environ, key, value)
        elif key:
            environ[key] = value
    return environ


def _key(name: str) -> str:
    # To Django, X_Forwarded_For would be X-Forwarded-For, which a proxy before us does not replace.
    return "" if "_" in name else "HTTP_" + name.upper().replace("-", "_")


def _append(environ: "WSGIEnvironment", key: str, value: str) -> None:
    environ[key] += f"; {value}" if key == "HTTP_COOKIE" else f",{value}"
