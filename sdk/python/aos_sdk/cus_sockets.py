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
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


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


def open_pool(*, tls: bool, deadline: CusDeadline) -> urllib3.PoolManager:
    """A pool of one connection that keeps the deadline."""
    context: ssl.SSLContext | None = None
    if tls:
        # The system's authorities, for companies with their own, and certifi's where it has none.
        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())
        context.sslsocket_class = _TlsSocket

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            plain = _PlainSocket(fileno=self.sock.detach())
            plain.deadline = deadline
            self.sock = plain

    class Tls(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            if isinstance(self.sock, _TlsSocket):
                self.sock.deadline = deadline

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    pool = urllib3.PoolManager(num_pools=1, maxsize=1, ssl_context=context)
    pool.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
    return pool
