"""The leases of this process: taken of by calls, renewed and returned in the background (F5a, F5c)."""

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from aos_sdk.cus_delivery.spool import CusSpool
from aos_sdk.cus_enforcing import lease_file
from aos_sdk.cus_enforcing.clock import clock
from aos_sdk.cus_enforcing.lease import CusAmounts, CusLease, CusNote, note_nowhere
from aos_sdk.cus_enforcing.lease_file import CusLeaseFile
from aos_sdk.cus_enforcing.lease_line import CusLeaseLine
from aos_sdk.cus_enforcing.scoped_limits import ANY_CALL, CusCombination, CusScopedLimits
from aos_sdk.cus_enforcing.server import (
    CHECK_SECONDS,
    CusEnforcementServer,
    CusReply,
    CusServerAnswer,
)

# After a request without an answer the server is asked again so soon, each time later.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 5.0
# A server that knows no leases may have been upgraded meanwhile.
_MISSING_PAUSE_SECONDS: Final = 600.0
# What is held for a lease's running calls ends 15 minutes after it was renewed.
_KEEP_AFTER_SECONDS: Final = 300.0
# Calls that are said to run for longer were forgotten.
_LONGEST_CALL_SECONDS: Final = 86_400.0
_ADOPT_SECONDS: Final = 30.0
# The server takes so many returns in a request.
_MOST_RETURNS: Final = 100
_TURN_SECONDS: Final = 0.25
# The longest that the end of a program waits for the server.
_LAST_SECONDS: Final = 0.3
# Combinations of names with leases of their own. Of more, the least recently used have checks.
_MOST_LINES: Final = 32


class _Past(NamedTuple):
    """A lease that is over, under which calls may still run; when it ended, and was renewed."""

    lease: CusLease
    ended_at: float
    kept_at: float


class _Owed(NamedTuple):
    """A lease that is to be returned: what was set aside, and where that is noted."""

    set_aside: CusAmounts
    file: CusLeaseFile | None
    slot: int | None


class CusLending(Protocol):
    """What is known of the integration that leases depend on."""

    @property
    def version(self) -> int: ...
    @property
    def may_lend(self) -> bool: ...
    @property
    def scoped(self) -> CusScopedLimits: ...
    def note_sessions(self, *, by_session: bool) -> None:
        """Whether leases differ by sessions."""

    def hurry(self) -> None:
        """Have `look_after` called soon."""


class CusLeaseBook:
    """Lends this process' calls what the server lent to the process: a lease of each combination
    of names that limits count by.

    `line` and `want` are for the threads of calls, `look_after` is for the background's.
    """

    def __init__(
        self, server: CusEnforcementServer, spool: CusSpool | None, known: CusLending
    ) -> None:
        self._server = server
        self._spool = spool
        self._known = known
        self.common = CusLeaseLine(ANY_CALL)
        self._lines: OrderedDict[CusCombination, CusLeaseLine] = OrderedDict()
        self._past: dict[uuid.UUID, _Past] = {}
        self._begin()

    def restart_in_child(self) -> None:
        """Begin without leases: those of a fork's parent are the parent's."""
        leases = [line.current for line in (self.common, *self._lines.values())]
        for lease in (*leases, *(past.lease for past in self._past.values())):
            if lease is not None:
                lease.restart_in_child()
        self._begin()

    def _begin(self) -> None:
        self.holder_id = uuid.uuid4().hex
        self.common = CusLeaseLine(ANY_CALL)
        self._lines = OrderedDict()
        self._lining = threading.Lock()
        # Lines that made room for others, and may have a lease.
        self._left: list[CusLeaseLine] = []
        self._past = {}
        self._owed: dict[uuid.UUID, _Owed] = {}
        self._slots: dict[uuid.UUID, int] = {}
        self._file: CusLeaseFile | None = None
        self._adopted: list[CusLeaseFile] = []
        self._adopt_at = 0.0
        self._asking = threading.Lock()
        self._is_closed = False
        self._ask_at = 0.0
        self._pause = _FIRST_PAUSE_SECONDS
        self._is_durable = False

    # --- Calls ----------------------------------------------------------------------------------

    @property
    def current(self) -> CusLease | None:
        """The lease of calls whose names no limit counts by."""
        return self.common.current

    def line(self, names: CusCombination) -> CusLeaseLine:
        """The leases of calls with these names."""
        with self._lining:
            line = self._lines.get(names)
            if line is not None:
                self._lines.move_to_end(names)
                return line
            line = self._lines[names] = CusLeaseLine(names)
            if len(self._lines) > _MOST_LINES:
                self._left.append(self._lines.popitem(last=False)[1])
        return line

    def want(self, line: CusLeaseLine, microcents: int, tokens: int) -> None:
        """A call of this size found no lease, or one that is used up or ends soon."""
        if line.want(microcents, tokens) and time.monotonic() >= self._ask_at:
            self._known.hurry()

    # --- In the background ----------------------------------------------------------------------

    def look_after(self) -> float | None:
        """Ask for the next leases, and return those that are over.

        A configuration newer than a lease's ends the lease. Returns the seconds until the next
        turn; None where nothing is left to do.
        """
        with self._asking:
            return None if self._is_closed else self._look_around()

    def _look_around(self) -> float | None:
        self._adopt()
        lines = self._sorted_out(self._known.scoped)
        for line in lines:
            self._look_at(line)
        self._forget_past()
        wanting = [line for line in lines if self._known.may_lend and line.wanted is not None]
        if time.monotonic() >= self._ask_at:
            self._ask_for([line for line in wanting if line.wishes_now])
        is_idle = not (wanting or self._owed or self._past)
        return None if is_idle and not any(line.current for line in lines) else _TURN_SECONDS

    def _sorted_out(self, limits: CusScopedLimits) -> list[CusLeaseLine]:
        """The lines, without those by whose names leases differ no longer: their leases end."""
        with self._lining:
            gone, self._left = self._left, []
            for names in list(self._lines):
                if names.scopes != limits.scopes_of(names.run):
                    gone.append(self._lines.pop(names))
            lines = [self.common, *self._lines.values()]
        for line in gone:
            self._follow(line, None)
        return lines

    def _look_at(self, line: CusLeaseLine) -> None:
        """End the line's lease where it is over; let calls take of it once its limits are known."""
        lease, known = line.current, self._known
        if lease is None:
            return
        is_old = known.version > lease.config_version
        is_changed = line.names.scopes != known.scoped.scopes_of(line.names.run)
        if lease.is_over or is_old or is_changed or not known.may_lend:
            self._follow(line, None)
        elif not lease.is_sure and known.version == lease.config_version:
            lease.is_sure = self._is_sure(line, lease)
            if not lease.is_sure:
                self._follow(line, None)
                line.ask_later()

    def _is_sure(self, line: CusLeaseLine, lease: CusLease) -> bool:
        """Whether the lease is of each limit that applies to the line's calls (ruling F5c)."""
        known, names = self._known, line.names
        if known.version != lease.config_version or known.scoped.lacks(names, lease.limit_ids):
            return False
        return names.run is None or names.run.units <= lease.units_of(names.session_id)

    def _ask_for(self, lines: list[CusLeaseLine]) -> None:
        """A lease for each line; or at least the returns, if anything is to be said."""
        for line in lines:
            if not self._ask(line):
                return
        if not lines and (self._owed or self._kept()):
            self._ask(None)

    def close(self) -> None:
        """At the program's end: return what no call will take.

        A request that the background has begun may bring a lease yet, so its answer comes first.
        """
        self._is_closed = True
        is_alone = self._asking.acquire(timeout=_LAST_SECONDS)
        try:
            self._return_all()
        finally:
            if is_alone:
                self._asking.release()

    def _return_all(self) -> None:
        for line in (self.common, *self._lines.values(), *self._left):
            line.wanted = None
            self._follow(line, None)
        if self._owed:
            self._ask(None, seconds=_LAST_SECONDS)
        self._let_go()

    def _follow(self, line: CusLeaseLine, lease: CusLease | None) -> None:
        """Let no call begin under the line's lease any more, and owe what was not set aside of it."""
        former, now = line.follow(lease), time.monotonic()
        if former is not None:
            self._past[former.id] = _Past(former, now, now)
            slot = self._slots.pop(former.id, None)
            self._owed[former.id] = _Owed(former.set_aside, self._file, slot)

    def _forget_past(self) -> None:
        now = time.monotonic()
        for name, past in list(self._past.items()):
            if past.lease.running <= 0 or now - past.ended_at > _LONGEST_CALL_SECONDS:
                self._past.pop(name, None)

    def _kept(self) -> list[uuid.UUID]:
        """Leases that are over, whose running calls' amounts are to be held on."""
        now = time.monotonic()
        return [
            name for name, past in self._past.items() if now - past.kept_at >= _KEEP_AFTER_SECONDS
        ]

    def _ask(self, line: CusLeaseLine | None, *, seconds: float = CHECK_SECONDS) -> bool:
        """One request: for a line's lease, if there is one, and to return leases that are over.

        Whether the server has answered.
        """
        began, kept, next_id = clock(), self._kept(), uuid.uuid4()
        body = self._body(kept)
        if line is not None:
            body |= self._wishes(line) | {"next_lease_id": str(next_id)}
        answer = self._server.lease(body, seconds)
        if answer.reply is not CusReply.ANSWERED or answer.content is None:
            if line is not None:
                # The server may have lent all the same.
                self._owed[next_id] = _Owed(CusAmounts(), None, None)
            self._wait_after(answer)
            return False
        self._pause = _FIRST_PAUSE_SECONDS
        for name in kept:
            if (past := self._past.get(name)) is not None:
                self._past[name] = past._replace(kept_at=time.monotonic())
        self._take_back(answer.content.get("returned"))
        self._known.note_sessions(by_session=answer.content.get("by_session") is True)
        if line is not None:
            self._receive(line, answer.content, began)
        return True

    def _wishes(self, line: CusLeaseLine) -> dict[str, Any]:
        wishes = line.wishes()
        wishes["is_durable"] = self._is_durable and self._file_of_this_process() is not None
        if self._known.scoped.is_known:
            wishes["scopes"] = line.names.as_json()
            if line.names.run is not None:
                wishes["run"] = line.names.run.as_json()
        return wishes

    def _body(self, kept: list[uuid.UUID]) -> dict[str, Any]:
        owed = list(self._owed.items())[:_MOST_RETURNS]
        return {
            "holder_id": self.holder_id,
            "returns": [
                {"lease_id": str(lease_id), "set_aside": one.set_aside._asdict()}
                for lease_id, one in owed
            ],
            "keep": [str(name) for name in kept],
        }

    def _wait_after(self, answer: CusServerAnswer) -> None:
        if answer.reply is CusReply.MISSING:
            # Without leases each call has a check; nothing is known that could be returned.
            self._take_back([str(lease_id) for lease_id in self._owed])
            self._pause = _MISSING_PAUSE_SECONDS
        self._ask_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)

    def _take_back(self, returned: Any) -> None:
        for text in returned if isinstance(returned, list) else []:
            owed = self._owed.pop(_uuid(text), None)
            if owed is not None and owed.file is not None and owed.slot is not None:
                owed.file.remove(owed.slot)

    def _receive(self, line: CusLeaseLine, content: Mapping[str, Any], began: float) -> None:
        if content.get("lease_id") is None:
            line.ask_later()
            return
        lease = CusLease(content, began, self._note_of(_uuid(content["lease_id"])))
        lease.is_sure = self._is_sure(line, lease)
        self._follow(line, lease)
        self._look_at(line)

    # --- On disk --------------------------------------------------------------------------------

    def note_host(self, *, is_known: bool) -> None:
        """Whether an earlier process of this host has left its state in the spool's folder.

        In a folder that ends with its container nobody returns what a dead process had.
        """
        self._is_durable = is_known

    def _file_of_this_process(self) -> CusLeaseFile | None:
        if self._file is None and self._spool is not None:
            self._file = lease_file.make(self._spool)
        return self._file

    def _note_of(self, lease_id: uuid.UUID) -> CusNote:
        """What notes on disk what is set aside of a lease."""
        file = self._file_of_this_process()
        slot = file.add(lease_id) if file is not None else None
        if file is None or slot is None:
            return note_nowhere
        self._slots[lease_id] = slot
        return file.note_of(slot)

    def _adopt(self) -> None:
        """Take over what dead processes of this host have not returned."""
        now = time.monotonic()
        if self._spool is None or now < self._adopt_at:
            return
        self._adopt_at = now + _ADOPT_SECONDS
        owing = {id(one.file) for one in self._owed.values()}
        for file in [file for file in self._adopted if id(file) not in owing]:
            self._adopted.remove(file)
            file.close()
        for file in lease_file.left_by_the_dead(self._spool):
            for slot, lease_id, amounts in file.leases():
                self._owed[lease_id] = _Owed(amounts, file, slot)
            self._adopted.append(file)

    def _let_go(self) -> None:
        for file in (*self._adopted, self._file):
            if file is not None:
                file.close()
        self._adopted, self._file = [], None


def _uuid(text: Any) -> uuid.UUID:
    """A lease's id; an id of no lease for what is none."""
    try:
        return uuid.UUID(str(text))
    except ValueError:
        return uuid.UUID(int=0)
