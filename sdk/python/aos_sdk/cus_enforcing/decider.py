"""Decide whether a call may run: locally where that is known, else by the server, else without it."""

import os
import random
import time
import weakref
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from aos_sdk.cus_delivery.connection import CusConnection
from aos_sdk.cus_delivery.ended_call import CusReserved
from aos_sdk.cus_delivery.exit import before_sending
from aos_sdk.cus_delivery.spool import CusSpool
from aos_sdk.cus_enforcing import ladder
from aos_sdk.cus_enforcing.configuration import REFRESH_SECONDS, CusKnownConfiguration
from aos_sdk.cus_enforcing.decisions import EnforcementDecision
from aos_sdk.cus_enforcing.estimates import CusEstimate
from aos_sdk.cus_enforcing.lease import CusLease
from aos_sdk.cus_enforcing.lease_book import CusLeaseBook
from aos_sdk.cus_enforcing.server import CusEnforcementServer, CusReply, CusServerAnswer
from aos_sdk.cus_errors import CusDeliveryError, CusKeyRefused, CusLimitsUnchecked
from aos_sdk.cus_guard import never_die, plain_text
from aos_sdk.cus_tags import clean_tags
from aos_sdk.cus_wire import (
    MAX_AGENT_ID_LENGTH,
    MAX_END_USER_LENGTH,
    MAX_MODEL_LENGTH,
    MAX_SESSION_ID_LENGTH,
)

# A hold ends 15 minutes after its last renewal (ruling F5).
_RENEW_AFTER_SECONDS: Final = 300.0
# A call that is said to run for longer was forgotten, for instance an iterator that nobody reads.
_LONGEST_CALL_SECONDS: Final = 86_400.0
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 0.05, 0.4
# Calls that were admitted and never left the program, whose holds the next calls take over: at once
# for so long, later by asking again.
_MOST_SPARE: Final = 100
_SPARE_SECONDS: Final = 10.0

CusEnforceMode = bool | Literal["auto", "check"]
CusOnUnavailable = Literal["allow", "block"]
CusOnThrottle = Literal["raise", "wait"]


@dataclass(frozen=True, slots=True)
class CusEnforcing:
    """How calls are enforced in this process (§6.2, ruling F6b).

    `enforce` is `"auto"` (as the integration's configuration says; a call runs where no state was
    ever known), True (no call runs without a known state) or `"check"` (the server decides on every
    call). `contention_seconds` is how long a call waits for a server that is too busy.
    """

    enforce: CusEnforceMode = "auto"
    on_unavailable: CusOnUnavailable = "allow"
    throttle: CusOnThrottle = "raise"
    contention_seconds: float = 2.0


class CusAsked(NamedTuple):
    """A call that wants to run. None means that the server is to estimate it.

    `is_named` says that the program has chosen the call id, so that no other call may have it.
    """

    call_id: str
    model: str | None = None
    tokens: int | None = None
    cents: int | None = None
    microcents: int | None = None
    reserve: bool = True
    is_named: bool = False
    agent_id: str | None = None
    session_id: str | None = None
    end_user: str | None = None
    tags: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """The body of the check."""
        body = {
            "call_id": self.call_id,
            "model": self.model[:MAX_MODEL_LENGTH] if self.model else None,
            "estimated_tokens": self.tokens,
            "estimated_cost_cents": self.cents,
            "estimated_cost_microcents": self.microcents,
            "reserve": self.reserve,
            "agent_id": _cut(self.agent_id, MAX_AGENT_ID_LENGTH),
            "session_id": _cut(self.session_id, MAX_SESSION_ID_LENGTH),
            "end_user": _cut(self.end_user, MAX_END_USER_LENGTH),
            "tags": clean_tags(self.tags) if self.tags else None,
        }
        return {name: value for name, value in body.items() if value is not None}


def _cut(name: object, length: int) -> str | None:
    """A name as the call's record will have it."""
    return plain_text(str(name), length) if name else None


class CusRunning(NamedTuple):
    """A running call with a hold; when the call began, and when its hold was renewed."""

    asked: CusAsked
    began: float
    since: float

    @classmethod
    def begin(cls, asked: CusAsked) -> "CusRunning":
        """A call that begins now, with a hold that was taken now."""
        now = time.monotonic()
        return cls(asked, now, now)

    @property
    def is_due(self) -> bool:
        """Whether its hold is to be renewed."""
        return time.monotonic() - self.since >= _RENEW_AFTER_SECONDS

    @property
    def is_lost(self) -> bool:
        """Whether it runs for so long that its end was missed."""
        return time.monotonic() - self.began >= _LONGEST_CALL_SECONDS

    def renewed(self) -> "CusRunning":
        """The same call after its hold was renewed."""
        return self._replace(since=time.monotonic())


T = TypeVar("T")
# A decision in steps: what it yields are seconds to wait before the next step.
CusSteps: TypeAlias = Generator[float, None, T]


def run_steps(steps: "CusSteps[T]", wait: Callable[[float], object]) -> T:
    """The result of the steps, in this thread."""
    try:
        while True:
            wait(next(steps))
    except StopIteration as ended:
        result: T = ended.value
        return result


# What a call under a lease is admitted with.
LEASED: Final = CusAsked("")


class CusLeasedCall(Protocol):
    """What a lease notes on a call."""

    reserved: CusReserved | None
    admitted: CusAsked | None


@dataclass(slots=True)
class CusEnforcementStats:
    """Counts of this process' decisions: by the server, by leases, and without the server; and of
    calls that were refused. Calls that no limit concerns are not counted.
    """

    asked: int = 0
    leased: int = 0
    degraded: int = 0
    refused: int = 0


class CusDecider:
    """Decides on the calls of one integration, for any number of threads."""

    def __init__(
        self,
        connection: CusConnection,
        spool: CusSpool | None,
        count_fault: Callable[[], object],
        tell: Callable[[CusDeliveryError], object],
    ) -> None:
        """`tell` gets what a person must know."""
        self.base_url = connection.base_url
        self.integration_id = connection.key.integration_id
        self.server = CusEnforcementServer(connection)
        self.known = CusKnownConfiguration(self.server, spool, count_fault, upkeep=self._upkeep)
        self.book = CusLeaseBook(self.server, spool, self.known.hurry)
        self._tell = tell
        self._begin()
        _all.add(self)

    def restart_in_child(self) -> None:
        """Begin anew after a fork: holds, connections and threads are the parent's."""
        self.server.restart_in_child()
        self.known.restart_in_child()
        self.book.restart_in_child()
        self._begin()

    def _begin(self) -> None:
        self.stats = CusEnforcementStats()
        self.running: dict[str, CusRunning] = {}
        self._spare: list[tuple[CusAsked, float]] = []
        self._told: set[str] = set()
        self._notices: list[CusDeliveryError] = []

    def decide(self, asked: CusAsked, enforcing: CusEnforcing) -> EnforcementDecision:
        """The decision on a call. Waits for the server up to a second, or for its contention."""
        return run_steps(self.steps(asked, enforcing), time.sleep)

    def steps(self, asked: CusAsked, enforcing: CusEnforcing) -> "CusSteps[EnforcementDecision]":
        """As `decide`, for code that waits in a way of its own."""
        self.known.use()
        decision = self._decide_locally(asked, enforcing)
        if decision is None:
            decision = yield from self._ask_until(asked, enforcing)
        if decision.degraded:
            self.stats.degraded += 1
        if not decision.admits:
            self.stats.refused += 1
        return decision

    def take(self, estimate: CusEstimate, call: "CusLeasedCall") -> CusLease | None:
        """Set aside of a lease what the call may use, which then may begin (ruling F5a)."""
        known = self.known
        known.use()
        microcents = estimate.microcents
        if microcents is None or not known.is_limited:
            return None
        lease = self.book.current
        if lease is not None and lease.config_version > known.version:
            # What has changed since may be a stop of this call.
            known.hurry()
            return None
        taken = self.book.take(estimate.cents or 0, microcents, estimate.tokens)
        if taken is None:
            return None
        lease, call.reserved = taken
        call.admitted = LEASED
        self.stats.leased += 1
        return lease

    def note_running(self, asked: CusAsked, decision: EnforcementDecision) -> None:
        """The call runs now: as long as it does, the server's hold for it is renewed."""
        if decision.decided_by == "server" and asked.reserve:
            self.running[asked.call_id] = CusRunning.begin(asked)

    def note_ended(self, call_id: str) -> None:
        """The call has ended: its record settles what was held for it."""
        self.running.pop(call_id, None)

    @property
    def has_own_prices(self) -> bool:
        """Whether the tenant may have prices of its own, which the server alone knows."""
        current = self.known.current
        return current is None or bool(current.get("overrides"))

    @property
    def clamps(self) -> bool:
        """Whether requests' output maxima are lowered to what the room pays for (ruling F3b)."""
        current = self.known.current
        return current is not None and current.get("estimate_basis") == "clamp"

    def learned_output(self, model: str, operation: str | None) -> int | None:
        """The output that a call is held for, where it was learned (ruling F3b)."""
        learned = self.known.learned
        return learned.get((model, operation)) if learned and operation else None

    def link(self, call_id: str) -> str:
        """The address of a call's evidence in the console."""
        return f"{self.base_url}/console/evidence/call/{call_id}?integration={self.integration_id}"

    def take_over(self, asked: CusAsked) -> tuple[str, bool] | None:
        """The id of a call that was admitted and never left, if what is held for it covers this
        call; and whether it was admitted so lately that the server need not be asked again.
        """
        for spare in list(self._spare):
            if _covers(spare[0], asked) and not self.known.stops.may_stop(asked):
                try:
                    self._spare.remove(spare)
                except ValueError:  # Another thread was quicker.
                    continue
                is_fresh = time.monotonic() - spare[1] < _SPARE_SECONDS
                if is_fresh:
                    self.running[spare[0].call_id] = CusRunning.begin(spare[0])
                return spare[0].call_id, is_fresh
        return None

    def give_back(self, asked: CusAsked) -> None:
        """The call was admitted and never left the program: a later call may have its hold."""
        is_held = self.running.pop(asked.call_id, None) is not None
        if is_held and not asked.is_named and len(self._spare) < _MOST_SPARE:
            self._spare.append((asked, time.monotonic()))

    # --- Without asking -------------------------------------------------------------------------

    def _decide_locally(
        self, asked: CusAsked, enforcing: CusEnforcing
    ) -> EnforcementDecision | None:
        """The decision by what is known; None where the server has to be asked."""
        known = self.known
        if known.is_away:
            return self._without(asked, enforcing)
        current = known.current
        if enforcing.enforce == "check" or current is None or not known.is_fresh:
            return None
        # The server confirms a refusal: the integration may have been enabled a moment ago.
        if ladder.status_reason(current) is not None or ladder.has_limits(current):
            return None
        if known.stops.may_stop(asked):
            return None
        return ladder.admitted(current, asked.call_id)

    def _without(self, asked: CusAsked, enforcing: CusEnforcing) -> EnforcementDecision:
        return ladder.without_server(
            self.known.current,
            asked.call_id,
            must_know=enforcing.enforce in (True, "check"),
            must_check=enforcing.on_unavailable == "block",
            stopped=self.known.stops.reason(asked),
        )

    # --- By the server --------------------------------------------------------------------------

    def _ask_until(
        self, asked: CusAsked, enforcing: CusEnforcing
    ) -> "CusSteps[EnforcementDecision]":
        """The server's decision. Load is tried again, whatever `throttle` says (ruling F6a)."""
        until = time.monotonic() + enforcing.contention_seconds
        pause = _FIRST_RETRY_SECONDS
        while True:
            decision = self._ask(asked, enforcing)
            if not decision.is_contention or time.monotonic() + pause > until:
                return decision
            yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - to spread tries
            pause = min(pause * 2, _LONGEST_RETRY_SECONDS)

    def _ask(self, asked: CusAsked, enforcing: CusEnforcing) -> EnforcementDecision:
        answer = self.server.check(asked.as_json())
        known = self.known
        if answer.reply is CusReply.ABSENT:
            known.note_absence()
            return self._without(asked, enforcing)
        known.note_presence()
        if answer.reply is CusReply.ANSWERED and answer.content is not None:
            self.stats.asked += 1
            return EnforcementDecision.read(answer.content, asked.call_id)
        if answer.reply is CusReply.BUSY:
            return ladder.too_busy(known.current, asked.call_id)
        if answer.reply is CusReply.INVALID and known.current and known.is_limited:
            return ladder.refused_check(known.current, asked.call_id, answer.detail)
        self._tell_once(answer)
        return self._without(asked, enforcing)

    def _tell_once(self, answer: CusServerAnswer) -> None:
        if answer.reply.name not in self._told:
            self._told.add(answer.reply.name)
            kind, text = _TEXTS[answer.reply]
            self._notices.append(kind(text))
            self.known.hurry()

    def _upkeep(self) -> float | None:
        """In the background: tell what a person must know, and renew the holds of calls that run
        for long, so that the holds do not end before their calls.
        """
        while self._notices:
            self._tell(self._notices.pop())
        self.book.note_host(is_known=self.known.was_kept)
        turn = self.book.look_after(self.known.version, is_limited=self.known.is_limited)
        for call_id, call in list(self.running.items()):
            if call.is_lost:
                self.running.pop(call_id, None)
            elif call.is_due and call_id in self.running:
                answer = self.server.check(call.asked.as_json())
                if answer.reply is CusReply.ANSWERED and call_id in self.running:
                    self.running[call_id] = call.renewed()
        return turn if turn is not None or not self.running else REFRESH_SECONDS

    def close(self) -> None:
        """At the program's end: return what was lent and not used."""
        self.book.close()


_TEXTS: Final[Mapping[CusReply, tuple[type[CusDeliveryError], str]]] = {
    CusReply.REFUSED: (
        CusKeyRefused,
        "the server refuses the integration key, so limits are not checked; issue a new key for "
        "the integration",
    ),
    CusReply.MISSING: (
        CusLimitsUnchecked,
        "the server is older than this SDK and knows no limits, so none are checked",
    ),
    CusReply.INVALID: (
        CusLimitsUnchecked,
        "the server refuses the check of a call, so its limits were not checked",
    ),
    CusReply.UNUSABLE: (
        CusLimitsUnchecked,
        "the server's answer to a check can't be used, so limits are not checked",
    ),
}


def _covers(spare: CusAsked, asked: CusAsked) -> bool:
    """Whether what is held for one call is enough for another of the same model."""
    return _whose(spare) == _whose(asked) and all(
        # The server estimates two calls of a model alike if neither says an amount.
        held == wanted or (held is not None and wanted is not None and held > wanted)
        for held, wanted in ((spare.tokens, asked.tokens), (spare.microcents, asked.microcents))
    )


def _whose(asked: CusAsked) -> tuple[object, ...]:
    return (asked.model, asked.agent_id, asked.session_id, asked.end_user, asked.tags)


_all: "weakref.WeakSet[CusDecider]" = weakref.WeakSet()


def _close_all() -> None:
    for decider in list(_all):
        with never_die(count=int):
            decider.close()


before_sending(_close_all)


def _restart_all_in_child() -> None:
    for decider in list(_all):
        decider.restart_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_all_in_child)
