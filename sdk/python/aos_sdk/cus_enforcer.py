"""`CusEnforcer`: check, enforce and guard by hand (§6.2)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict, Unpack

from aos_sdk.cus_configuration import active
from aos_sdk.cus_enforcing.asked import CusAsked, CusEnforceMode, CusEnforcing, CusOnUnavailable
from aos_sdk.cus_enforcing.decider import CusDecider
from aos_sdk.cus_enforcing.decisions import EnforcementDecision
from aos_sdk.cus_enforcing.gated_call import note_decision
from aos_sdk.cus_enforcing.runs import use_of
from aos_sdk.cus_errors import CusConfigurationError, limit_error
from aos_sdk.cus_record import generate_call_id
from aos_sdk.cus_reporter import CusReporter
from aos_sdk.cus_scope import CusIdentity, current_identity
from aos_sdk.cus_tracker import CusCallTracker


class CusGuardOptions(TypedDict, total=False):
    """What is known of a call before it runs."""

    call_id: str | None
    estimated_tokens: int | None
    estimated_cost_cents: int | None
    estimated_cost_microcents: int | None


class CusCheckOptions(CusGuardOptions, total=False):
    """As of a guarded call; and whether its estimate is to be held."""

    reserve: bool


class CusEnforcer:
    """Asks whether calls of an integration may run; the reporter's integration, by default that of
    `cus_configure`.

    For calls that no way of capture sees. Raises CusConfigurationError without a usable key.
    """

    def __init__(
        self,
        reporter: CusReporter | None = None,
        *,
        enforce: CusEnforceMode = True,
        on_unavailable: CusOnUnavailable = "allow",
        contention_seconds: float = 2.0,
    ) -> None:
        self._reporter = reporter or active.get().reporter
        self._enforcing = CusEnforcing(
            enforce, on_unavailable, contention_seconds=contention_seconds
        )
        decider = self._reporter.decider
        if decider is None:
            message = f"calls can't be checked: {self._reporter.problem}"
            raise CusConfigurationError(message)
        self._decider: CusDecider = decider

    def check(
        self, model: str | None = None, **options: Unpack[CusCheckOptions]
    ) -> EnforcementDecision:
        """The decision on a call. Without an estimate, the most that its model can do counts.

        With `reserve` the estimate is held until the call is reported under the decision's call id.
        """
        return self._checked(_asked(model, **options))

    def enforce(
        self, model: str | None = None, **options: Unpack[CusCheckOptions]
    ) -> EnforcementDecision:
        """As `check`, but raises CusLimitExceeded if the call may not run."""
        asked = _asked(model, **options)
        return self._admitted(asked, self._checked(asked))

    def _checked(self, asked: CusAsked) -> EnforcementDecision:
        decision = self._decider.decide(asked, self._enforcing)
        # Nobody will tell of the call's end.
        self._decider.runs.forget(decision.call_id)
        return decision

    def _admitted(self, asked: CusAsked, decision: EnforcementDecision) -> EnforcementDecision:
        if not decision.admits:
            raise limit_error(decision, self._decider.link(decision, asked.run))
        return decision

    @contextmanager
    def guard(
        self, model: str, provider: str | None = None, **options: Unpack[CusGuardOptions]
    ) -> Iterator[CusCallTracker]:
        """Reserve before the block, and measure and report the call when the block ends."""
        options["call_id"] = options.get("call_id") or generate_call_id()
        asked = _asked(model, **options)
        decision = self._admitted(asked, self._decider.decide(asked, self._enforcing))
        self._decider.note_running(asked, decision)
        call = CusCallTracker(self._reporter, provider, model, call_id=decision.call_id)
        # What was checked is what the record says, also where a budget in code has made its session.
        call.session_id = asked.session_id
        note_decision(call, decision)
        try:
            with call:
                yield call
        finally:
            self._decider.held.end(decision.call_id)
            with self._reporter.guard:
                self._decider.runs.end(decision.call_id, use_of(call))


def _asked(
    model: str | None,
    *,
    call_id: str | None = None,
    estimated_tokens: int | None = None,
    estimated_cost_cents: int | None = None,
    estimated_cost_microcents: int | None = None,
    reserve: bool = True,
) -> CusAsked:
    whose = current_identity() or CusIdentity()
    session_id = whose.session_id or (whose.run.made_id if whose.run is not None else None)
    return CusAsked(
        call_id or generate_call_id(),
        model,
        estimated_tokens,
        estimated_cost_cents,
        estimated_cost_microcents,
        reserve,
        agent_id=whose.agent_id,
        session_id=session_id,
        end_user=whose.end_user,
        tags=whose.tags,
        run=whose.run,
    )
