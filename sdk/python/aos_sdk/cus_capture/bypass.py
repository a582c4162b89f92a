"""Count calls that bypass the SDK, by windows, and name each call site once (§13.1, ruling F8).

The unit is a provider call as it leaves the process: a POST at a provider's host that is captured
or counted (`cost_of_request`), or a session over a WebSocket. Governed and bypassed calls are both counted here, so that both sides of the coverage count
the same thing. The retries of a provider's client belong to the call and are not counted.
"""

import json
import logging
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from aos_sdk.cus_call_sites import call_site
from aos_sdk.cus_capture.request_costs import cost_of_request
from aos_sdk.cus_delivery.transport import CusAnswer
from aos_sdk.cus_providers.paths import surface_of_path
from aos_sdk.cus_providers.registry import PACKAGES, PROVIDERS
from aos_sdk.cus_providers.requests import CusCost
from aos_sdk.cus_scope import current_call, in_governed_call
from aos_sdk.cus_version import __version__
from aos_sdk.cus_wire import MAX_BYPASS_HOSTS, TELEMETRY_BYPASS_PATH

logger = logging.getLogger("aos_sdk")

WINDOW_SECONDS: Final = 60.0

_BILLED: Final = frozenset({CusCost.CAPTURED, CusCost.COUNTED})

_HOSTS: Final = frozenset(host for provider in PROVIDERS for host in provider.hosts)
# The User-Agents of the provider packages' clients: their calls are provider calls, whatever their
# `base_url` is.
_AGENTS: Final = "|".join(package.agent for package in PACKAGES.values())
_CLIENTS: Final = re.compile(rf"\w*({_AGENTS})\w*/Python ")
_RETRY_HEADER: Final = "x-stainless-retry-count"

_OTHER_HOST: Final = "other"
_MAX_HOSTS_KNOWN: Final = 1_000
_MAX_SITES: Final = 1_000
_REFUSED: Final = frozenset({400, 409, 413, 422})


class CusBypassCounts(NamedTuple):
    """Counts of governed and of bypassed provider calls; `hosts` counts bypassed calls by host."""

    governed_calls: int
    bypassed_calls: int
    hosts: Mapping[str, int]


class CusBypassWatch:
    """Counts a process' provider calls, and hands its counts to the sender window by window.

    A window closes a minute after its first call. A closed window is sent unchanged until the
    server has answered, while later calls count in the next window. So each call is in one window,
    and the server stores a window once by (process, start).
    """

    def __init__(self) -> None:
        self.refused = 0
        # Called when the first call of a window is counted.
        self.wake: Callable[[], object] = int
        self._hosts = set(_HOSTS)
        self._sites: set[tuple[str, int]] = set()
        self.restart_in_child()

    def restart_in_child(self) -> None:
        """Begin anew after a fork: the parent reports what was counted before."""
        self._process_id = uuid.uuid4().hex
        # Reentrant: a signal handler may make a call while this thread counts one.
        self._lock = threading.RLock()
        self._governed = 0
        self._bypassed: dict[str, int] = {}
        self._opened_at = self._last_start = 0.0
        self._opened = 0.0
        self._closed: bytes | None = None
        self._retry_at = 0.0

    def add_host(self, host: str) -> None:
        """Also watch calls to this host, which a client is configured for."""
        if len(self._hosts) < _MAX_HOSTS_KNOWN:
            self._hosts.add(host)

    def see(self, request: Any) -> None:
        """Count a request, if it is a provider call, that httpx or httpx2 is about to send."""
        if request.method != "POST":
            return
        url = request.url
        path = url.raw_path.partition(b"?")[0]
        if cost_of_request(path) not in _BILLED:
            return
        is_governed = in_governed_call()
        host = url.host
        if host not in self._hosts and not self._learn(host, request, is_governed=is_governed):
            return
        if request.headers.get(_RETRY_HEADER, "0") != "0":
            return
        is_governed = is_governed and _is_recorded()
        self.count(host, is_governed=is_governed)
        if not is_governed:
            self._name_call_site(host)

    def see_session(self, host: str) -> None:
        """Count a WebSocket to a provider that is about to be opened, and that nothing looks on at."""
        if host not in self._hosts and not any(provider.serves(host) for provider in PROVIDERS):
            return
        is_governed = in_governed_call()
        self.count(host, is_governed=is_governed)
        if not is_governed:
            self._name_call_site(host)

    def _learn(self, host: str, request: Any, *, is_governed: bool) -> bool:
        """Whether an unknown host is a provider's, by the request; remembers the host if so."""
        is_provider = (
            (is_governed and _is_about_a_model(request))
            or any(provider.serves(host) for provider in PROVIDERS)
            or _CLIENTS.match(request.headers.get("user-agent", "")) is not None
        )
        if is_provider:
            self.add_host(host)
        return is_provider

    def count(self, host: str, *, is_governed: bool) -> None:
        """Count one provider call."""
        with self._lock:
            is_first = not self._governed and not self._bypassed
            if is_first:
                self._opened_at, self._opened = time.time(), time.monotonic()
            if is_governed:
                self._governed += 1
            else:
                known = host in self._bypassed or len(self._bypassed) < MAX_BYPASS_HOSTS - 1
                name = host if known and host.isascii() and len(host) < 256 else _OTHER_HOST
                self._bypassed[name] = self._bypassed.get(name, 0) + 1
        if is_first:
            self.wake()

    def snapshot(self) -> CusBypassCounts:
        """The counts of the open window."""
        with self._lock:
            hosts = dict(self._bypassed)
            return CusBypassCounts(self._governed, sum(hosts.values()), hosts)

    def report_due(self, now: float, *, final: bool = False) -> tuple[str, bytes] | None:
        """The path and the body to post now, or None; `now` in seconds of the monotonic clock.

        `final` closes the open window, at the end of a program. The same report stays due until
        `answered` gets the server's receipt or final refusal.
        """
        if self._closed is None and (final or now - self._opened >= WINDOW_SECONDS):
            self._closed = self._close()
            self._retry_at = now
        if self._closed is None or (now < self._retry_at and not final):
            return None
        return TELEMETRY_BYPASS_PATH, self._closed

    def answered(self, answer: CusAnswer, now: float) -> None:
        """Take the server's answer to the due report."""
        if _is_receipt(answer):
            self._closed = None
        elif answer.status in _REFUSED:
            self._closed = None
            self.refused += 1
            logger.warning("the server refuses a bypass report (%s)", answer.reason)
        else:
            self._retry_at = now + WINDOW_SECONDS

    def _close(self) -> bytes | None:
        """Close the open window and return its report; a new window counts further calls."""
        with self._lock:
            counts = self.snapshot()
            if not counts.governed_calls and not counts.bypassed_calls:
                return None
            # Starts must never repeat, whatever the wall clock does: they are the server's key.
            start = max(self._opened_at, self._last_start + 0.001)
            self._last_start = start
            self._governed = 0
            self._bypassed = {}
        report = {
            "window_start": _iso(start),
            "window_end": _iso(max(start, time.time())),
            "process_id": self._process_id,
            "sdk": f"aos-sdk-python/{__version__}",
            **counts._asdict(),
        }
        return json.dumps(report).encode()

    def _name_call_site(self, host: str) -> None:
        site = call_site(sys._getframe(1))  # noqa: SLF001  (there is no public way)
        if site in self._sites or len(self._sites) >= _MAX_SITES:
            return
        self._sites.add(site)
        logger.warning(
            "%s:%d calls %s past the SDK: the call is counted as bypassed, and its cost is unknown",
            *site,
            host,
        )


def _is_about_a_model(request: Any) -> bool:
    """Whether a request in a governed call, to an unknown host, is the call's own.

    A function or block of the program may also send requests to servers that have nothing to do
    with models, whose paths (`/sessions`, `/videos`) are like some of a provider's.
    """
    call = current_call()
    is_method = call is not None and call.is_leaf and call.latency_ms is None
    return is_method or surface_of_path("POST", request.url.path) is not None


def _is_recorded() -> bool:
    """Whether the record of the current call stands for this request.

    The record of a function or block stands for one request: for the first, unless a captured call
    within it gave it its tokens. What a task does after its call's end has no record.
    """
    call = current_call()
    if call is None or (call.is_leaf and call.latency_ms is None):
        return True
    if call.latency_ms is not None or call.inner is not None or call.stands_for_request:
        return False
    call.stands_for_request = True
    return True


def _is_receipt(answer: CusAnswer) -> bool:
    # A proxy's or a portal's 200 must not count as a receipt.
    body = answer.json() if 200 <= answer.status < 300 else None
    return isinstance(body, dict) and "window_start" in body


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
