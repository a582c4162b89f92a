"""The decisions of one reading: each call sees what those before it set aside."""

import uuid
from datetime import datetime
from typing import NamedTuple

from enforcement.cus_authority import Known
from enforcement.cus_check_requests import CheckRequest
from enforcement.cus_estimates import Asked, estimate
from enforcement.cus_precedence import Decision, Facts, Usage, decide
from telemetry.cus_holds import HoldChange, OwnHold, Reading


class Verdict(NamedTuple):
    """A decision, the facts it was made on, and until when the call's hold lasts if it has one."""

    decision: Decision
    facts: Facts
    hold_expires_at: datetime | None = None


class Round:
    """Decides calls of one integration by what was read of it under its lock.

    `changes`: the holds to take or renew for that, by call id.
    """

    def __init__(self, tenant_id: uuid.UUID, known: Known, reading: Reading) -> None:
        self.reading = reading
        self.changes: dict[str, HoldChange] = {}
        self._tenant_id = tenant_id
        self._known = known
        self._own = dict(reading.own)

    def verdict(self, request: CheckRequest) -> Verdict:
        """Decide one call, and note what that changes."""
        facts = self._facts(request)
        decision = decide(facts)
        own = self._own.get(request.call_id)
        if request.reserve and (own or decision.admits):
            self._hold(request.call_id, facts, own, admits=decision.admits)
        return Verdict(decision, facts)

    def _hold(self, call_id: str, facts: Facts, own: OwnHold | None, *, admits: bool) -> None:
        amounts = facts.estimate
        if own:
            # It runs, whatever is decided of it now: what is held for it never gets less.
            amounts = own.amounts.at_least(amounts) if admits else own.amounts
        taken_now = call_id in self.changes and not self.changes[call_id].renews
        self.changes[call_id] = HoldChange(amounts, renews=bool(own) and not taken_now)
        self._own[call_id] = OwnHold(amounts, recent=own.recent if own else True)

    def _facts(self, request: CheckRequest) -> Facts:
        reading = self.reading
        expected = estimate(_asked(request), self._known.row, self._tenant_id, reading.now)
        own = self._own.get(request.call_id)
        return Facts(
            call_id=request.call_id,
            model=request.model,
            evaluated_at=reading.now,
            authority=self._known.authority,
            usage=self._usage_without(request.call_id),
            recorded=request.call_id in reading.recorded
            or request.call_id in reading.taken_elsewhere,
            admitted_before=own is not None and own.amounts.covers(expected.amounts),
            estimate=expected.amounts,
            priced=expected.priced,
            tokens_known=expected.tokens_known,
        )

    def _usage_without(self, call_id: str) -> Usage:
        reading = self.reading
        held, admitted = reading.held, reading.admitted
        for name, hold in self._own.items():
            if name != call_id:
                held = held.plus(hold.amounts)
                admitted += hold.recent
        return Usage(used=reading.used, held=held, leased=reading.leased, admitted=admitted)


def _asked(request: CheckRequest) -> Asked:
    return Asked(
        model=request.model,
        tokens=request.estimated_tokens,
        cents=request.estimated_cost_cents,
        microcents=request.estimated_cost_microcents,
    )
