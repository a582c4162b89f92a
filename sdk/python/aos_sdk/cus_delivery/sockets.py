"""Connections with one deadline for the whole request, however slowly the server sends.

A socket's timeout applies to one operation: a server that sends a byte every nine seconds could
prolong a request with a timeout of ten seconds for hours. These sockets know the deadline of the
whole request. Only the sender's thread imports this module, because it needs the HTTP client.
"""

import contextlib
import socket
import ssl
import sys
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes
from urllib.request import getproxies_environment, proxy_bypass

import certifi
from urllib3 import PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProxySchemeUnknown,
)
from urllib3.util import Url, parse_url
from urllib3.util.connection import allowed_gai_family

# Arguments of `setsockopt`, as urllib3 has them.
_Options: TypeAlias = Iterable[tuple[int, int, int | bytes]]


class CusDeadline:
    """The deadline of the current request, by the monotonic clock."""

    def __init__(self) -> None:
        self._at = 0.0

    def begin(self, seconds: float) -> None:
        """Begin a request that may take so many seconds."""
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. Raises TimeoutError after the deadline."""
        left = self._at - time.monotonic()
        if left <= 0:
            message = "the request's time is over"
            raise TimeoutError(message)
        return left


class _PlainSocket(socket.socket):
    deadline: CusDeadline

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(self.deadline.left())
        return super().recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        self.settimeout(self.deadline.left())
        super().sendall(*arguments)


class _TlsSocket(ssl.SSLSocket):
    deadline: CusDeadline | None = None  # None during the handshake.

    def do_handshake(self, *arguments: Any) -> None:
        with _closed_by_errors(self):
            super().do_handshake(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        if self.deadline is not None:
            self.settimeout(self.deadline.left())
        return super().recv_into(*arguments)

    def send(self, *arguments: Any) -> int:
        if self.deadline is not None:
            self.settimeout(self.deadline.left())
        return super().send(*arguments)


def open_pool(base_url: str, deadline: CusDeadline) -> HTTPConnectionPool:
    """A pool of one connection to this server that keeps the deadline.

    A TLS connection uses the environment's proxy, if there is one for this host, as a tunnel, so
    the proxy sees neither key nor records. Raises urllib3's HTTPError for an invalid address of
    server or proxy.
    """
    address = parse_url(base_url)
    if address.scheme != "https":
        pool = PoolManager(num_pools=1).connection_from_url(base_url)
        pool.ConnectionCls = _plain_connection(deadline)
        return pool
    # The system's authorities, for companies with their own; certifi's if the system has none.
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    context.sslsocket_class = _TlsSocket
    pool = _manager(address, context).connection_from_url(base_url)
    pool.ConnectionCls = _tls_connection(deadline)
    return pool


def _manager(server: Url, context: ssl.SSLContext) -> PoolManager:
    proxy = _proxy_for(server.host or "", server.port or 443)
    if not proxy:
        return PoolManager(num_pools=1, ssl_context=context)
    address = parse_url(proxy if "://" in proxy else f"http://{proxy}")
    if address.scheme != "http":  # TLS to the proxy would have no deadline.
        raise ProxySchemeUnknown(address.scheme)
    headers = None
    if address.auth is not None:
        user, _, password = address.auth.partition(":")
        credentials = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
        headers = {"Proxy-Authorization": f"Basic {b64encode(credentials).decode()}"}
    return ProxyManager(address.url, num_pools=1, proxy_headers=headers, ssl_context=context)


def _proxy_for(host: str, port: int) -> str | None:
    # Not `getproxies`: it also asks macOS for proxies, which crashes a forked child.
    proxies = getproxies_environment()
    proxy = proxies.get("https") or proxies.get("all")
    # `NO_PROXY` may name a host, a host with its port, and an IPv6 address in brackets or without.
    exempt = proxy and (proxy_bypass(f"{host}:{port}") or proxy_bypass(host.strip("[]")))
    return None if exempt else proxy


@contextlib.contextmanager
def _closed_by_errors(opened: socket.socket) -> Iterator[None]:
    """Close the socket if the block raises anything, also what is no `Exception`."""
    try:
        yield
    except BaseException:
        opened.close()
        raise


def _connected(connection: HTTPConnection, host: str, deadline: CusDeadline) -> socket.socket:
    """A connected socket that keeps the deadline. Raises urllib3's errors, as urllib3 would.

    urllib3 leaves its socket open if `connect` raises what is no OSError.
    """
    try:
        opened = _connect(host, connection.port, connection.socket_options or (), deadline)
    except UnicodeError:
        raise LocationParseError(host) from None
    except socket.gaierror as error:
        raise NameResolutionError(host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, f"no connection to {host} in time") from error
    except OSError as error:
        raise NewConnectionError(connection, f"no connection: {error}") from error
    with _closed_by_errors(opened):
        sys.audit("http.client.connect", connection, host, connection.port)
        return _keeping(deadline, opened)


def _connect(host: str, port: int, options: _Options, deadline: CusDeadline) -> socket.socket:
    """Connect to the first address of the host that answers. Raises OSError of the last address."""
    problem = OSError("the host has no address")
    family = allowed_gai_family()
    for kind, *rest, _, address in socket.getaddrinfo(
        host.strip("[]"), port, family, socket.SOCK_STREAM
    ):
        # Not `_PlainSocket`: where test tools block the network, they replace `socket.socket`.
        opened = socket.socket(kind, *rest)
        try:
            with _closed_by_errors(opened):
                for option in options:
                    opened.setsockopt(*option)
                opened.settimeout(deadline.left())
                opened.connect(address)
        except OSError as error:
            problem = error
        else:
            return opened
    try:
        raise problem
    finally:
        del problem  # Its traceback holds this frame: a cycle would delay the end of both.


def _keeping(deadline: CusDeadline, opened: socket.socket) -> _PlainSocket:
    plain = _PlainSocket(fileno=opened.detach())
    with _closed_by_errors(plain):
        plain.deadline = deadline
        plain.settimeout(deadline.left())  # The handshake uses this timeout.
    return plain


def _plain_connection(deadline: CusDeadline) -> type[HTTPConnection]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, self._dns_host, deadline)

    return Plain


def _tls_connection(deadline: CusDeadline) -> type[HTTPSConnection]:
    class Tls(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, self._dns_host, deadline)

        def connect(self) -> None:
            super().connect()
            if isinstance(self.sock, _TlsSocket):
                self.sock.deadline = deadline

    return Tls
