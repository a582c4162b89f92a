"""The decisions of one reading: each call sees the holds of the calls before it."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from operator import add
from typing import NamedTuple

from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_checks.estimates import Asked, estimate
from enforcement.cus_checks.own_holds import ADMITTED_NOW, OwnHolds
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.runs import most_runs
from enforcement.cus_checks.scopes import CallScopes, facts_at_scopes
from enforcement.cus_checks.stopped import stop_of
from enforcement.cus_reading.known_models import KnownModels
from enforcement.cus_rules.authority import Known
from enforcement.cus_rules.facts import Facts, Usage
from enforcement.cus_rules.precedence import Decision, decide
from integrations.cus_lifecycle.limits import admissions_of
from telemetry.cus_holds.hold_changes import HoldChange
from telemetry.cus_holds.holds import Evidence, OwnHold, Reading
from telemetry.cus_holds.limit_sums import LimitKey, RunLimit


class Verdict(NamedTuple):
    """A decision, its facts, and when the call's hold expires (None without a hold)."""

    decision: Decision
    facts: Facts
    hold_expires_at: datetime | None = None
    # What a person has raised of the budget in code of the call's session, by unit; None where no
    # budget of it was read.
    run_raised: Mapping[str, int] | None = None

    @property
    def is_by_usage(self) -> bool:
        """Whether more room could have changed the decision."""
        return self.decision.result != Result.HARD_BLOCKED


class Round:
    """Decides calls of one integration by the evidence read under the integration's lock.

    `changes`: the holds to take or renew for the decided calls, by call id.
    """

    def __init__(
        self,
        tenant_id: uuid.UUID,
        known: Known,
        reading: Reading,
        models: KnownModels,
        without_place: Collection[str] = (),
    ) -> None:
        """`without_place`: sessions whose budgets in code found no place."""
        self.reading = reading
        self.changes: dict[str, HoldChange] = {}
        self._tenant_id = tenant_id
        self._known = known
        self._models = models
        self._without_place = without_place
        self._own = OwnHolds(reading.own, reading.limits)

    def read_again(self, reading: Reading) -> "Round":
        """The round anew, by a later reading under the same lock."""
        return Round(self._tenant_id, self._known, reading, self._models, self._without_place)

    def verdicts(
        self, requests: Sequence[CheckRequest], scopes: Sequence[CallScopes]
    ) -> list[Verdict]:
        """The verdicts on calls; each sees the holds of the calls before."""
        return list(map(self.verdict, requests, scopes))

    def verdict(self, request: CheckRequest, scopes: CallScopes) -> Verdict:
        """Decide one call, and note the change of its hold."""
        run = self.reading.runs.get(scopes.names.session_id or "")
        counted = [*scopes.keys, run.key] if run else scopes.keys
        facts = self._facts(request, scopes, run, counted)
        decision = decide(facts)
        own = self._own.get(request.call_id)
        if request.reserve and (own or (decision.admits and facts.may_hold)):
            change = HoldChange(facts.estimate, renews=False, names=scopes.document, limits=counted)
            self._hold(request.call_id, change, own, admits=decision.admits)
        return Verdict(decision, facts, run_raised=run.raised if run else None)

    def _hold(self, call_id: str, change: HoldChange, own: OwnHold | None, *, admits: bool) -> None:
        if own is None:
            self.changes[call_id] = change
            own = OwnHold(change.amounts, ADMITTED_NOW, change.limits, change.limits)
            self._own.set(call_id, own)
            return
        # The call runs already, whatever this decision is, so its hold never shrinks.
        amounts = own.amounts.at_least(change.amounts) if admits else own.amounts
        more = [key for key in change.limits if admits and key not in own.all_limits]
        before = self.changes.get(call_id, HoldChange(amounts, renews=True))
        limits = [*before.limits, *more]
        self.changes[call_id] = before._replace(amounts=amounts, limits=limits)
        self._own.set(
            call_id,
            own._replace(
                amounts=amounts,
                limits=[*own.limits, *more],
                all_limits=[*own.all_limits, *more],
            ),
        )

    def _facts(
        self,
        request: CheckRequest,
        scopes: CallScopes,
        run: RunLimit | None,
        counted: Collection[LimitKey],
    ) -> Facts:
        reading = self.reading
        expected = estimate(
            _asked(request), self._known.row, self._tenant_id, reading.now, self._models
        )
        own = self._own.get(request.call_id)
        taken = self._own.limits_without(request.call_id, counted)
        is_limited = self._known.authority.is_limited or bool(counted)
        return Facts(
            call_id=request.call_id,
            model=request.model,
            evaluated_at=reading.now,
            authority=self._known.authority,
            usage=self._usage_without(request.call_id),
            recorded=request.call_id in reading.recorded,
            wants_hold=request.reserve and own is None and is_limited,
            admitted_before=own is not None and own.amounts.covers(expected.amounts),
            estimate=expected.amounts,
            priced=expected.priced,
            tokens_known=expected.tokens_known,
            stopped=stop_of(self._tenant_id, self._known, request),
            most_runs=most_runs(request, self._without_place),
            limits=facts_at_scopes(scopes, run, taken, reading.now, own.all_limits if own else ()),
        )

    def _usage_without(self, call_id: str) -> Usage:
        reading = self.reading
        held, admitted = self._own.sums_without(call_id)
        return Usage(
            used=reading.used,
            held=reading.held.plus(held),
            running=reading.running + self._own.count_without(call_id),
            leased=reading.leased,
            **admissions_of(list(map(add, reading.admitted, admitted))),
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


def _asked(request: CheckRequest) -> Asked:
    return Asked(
        model=request.model,
        tokens=request.estimated_tokens,
        cents=request.estimated_cost_cents,
        microcents=request.estimated_cost_microcents,
    )
