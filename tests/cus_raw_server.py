"""Real servers on the loopback that say exactly what a test tells them to, byte by byte."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

Behaviour = Callable[[socket.socket, bytes], None]


class RawServer:
    """Accepts, reads a request's head, and leaves the rest to `behave`.

    `connections` counts what was accepted, `heads` has what was read.
    """

    def __init__(
        self,
        behave: Behaviour,
        *,
        family: socket.AddressFamily = socket.AF_INET,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        reads: bool = True,
    ) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self.names: list[str | None] = []
        self.stopping = threading.Event()
        self._behave = behave
        self._reads = reads
        self._tls = tls
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        if tls:
            tls.sni_callback = lambda _socket, name, _context: self.names.append(name)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[str]:
        """The request lines, in order."""
        return [head.split(b"\r\n", 1)[0].decode() for head in self.heads]

    def headers(self, number: int = -1) -> dict[str, str]:
        """A request's headers, names in lower case."""
        lines = self.heads[number].decode().split("\r\n")[1:]
        pairs = (line.partition(": ") for line in lines if line)
        return {name.lower(): value for name, _, value in pairs}

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._serve, args=(client,)))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(30)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(client)
            if self._tls:
                client = stack.enter_context(self._tls.wrap_socket(client, server_side=True))
            head = _head(client) if self._reads else b""
            if head:
                self.heads.append(head)
            self._behave(client, head)

    def pause(self, seconds: float = 60) -> None:
        """Let time go by, but not the end of the test."""
        self.stopping.wait(seconds)


def _head(client: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(65_536)
        if not more:
            return head
        head += more
    return head


def http_answer(status: int, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A whole answer, as bytes."""
    lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def says(status: int, body: Any = b"", headers: Iterable[tuple[str, str]] = ()) -> Behaviour:
    """A server that always answers so; what is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return sends(http_answer(status, data, headers))


def sends(answer: bytes) -> Behaviour:
    """A server that always sends these bytes, whatever they are."""

    def behave(client: socket.socket, _head: bytes) -> None:
        client.sendall(answer)

    return behave


def silence(client: socket.socket, _head: bytes) -> None:
    """Say nothing until the other side gives up."""
    while client.recv(1_000):
        pass


def drip(start: bytes, drop: bytes) -> Behaviour:
    """A server that sends a little every 20 ms, for ever: it is never silent and never done."""

    def behave(client: socket.socket, _head: bytes) -> None:
        client.sendall(start)
        pause = threading.Event()
        while not pause.wait(0.02):
            client.sendall(drop)

    return behave


def flood(start: bytes) -> Behaviour:
    """A server that sends as fast as it is read, for ever."""

    def behave(client: socket.socket, _head: bytes) -> None:
        client.sendall(start)
        while True:
            client.sendall(b"x" * 65_536)

    return behave
