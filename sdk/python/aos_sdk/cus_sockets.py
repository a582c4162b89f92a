"""Connections whose every wait ends at one deadline, however slowly the other side drips.

A timeout of a socket is for one operation: a server that sends a byte every nine seconds would
keep a request with a timeout of ten alive for hours. These sockets know when the request as a
whole must be over. Imported in the sender's thread alone, because it needs the HTTP client.
"""

import socket
import ssl
import time
from typing import Any

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import parse_url


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
    """A pool of one connection to this server that keeps the deadline."""
    address = parse_url(base_url)
    assert address.host is not None
    if address.scheme == "https":
        # The system's authorities, for companies with their own, and certifi's where it has none.
        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())
        context.sslsocket_class = _TlsSocket
        pool: HTTPConnectionPool = HTTPSConnectionPool(
            address.host, address.port, ssl_context=context
        )
        pool.ConnectionCls = _tls_connection(deadline)
    else:
        pool = HTTPConnectionPool(address.host, address.port)
        pool.ConnectionCls = _plain_connection(deadline)
    return pool


def _plain_connection(deadline: CusDeadline) -> type[HTTPConnection]:
    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            plain = _PlainSocket(fileno=self.sock.detach())
            plain.deadline = deadline
            self.sock = plain

    return Plain


def _tls_connection(deadline: CusDeadline) -> type[HTTPSConnection]:
    class Tls(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            if isinstance(self.sock, _TlsSocket):
                self.sock.deadline = deadline

    return Tls
