"""A collector that misbehaves in every way a network can, and remembers what it stored."""

import json
import socket
import struct
import threading
import time
from collections import defaultdict
from contextlib import suppress
from email.utils import formatdate
from typing import Any, Self

# Ways to misbehave. Everything but `lost_answer` stores nothing.
FAULTS = (
    "refused",
    "hung",
    "503",
    "429",
    "429_date",
    "408",
    "reset",
    "half_open",
    "drip",
    "drip_headers",
    "lost_answer",
    "no_receipt",
    "401",
    "404",
)
_STATUS = {"503": 503, "429": 429, "429_date": 429, "408": 408, "401": 401, "404": 404}


class Sink:
    """Stores records by call id, as the product does. `fault` says how it misbehaves now."""

    def __init__(self) -> None:
        self.fault = ""
        self.stored: dict[str, dict[str, Any]] = {}
        self.dropped: dict[str, dict[str, int]] = defaultdict(dict)
        self.last_sequence: dict[str, int] = {}
        # The sequences of every batch that was stored, by process.
        self.batches: dict[str, list[set[int]]] = defaultdict(list)
        self.redelivered = 0
        self.requests = 0
        self._lock = threading.Lock()
        self._closing = False
        self._listener: socket.socket | None = None
        self._port = 0
        self._open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._closing = True
        self._close()

    def misbehave(self, fault: str) -> None:
        """From now on, until told otherwise; the empty text is good behaviour."""
        self.fault = fault
        if fault == "refused":
            self._close()
        elif self._listener is None:
            self._open()

    def _open(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(64)
        self._port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection:
            with connection.makefile("rb") as stream:
                while self._answer_one(connection, stream):
                    pass

    def _answer_one(self, connection: socket.socket, stream: Any) -> bool:
        """Whether the connection lives on."""
        length = 0
        while (line := stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not length:
            return False
        if self.fault == "half_open":
            stream.read(length // 2)
            self._outlast("half_open")
            return False
        body = stream.read(length)
        with self._lock:
            self.requests += 1
        return len(body) == length and self._misbehave(connection, body)

    def _misbehave(self, connection: socket.socket, body: bytes) -> bool:
        fault = self.fault
        if fault in ("reset", "refused"):
            _reset(connection)
            return False
        if fault == "lost_answer":
            self._store(body)
            _reset(connection)
            return False
        if fault == "hung":
            self._outlast(fault)
            return False
        if fault.startswith("drip"):
            self._drip(connection, fault)
            return False
        if fault == "no_receipt":
            connection.sendall(_answer(200, b'{"welcome": "to this hotel"}'))
            return True
        if fault in _STATUS:
            connection.sendall(_answer(_STATUS[fault], b"{}", _wait_header(fault)))
            return True
        connection.sendall(_answer(200, self._store(body)))
        return True

    def _outlast(self, fault: str) -> None:
        while self.fault == fault and not self._closing:
            time.sleep(0.01)

    def _drip(self, connection: socket.socket, fault: str) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
        dripped = bytes(1_000) if fault == "drip" else b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 900
        if fault == "drip":
            connection.sendall(head)
        for byte in dripped:
            if self.fault != fault or self._closing:
                return
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    def _store(self, body: bytes) -> bytes:
        data = json.loads(body)
        accepted = 0
        results = []
        with self._lock:
            self._hear(data)
            process_id = data["records"][0]["process_id"]
            self.batches[process_id].append({record["sequence"] for record in data["records"]})
            for index, record in enumerate(data["records"]):
                if self._store_one(record):
                    accepted += 1
                else:
                    results.append(
                        {"index": index, "call_id": record["call_id"], "status": "duplicate"}
                    )
        receipt = {
            "total": len(data["records"]),
            "accepted": accepted,
            "duplicates": len(results),
            "conflicts": 0,
            "rejected": 0,
            "results": results,
        }
        return json.dumps(receipt).encode()

    def _hear(self, data: dict[str, Any]) -> None:
        process = data.get("process_id")
        if process is None:
            return
        self.last_sequence[process] = max(self.last_sequence.get(process, 0), data["last_sequence"])
        for reason, number in data.get("dropped", {}).items():
            known = self.dropped[process]
            known[reason] = max(known.get(reason, 0), number)

    def _store_one(self, record: dict[str, Any]) -> bool:
        known = self.stored.get(record["call_id"])
        if known is None:
            self.stored[record["call_id"]] = record
            return True
        if known != record:
            self.stored[f"changed {record['call_id']}"] = record
        self.redelivered += 1
        return False


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _wait_header(fault: str) -> bytes:
    if fault == "429":
        return b"Retry-After: 0\r\n"
    if fault == "429_date":
        now = time.time()
        # By a clock that is a year behind ours: only the difference counts.
        away = 365 * 86_400
        moment, date = formatdate(now - away + 1, usegmt=True), formatdate(now - away, usegmt=True)
        return f"Retry-After: {moment}\r\nDate: {date}\r\n".encode()
    return b""


def _answer(status: int, body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), headers, body)
