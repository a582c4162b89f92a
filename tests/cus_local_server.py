"""A real HTTP server on the loopback, in a thread of its own."""

import socketserver
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """That a client has gone is what some tests are about; anything else is told."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Served:
    """Runs a server in a thread, from the block's beginning to its end."""

    def __init__(self, server: socketserver.BaseServer) -> None:
        self._serving = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._serving.shutdown()
        self._serving.server_close()
        self._thread.join()


class CusLocalServer(Served):
    """Answers by `handler` on a free port, from the block's beginning to its end."""

    def __init__(
        self, handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None
    ) -> None:
        self._server = _Server(("127.0.0.1", 0), handler)
        self._has_tls = tls is not None
        if tls is not None:
            # The connection's own thread does the handshake, so a client that stalls delays no
            # other.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        super().__init__(self._server)

    @property
    def url(self) -> str:
        """By name where there is TLS: certificates are for names."""
        place = "https://localhost" if self._has_tls else "http://127.0.0.1"
        return f"{place}:{self._server.server_port}"
