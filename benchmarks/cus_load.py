"""A program that sends batches over one kept-alive connection; several of them make a load.

A process of its own on the standard library alone, so that it costs the server as little of
the processor as can be. Reads its orders as a line of JSON, says "ready", waits for a line,
and answers with what it measured.
"""

import json
import random
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

_CHUNKED_END = b"0\r\n\r\n"


def main() -> None:
    orders: dict[str, Any] = json.loads(sys.stdin.readline())
    with socket.create_connection(("127.0.0.1", orders["port"]), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _say("ready")
        sys.stdin.readline()
        _say(json.dumps(_send(connection, orders)))


def _send(connection: socket.socket, orders: dict[str, Any]) -> dict[str, Any]:
    requests, refused = _requests(orders), 0
    latencies: list[float] = []
    # The average interval of requests, for less than full load; 0: as soon as there is an answer.
    # At random times, like independent callers: in step, all would ask at once and wait for each
    # other.
    every = orders.get("every", 0.0)
    started = ended = due = time.perf_counter()
    while ended - started < orders["seconds"] and len(latencies) < orders["most"]:
        request = next(requests)
        if every:
            due += random.expovariate(1 / every)
            time.sleep(max(0.0, due - time.perf_counter()))
        # What had to wait for the answer before it has waited since it was due.
        sent_at = due if every and due < ended else time.perf_counter()
        connection.sendall(request)
        status = _answer(connection)
        ended = time.perf_counter()
        latencies.append(ended - sent_at)
        refused += status >= 300
    return {"seconds": ended - started, "latencies": latencies, "refused": refused}


def _requests(orders: dict[str, Any]) -> Iterator[bytes]:
    templates = [(head.encode(), tail.encode()) for head, tail in orders["templates"]]
    size, heads = orders["batch"], [head.encode() for head in orders["heads"]]
    prefix, numbers = secrets.token_hex(16).encode(), count(1)
    number = orders.get("first_head", 0)
    opening, closing = (b'{"records":[', b"]}") if orders["wrapped"] else (b"", b"")
    while True:
        records = (
            b"%b%b-%x%b" % (before, prefix, next(numbers), after)
            for before, after in (templates[index % len(templates)] for index in range(size))
        )
        body = b"%b%b%b" % (opening, b",".join(records), closing)
        # Each head has a key of its own, so that the requests are of several integrations.
        head = heads[number % len(heads)]
        number += 1
        yield b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def _answer(connection: socket.socket) -> int:
    """Read one answer to its end; its status."""
    data = _more(connection)
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = _length(head)
    while (len(body) < length) if length is not None else not body.endswith(_CHUNKED_END):
        body += _more(connection)
    return int(head.split(b" ", 2)[1])


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 16)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


def _length(head: bytes) -> int | None:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return None


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
