"""The decisions of one reading: each call sees the holds of the calls before it."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from operator import add
from typing import NamedTuple

from enforcement.cus_checks.estimates import Asked, estimate
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.stopped import stop_of
from enforcement.cus_reading.known_models import KnownModels
from enforcement.cus_rules.authority import Known
from enforcement.cus_rules.precedence import Decision, Facts, Usage, decide
from integrations.cus_lifecycle.limits import RATES, Unit, admissions_of
from telemetry.cus_holds.holds import Evidence, HoldChange, OwnHold, Reading
from telemetry.cus_money.amounts import Amounts

_NO_HOLD = OwnHold(Amounts(), (0,) * len(RATES))
# A hold that is taken now counts within every window.
_ADMITTED_NOW = (1,) * len(RATES)
_SIZE = len(Amounts._fields)


class Verdict(NamedTuple):
    """A decision, its facts, and when the call's hold expires (None without a hold)."""

    decision: Decision
    facts: Facts
    hold_expires_at: datetime | None = None


class Round:
    """Decides calls of one integration by the evidence read under the integration's lock.

    `changes`: the holds to take or renew for the decided calls, by call id.
    """

    def __init__(
        self, tenant_id: uuid.UUID, known: Known, reading: Reading, models: KnownModels
    ) -> None:
        self.reading = reading
        self.changes: dict[str, HoldChange] = {}
        self._tenant_id = tenant_id
        self._known = known
        self._models = models
        self._own: dict[str, OwnHold] = {}
        # The sums of `_own`: amounts, then admissions. They are integers, so subtracting a hold
        # gives exactly the sum without it.
        self._own_sums = _numbers(_NO_HOLD)
        for call_id, own in reading.own.items():
            self._set_own(call_id, own)

    def verdict(self, request: CheckRequest) -> Verdict:
        """Decide one call, and note the change of its hold."""
        facts = self._facts(request)
        decision = decide(facts)
        own = self._own.get(request.call_id)
        if request.reserve and (own or (decision.admits and facts.may_hold)):
            self._hold(request.call_id, facts, own, admits=decision.admits)
        return Verdict(decision, facts)

    def _hold(self, call_id: str, facts: Facts, own: OwnHold | None, *, admits: bool) -> None:
        amounts = facts.estimate
        if own:
            # The call runs already, whatever this decision is, so its hold never shrinks.
            amounts = own.amounts.at_least(amounts) if admits else own.amounts
        taken_now = call_id in self.changes and not self.changes[call_id].renews
        self.changes[call_id] = HoldChange(amounts, renews=bool(own) and not taken_now)
        self._set_own(call_id, OwnHold(amounts, own.admitted if own else _ADMITTED_NOW))

    def _set_own(self, call_id: str, own: OwnHold) -> None:
        was = self._own.get(call_id, _NO_HOLD)
        self._own_sums = _changed(self._own_sums, was, own)
        self._own[call_id] = own

    def _facts(self, request: CheckRequest) -> Facts:
        reading = self.reading
        expected = estimate(
            _asked(request), self._known.row, self._tenant_id, reading.now, self._models
        )
        own = self._own.get(request.call_id)
        return Facts(
            call_id=request.call_id,
            model=request.model,
            evaluated_at=reading.now,
            authority=self._known.authority,
            usage=self._usage_without(request.call_id),
            recorded=request.call_id in reading.recorded,
            wants_hold=request.reserve and own is None and self._known.authority.is_limited,
            admitted_before=own is not None and own.amounts.covers(expected.amounts),
            estimate=expected.amounts,
            priced=expected.priced,
            tokens_known=expected.tokens_known,
            stopped=stop_of(self._tenant_id, self._known, request),
        )

    def _usage_without(self, call_id: str) -> Usage:
        reading, own = self.reading, self._own.get(call_id)
        others = _changed(self._own_sums, own, _NO_HOLD) if own else self._own_sums
        admitted = map(add, reading.admitted, others[_SIZE:])
        return Usage(
            used=reading.used,
            held=reading.held.plus(Amounts._make(others[:_SIZE])),
            running=reading.running + len(self._own) - (own is not None),
            leased=reading.leased,
            **admissions_of(list(admitted)),
        )


def usage_of(evidence: Evidence) -> Usage:
    """The usage that a reading without any call of its own shows."""
    return Usage(
        used=evidence.used,
        held=evidence.held,
        running=evidence.running,
        leased=evidence.leased,
        **admissions_of(evidence.admitted),
    )


def _numbers(own: OwnHold) -> list[int]:
    """The amounts of a hold, and what each rate counts of it."""
    tokens = own.amounts.tokens
    counted = (
        flag * tokens if limit.unit is Unit.TOKENS else flag
        for limit, flag in zip(RATES, own.admitted, strict=True)
    )
    return [*own.amounts, *counted]


def _changed(sums: Sequence[int], was: OwnHold, becomes: OwnHold) -> list[int]:
    numbers = zip(sums, _numbers(was), _numbers(becomes), strict=True)
    return [total - before + after for total, before, after in numbers]


def _asked(request: CheckRequest) -> Asked:
    return Asked(
        model=request.model,
        tokens=request.estimated_tokens,
        cents=request.estimated_cost_cents,
        microcents=request.estimated_cost_microcents,
    )
