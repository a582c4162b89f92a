"""Watch calls as they leave: in `send` of the HTTP clients that the provider packages use.

openai 3 and anthropic 2 use httpx2, older majors use httpx. A client calls `send` once for each
attempt of a call, streamed or not, also a client with a transport of its own. WebSockets are opened
by the `websockets` package. Other libraries (requests, aiohttp, boto3) are not watched.
"""

import functools
import itertools
import os
import threading
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

from aos_sdk.cus_capture import bypass_websockets
from aos_sdk.cus_capture.bypass import CusBypassWatch
from aos_sdk.cus_capture.import_hook import CusImportHook
from aos_sdk.cus_configuration import active
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_reporter import CusReporter

_PACKAGES: Final = ("httpx", "httpx2", bypass_websockets.MODULE)
# The variables in which the provider packages look for an address that the program does not give.
_BASE_URLS: Final = ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "AZURE_OPENAI_ENDPOINT")

_installing = threading.Lock()
_hook: CusImportHook | None = None
# Returns the watch that counts a request about to be made. None while no watch is installed.
_current: Callable[[], CusBypassWatch | None] | None = None
# The watch of each reporter, which delivers the counts also after the watch was uninstalled.
_watches: "weakref.WeakKeyDictionary[CusReporter, CusBypassWatch]" = weakref.WeakKeyDictionary()
_faults = itertools.count(1).__next__
_guard = never_raise(count=_faults)
# Class, name of the method, its original, and our replacement.
_patched: list[tuple[type, str, Any, Any]] = []


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
        for name in _BASE_URLS:
            host = urlsplit(os.environ.get(name, "")).hostname
            if host:
                watch.add_host(host)
        watch.wake = reporter.add_side_report(watch)
    return watch


def _configured_watch() -> CusBypassWatch | None:
    configuration = active.get()
    # A process that reports nothing governs no calls, so all would count as bypassed: do not watch.
    if not configuration.auto_report or configuration.reporter.problem is not None:
        return None
    return watch_of(configuration.reporter)


def count_governed() -> None:
    """Count a governed call that no watched client sends: one of a session over a WebSocket."""
    with _guard:
        watch = _current() if _current is not None else None
        if watch is not None:
            watch.count("", is_governed=True)


def watch_transports(current: Callable[[], CusBypassWatch | None]) -> None:
    """Let the watch that `current` returns see every request of the clients of httpx and httpx2.

    Imports nothing: a package that is not imported yet is patched when the program imports it.
    """
    global _hook, _current
    with _installing:
        _current = current
        if _hook is None:
            _hook = CusImportHook(_PACKAGES, _patch)
            _hook.install()


def unwatch_transports() -> None:
    """Restore the clients' own functions, and stop watching."""
    global _hook, _current
    with _installing:
        _current = None
        if _hook is not None:
            _hook.remove()
            _hook = None
        for owner, name, original, replacement in _patched:
            # If another package has wrapped ours since, ours stays; without a watch it only passes
            # on.
            if owner.__dict__.get(name) is replacement:
                setattr(owner, name, original)
        _patched.clear()


def _patch(package: ModuleType) -> None:
    if package.__name__ == bypass_websockets.MODULE:
        _replace(package, bypass_websockets.CLASS, bypass_websockets.METHOD, _handshake)
        return
    _replace(package, "Client", "send", _sync)
    _replace(package, "AsyncClient", "send", _async)


def _replace(
    package: ModuleType, kind: str, name: str, wrapped: Callable[[Any], Callable[..., Any]]
) -> None:
    owner = getattr(package, kind, None)
    original = getattr(owner, "__dict__", {}).get(name)
    if not isinstance(owner, type) or not callable(original):
        return  # The package has another shape than we know, so there is nothing to watch.
    replacement = wrapped(original)
    setattr(owner, name, replacement)
    _patched.append((owner, name, original, replacement))


def _handshake(original: Callable[..., Any]) -> Callable[..., Any]:
    return bypass_websockets.watched(original, _see_session)


def _see_session(host: str) -> None:
    with _guard:
        watch = _current() if _current is not None else None
        if watch is not None:
            watch.see_session(host)


def _see(current: Callable[[], CusBypassWatch | None], request: Any) -> None:
    with _guard:
        watch = current()
        if watch is not None:
            watch.see(request)


def _sync(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        if _current is not None:
            _see(_current, request)
        return original(self, request, *args, **kwargs)

    return send


def _async(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        if _current is not None:
            _see(_current, request)
        return await original(self, request, *args, **kwargs)

    return send


def _restart_in_child() -> None:
    global _installing
    _installing = threading.Lock()
    for watch in list(_watches.values()):
        watch.restart_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)
