"""What proposed limits would have decided of past calls. Pure: past calls in, verdicts out.

The calls go through the ladder in the order of their admission, each beside what was used, held and
admitted at its moment: what the replay itself let in before. A call that the replay refuses neither
holds nor costs anything afterwards.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

from aos_sdk.cus_limit_scopes import CusCallNames
from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_rules.facts import Authority, Facts, Usage
from enforcement.cus_rules.precedence import Decision, decide
from enforcement.cus_what_if.at_scopes import Counting, LimitsAtScopes
from enforcement.cus_what_if.in_flight import MOST_PARTS, GivenUp, InFlight, Landing
from enforcement.cus_what_if.rates import Rates
from enforcement.cus_what_if.remembered import Remembered
from integrations.cus_lifecycle.limits import month_end
from telemetry.cus_money.amounts import LEAST, Amounts

_NOTHING: Final = Amounts()


class AdmittedBy(StrEnum):
    """What admitted a call then. `NOTHING`: no check held anything for it."""

    CHECK = "check"
    LEASE = "lease"
    DEGRADED = "degraded"
    NOTHING = "nothing"


class Cause(StrEnum):
    """Why the replay may decide otherwise than was decided then, under the same limits.

    `LIMITS`: none of the other causes, so other limits applied then.
    """

    LEASE = "lease"
    DEGRADED = "degraded"
    UNCHECKED = "unchecked"
    IN_FLIGHT = "in_flight"
    LIMITS = "limits"


class PastCall(NamedTuple):
    """A call as evidence has it: one that ran, or one that was refused before it ran.

    `at` is when it was decided, `landed_at` when its record came; None if it was refused.
    `spent` is what budgets counted for it, `estimate` what was held for it; None if nothing was.
    `is_revised`: a `Revision` names it. `names`: whose it is, for limits at scopes.
    """

    id: Any
    call_id: str
    model: str | None
    at: datetime
    landed_at: datetime | None
    spent: Amounts
    estimate: Amounts | None
    priced: bool
    tokens_known: bool
    then: Result
    admitted_by: AdmittedBy
    is_revised: bool = False
    names: CusCallNames = CusCallNames()


class Revision(NamedTuple):
    """A correction of a call's cost, or the settlement of a call whose usage was unknown.

    `adds` counts in the window in which the revision came, or in the call's if that is `of_month`;
    `takes` is what the call's window no longer counts. `call_at` is when the call's record came.
    """

    at: datetime
    call_id: Any
    call_at: datetime
    adds: Amounts
    takes: Amounts
    of_month: bool
    names: CusCallNames = CusCallNames()


Event: TypeAlias = "PastCall | Revision"


class Outcome(NamedTuple):
    """A past call and the verdict on it now. `in_flight` counts the calls that ran beside it."""

    call: PastCall
    decision: Decision
    in_flight: int

    @property
    def cause(self) -> Cause | None:
        """Why the verdict is another than it was; None if it is the same."""
        if self.decision.result == self.call.then:
            return None
        by = self.call.admitted_by
        if by is not AdmittedBy.CHECK:
            return _CAUSES[by]
        return Cause.IN_FLIGHT if self.in_flight else Cause.LIMITS


_CAUSES: Final = {
    AdmittedBy.LEASE: Cause.LEASE,
    AdmittedBy.DEGRADED: Cause.DEGRADED,
    AdmittedBy.NOTHING: Cause.UNCHECKED,
}


class Replay:
    """Decides past calls by an authority's limits, and by limits at scopes.

    `used` is what the month of `began` had used when the first event came, `admitted_today` the
    calls that its day had admitted. Calls before `since` are not judged: they only hold, cost and
    count.
    """

    def __init__(
        self,
        authority: Authority,
        scopes: LimitsAtScopes,
        *,
        used: Amounts,
        admitted_today: int,
        began: datetime,
        since: datetime,
        most_parts: int = MOST_PARTS,
    ) -> None:
        self._authority = authority
        self._scopes = scopes
        self._since = since
        self._used = used
        self._month_end = month_end(began)
        self._held = _NOTHING
        self._running = 0
        self._in_flight = InFlight(len(scopes.limits), most_parts=most_parts)
        self._rates = Rates(began, admitted_today)
        self._number = 0
        # Calls that were refused then and run now: since when, and what was counted for them. And
        # calls that run no more, whose revisions do not count.
        self._runs_already = Remembered[str, tuple[datetime, Amounts]]()
        self._runs_no_more = Remembered[Any, None]()
        # What calls of each model cost that ran: their number, and the sum.
        self._costs = Remembered[str | None, tuple[int, Amounts]]()

    @property
    def given_up(self) -> GivenUp:
        """What the replay gave up so far to stay small."""
        return GivenUp(
            values=self._scopes.forgotten,
            landings=self._in_flight.landed_early,
            otherwise=self._runs_already.forgotten + self._runs_no_more.forgotten,
        )

    def outcomes(self, events: Iterable[Event]) -> Iterator[Outcome]:
        """The verdicts on the calls, in their order. `events` must be in the order of `at`."""
        for event in events:
            self._pass_time(event.at)
            counting = self._scopes.counting(event.names)
            if isinstance(event, Revision):
                self._revise(event, counting)
            elif event.at < self._since:
                self._admit(event, event.estimate, counting)
            elif event.call_id in self._runs_already:
                self._attempted_again(event, counting)
            else:
                yield self._judged(event, counting)

    def _judged(self, call: PastCall, counting: Counting) -> Outcome:
        estimate = call.spent.at_least(LEAST) if call.estimate is None else call.estimate
        facts = Facts(
            call_id=call.call_id,
            model=call.model,
            evaluated_at=call.at,
            authority=self._authority,
            usage=self._usage(call.at),
            wants_hold=self._authority.is_limited or bool(counting),
            estimate=estimate,
            priced=call.priced,
            tokens_known=call.tokens_known,
            limits=self._scopes.facts(counting, call.names, call.at),
        )
        decision = decide(facts)
        outcome = Outcome(call, decision, self._running)
        if not decision.admits:
            if call.is_revised:
                self._runs_no_more.keep(call.id, None)
        elif call.landed_at is None:
            self._run_now(call, estimate, counting)
        else:
            self._admit(call, estimate if facts.may_hold else None, counting)
        return outcome

    def _usage(self, now: datetime) -> Usage:
        admitted = self._rates.admissions(now)
        return Usage(
            used=self._used if min(self._used) >= 0 else self._used.at_least(_NOTHING),
            held=self._held,
            running=self._running,
            admitted=admitted.admitted,
            admitted_tokens=admitted.admitted_tokens,
            admitted_today=admitted.admitted_today,
        )

    def _admit(self, call: PastCall, hold: Amounts | None, counting: Counting) -> None:
        """Let a call run that ran."""
        if call.landed_at is None:
            return
        if hold is not None:
            self._held = _sum(self._held, hold)
            self._running += 1
        self._begin(call.at, hold, counting)
        count, sum_ = self._costs.get(call.model) or (0, _NOTHING)
        self._costs.keep(call.model, (count + 1, _sum(sum_, call.spent)))
        self._land(call, call.at, hold, counting)

    def _begin(self, at: datetime, hold: Amounts | None, counting: Counting) -> None:
        self._rates.admit(at, hold.tokens if hold else 0)
        self._scopes.admit(counting, at, hold)

    def _run_now(self, call: PastCall, estimate: Amounts, counting: Counting) -> None:
        """Let a call run that was refused then. It lands at once, for its likely cost."""
        cost = self._likely_cost(call.model, estimate)
        self._runs_already.keep(call.call_id, (call.at, cost))
        self._begin(call.at, None, counting)
        self._has_landed(Landing(call.at, 0, call.at, cost, None, counting))

    def _attempted_again(self, call: PastCall, counting: Counting) -> None:
        """An earlier attempt of the call was let in. If this one ran, its record tells the cost."""
        if call.landed_at is not None and (ran := self._runs_already.take(call.call_id)):
            ran_at, cost = ran
            self._used = _less(self._used, cost)
            self._scopes.revise(counting, call.at, ran_at, cost, calls=1, sign=-1)
            self._land(call, ran_at, None, counting)

    def _land(
        self, call: PastCall, admitted_at: datetime, hold: Amounts | None, counting: Counting
    ) -> None:
        """Let the record of a call come in its time, or now, if too many are to come."""
        assert call.landed_at is not None
        self._number += 1
        landing = Landing(call.landed_at, self._number, admitted_at, call.spent, hold, counting)
        if early := self._in_flight.add(landing, call.at):
            self._has_landed(early)

    def _pass_time(self, moment: datetime) -> None:
        """Land what has landed by a moment, and begin its month."""
        for landing in self._in_flight.come_by(moment):
            self._begin_month_of(landing.at)
            self._has_landed(landing)
        self._begin_month_of(moment)

    def _has_landed(self, landing: Landing) -> None:
        at, _, admitted_at, spent, hold, counting = landing
        if hold is not None:
            self._held = _less(self._held, hold)
            self._running -= 1
        self._used = _sum(self._used, spent)
        self._rates.land(at, admitted_at, hold.tokens if hold else 0, spent.tokens)
        self._scopes.land(counting, at, admitted_at, hold, spent)

    def _begin_month_of(self, moment: datetime) -> None:
        if moment >= self._month_end:
            self._used = _NOTHING
            self._month_end = month_end(moment)

    def _revise(self, revision: Revision, counting: Counting) -> None:
        if revision.call_id in self._runs_no_more:
            return
        at, call_at = revision.at, revision.call_at
        is_of_this_month = month_end(call_at) == self._month_end
        if is_of_this_month or not revision.of_month:
            self._used = _sum(self._used, revision.adds)
        if is_of_this_month:
            self._used = _less(self._used, revision.takes)
        self._scopes.revise(counting, at, call_at if revision.of_month else at, revision.adds)
        self._scopes.revise(counting, at, call_at, revision.takes, sign=-1)

    def _likely_cost(self, model: str | None, estimate: Amounts) -> Amounts:
        """What a call may have cost that never ran: as its model's calls did, at most its estimate."""
        count, sum_ = self._costs.get(model) or (0, _NOTHING)
        if not count:
            return estimate
        return Amounts._make(min(a // count, b) for a, b in zip(sum_, estimate, strict=True))


# Written out, because a replay of a million calls spends much of its time here.
def _sum(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(one[0] + other[0], one[1] + other[1], one[2] + other[2])


def _less(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(one[0] - other[0], one[1] - other[1], one[2] - other[2])
