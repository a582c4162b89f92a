"""Install the recording of plain HTTP clients, and restore the clients' own functions.

Imports no client: a library is patched when the program imports it.
"""

import functools
import itertools
import logging
import os
import threading
from collections.abc import Iterable
from types import ModuleType
from typing import Final

from aos_sdk.cus_capture.bypass_transports import record_sends
from aos_sdk.cus_capture.http_clients import aiohttp_sessions, urllib3_pools
from aos_sdk.cus_capture.http_clients.hosts import recorded
from aos_sdk.cus_capture.http_clients.httpx_clients import CusHttpxRecorder
from aos_sdk.cus_capture.import_hook import CusImportHook
from aos_sdk.cus_capture.replacements import CusReplacements
from aos_sdk.cus_guard import never_raise

logger = logging.getLogger("aos_sdk")

_LIBRARIES: Final = {library.PACKAGE: library for library in (urllib3_pools, aiohttp_sessions)}

_installing = threading.Lock()
_hook: CusImportHook | None = None
_replaced = CusReplacements()
_guard = never_raise(count=itertools.count(1).__next__)


def record_http(hosts: Iterable[str] = ()) -> None:
    """Record requests to providers, and to these hosts, by httpx, httpx2, requests, urllib3 and
    aiohttp. A second call replaces the hosts.
    """
    global _hook
    with _installing:
        recorded.name(hosts)
        record_sends(CusHttpxRecorder(_guard))
        if _hook is None:
            _hook = CusImportHook(_LIBRARIES, _patch)
            _hook.install()
    logger.info(
        "requests by httpx, httpx2, requests, urllib3 and aiohttp are recorded to these hosts: %s",
        recorded,
    )


def unrecord_http() -> None:
    """Restore the functions of urllib3 and aiohttp; `unwatch_transports` restores httpx's."""
    global _hook
    with _installing:
        if _hook is not None:
            _hook.remove()
            _hook = None
        _replaced.restore()


def _patch(module: ModuleType) -> None:
    library = _LIBRARIES[module.__name__]
    _replaced.wrap(
        module, library.CLASS, library.METHOD, functools.partial(library.recording, guard=_guard)
    )


def _restart_in_child() -> None:
    global _installing
    _installing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)
