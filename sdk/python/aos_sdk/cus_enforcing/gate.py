"""The gate of captured calls: each is decided just before it begins, once."""

import time
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from aos_sdk.cus_enforcing.asked import CusAsked, CusEnforcing
from aos_sdk.cus_enforcing.decider import CusDecider
from aos_sdk.cus_enforcing.decisions import EnforcementDecision, EnforcementResult
from aos_sdk.cus_enforcing.estimates import CusEstimate
from aos_sdk.cus_enforcing.estimator import CusEstimator
from aos_sdk.cus_enforcing.gated_call import (
    CusGatedCall,
    asked_of,
    id_of_outer,
    is_named,
    note_decision,
)
from aos_sdk.cus_enforcing.lease import CusLease
from aos_sdk.cus_enforcing.limit_warnings import CusLimitWarnings
from aos_sdk.cus_enforcing.runs import use_of
from aos_sdk.cus_enforcing.steps import CusSteps, in_thread, sleep_in_loop
from aos_sdk.cus_enforcing.usual_requests import CusUsualBound, bound_of_usual
from aos_sdk.cus_errors import CusLimitExceeded, limit_error
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_record import generate_call_id
from aos_sdk.cus_wire import CusPolicyResult

_LONGEST_WAIT_SECONDS: Final = 60.0


class CusGate:
    """Lets the calls of one integration begin, or refuses them.

    `enter` and `enter_later` raise CusLimitExceeded for a refused call, which then is reported as
    blocked; whatever else goes wrong in here, the call begins.
    """

    def __init__(
        self,
        decider: CusDecider,
        enforcing: CusEnforcing,
        guard: never_raise,
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        """`prepare` does, once and in a thread that may wait, what an event loop must not wait for."""
        self.decider = decider
        self._prepare = prepare
        self.enforcing = enforcing
        self._guard = guard
        self._estimator = CusEstimator(decider.known, guard)
        self._asks_only_if_limited = enforcing.enforce != "check"
        self._warnings = CusLimitWarnings()

    def enter(self, call: CusGatedCall) -> None:
        """Decide on a call in its own thread. Raises CusLimitExceeded."""
        if self._begins_at_once(call) or self._needs_nothing(call):
            return
        bound = self._usual_bound(call)
        if bound is not None and self._is_leased(call, bound):
            return
        steps = self._steps(call, bound)
        while (turn := self._turn(steps)).wait is not None:
            time.sleep(turn.wait)
        self._conclude(call, turn.found)

    async def enter_later(self, call: CusGatedCall) -> None:
        """Decide on a call of an event loop, which does not wait. Raises CusLimitExceeded."""
        if self._begins_at_once(call) or self._needs_nothing(call):
            return
        bound = self._usual_bound(call)
        if bound is not None and self._is_leased(call, bound):
            return
        is_awaited = [True]
        steps = self._steps(call, bound)
        try:
            turn = await self._turn_later(call, steps, is_awaited)
            while turn.wait is not None:
                await sleep_in_loop(turn.wait)
                turn = await self._turn_later(call, steps, is_awaited)
        except BaseException:
            is_awaited.clear()  # The program has cancelled the call.
            self.leave_unused(call)
            raise
        self._conclude(call, turn.found)

    def _begins_at_once(self, call: CusGatedCall) -> bool:
        """Whether the lease of all calls has room for a usual one. What follows decides the same, of
        any call; in one step, most calls take half the time.
        """
        if not (
            self.decider.known.is_plain and self._asks_only_if_limited and call.run is None
            and call.outer is None and call.admitted is None and not call.is_named
        ):  # fmt: skip
            return False
        try:
            lease = self.decider.book.common.current
            if lease is None or not lease.is_sure or lease.is_due or lease.warning is not None:
                return False
            bound = bound_of_usual(call.operation, call.model, call.arguments)
            if bound is None:
                return False
            tokens_in, tokens_out, microcents, _ = bound
            reserved = lease.take(microcents, tokens_in + tokens_out)
        except Exception as error:  # noqa: BLE001 - as the guard does
            self._guard.swallow(error)
            return False
        if reserved is None:
            return False
        call.reserved, call.admitted = reserved, lease
        return True

    def _needs_nothing(self, call: CusGatedCall) -> bool:
        """Whether no limit concerns the call, or it was decided before, or is a part of a call that
        was. A call with a budget in code gets the session that the budget is of.
        """
        run = call.run
        if run is None:
            if self.is_open():
                return True
        elif not call.session_id:
            call.session_id = run.made_id
        if call.admitted is not None:
            return True
        outer = call.outer
        return outer is not None and outer.gate is self and outer.admitted is not None

    def _usual_bound(self, call: CusGatedCall) -> CusUsualBound | None:
        """What a usual call may use, where a lease may have room for it."""
        known = self.decider.known
        if not self._asks_only_if_limited:
            return None
        try:
            if known.has_own_prices(call.model):
                return None
            operation, model = call.operation, call.model
            learned = known.learned_output(model, operation) if known.learned else None
            return bound_of_usual(operation, model, call.arguments, learned)
        except Exception as error:  # noqa: BLE001 - as the guard does
            self._guard.swallow(error)
            return None

    def _is_leased(self, call: CusGatedCall, bound: CusUsualBound) -> bool:
        """Whether a lease has room for a usual call, which takes microseconds to see."""
        try:
            lease = self._lease_for(call, bound[0] + bound[1], bound[2])
        except Exception as error:  # noqa: BLE001 - as the guard does
            self._guard.swallow(error)
            return False
        if lease is None:
            return False
        if lease.warning is not None:
            self._conclude(call, lease.warning)
        return True

    def _lease_for(self, call: CusGatedCall, tokens: int, microcents: int) -> CusLease | None:
        """The lease that has room for the call, which takes of it; None where a check decides.

        A call whose id the program has chosen may be recorded already, which only a check can tell.
        """
        if not self._asks_only_if_limited or call.is_named:
            return None
        if call.outer is not None and is_named(call.outer):
            return None
        stops = self.decider.known.stops
        if stops.reasons and stops.may_stop(asked_of(call)):
            return None
        lease = self.decider.take(call, tokens, microcents)
        if lease is not None and lease.warning is not None:
            call.policy_result = CusPolicyResult.WARNED
        return lease

    def _turn(self, steps: "CusSteps[_Verdict]") -> "_Turn":
        """Decide until a wait or the verdict. A fault of ours lets the call begin."""
        with self._guard:
            try:
                return _Turn(next(steps))
            except StopIteration as ended:
                return _Turn(None, ended.value)
        return _Turn()

    async def _turn_later(
        self, call: CusGatedCall, steps: "CusSteps[_Verdict]", is_awaited: list[bool]
    ) -> "_Turn":
        """As `_turn`, in a thread; the code that awaits it may end to wait meanwhile."""

        def decide() -> _Turn:
            with self._guard:
                self._prepare()
            turn = self._turn(steps)
            if not is_awaited:
                self.leave_unused(call)
            return turn

        return await in_thread(decide)

    def _conclude(self, call: CusGatedCall, found: "_Verdict") -> None:
        """Raise or warn, in the program's own thread."""
        if isinstance(found, CusLimitExceeded):
            call.block(found)
            raise found
        if found is not None:
            with self._guard:
                self._warnings.warn(found)

    def is_open(self) -> bool:
        """Whether no limit concerns any call, as far as is known."""
        known = self.decider.known
        # Looked at here first: most programs with a limit are spared a call.
        return self._asks_only_if_limited and known.open_until > 0 and known.use_open()

    def leave(self, call: CusGatedCall) -> None:
        """The call has ended: its record settles what was held for it."""
        admitted, reserved = call.admitted, call.reserved
        if type(admitted) is CusLease:
            if reserved is not None:
                usage = call.usage
                used = 0 if usage is None else usage.tokens_in + usage.tokens_out
                admitted.end(reserved, used)
        elif type(admitted) is CusAsked:
            self.decider.held.end(admitted.call_id)
        if call.run is not None:
            with self._guard:
                self.decider.runs.end(_key_in_run(call), use_of(call))

    def leave_unused(self, call: CusGatedCall) -> None:
        """The call never left the program, so what is held for it can serve a later call."""
        if call.run is not None:
            self.decider.runs.forget(_key_in_run(call))
        admitted, call.admitted = call.admitted, None
        reserved, call.reserved = call.reserved, None
        if type(admitted) is CusLease:
            if reserved is not None:
                admitted.give_back(reserved)
        elif type(admitted) is CusAsked:
            if not admitted.is_named:
                call.call_id = None
            self.decider.held.give_back(admitted)

    def _steps(self, call: CusGatedCall, bound: CusUsualBound | None) -> "CusSteps[_Verdict]":
        """Decide on the call by a lease or by a check; yields seconds to wait.

        `bound` is that of a usual call, for which no lease had room.
        """
        estimate = self._estimator.estimate(call) if bound is None else CusEstimate._make(bound)
        if bound is None and estimate is not None and estimate.microcents is not None:
            lease = self._lease_for(call, estimate.tokens, estimate.microcents)
            if lease is not None:
                return lease.warning
        asked = self._asked(call, estimate)
        if asked is None:
            return None
        asked, decision = yield from self._decided(call, asked)
        note_decision(call, decision)
        if not decision.admits:
            self._name_refused(call, asked)
            names_maximum = estimate is not None and estimate.names_maximum
            link = self.decider.link(decision, asked.run)
            return limit_error(decision, link, names_maximum=names_maximum)
        call.admitted = asked
        self.decider.note_running(asked, decision)
        return decision if decision.result == EnforcementResult.WARNED else None

    def _decided(
        self, call: CusGatedCall, asked: CusAsked
    ) -> "CusSteps[tuple[CusAsked, EnforcementDecision]]":
        """The decision on the call, and what was asked for it at last.

        Where only the estimate does not fit, a closer one is asked with; then, where the integration
        says so, a smaller one.
        """
        decision = yield from self.decider.steps(asked, self.enforcing)
        for closer in self._estimator.closer:
            found = closer(call, asked, decision) if decision.rests_on_estimate else None
            if found is not None:
                asked = found
                decision = yield from self.decider.steps(asked, self.enforcing)
        if decision.result == EnforcementResult.THROTTLED and self._may_wait(decision):
            yield float(decision.retry_after_seconds or 0)
            decision = yield from self.decider.steps(asked, self.enforcing)
        return asked, decision

    def _asked(self, call: CusGatedCall, estimate: CusEstimate | None) -> CusAsked | None:
        """What to ask; None if the call has been admitted with what another call left."""
        call_id = call.call_id or id_of_outer(call)
        asked = asked_of(call)._replace(call_id=call_id or "").with_estimate(estimate)
        if asked.run is not None and asked.cents is None:
            listed = self._estimator.estimate(call, by_list=True)
            asked = asked._replace(list_cents=listed.cents if listed is not None else None)
        if asked.call_id:
            return asked._replace(is_named=True)
        spare = self.decider.take_over(asked)
        call.call_id = spare[0] if spare else generate_call_id()
        asked = asked._replace(call_id=call.call_id)
        if spare and spare[1]:
            call.admitted = asked
            self.decider.begin_in_run(asked)
            return None
        return asked

    def _name_refused(self, call: CusGatedCall, asked: CusAsked) -> None:
        """Report the refused call under the id that it was checked with.

        The surrounding call of that id may go on without it, and then needs another.
        """
        if call.call_id is None:
            call.call_id = asked.call_id
            outer = call.outer
            while outer is not None:
                if outer.call_id == asked.call_id:
                    outer.call_id = generate_call_id()
                outer = outer.outer

    def _may_wait(self, decision: EnforcementDecision) -> bool:
        wait = decision.retry_after_seconds
        return (
            self.enforcing.throttle == "wait" and wait is not None and wait <= _LONGEST_WAIT_SECONDS
        )


def _key_in_run(call: CusGatedCall) -> object:
    """What the call is counted by in its run."""
    admitted = call.admitted
    return admitted.call_id if type(admitted) is CusAsked else id(call)


# An error for a refused call, the decision on one that is to be warned of, or None.
_Verdict: TypeAlias = CusLimitExceeded | EnforcementDecision | None


class _Turn(NamedTuple):
    """Seconds to wait before the decision goes on; None with the verdict."""

    wait: float | None = None
    found: _Verdict = None
