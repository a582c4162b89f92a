"""One stranger's flood, and what another tenant's checks notice of it.

The measure is a server that only answers, under the same flood of the same generators: what
is slow there too is the machine's doing.
"""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.e2e.cus_served import ROOT
from tests.trust.cus_abuse.outcome import Outcome, Size
from tests.trust.cus_abuse.product import ONLY_ANSWERS, AttackedProduct, settle

_FLOODERS = 16
# One key's programs, each with a batch under way.
_BATCHING = 8
_SECONDS = 12.0
_TIMES_OF_ANSWERING = 3
_LEAST_BOUND_MS = 50.0
_PROBE_MS = 1_000.0
_PATIENCE_SECONDS = 10.0
_MOST_CONTENDED = 0.01
_LET_IN = ("allowed", "warned")
# As if so many wrong passwords had come from the flooder's address: to hash them takes longer than
# the flood.
_CLOSE = b"""
INSERT INTO axes_accessattempt (user_agent, ip_address, username, http_accept, path_info,
    attempt_time, get_data, post_data, failures_since_start)
VALUES ('', '127.0.0.1', 'closed by the flood of logins', '', '/admin/login/', now(), '', '', 1000)
"""
_OPEN = b"DELETE FROM axes_accessattempt WHERE ip_address = '127.0.0.1'"


@dataclass(frozen=True)
class Seen:
    """What a witness saw of one server, in milliseconds, and what the flood was told."""

    told: Counter[str]
    latencies: list[float]
    probes: list[float]
    flood: Counter[str]

    def p(self, share: float) -> float:
        """The latency that this share of the checks did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    @property
    def unanswered(self) -> int:
        """Checks that got no verdict."""
        return sum(count for told, count in self.told.items() if told not in _VERDICTS)


_VERDICTS = (*_LET_IN, "blocked", "contention", "degraded")


def logins(product: AttackedProduct, size: Size) -> Outcome:
    """16 anonymous logins at a time."""
    return _flood(product, size, {"kind": "logins", "callers": _FLOODERS})


def closed_logins(product: AttackedProduct, size: Size) -> Outcome:
    """16 anonymous logins at a time from an address that wrong passwords have closed."""
    product.database.execute(_CLOSE)
    try:
        return _flood(product, size, {"kind": "logins", "callers": _FLOODERS})
    finally:
        product.database.execute(_OPEN)


def strangers(product: AttackedProduct, size: Size) -> Outcome:
    """16 requests at a time with invented sessions and tokens."""
    return _flood(product, size, {"kind": "strangers", "callers": _FLOODERS})


def wrong_keys(product: AttackedProduct, size: Size) -> Outcome:
    """16 requests of programs at a time with invented SDK keys."""
    return _flood(product, size, {"kind": "wrong keys", "callers": _FLOODERS})


def probes(product: AttackedProduct, size: Size) -> Outcome:
    """16 probes and scrapes at a time."""
    return _flood(product, size, {"kind": "probes", "callers": _FLOODERS})


def sockets(product: AttackedProduct, size: Size) -> Outcome:
    """16 sockets that send one byte of a body now and then."""
    return _flood(product, size, {"kind": "sockets", "callers": _FLOODERS})


def batches(product: AttackedProduct, size: Size) -> Outcome:
    """One key with batches of 100 checks, as fast as it can."""
    key = product.new_tenant()["keys"][0]
    product.set_limits(key, budget_limit_cents=2**31 - 1)
    return _flood(product, size, {"kind": "batches", "callers": _BATCHING, "key": key})


def resets(product: AttackedProduct, size: Size) -> Outcome:
    """Reset mails to one person, four at a time."""
    email = product.new_tenant()["admin"]["email"]
    return _flood(product, size, {"kind": "resets", "callers": 4, "email": email})


def _flood(product: AttackedProduct, size: Size, orders: dict[str, Any]) -> Outcome:
    key = product.new_tenant()["keys"][0]
    product.set_limits(key, budget_limit_cents=2**31 - 1)
    if not size.in_full:
        seen = _under(product.port, key, size, orders)
        return Outcome(_met(seen), _unfair(seen))
    with product.serving(ONLY_ANSWERS) as port:
        answering = _under(port, key, size, orders).p(0.99)
    seen = _under(product.port, key, size, orders)
    # The next attack is not to meet what this one left behind.
    settle(2.0)
    bound = max(_LEAST_BOUND_MS, _TIMES_OF_ANSWERING * answering)
    figures = (
        f"checks p50 {seen.p(0.5):.0f} ms, p99 {seen.p(0.99):.0f} ms (bound {bound:.0f};"
        f" only answering {answering:.0f}); {_met(seen)}; /healthz {max(seen.probes):.0f} ms"
    )
    return Outcome(figures, _unfair(seen) + _slow(seen, bound))


def _met(seen: Seen) -> str:
    """What checks and flood were told, in words."""
    return (
        f"{seen.told['degraded']} degraded, {seen.told['contention']} contention,"
        f" {seen.unanswered} unanswered of {len(seen.latencies)};"
        f" the flood was told {dict(seen.flood.most_common(3))}"
    )


def _unfair(seen: Seen) -> list[str]:
    findings = []
    if degraded := seen.told["degraded"]:
        findings.append(f"{degraded} checks of another tenant were degraded")
    if seen.unanswered:
        others = {told: n for told, n in seen.told.items() if told not in _VERDICTS}
        findings.append(f"{seen.unanswered} checks of another tenant got no verdict: {others}")
    return findings


def _slow(seen: Seen, bound: float) -> list[str]:
    findings = []
    if seen.p(0.99) > bound:
        findings.append(
            f"p99 of another tenant's checks is {seen.p(0.99):.0f} ms, over {bound:.0f}"
        )
    if max(seen.probes) > _PROBE_MS:
        findings.append(f"/healthz took {max(seen.probes):.0f} ms")
    if seen.told["contention"] > _MOST_CONTENDED * len(seen.latencies):
        findings.append(f"{seen.told['contention']} checks of another tenant were told contention")
    return findings


def _under(port: int, key: str, size: Size, orders: dict[str, Any]) -> Seen:
    """What a witness sees of the server at `port` while the flood goes on."""
    seconds = size.seconds(_SECONDS, 3.0)
    patience = _PATIENCE_SECONDS if size.in_full else 3 * _PATIENCE_SECONDS
    flood = _start("flooder", orders | {"port": port, "seconds": seconds + 2})
    try:
        assert flood.stdout
        assert flood.stdout.readline() == "ready\n"
        settle(1.0)
        watch = {"port": port, "key": key, "seconds": seconds, "patience": patience}
        witness = _start("witness", watch)
        found = json.loads(_end(witness))
        told = json.loads(_end(flood))
    finally:
        flood.kill()
        flood.wait()
    return Seen(
        Counter(found["told"]),
        [1_000 * one for one in found["seconds"]],
        [1_000 * one for one in found["probes"]],
        Counter(told),
    )


def _start(program: str, orders: dict[str, Any]) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.trust.cus_abuse.{program}"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(json.dumps(orders) + "\n")
    process.stdin.flush()
    return process


def _end(process: "subprocess.Popen[str]") -> str:
    """The last line that it says."""
    out, _ = process.communicate(timeout=120)
    return out.rstrip("\n").rpartition("\n")[2]
