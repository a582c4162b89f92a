"""`python -m tests.trust.cus_abuse.flooder`: one stranger's flood, at the lowest priority.

On the standard library and the SDK's constants alone. Reads its orders as a line of JSON (`kind`, `port`, `seconds`,
`callers`, and what the kind needs), says "ready", and at the end how many answers of each kind
there were.
"""

import itertools
import json
import os
import secrets
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from aos_sdk.cus_wire import INTEGRATION_KEY_HEADER, KEY_SECRET_PREFIX, key_checksum
from tests.trust.cus_abuse.people import Person
from tests.trust.cus_door import Door

_BATCH = "/api/v1/cus/enforcement/batch"
_CHECK = "/api/v1/cus/enforcement/check"
_LOWEST_PRIORITY = 19
_AT_ONCE = 100
_KEY_DIGITS = 43
_BYTE_EVERY_SECONDS = 0.5
_PROMISED_BYTES = 1_000
_ANSWER_SECONDS = 40.0
# Whatever answers without an account: forms, redirects, refusals, files, and what is not there.
_ANYBODYS = (
    "/admin/login/",
    "/api/v1/cus/integrations",
    "/admin/",
    "/admin/password_reset/",
    "/api/v1/cus/telemetry/llm-usage",
    "/static/unfold/css/styles.css",
    "/nowhere/",
    "/api/v1/cus/tokens",
)
# What programs ask for.
_PROGRAMS = (
    ("POST", _CHECK),
    ("GET", "/api/v1/cus/enforcement/status"),
    ("POST", "/api/v1/cus/enforcement/lease"),
    ("POST", "/api/v1/cus/telemetry/llm-usage/batch"),
    ("DELETE", "/api/v1/cus/enforcement/lease/none"),
    ("POST", _BATCH),
)
_PROBES = ("/readyz", "/metrics", "/healthz")
Orders = dict[str, Any]
# One round of a caller; what came of it.
Round = Callable[[], str]


def logins(orders: Orders) -> Round:
    """Rounds of sign-ins with unknown addresses and random passwords."""
    person = Person(orders["port"])

    def attempt() -> str:
        name = f"{secrets.token_hex(8)}@example.com"
        fields = {"username": name, "password": secrets.token_hex(8)}
        return str(person.submit("/admin/login/", fields).status)

    return attempt


def strangers(orders: Orders) -> Round:
    """Pages and addresses of the API, each with another invented session or token."""
    port = orders["port"]
    numbers = itertools.count()

    def ask() -> str:
        path = _ANYBODYS[next(numbers) % len(_ANYBODYS)]
        invented = secrets.token_hex(16)
        if path.startswith("/api/"):
            headers = {"Authorization": f"Bearer aost_{invented}{invented}"}
        else:
            headers = {"Cookie": f"csrftoken={invented}; sessionid={invented}"}
        return str(_status_of(port, path, headers))

    return ask


def wrong_keys(orders: Orders) -> Round:
    """Checks, reads, leases and reports, each with another key that is well-formed and unknown."""
    port, body = orders["port"], json.dumps({"call_id": "1"}).encode()
    numbers = itertools.count()

    def ask() -> str:
        method, path = _PROGRAMS[next(numbers) % len(_PROGRAMS)]
        digits = secrets.token_hex(22)[:_KEY_DIGITS]
        secret = KEY_SECRET_PREFIX + digits + key_checksum(digits)
        headers = {
            INTEGRATION_KEY_HEADER: f"{uuid.uuid4()}:{uuid.uuid4()}:{secret}",
            "Content-Type": "application/json",
        }
        return str(_status_of(port, path, headers, method, body))

    return ask


def probes(orders: Orders) -> Round:
    """What supervisors and Prometheus ask for."""
    port, numbers = orders["port"], itertools.count()
    return lambda: str(_status_of(port, _PROBES[next(numbers) % len(_PROBES)], {}))


def _status_of(
    port: int, path: str, headers: dict[str, str], method: str = "GET", body: bytes = b""
) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    try:
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def resets(orders: Orders) -> Round:
    """A reset mail to one person, again and again."""
    person = Person(orders["port"])
    fields = {"email": orders["email"]}
    return lambda: str(person.submit("/admin/password_reset/", fields).status)


def batches(orders: Orders) -> Round:
    """A batch of 100 checks of one key."""
    door = Door(orders["port"], orders["key"])
    numbers, prefix = itertools.count(), secrets.token_hex(8)

    def ask() -> str:
        requests = [
            {
                "call_id": f"{prefix}-{next(numbers)}",
                "estimated_cost_cents": 1,
                "estimated_tokens": 1,
            }
            for _ in range(_AT_ONCE)
        ]
        return str(door.post(_BATCH, json.dumps({"requests": requests}).encode()).status)

    return ask


def sockets(orders: Orders) -> Round:
    """A request whose body comes one byte now and then, for as long as the server bears it."""
    head = (
        f"POST {_CHECK} HTTP/1.1\r\nHost: 127.0.0.1:{orders['port']}\r\n"
        "X-CUS-Integration-Key: made:up:key\r\nContent-Type: application/json\r\n"
        f"Content-Length: {_PROMISED_BYTES}\r\n\r\n"
    )
    over = time.monotonic() + orders["seconds"]

    def trickle() -> str:
        with socket.create_connection(("127.0.0.1", orders["port"]), timeout=5) as connection:
            connection.sendall(head.encode())
            connection.settimeout(_BYTE_EVERY_SECONDS)
            while time.monotonic() < over:
                with suppress(TimeoutError):
                    said = connection.recv(1_000)
                    time.sleep(_BYTE_EVERY_SECONDS)
                    return said.split(b" ")[1].decode() if said else "closed"
                connection.sendall(b" ")
        return "borne to the end"

    return trickle


_KINDS = {
    "logins": logins,
    "strangers": strangers,
    "wrong keys": wrong_keys,
    "probes": probes,
    "resets": resets,
    "batches": batches,
    "sockets": sockets,
}


def main() -> None:
    _have_lowest_priority()
    orders: Orders = json.loads(sys.stdin.readline())
    told: Counter[str] = Counter()
    over = time.monotonic() + orders["seconds"]
    callers = [
        threading.Thread(target=_flood, args=(_KINDS[orders["kind"]](orders), over, told))
        for _ in range(orders["callers"])
    ]
    for caller in callers:
        caller.daemon = True
        caller.start()
    _say("ready")
    for caller in callers:
        # Requests that still wait when the time is over got no answer.
        caller.join(max(over - time.monotonic(), 0) + 1)
    # Some may still be at it: of a copy.
    _say(json.dumps(dict(told)))


def _have_lowest_priority() -> None:
    """Take what processor time the product and its witness leave."""
    os.nice(_LOWEST_PRIORITY)
    # Where Linux groups processes by session, niceness counts within a group only.
    os.setsid()
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_LOWEST_PRIORITY))


def _flood(attempt: Round, over: float, told: Counter[str]) -> None:
    while time.monotonic() < over:
        try:
            told[attempt()] += 1
        except (OSError, HTTPException) as error:
            told[type(error).__name__] += 1
            time.sleep(0.1)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
