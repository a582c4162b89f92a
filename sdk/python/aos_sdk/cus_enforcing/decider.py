"""Decide whether a call may run: locally where that is known, else by the server, else without it."""

import os
import random
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from aos_sdk.cus_cost import cents_of
from aos_sdk.cus_delivery.connection import CusConnection
from aos_sdk.cus_delivery.exit import before_sending
from aos_sdk.cus_delivery.spool import CusSpool
from aos_sdk.cus_enforcing import ladder
from aos_sdk.cus_enforcing.asked import CusAsked, CusEnforcing
from aos_sdk.cus_enforcing.assumed import assumed_use
from aos_sdk.cus_enforcing.configuration import REFRESH_SECONDS, CusKnownConfiguration
from aos_sdk.cus_enforcing.decisions import EnforcementDecision
from aos_sdk.cus_enforcing.gated_call import CusGatedCall, asked_of
from aos_sdk.cus_enforcing.held_calls import CusHeldCalls
from aos_sdk.cus_enforcing.lease import CusLease
from aos_sdk.cus_enforcing.lease_book import CusLeaseBook
from aos_sdk.cus_enforcing.lease_line import CusLeaseLine
from aos_sdk.cus_enforcing.run_budget import CusRun, CusRunUse
from aos_sdk.cus_enforcing.runs import CusRuns
from aos_sdk.cus_enforcing.server import CusEnforcementServer, CusReply, CusServerAnswer
from aos_sdk.cus_enforcing.steps import CusSteps, run_steps
from aos_sdk.cus_errors import CusDeliveryError, CusKeyRefused, CusLimitsUnchecked
from aos_sdk.cus_guard import never_die

_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 0.05, 0.4


@dataclass(slots=True)
class CusEnforcementStats:
    """Counts of this process' decisions: by the server, and without the server; and of calls that
    were refused. Calls of leases, and calls that no limit concerns, are not counted.
    """

    asked: int = 0
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
        self.book = CusLeaseBook(self.server, spool, self.known)
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
        self.held = CusHeldCalls()
        self.runs = CusRuns()
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
        if asked.run is not None and decision.admits:
            decision = self._within_run(asked, asked.run, decision)
        if decision.degraded:
            self.stats.degraded += 1
        if not decision.admits:
            self.stats.refused += 1
        return decision

    def take(self, call: CusGatedCall, tokens: int, microcents: int) -> CusLease | None:
        """Set aside of a lease what the call may use, which then may begin (ruling F5a)."""
        known = self.known
        if known.scoped.scopes or call.run is not None:
            return self._take_by_names(call, microcents, tokens)
        if not known.is_limited:
            known.use()
            return None
        return self._take_of(self.book.common, call, microcents, tokens)

    def _take_of(
        self, line: CusLeaseLine, call: CusGatedCall, microcents: int, tokens: int
    ) -> CusLease | None:
        lease = line.current
        reserved = lease.take(microcents, tokens) if lease is not None and lease.is_sure else None
        if lease is None or reserved is None or lease.is_due:
            self.known.use()
            self.book.want(line, microcents, tokens)
        if reserved is None:
            return None
        call.reserved, call.admitted = reserved, lease
        return lease

    def _take_by_names(self, call: CusGatedCall, microcents: int, tokens: int) -> CusLease | None:
        """As `take`, where leases differ by what calls name."""
        known, run = self.known, call.run
        # Without a limit of the integration's, a lease can only be of the run's budget.
        is_limited = known.is_limited if run is None else known.may_lend
        asked = asked_of(call)
        line = self._line_of(asked, run) if is_limited else None
        if line is None:
            known.use()
            return None
        lease = self._take_of(line, call, microcents, tokens)
        if lease is not None and run is not None:
            use, raised = CusRunUse(cents_of(microcents), tokens), lease.decision.run_raised
            self.runs.begin(id(call), asked.session_id or "", use, raised)
        return lease

    def _line_of(self, asked: CusAsked, run: CusRun | None) -> CusLeaseLine | None:
        """The leases of the call's names; None where it needs a check.

        A budget in code is a limit once the server was told of it, by a check.
        """
        scoped = self.known.scoped
        names = scoped.combination(asked, run)
        if names is None:
            return None
        if run is not None and not (
            scoped.is_known and self.runs.is_told(asked.session_id or "", run)
        ):
            return None
        return self.book.line(names)

    def note_running(self, asked: CusAsked, decision: EnforcementDecision) -> None:
        """The call runs now: as long as it does, the server's hold for it is renewed."""
        if decision.decided_by == "server" and asked.reserve:
            self.held.begin(asked)

    def link(self, decision: EnforcementDecision, run: CusRun | None) -> str:
        """Where a refusal leads in the console: to the budget in code that refused, where a person
        raises it; else to the call's evidence.
        """
        first = decision.reasons[0] if decision.reasons else None
        if run is not None and first is not None and first.is_of_a_run:
            session = quote(first.scope_value or "", safe="")
            return f"{self.base_url}/console/run-limits/{self.integration_id}/{session}"
        call = f"{decision.call_id}?integration={self.integration_id}"
        return f"{self.base_url}/console/evidence/call/{call}"

    def take_over(self, asked: CusAsked) -> tuple[str, bool] | None:
        """As `CusHeldCalls.take_over`; never for a call that may be stopped."""
        return None if self.known.stops.may_stop(asked) else self.held.take_over(asked)

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
        if known.stops.may_stop(asked) or (asked.run is not None and known.scoped.is_known):
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

    def begin_in_run(self, asked: CusAsked) -> None:
        """Count a call with a budget in code that the server has admitted."""
        if asked.run is not None:
            self.runs.begin(asked.call_id, asked.session_id or "", self._use(asked))

    def _within_run(
        self, asked: CusAsked, run: CusRun, decision: EnforcementDecision
    ) -> EnforcementDecision:
        """Count the call in its session here; refuse it if the budget in code has no room.

        Where a server has admitted the call that knows such budgets, this process knows less: it
        has neither the tenant's prices nor the later usage of calls that ended without any.
        """
        is_told = decision.decided_by == "server" and not decision.degraded
        if is_told and self.known.scoped.is_known:
            self.begin_in_run(asked)
            return decision
        session_id = asked.session_id or ""
        use = self._use(asked)
        reason = self.runs.begin_if_it_fits(asked.call_id, session_id, run, use)
        if reason is None:
            return decision
        return ladder.over_run(self.known.current, asked.call_id, reason)

    def _use(self, asked: CusAsked) -> CusRunUse:
        return assumed_use(asked, self.known.scoped.default_model)

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
            decision = EnforcementDecision.read(answer.content, asked.call_id)
            if asked.run is not None:
                self.runs.note_told(asked.session_id or "", asked.run, decision.run_raised)
            return decision
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
        turn = self.book.look_after()
        self.held.look_after(self._renew)
        return turn if turn is not None or not self.held.running else REFRESH_SECONDS

    def _renew(self, asked: CusAsked) -> bool:
        return self.server.check(asked.as_json()).reply is CusReply.ANSWERED

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
