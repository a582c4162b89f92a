"""The leases of this process: taken of by calls, renewed and returned in the background (F5a, F5c)."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from aos_sdk.cus_delivery.ended_call import CusReserved
from aos_sdk.cus_delivery.spool import CusSpool
from aos_sdk.cus_enforcing import lease_file
from aos_sdk.cus_enforcing.lease import CusAmounts, CusLease, clock
from aos_sdk.cus_enforcing.lease_file import CusLeaseFile
from aos_sdk.cus_enforcing.server import (
    CHECK_SECONDS,
    CusEnforcementServer,
    CusReply,
    CusServerAnswer,
)

# After a refusal the server is asked again so soon, each time later.
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


class CusLeaseBook:
    """Lends this process' calls what the server lent to the process.

    `take`, `end` and `give_back` are for the threads of calls; `look_after` and `close` for one
    thread at a time.
    """

    def __init__(
        self, server: CusEnforcementServer, spool: CusSpool | None, hurry: Callable[[], object]
    ) -> None:
        """`hurry` has `look_after` called soon."""
        self._server = server
        self._spool = spool
        self._hurry = hurry
        self.restart_in_child()

    def restart_in_child(self) -> None:
        """Begin without leases: those of a fork's parent are the parent's."""
        self.holder_id = uuid.uuid4().hex
        self.current: CusLease | None = None
        self._past: dict[bytes, _Past] = {}
        self._owed: dict[uuid.UUID, _Owed] = {}
        self._slots: dict[uuid.UUID, int] = {}
        self._file: CusLeaseFile | None = None
        self._adopted: list[CusLeaseFile] = []
        self._adopt_at = 0.0
        self._wanted: CusAmounts | None = None
        self._largest = CusAmounts()
        # What calls set aside of leases that are over; and of all leases when the last was asked for.
        self._spent = CusAmounts()
        self._spent_before: CusAmounts | None = None
        self._ask_at = 0.0
        self._pause = _FIRST_PAUSE_SECONDS
        self._is_durable = False

    # --- Calls ----------------------------------------------------------------------------------

    def take(self, cents: int, microcents: int, tokens: int) -> tuple[CusLease, CusReserved] | None:
        """Amounts for a call that begins now, and their lease; None where the server must decide."""
        lease = self.current
        if lease is None:
            self._want(cents, microcents, tokens)
            return None
        reserved = lease.take(cents, microcents, tokens)
        if reserved is None:
            self._want(cents, microcents, tokens)
            return None
        if self._wanted is None and lease.is_due:
            self._want(cents, microcents, tokens)
        return lease, reserved

    def _want(self, cents: int, microcents: int, tokens: int) -> None:
        wanted = CusAmounts(cents, microcents, tokens, 1)
        known = self._wanted
        self._wanted = wanted if known is None else known.at_least(wanted)
        if known is None and time.monotonic() >= self._ask_at:
            self._hurry()

    def end(self, reserved: CusReserved, tokens: int) -> None:
        """A call with amounts of a lease has ended, and its record tells what it used."""
        lease = self._of(reserved)
        if lease is not None:
            lease.end(reserved, tokens)

    def give_back(self, reserved: CusReserved) -> None:
        """A call with amounts of a lease never left the program."""
        lease = self._of(reserved)
        if lease is not None:
            lease.give_back(reserved)

    def _of(self, reserved: CusReserved) -> CusLease | None:
        lease = self.current
        if lease is not None and lease.id.bytes == reserved.lease_id:
            return lease
        past = self._past.get(reserved.lease_id)
        return past.lease if past is not None else None

    # --- In the background ----------------------------------------------------------------------

    def look_after(self, config_version: int, *, is_limited: bool) -> float | None:
        """Ask for the next lease, and return those that are over.

        A configuration newer than the lease's ends the lease. Returns the seconds until the next
        turn; None where nothing is left to do.
        """
        self._adopt()
        lease = self.current
        if lease is not None and (
            lease.is_over or not is_limited or config_version > lease.config_version
        ):
            self._retire(lease)
        self._forget_past()
        wants = self._wanted is not None and is_limited
        due = time.monotonic() >= self._ask_at
        if due and (wants or self._owed or self._kept()):
            self._ask(wants=wants)
        if self.current is None and not self._owed and not self._past and not wants:
            return None
        return _TURN_SECONDS

    def close(self) -> None:
        """At the program's end: return what no call will take."""
        if self.current is not None:
            self._retire(self.current)
        self._wanted = None
        if self._owed:
            self._ask(wants=False, seconds=_LAST_SECONDS)
        self._let_go()

    def _retire(self, lease: CusLease, follower: CusLease | None = None) -> None:
        """Let no call begin under the lease any more, and owe what was not set aside of it."""
        now = time.monotonic()
        # Before it is no longer the current one, because calls that end meanwhile look for it.
        self._past[lease.id.bytes] = _Past(lease, now, now)
        self.current = follower
        lease.close()
        self._spent = self._spent.plus(lease.set_aside)
        self._owed[lease.id] = _Owed(lease.set_aside, self._file, self._slots.pop(lease.id, None))

    def _forget_past(self) -> None:
        now = time.monotonic()
        for name, past in list(self._past.items()):
            if past.lease.running <= 0 or now - past.ended_at > _LONGEST_CALL_SECONDS:
                self._past.pop(name, None)

    def _kept(self) -> list[bytes]:
        """Leases that are over, whose running calls' amounts are to be held on."""
        now = time.monotonic()
        return [
            name for name, past in self._past.items() if now - past.kept_at >= _KEEP_AFTER_SECONDS
        ]

    def _ask(self, *, wants: bool, seconds: float = CHECK_SECONDS) -> None:
        """One request: for a lease, if one is wanted, and to return those that are over."""
        began, kept, wanted = clock(), self._kept(), self._wanted if wants else None
        body = self._body(kept)
        if wanted is not None:
            body |= self._wishes(wanted)
        answer = self._server.lease(body, seconds)
        if answer.reply is not CusReply.ANSWERED or answer.content is None:
            self._wait_after(answer)
            return
        for name in kept:
            if (past := self._past.get(name)) is not None:
                self._past[name] = past._replace(kept_at=time.monotonic())
        self._take_back(answer.content.get("returned"))
        if wanted is not None:
            self._receive(answer.content, began)

    def _body(self, kept: list[bytes]) -> dict[str, Any]:
        owed = list(self._owed.items())[:_MOST_RETURNS]
        return {
            "holder_id": self.holder_id,
            "returns": [
                {"lease_id": str(lease_id), "set_aside": one.set_aside._asdict()}
                for lease_id, one in owed
            ],
            "keep": [str(uuid.UUID(bytes=name)) for name in kept],
        }

    def _wishes(self, wanted: CusAmounts) -> dict[str, Any]:
        """What a lease is asked for with: its calls' size, and what calls took since the last."""
        self._wanted = None
        self._largest = self._largest.at_least(wanted)
        lease, before = self.current, self._spent_before
        spent = self._spent if lease is None else self._spent.plus(lease.set_aside)
        self._spent_before = spent
        since = None if before is None else CusAmounts(*map(int.__sub__, spent, before))
        return {
            "estimate": self._largest._asdict(),
            "spent": since._asdict() if since is not None else None,
            "lease_id": str(lease.id) if lease is not None else None,
            "is_durable": self._is_durable and self._file_of_this_process() is not None,
        }

    def _wait_after(self, answer: CusServerAnswer) -> None:
        if answer.reply is CusReply.MISSING:
            # Without leases each call has a check; nothing is known that could be returned.
            self._take_back([str(lease_id) for lease_id in self._owed])
            self._pause = _MISSING_PAUSE_SECONDS
        self._ask_later()

    def _ask_later(self) -> None:
        self._ask_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)

    def _take_back(self, returned: Any) -> None:
        for text in returned if isinstance(returned, list) else []:
            owed = self._owed.pop(_uuid(text), None)
            if owed is not None and owed.file is not None and owed.slot is not None:
                owed.file.remove(owed.slot)

    def _receive(self, content: Mapping[str, Any], began: float) -> None:
        if content.get("lease_id") is None:
            self._ask_later()
            return
        lease_id = _uuid(content["lease_id"])
        lease = CusLease(content, began, self._note_of(lease_id))
        self._largest = CusAmounts()
        self._ask_at, self._pause = 0.0, _FIRST_PAUSE_SECONDS
        if self.current is None:
            self.current = lease
        else:
            self._retire(self.current, lease)

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

    def _note_of(self, lease_id: uuid.UUID) -> Callable[[Sequence[int]], object]:
        """What notes on disk what is set aside of a lease."""
        file = self._file_of_this_process()
        slot = file.add(lease_id) if file is not None else None
        if file is None or slot is None:
            return bool
        self._slots[lease_id] = slot
        return partial(file.note, slot)

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
