"""A local server that accepts every request of an SDK, and counts the events.

An event is what bears a mark of an answer (or, of ours, a record): a span of OTLP, an item of a JSON batch,
a part of a multipart body. Bodies are read on demand, not while a contestant is measured.
"""

import gzip
import json
import re
import threading
import uuid
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from benchmarks.cus_sdk_client import NEXT_MODEL

_MARK: Final = re.compile(rb'chatcmpl-\d{8}|"call_id": "[^"]+"')
# One peer asks for the owner of its key. The sink announces no abilities, so peers keep their
# defaults.
_WELCOME: Final = b'{"project_name": "benchmark", "project_url": "http://127.0.0.1:1"}'
_OURS: Final = "/llm-usage/batch"
_CHECK: Final = "/enforcement/check"
_CONFIGURATION: Final = "/enforcement/config"
# Our own SDK asks before calls, as by default: here for an integration without limits.
_NO_LIMIT: Final = (
    b'{"status": "enabled", "credential_state": "valid", "enforcement_level": "block",'
    b' "is_limited": false, "overrides": [], "config_version": 1}'
)
LIMITED: Final = _NO_LIMIT.replace(b"false", b"true")
# As `LIMITED_KEY` has it.
_LIMITED_INTEGRATION: Final = ":33333333-"
_ADMITTED: Final = b'{"result": "allowed", "reasons": []}'
_LEASE: Final = "/enforcement/lease"
_LENT: Final = {"cents": 10**9, "microcents": 10**15, "tokens": 10**12, "calls": 10**9}


class Sink:
    """Listens on the loopback address, at its own port or at the one where another did before."""

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        # What the server of our own SDK says of the integration.
        self.configuration = _NO_LIMIT
        self.requests = 0
        self.bytes = 0
        # Events heard, and the different marks they bore.
        self.events = 0
        self.marks: set[bytes] = set()
        self._unread: list[tuple[str, str, bytes]] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"sink": self}))
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, path: str, encoding: str, body: bytes) -> bytes:
        """Keep a body; return what its sender waits for."""
        if path.endswith(_CHECK):
            return _ADMITTED
        if path.endswith(_LEASE):
            return _lend(json.loads(body))
        with self._lock:
            self.requests += 1
            self.bytes += len(body)
            self._unread.append((path, encoding, body))
        if not path.endswith(_OURS):
            return b"{}"
        total = len(json.loads(_plain(encoding, body))["records"])
        counts = {"total": total, "accepted": total, "duplicates": 0, "conflicts": 0}
        return json.dumps({**counts, "rejected": 0, "results": []}).encode()

    def read(self) -> None:
        """Count the events of what came since the last time."""
        with self._lock:
            unread, self._unread = self._unread, []
        for path, encoding, body in unread:
            for unit in _units(path, _plain(encoding, body)):
                if (mark := _MARK.search(unit)) and NEXT_MODEL.encode() not in unit:
                    self.events += 1
                    self.marks.add(mark.group())


def _lend(asked: dict[str, Any]) -> bytes:
    """A lease that is larger than what a benchmark's calls take."""
    answer = {
        "lease_id": str(uuid.uuid4()) if "estimate" in asked else None,
        "valid_for_ms": 5_000,
        "config_version": 1,
        "returned": [one["lease_id"] for one in asked["returns"]],
        "decision": json.loads(_ADMITTED),
        **_LENT,
    }
    return json.dumps(answer).encode()


class _Server(ThreadingHTTPServer):
    # Of five, the system drops the sixth thread's connection, which then waits for a second.
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A program that is killed lets its connections drop: that is what is measured."""


class _Handler(BaseHTTPRequestHandler):
    sink: Sink
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length) if length else b"".join(self._parts())
        if len(body) < length or self.sink.status != 200:
            self._say(503, b"{}")
            return
        encoding = self.headers.get("Content-Encoding", "")
        self._say(200, self.sink.take(self.path, encoding, body))

    def do_GET(self) -> None:
        is_limited = _LIMITED_INTEGRATION in self.headers.get("X-CUS-Integration-Key", "")
        configuration = LIMITED if is_limited else self.sink.configuration
        is_ours = self.path.endswith(_CONFIGURATION)
        self._say(self.sink.status, configuration if is_ours else _WELCOME)

    do_PATCH = do_POST

    def _parts(self) -> Iterator[bytes]:
        while self.headers.get("Transfer-Encoding") == "chunked":
            size = int(self.rfile.readline().split(b";")[0], 16)
            part = self.rfile.read(size + 2)[:-2]
            if not size:
                return
            yield part

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def _plain(encoding: str, body: bytes) -> bytes:
    if encoding == "gzip" or body[:2] == b"\x1f\x8b":
        return gzip.decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body


def _units(path: str, body: bytes) -> Iterator[bytes]:
    """The parts of a body that are one event each, or none."""
    if path.endswith("/v1/traces"):
        yield from _spans(body)
    elif body.startswith(b"--"):
        yield from body.split(body.split(b"\r\n", 1)[0])
    elif body.startswith(b"{"):
        batch: dict[str, Any] = json.loads(body)
        for name in ("records", "batch", "post", "patch"):
            yield from (json.dumps(item).encode() for item in batch.get(name) or ())


def _spans(request: bytes) -> Iterator[bytes]:
    """Resource spans, scope spans, spans: the fields 1, 2 and 2 of OTLP's messages."""
    for resource in _fields(request, 1):
        for scope in _fields(resource, 2):
            yield from _fields(scope, 2)


def _fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """The length-delimited fields of this number in a protobuf message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 2:
            length, at = _varint(message, at)
            if tag >> 3 == wanted:
                yield message[at : at + length]
            at += length
        elif kind == 0:
            _, at = _varint(message, at)
        else:
            at += 8 if kind == 1 else 4


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
