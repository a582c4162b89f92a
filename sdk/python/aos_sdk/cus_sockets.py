"""Connections whose every wait ends at one deadline, however slowly the other side drips.

A timeout of a socket is for one operation: a server that sends a byte every nine seconds would
keep a request with a timeout of ten alive for hours. These sockets know when the request as a
whole must be over. Imported in the sender's thread alone, because it needs the HTTP client.
"""

import socket
import ssl
import time
from typing import Any
from urllib.parse import unquote
from urllib.request import getproxies_environment, proxy_bypass

import certifi
from urllib3 import PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util import make_headers, parse_url


class CusDeadline:
    """When the request under way must be over, by the monotonic clock."""

    def __init__(self) -> None:
        self._at = 0.0

    def begin(self, seconds: float) -> None:
        """A request begins, and has so long."""
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. Raises TimeoutError at the end."""
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
    deadline: CusDeadline | None = None  # none yet while it shakes hands

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

    Over TLS it goes through the environment's proxy, if there is one for this host: as a tunnel, in
    which the proxy sees neither key nor records. Raises urllib3's HTTPError for a proxy that is none.
    """
    address = parse_url(base_url)
    assert address.host is not None
    if address.scheme != "https":
        pool = HTTPConnectionPool(address.host, address.port)
        pool.ConnectionCls = _plain_connection(deadline)
        return pool
    # The system's authorities, for companies with their own, and certifi's where it has none.
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    context.sslsocket_class = _TlsSocket
    pool = _manager(address.host, context).connection_from_url(base_url)
    pool.ConnectionCls = _tls_connection(deadline)
    return pool


def _manager(host: str, context: ssl.SSLContext) -> PoolManager:
    # Not `getproxies`: it asks macOS for its own, too, which ends the program in a forked child.
    proxies = getproxies_environment()
    proxy = proxies.get("https") or proxies.get("all")
    if not proxy or proxy_bypass(host):
        return PoolManager(num_pools=1, ssl_context=context)
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    user = parse_url(proxy).auth
    headers = make_headers(proxy_basic_auth=unquote(user)) if user else None
    return ProxyManager(proxy, num_pools=1, proxy_headers=headers, ssl_context=context)


def _keeping(deadline: CusDeadline, opened: socket.socket) -> _PlainSocket:
    plain = _PlainSocket(fileno=opened.detach())
    plain.deadline = deadline
    plain.settimeout(deadline.left())  # a handshake goes by this
    return plain


def _plain_connection(deadline: CusDeadline) -> type[HTTPConnection]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _keeping(deadline, super()._new_conn())

    return Plain


def _tls_connection(deadline: CusDeadline) -> type[HTTPSConnection]:
    class Tls(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _keeping(deadline, super()._new_conn())

        def connect(self) -> None:
            super().connect()
            if isinstance(self.sock, _TlsSocket):
                self.sock.deadline = deadline

    return Tls
