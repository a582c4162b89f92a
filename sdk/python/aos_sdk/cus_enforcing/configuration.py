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
from aos_sdk.cus_enforcing.ladder import has_limits, heeds_limits, status_reason
from aos_sdk.cus_enforcing.scoped_limits import CusScopedLimits
from aos_sdk.cus_enforcing.server import CusEnforcementServer, CusReply
from aos_sdk.cus_enforcing.stops import CusStops
from aos_sdk.cus_guard import never_die
from aos_sdk.cus_pricing.table import canonical_name

REFRESH_SECONDS: Final = 2.5
# The server is asked again so soon after it was away, each time later.
FIRST_PAUSE_SECONDS: Final = 1.0
# A program that makes no calls asks nothing.
_IDLE_SECONDS: Final = 30.0
# What the server said stands for so long: a changed limit or status binds within this time, as it
# does for leases (ruling F5c).
_FRESH_SECONDS: Final = 5.0
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
        upkeep: Callable[[], float | None] = lambda: None,
    ) -> None:
        """Kept in the integration's folder of the spool.

        `upkeep` is called in the background, too. It returns the seconds until it is to be called
        again, at the latest; None where nothing is left to look after.
        """
        self._server = server
        self._spool = spool
        self._survival = never_die(count=count_fault)
        self._upkeep = upkeep
        # Whether sessions of the integration have budgets in code, of any program.
        self._by_session = False
        self._know(None, CusStops())
        self._etag: str | None = None
        self._is_loaded = False
        # Whether an earlier process of this host has left the configuration.
        self.was_kept = False
        self.restart_in_child()

    def restart_in_child(self) -> None:
        """Begin anew after a fork, which takes no thread along. What is known stays known."""
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._awake = threading.Event()
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
        self._load()
        began = time.monotonic()
        answer = self._server.configuration(self._etag)
        if answer.reply is CusReply.ABSENT:
            self.note_absence()
            return
        self.note_presence()
        if answer.reply is CusReply.ANSWERED:
            content = self.current if answer.content is None else answer.content
            stops = CusStops.read(content)
            is_open = content is not None and not (
                status_reason(content) or has_limits(content) or stops.reasons
            )
            # Closed before the new configuration is seen, never after.
            self.open_until = began + _FRESH_SECONDS if is_open else 0.0
            self._know(content, stops)
            self._verified_at = began
            if answer.content is not None:
                self._etag = answer.etag
                self._store()

    def _know(self, content: Mapping[str, Any] | None, stops: CusStops) -> None:
        """Take over a configuration, and work out once what each call asks of it."""
        self.stops = stops
        self.scoped = CusScopedLimits.read(content, by_session=self._by_session)
        # The output that calls are held for, by model and operation, where it was learned.
        self.learned = learned_of(content)
        # Whether the integration serves, and its level heeds limits; and whether it has any.
        self.may_lend = (
            content is not None and status_reason(content) is None and heeds_limits(content)
        )
        self.is_limited = self.may_lend and content is not None and has_limits(content)
        # The models for which the tenant has prices of its own.
        self._own_prices = _models_of(content)
        # Whether requests' output maxima are lowered to what the room pays for (ruling F3b).
        self.clamps = content is not None and content.get("estimate_basis") == "clamp"
        # Whether one lease is for all usual calls, whatever they name: most programs' case, which
        # the gate decides in one step.
        self.is_plain = (
            self.is_limited
            and self._own_prices == frozenset()
            and not (self.scoped.scopes or stops.reasons or self.learned)
        )
        version = (content or {}).get("config_version")
        # 0 where nothing is known.
        self.version: int = version if type(version) is int else 0
        self.current = content

    def note_sessions(self, *, by_session: bool) -> None:
        """The server tells whether sessions of the integration have budgets in code."""
        if by_session != self._by_session:
            self._by_session = by_session
            self.scoped = CusScopedLimits.read(self.current, by_session=by_session)

    def has_own_prices(self, model: str) -> bool:
        """Whether the tenant may have a price of its own for a model, which the server alone knows.

        As the server finds them: by the name as asked, and by the table's name of the model.
        """
        own = self._own_prices
        if not own:
            return own is None
        return model in own or canonical_name(model) in own

    def learned_output(self, model: str, operation: str | None) -> int | None:
        """The output that a call is held for, where it was learned (ruling F3b)."""
        learned = self.learned
        return learned.get((model, operation)) if learned and operation else None

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

    def hurry(self) -> None:
        """Look after what is to be looked after now, in the background."""
        self._awake.set()

    def _run(self) -> None:
        thread, refresh_at = threading.current_thread(), 0.0
        wished: float | None = 0.0
        while self._thread is thread and (self._is_used or wished is not None):
            with self._survival:
                if self._is_used and time.monotonic() >= refresh_at:
                    self.refresh()
                    refresh_at = time.monotonic() + REFRESH_SECONDS
                wished = self._upkeep()
            # While the server is away, the next try is due earlier.
            until = min(refresh_at, self._away_until or refresh_at) - time.monotonic()
            self._awake.wait(max(min(until, REFRESH_SECONDS if wished is None else wished), 0.02))
            self._awake.clear()
            if self._away_until and not self.is_away:
                refresh_at = 0.0
        if self._thread is thread:
            self._thread = None

    @property
    def _is_used(self) -> bool:
        return time.monotonic() - self._used_at < _IDLE_SECONDS

    # --- On disk --------------------------------------------------------------------------------

    def _path(self, spool: CusSpool) -> str:
        return os.path.join(spool.folder, _FILE)

    def _load(self) -> None:
        """Read what an earlier process of this host has left, once."""
        if self._is_loaded:
            return
        self._is_loaded = True
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            if self._spool is None:
                return
            with open(self._path(self._spool), encoding="utf-8") as file:
                self.was_kept = True
                kept: Any = json.loads(file.read(_MOST_BYTES))
            content, etag = kept["configuration"], kept["etag"]
            if isinstance(content, dict) and (etag is None or isinstance(etag, str)):
                self._know(content, CusStops.read(content))
                self._etag = etag

    def _store(self) -> None:
        """Keep it for programs that start while the server is away. Without a folder, do nothing."""
        if self._spool is not None:
            with contextlib.suppress(OSError):
                self._spool.prepare()
                kept = {"etag": self._etag, "configuration": self.current}
                write_whole(self._path(self._spool), kept)


def _models_of(configuration: Mapping[str, Any] | None) -> frozenset[str | None] | None:
    """The names that a tenant gave prices of its own, and the table's names; None if not known."""
    if configuration is None:
        return None
    prices = configuration.get("overrides")
    named = [
        str(one.get("model"))
        for one in (prices if isinstance(prices, list) else [])
        if isinstance(one, Mapping)
    ]
    if bool(prices) != bool(named):  # A newer server's, of which nothing is known.
        return None
    return frozenset(named) | (frozenset(map(canonical_name, named)) - {None})


def learned_of(configuration: Mapping[str, Any] | None) -> dict[tuple[str, str], int]:
    """The learned outputs of a configuration, if calls are to be held for by them (ruling F3b)."""
    if configuration is None or configuration.get("estimate_basis") != "learned":
        return {}
    outputs = configuration.get("learned_outputs")
    return {
        (str(one.get("model")), str(one.get("operation"))): one["output_tokens"]
        for one in (outputs if isinstance(outputs, list) else [])
        if isinstance(one, Mapping) and type(one.get("output_tokens")) is int
    }
