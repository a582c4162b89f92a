"""`CusEnforcer`: check, enforce and guard by hand (§6.2)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from aos_sdk.cus_configuration import active
from aos_sdk.cus_enforcing.decider import CusAsked, CusDecider, CusEnforceMode, CusEnforcing
from aos_sdk.cus_enforcing.decisions import EnforcementDecision, EnforcementResult
from aos_sdk.cus_errors import CusConfigurationError, limit_error
from aos_sdk.cus_record import generate_call_id
from aos_sdk.cus_reporter import CusReporter
from aos_sdk.cus_tracker import CusCallTracker
from aos_sdk.cus_wire import CusPolicyResult


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
        on_unavailable: Literal["allow", "block"] = "allow",
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
        self,
        model: str | None = None,
        *,
        call_id: str | None = None,
        estimated_tokens: int | None = None,
        estimated_cost_cents: int | None = None,
        estimated_cost_microcents: int | None = None,
        reserve: bool = True,
    ) -> EnforcementDecision:
        """The decision on a call. Without an estimate, the most that its model can do counts.

        With `reserve` the estimate is held until the call is reported under the decision's call id.
        """
        asked = CusAsked(
            call_id or generate_call_id(),
            model,
            estimated_tokens,
            estimated_cost_cents,
            estimated_cost_microcents,
            reserve,
        )
        return self._decider.decide(asked, self._enforcing)

    def enforce(
        self,
        model: str | None = None,
        *,
        call_id: str | None = None,
        estimated_tokens: int | None = None,
        estimated_cost_cents: int | None = None,
        estimated_cost_microcents: int | None = None,
        reserve: bool = True,
    ) -> EnforcementDecision:
        """As `check`, but raises CusLimitExceeded if the call may not run."""
        decision = self.check(
            model,
            call_id=call_id,
            estimated_tokens=estimated_tokens,
            estimated_cost_cents=estimated_cost_cents,
            estimated_cost_microcents=estimated_cost_microcents,
            reserve=reserve,
        )
        if not decision.admits:
            raise limit_error(decision, self._decider.link(decision.call_id))
        return decision

    @contextmanager
    def guard(
        self,
        model: str,
        provider: str | None = None,
        *,
        call_id: str | None = None,
        estimated_tokens: int | None = None,
        estimated_cost_cents: int | None = None,
        estimated_cost_microcents: int | None = None,
    ) -> Iterator[CusCallTracker]:
        """Reserve before the block, and measure and report the call when the block ends."""
        decision = self.enforce(
            model,
            call_id=call_id,
            estimated_tokens=estimated_tokens,
            estimated_cost_cents=estimated_cost_cents,
            estimated_cost_microcents=estimated_cost_microcents,
        )
        call = CusCallTracker(self._reporter, provider, model, call_id=decision.call_id)
        if decision.result == EnforcementResult.WARNED:
            call.policy_result = CusPolicyResult.WARNED
        if decision.degraded and decision.decided_by == "sdk":
            call.degraded, call.decision = True, decision.as_json()
        try:
            with call:
                yield call
        finally:
            self._decider.running.pop(decision.call_id, None)
