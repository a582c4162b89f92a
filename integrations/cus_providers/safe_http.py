"""Send requests to addresses that customers name, and to no other address (ruling C6).

The client resolves the name once, checks every address, connects to a checked address, and compares
the peer again before it sends a byte. So a name that resolves differently a moment later changes
nothing. TLS verifies the name as usual. Redirects, proxies and netrc are ignored, because the
client drives requests' adapter directly, without the session that follows them. One deadline covers
everything from the resolver to the last byte.
"""

import http.client
import queue
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import requests
from django.conf import settings
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util.ssl_ import create_urllib3_context

from integrations.cus_providers.safe_addresses import (
    Address,
    AddressRefused,
    Target,
    UrlRefused,
    check_address,
    origin_of,
    parse_target,
)
from integrations.cus_web.errors import CusError

SECONDS = 10.0
MAX_BYTES = 64 * 1024
_FAILURES = (requests.RequestException, HTTPError, http.client.HTTPException, OSError, ValueError)
_TIMEOUTS = (requests.Timeout, ReadTimeoutError, TimeoutError)

Resolver = Callable[[str, int], Iterable[str]]


class ProviderUnreachable(CusError):
    """The provider can't be reached: no connection, or it broke off."""

    code, status = "provider_unreachable", 502


class HostUnknown(ProviderUnreachable):
    """The provider's host name does not exist."""


class CertificateRefused(ProviderUnreachable):
    """The provider's TLS certificate is not valid for its name."""


class ProviderTimeout(CusError):
    """The provider did not answer in time."""

    code, status = "provider_timeout", 504


class HeaderRefused(CusError):
    """The credential or a setting has characters that a request can't carry. Enter it again."""

    code = "header_refused"


class Deadline:
    """A moment on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then. Raises TimeoutError when it has passed."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def passed(self) -> bool:
        return time.monotonic() >= self._at


@dataclass(frozen=True)
class SafeResponse:
    """An answer, with at most `MAX_BYTES` of its body. `cut`: there was more."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool
    latency_ms: int


def resolve_host(host: str, port: int) -> list[str]:
    """The addresses that the system's resolver knows for a name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


@dataclass(frozen=True)
class SafeHttp:
    """Sends GET and POST to addresses that customers name. Operators decide which are allowed."""

    private_hosts: frozenset[str] = frozenset()
    plain_http: bool = False
    ca_file: str | None = None
    resolve: Resolver = resolve_host

    @classmethod
    def from_settings(cls) -> "SafeHttp":
        """A client with the operator's settings."""
        return cls(
            private_hosts=frozenset(map(str.lower, settings.CUS_ALLOWED_PRIVATE_HOSTS)),
            plain_http=settings.CUS_ALLOW_HTTP_PROVIDERS,
            ca_file=settings.CUS_PROVIDER_CA_FILE or None,
        )

    def get(
        self, url: str, headers: Mapping[str, str], *, seconds: float = SECONDS
    ) -> SafeResponse:
        """The answer to GET, whatever its status.

        Raises UrlRefused, AddressRefused, HeaderRefused, ProviderUnreachable or ProviderTimeout;
        none of them quotes the URL or a header.
        """
        return self._send("GET", url, headers, None, seconds)

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, seconds: float = SECONDS
    ) -> SafeResponse:
        """The answer to POST, whatever its status. Raises the errors of `get`."""
        return self._send("POST", url, headers, body, seconds)

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        seconds: float,
    ) -> SafeResponse:
        deadline = Deadline(seconds)
        target = parse_target(url, plain_http=self.plain_http)
        request = _prepare(method, target, headers, body)
        try:
            place = self._connect(target, deadline)
            with place:
                return self._exchange(request, target, place, deadline, seconds)
        except CusError:
            raise
        except _FAILURES as error:
            # Without the cause, which quotes URL and headers.
            raise _named(error, deadline) from None

    def _connect(self, target: Target, deadline: Deadline) -> "_Socket":
        """A connection to one of the target's addresses, all of which have been checked."""
        addresses = self._addresses(target, deadline)
        named = target.named_in(self.private_hosts)
        for address in addresses:
            check_address(address, named=named)
        for number, address in enumerate(addresses):
            share = deadline.left() / (len(addresses) - number)
            try:
                return _open(address, target.port, share, deadline)
            except OSError:
                if number == len(addresses) - 1:
                    raise
        raise HostUnknown

    def _addresses(self, target: Target, deadline: Deadline) -> list[Address]:
        if target.literal:
            return [target.literal]
        return [ip_address(text) for text in _resolved(self.resolve, target, deadline)]

    def _exchange(
        self,
        request: requests.PreparedRequest,
        target: Target,
        place: "_Socket",
        deadline: Deadline,
        seconds: float,
    ) -> SafeResponse:
        adapter = _PinnedAdapter(target, place)
        try:
            answer = adapter.send(
                request, stream=True, timeout=deadline.left(), verify=self.ca_file or True
            )
            try:
                raw = _read(answer.raw)
            finally:
                answer.close()
        finally:
            adapter.close()
        body = _plain(raw, answer.headers.get("Content-Encoding", ""))
        return SafeResponse(
            status=answer.status_code,
            headers={name.lower(): value for name, value in answer.headers.items()},
            body=body[:MAX_BYTES],
            cut=len(body) > MAX_BYTES or len(raw) > MAX_BYTES,
            latency_ms=round((seconds - deadline.left()) * 1000),
        )


def _prepare(
    method: str, target: Target, headers: Mapping[str, str], body: bytes | None
) -> requests.PreparedRequest:
    for value in headers.values():
        if not (value.isascii() and value.isprintable()):
            raise HeaderRefused
    # No compression: a hostile answer could otherwise unpack to a huge body.
    fixed = {"Accept-Encoding": "identity", "Connection": "close", "User-Agent": "aos-health/1"}
    asked = requests.Request(method, target.url, headers=fixed | dict(headers), data=body)
    request = asked.prepare()
    if origin_of(request.url or "") != target.origin:
        raise UrlRefused
    return request


def _resolved(resolve: Resolver, target: Target, deadline: Deadline) -> list[str]:
    """The resolver's answer before the deadline. A thread asks: the resolver has no timeout."""
    answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(list(resolve(target.host, target.port)))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True, name="cus-resolve").start()
    try:
        answer = answers.get(timeout=deadline.left())
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, socket.gaierror) and answer.errno == socket.EAI_NONAME:
        raise HostUnknown
    if isinstance(answer, Exception):
        raise ProviderUnreachable("The provider's host name can't be looked up just now.")
    return answer


def _named(error: Exception, deadline: Deadline) -> CusError:
    if deadline.passed() or isinstance(error, _TIMEOUTS):
        return ProviderTimeout()
    if isinstance(error, requests.exceptions.SSLError | ssl.SSLCertVerificationError):
        return CertificateRefused()
    return ProviderUnreachable()


def _read(raw: Any) -> bytes:
    """Read the body, up to one byte more than is kept."""
    body = b""
    # Read until the end: only the read after the last byte raises for an answer that broke off.
    while len(body) <= MAX_BYTES:
        piece = raw.read(MAX_BYTES + 1 - len(body), decode_content=False)
        if not piece:
            break
        body += piece
    return body


def _plain(body: bytes, encoding: str) -> bytes:
    """The body, unpacked if it came compressed all the same; at most MAX_BYTES + 1 bytes."""
    if encoding.strip().lower() not in ("gzip", "deflate"):
        return body
    try:
        # wbits=47 detects gzip and zlib by their first bytes.
        return zlib.decompressobj(wbits=47).decompress(body, MAX_BYTES + 1)
    except zlib.error:
        return b""


# --- The connection -----------------------------------------------------------------------------


class _Timed(socket.socket):
    """A socket whose operations share one deadline for the whole exchange.

    A plain socket's timeout begins anew with each byte, so a server that sends a byte now and then
    would never time out.
    """

    deadline: Deadline | None = None

    def _tick(self) -> None:
        if self.deadline:
            self.settimeout(self.deadline.left())

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._tick()
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        self._tick()
        return super().send(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self._tick()
        super().sendall(*args, **kwargs)


class _Socket(_Timed):
    """A connected socket, before TLS."""


class _TlsSocket(_Timed, ssl.SSLSocket):
    """A connected socket with TLS. The handshake is one operation, timed as a whole."""


def _open(address: Address, port: int, seconds: float, deadline: Deadline) -> _Socket:
    """Connect to exactly this address. Raises AddressRefused if the peer has another address."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    place = _Socket(family, socket.SOCK_STREAM)
    try:
        place.settimeout(seconds)
        place.connect((str(address), port))
        if ip_address(place.getpeername()[0]) != address:
            raise AddressRefused
        place.settimeout(deadline.left())
    except BaseException:
        place.close()
        raise
    place.deadline = deadline
    return place


class _PinnedHttp(HTTPConnection):
    """HTTP over a connection that is open already."""

    def __init__(self, *args: Any, place: _Socket, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._place = place

    def _new_conn(self) -> socket.socket:
        return self._place


class _PinnedHttps(HTTPSConnection):
    """HTTPS over a connection that is open already; TLS verifies the name, not the address."""

    def __init__(self, *args: Any, place: _Socket, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._place = place

    def _new_conn(self) -> socket.socket:
        return self._place

    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, _TlsSocket):
            self.sock.deadline = self._place.deadline


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _PinnedHttp


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _PinnedHttps


class _PinnedAdapter(HTTPAdapter):
    """requests' adapter with one connection, to the checked address."""

    def __init__(self, target: Target, place: _Socket) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        if target.scheme == "http":
            self._pool: HTTPConnectionPool = _HttpPool(target.host, target.port, place=place)
            return
        context = create_urllib3_context()
        context.sslsocket_class = _TlsSocket
        self._pool = _HttpsPool(target.host, target.port, place=place, ssl_context=context)

    def get_connection_with_tls_context(self, *_args: Any, **_kwargs: Any) -> HTTPConnectionPool:
        """The adapter's only connection, for every URL."""
        return self._pool

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()
        super().close()
