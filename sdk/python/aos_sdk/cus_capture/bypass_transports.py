"""Watch calls as they leave: in `send` of the HTTP clients that the provider packages use.

openai 3 and anthropic 2 use httpx2, older majors use httpx. A client calls `send` once for each
attempt of a call, streamed or not, also a client with a transport of its own. There each request is
noted in the current call (`departures`), counted as governed or bypassed (`bypass`), and recorded
if no call of it is measured and the program wants that (`http_clients`). WebSockets
are opened by the `websockets` package. Other HTTP libraries (requests, urllib3, aiohttp) are only watched by `http_clients`.
"""

import functools
import itertools
import os
import threading
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, Protocol

from aos_sdk.cus_capture import bypass_websockets
from aos_sdk.cus_capture.bypass import CusBypassWatch
from aos_sdk.cus_capture.departures import note_departure, set_departures_noted
from aos_sdk.cus_capture.http_clients.hosts import configured_hosts
from aos_sdk.cus_capture.import_hook import CusImportHook
from aos_sdk.cus_capture.replacements import CusReplacements
from aos_sdk.cus_configuration import active
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_reporter import CusReporter

_PACKAGES: Final = ("httpx", "httpx2", bypass_websockets.MODULE)

_installing = threading.Lock()
_hook: CusImportHook | None = None
# Returns the watch that counts a request about to be made. None while no watch is installed.
_current: Callable[[], CusBypassWatch | None] | None = None
# Records the requests that no call of the program is about. None while nothing is recorded so.
_recorder: "CusSendRecorder | None" = None
# The watch of each reporter, which delivers the counts also after the watch was uninstalled.
_watches: "weakref.WeakKeyDictionary[CusReporter, CusBypassWatch]" = weakref.WeakKeyDictionary()
_faults = itertools.count(1).__next__
_guard = never_raise(count=_faults)
_replaced = CusReplacements()


class CusSendRecorder(Protocol):
    """Records requests of httpx and httpx2; None means that a request is not to be recorded."""

    def begin(self, request: Any) -> "CusSending | None":
        """Prepare the call that a request makes."""


class CusSending(Protocol):
    """One request that is recorded: its block sends the request."""

    async def admitted(self) -> None:
        """In an event loop: wait until the request may be sent."""

    def __enter__(self) -> object: ...

    def __exit__(self, *error: Any) -> None: ...

    def read(self, response: Any) -> None:
        """Take the answer, whose body the program may still have to read."""


def detect_bypass(reporter: CusReporter | None = None) -> None:
    """Watch this process' provider calls, and report by `reporter` how many were governed; by
    default by the reporter of `cus_configure` at the time of the call.

    All calls are reported for the reporter's integration. Repeating this has no effect.
    """
    if reporter is None:
        watch_transports(_configured_watch)
    else:
        watch_transports(lambda: watch_of(reporter))


def watch_of(reporter: CusReporter) -> CusBypassWatch:
    """The watch whose counts this reporter delivers."""
    watch = _watches.get(reporter)
    if watch is None:
        watch = _watches[reporter] = CusBypassWatch()
        for host in configured_hosts():
            watch.add_host(host)
        watch.wake = reporter.add_side_report(watch)
    return watch


def _configured_watch() -> CusBypassWatch | None:
    configuration = active.get()
    # A process that reports nothing governs no calls, so all would count as bypassed: do not watch.
    if not configuration.auto_report or configuration.reporter.problem is not None:
        return None
    return watch_of(configuration.reporter)


def watch_transports(current: Callable[[], CusBypassWatch | None]) -> None:
    """Let the watch that `current` returns see every request of the clients of httpx and httpx2.

    Imports nothing: a package that is not imported yet is patched when the program imports it.
    """
    global _current
    with _installing:
        _current = current
        _install()


def watch_departures() -> None:
    """Note each request of these clients in the current call. Repeating this has no effect."""
    with _installing:
        _install()


def record_sends(recorder: CusSendRecorder) -> None:
    """Let the recorder record what these clients send outside of measured calls."""
    global _recorder
    with _installing:
        _recorder = recorder
        _install()


def count_governed(host: str = "") -> None:
    """Count a governed call that no watched client sends: by another HTTP library, or in a session."""
    if _current is not None:
        with _guard:
            watch = _current()
            if watch is not None:
                watch.count(host, is_governed=True)


def _install() -> None:
    global _hook
    if _hook is None:
        _hook = CusImportHook(_PACKAGES, _patch)
        _hook.install()
        set_departures_noted(are_noted=True)


def unwatch_transports() -> None:
    """Restore the clients' own functions, and stop watching, noting and recording."""
    global _hook, _current, _recorder
    with _installing:
        _current = _recorder = None
        set_departures_noted(are_noted=False)
        if _hook is not None:
            _hook.remove()
            _hook = None
        _replaced.restore()


def _patch(package: ModuleType) -> None:
    if package.__name__ == bypass_websockets.MODULE:
        _replaced.wrap(package, bypass_websockets.CLASS, bypass_websockets.METHOD, _handshake)
        return
    _replaced.wrap(package, "Client", "send", _sync)
    _replaced.wrap(package, "AsyncClient", "send", _async)


def _handshake(original: Callable[..., Any]) -> Callable[..., Any]:
    return bypass_websockets.watched(original, _see_session)


def _see_session(host: str) -> None:
    with _guard:
        watch = _current() if _current is not None else None
        if watch is not None:
            watch.see_session(host)


def _see(request: Any) -> None:
    if _current is not None:
        with _guard:
            watch = _current()
            if watch is not None:
                watch.see(request)


def _sending(request: Any) -> CusSending | None:
    """Note that a request leaves; the call to record with it, if there is one."""
    if _hook is None:
        return None
    note_departure()
    return _recorder.begin(request) if _recorder is not None else None


def _sync(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        sending = _sending(request)
        if sending is None:
            _see(request)
            return original(self, request, *args, **kwargs)
        with sending:
            _see(request)
            response = original(self, request, *args, **kwargs)
        sending.read(response)
        return response

    return send


def _async(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        sending = _sending(request)
        if sending is None:
            _see(request)
            return await original(self, request, *args, **kwargs)
        await sending.admitted()
        with sending:
            _see(request)
            response = await original(self, request, *args, **kwargs)
        sending.read(response)
        return response

    return send


def _restart_in_child() -> None:
    global _installing
    _installing = threading.Lock()
    for watch in list(_watches.values()):
        watch.restart_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)
