"""The integration's configuration as the server last told it, in memory and on the host's disk.

A background thread fetches it at the first call and asks again while the program makes calls, so no
call waits for it, and a program that starts while the server is away knows the last state.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from aos_sdk.cus_delivery.folders import write_whole
from aos_sdk.cus_delivery.spool import CusSpool
from aos_sdk.cus_enforcing.ladder import has_limits, status_reason
from aos_sdk.cus_enforcing.server import CusEnforcementServer, CusReply
from aos_sdk.cus_guard import never_die

# A changed limit or status binds within so many seconds of the server's change.
REFRESH_SECONDS: Final = 5.0
# The server is asked again so soon after it was away, each time later.
FIRST_PAUSE_SECONDS: Final = 1.0
# A program that makes no calls asks nothing.
_IDLE_SECONDS: Final = 30.0
# What the server said stands until one refresh was missed.
_FRESH_SECONDS: Final = 2 * REFRESH_SECONDS
_FILE: Final = "configuration"
_MOST_BYTES: Final = 4 * 1024 * 1024


class CusKnownConfiguration:
    """What is known of the integration.

    `current` is the last configuration, None if none was ever known. `is_away` says that the server
    did not answer a moment ago.
    """

    def __init__(
        self,
        server: CusEnforcementServer,
        spool: CusSpool | None,
        count_fault: Callable[[], object],
        beside: Callable[[], object] = int,
    ) -> None:
        """Kept in the integration's folder of the spool. `beside` is called at each refresh."""
        self._server = server
        self._spool = spool
        self._survival = never_die(count=count_fault)
        self._beside = beside
        self.current: Mapping[str, Any] | None = None
        self._etag: str | None = None
        self._is_loaded = False
        self.restart_in_child()

    def restart_in_child(self) -> None:
        """Begin anew after a fork, which takes no thread along. What is known stays known."""
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._used_at = 0.0
        self._verified_at: float | None = None
        self._away_until = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        # Until then every call may begin: no limit, and the server has just said so.
        self.open_until = 0.0

    def use_open(self) -> bool:
        """Whether any call may begin now: there is no limit, and the server has just said so."""
        now = time.monotonic()
        if now >= self.open_until:
            return False
        self._used_at = now
        return True

    def use(self) -> None:
        """Note that a call uses the configuration; keep it fresh in the background."""
        self._used_at = time.monotonic()
        if not self._is_loaded:
            self._is_loaded = True
            self._load()
        if self._thread is None:
            self._start()

    @property
    def is_fresh(self) -> bool:
        """Whether the server has confirmed it a moment ago."""
        verified = self._verified_at
        return verified is not None and time.monotonic() - verified < _FRESH_SECONDS

    @property
    def is_away(self) -> bool:
        """Whether the server was away a moment ago, so that a call need not ask it again."""
        return time.monotonic() < self._away_until

    def note_absence(self) -> None:
        """The server is away: ask again after a pause, each time longer."""
        self._away_until = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, REFRESH_SECONDS)

    def note_presence(self) -> None:
        """The server has answered."""
        self._away_until, self._pause = 0.0, FIRST_PAUSE_SECONDS

    def refresh(self) -> None:
        """Ask the server now."""
        answer = self._server.configuration(self._etag)
        if answer.reply is CusReply.ABSENT:
            self.note_absence()
            return
        self.note_presence()
        if answer.reply is CusReply.ANSWERED:
            content = self.current if answer.content is None else answer.content
            now = time.monotonic()
            is_open = content is not None and not (status_reason(content) or has_limits(content))
            # Closed before the new configuration is seen, never after.
            self.open_until = now + _FRESH_SECONDS if is_open else 0.0
            self.current, self._verified_at = content, now
            if answer.content is not None:
                self._etag = answer.etag
                self._store()

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="aos-sdk-limits", daemon=True)
                self._thread = thread
                thread.start()
        except RuntimeError:  # at the interpreter's end
            self._thread = None
        finally:
            self._starting.release()

    def _run(self) -> None:
        thread = threading.current_thread()
        while self._thread is thread and time.monotonic() - self._used_at < _IDLE_SECONDS:
            with self._survival:
                self.refresh()
                self._beside()
            away = self._away_until - time.monotonic()
            time.sleep(max(min(away, REFRESH_SECONDS), 0.05) if away > 0 else REFRESH_SECONDS)
        if self._thread is thread:
            self._thread = None

    # --- On disk --------------------------------------------------------------------------------

    def _path(self, spool: CusSpool) -> str:
        return os.path.join(spool.folder, _FILE)

    def _load(self) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            if self._spool is None or self.current is not None:
                return
            with open(self._path(self._spool), encoding="utf-8") as file:
                kept: Any = json.loads(file.read(_MOST_BYTES))
            content, etag = kept["configuration"], kept["etag"]
            if isinstance(content, dict) and (etag is None or isinstance(etag, str)):
                self.current, self._etag = content, etag

    def _store(self) -> None:
        """Keep it for programs that start while the server is away. Without a folder, do nothing."""
        if self._spool is not None:
            with contextlib.suppress(OSError):
                self._spool.prepare()
                kept = {"etag": self._etag, "configuration": self.current}
                write_whole(self._path(self._spool), kept)
