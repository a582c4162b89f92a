"""Requests that cost more than they should: deep nesting, hosts that do not exist."""

import gzip
import http.client
import json
import time
from collections.abc import Callable

from tests.trust.cus_abuse.outcome import Outcome, Size
from tests.trust.cus_abuse.people import Person
from tests.trust.cus_abuse.product import AttackedProduct, settle
from tests.trust.cus_check_races import reported

_API = "/api/v1/cus"
_BRACKETS = 2_000_000
_MOST_CPU_SECONDS = 0.5
_SDK_ROUTES = (
    "/enforcement/check",
    "/enforcement/batch",
    "/telemetry/llm-usage",
    "/telemetry/llm-usage/batch",
    "/telemetry/bypass",
)
_HOSTS = ("evil.example", "127.0.0.1.evil.example:80", "a b", "[", "127.0.0.1:port", "ä", "x" * 300)
# Which answers are right, by door. Programs without a key are refused before their Host is looked
# at; probes come with whatever name the cluster has for us.
_PATHS: dict[str, Callable[[int], bool]] = {
    "/admin/login/": lambda status: status == 400,
    f"{_API}/integrations": lambda status: status == 400,
    f"{_API}/enforcement/check": lambda status: status in (400, 401),
    "/healthz": lambda status: status in (200, 400),
}


def deep_bodies(product: AttackedProduct, size: Size) -> Outcome:
    """2,000,000 `[`, bare, inside a record and packed, at every kind of door."""
    tenant = product.new_tenant()
    door = product.door(0, tenant["keys"][0])
    person = Person(product.port, tenant["admin"]).sign_in()
    brackets = b"[" * size.of(_BRACKETS, 100_000)
    inside = reported("deep")[:-1] + b', "metadata": {"a": ' + brackets
    bodies: dict[str, tuple[bytes, dict[str, str]]] = {
        "bare": (brackets, {}),
        "in a record": (inside, {}),
    }
    bodies["packed"] = (gzip.compress(brackets), {"Content-Encoding": "gzip"})
    found: dict[str, tuple[int, float]] = {}
    for name, (body, headers) in bodies.items():
        for path in _SDK_ROUTES:
            started = product.web_cpu_seconds()
            status = door.post(_API + path, body, headers).status
            found[f"{path} {name}"] = status, product.web_cpu_seconds() - started
        started = product.web_cpu_seconds()
        status = person.call("POST", "/integrations", raw=body).status
        found[f"/integrations {name}"] = status, product.web_cpu_seconds() - started
    door.close()
    findings = [
        f"{name} was answered {status}"
        for name, (status, _) in found.items()
        if not 400 <= status < 500
    ]
    if size.in_full:
        findings += [
            f"{name} took {seconds:.1f} s of the processor"
            for name, (_, seconds) in found.items()
            if seconds > _MOST_CPU_SECONDS
        ]
    worst = max(found, key=lambda name: found[name][1])
    figures = (
        f"{len(found)} requests; the dearest took {found[worst][1]:.2f} s of processor ({worst})"
    )
    return Outcome(figures, findings)


def bad_hosts(product: AttackedProduct, _size: Size) -> Outcome:
    """A `Host` that is not ours, at every kind of door."""
    before, started = len(product.log()), time.monotonic()
    statuses = {
        (host, path): _status(product.port, host, path) for host in _HOSTS for path in _PATHS
    }
    settle()
    log = product.log()[before:]
    tracebacks = log.count("Traceback")
    findings = [
        f"Host {host[:30]!r} at {path} was answered {status}"
        for (host, path), status in statuses.items()
        if not _PATHS[path](status)
    ]
    if tracebacks:
        findings.append(f"{tracebacks} tracebacks stand in the log")
    figures = (
        f"{len(statuses)} requests in {time.monotonic() - started:.1f} s:"
        f" {len(findings)} wrong answers, {tracebacks} tracebacks, {log.count(chr(10))} log lines"
    )
    return Outcome(figures, findings)


def _status(port: int, host: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        method = "POST" if path.endswith("check") else "GET"
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host.encode())
        if method == "POST":
            body = json.dumps({"call_id": "x"}).encode()
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
        else:
            connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()
