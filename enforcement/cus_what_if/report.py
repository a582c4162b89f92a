"""The report of a simulation: how many calls would have been decided how, and the money."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date
from typing import Any, Final

from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_rules.reasons import Reason
from enforcement.cus_what_if.in_flight import GivenUp
from enforcement.cus_what_if.replay import Outcome
from enforcement.cus_what_if.report_limits import LimitsOfReport
from enforcement.cus_what_if.report_sums import Sum
from telemetry.cus_money.amounts import Amounts

RESULTS: Final = (Result.ALLOWED, Result.WARNED, Result.THROTTLED, Result.BLOCKED)
# So many calls of each result that is not `allowed` are listed, the earliest first.
LISTED: Final = 100
_MODELS: Final = 1_000
_OTHER_MODELS: Final = "(other models)"


class Report:
    """Gathers outcomes, in their order. `scoped`: the limits at scopes of the proposal."""

    def __init__(self, scoped: Sequence[Mapping[str, Any]] = ()) -> None:
        self._limits = LimitsOfReport(scoped)
        self._now = {result: Sum() for result in RESULTS}
        self._then: Counter[Result] = Counter()
        self._moves: Counter[tuple[Result, Result]] = Counter()
        self._causes: Counter[str] = Counter()
        self._reasons: Counter[tuple[str, str | None]] = Counter()
        self._days: dict[date, dict[Result, Sum]] = {}
        self._models: dict[str, Sum] = {}
        self._listed: dict[Result, list[dict[str, Any]]] = {result: [] for result in RESULTS}
        self._let_in = Sum()
        self._without_estimate = 0

    def add(self, outcome: Outcome) -> None:
        """Count the verdict on a call."""
        call, decision = outcome.call, outcome.decision
        result, then = decision.result, call.then
        self._then[then] += 1
        self._now[result].add(call.spent)
        day = call.at.astimezone(UTC).date()
        if day not in self._days:
            self._days[day] = {one: Sum() for one in RESULTS}
        self._days[day][result].add(call.spent)
        if call.estimate is None:
            self._without_estimate += 1
        if (cause := outcome.cause) is not None:
            self._moves[then, result] += 1
            self._causes[cause.value] += 1
        if result is not Result.ALLOWED:
            self._note(outcome, decision.reasons[0])
        if call.landed_at is None and decision.admits:
            self._let_in.add(call.estimate or Amounts())

    def _note(self, outcome: Outcome, reason: Reason) -> None:
        call, result = outcome.call, outcome.decision.result
        self._reasons[reason.code.value, reason.limit_type] += 1
        self._limits.add(outcome, reason)
        if not outcome.decision.admits:
            name = call.model or ""
            if name not in self._models and len(self._models) >= _MODELS:
                name = _OTHER_MODELS
            self._models.setdefault(name, Sum()).add(call.spent)
        if len(self._listed[result]) < LISTED:
            self._listed[result].append(_listed(outcome, reason))

    def as_json(self, *, not_judged: dict[str, int], given_up: GivenUp) -> dict[str, Any]:
        """The report, as `SimulationReport` of the API describes it."""
        refused = (Result.THROTTLED, Result.BLOCKED)
        return {
            "calls": sum(self._then.values()),
            "would_be": {result.value: self._now[result].as_json() for result in RESULTS},
            "were": {result.value: self._then[result] for result in RESULTS},
            "not_spent": {
                "counted_cents": sum(self._now[result].cents for result in refused),
                "cost_microcents": sum(self._now[result].microcents for result in refused),
            },
            "would_run_now": self._let_in.as_json(),
            "reasons": [
                {"code": code, "limit_type": limit_type, "calls": calls}
                for (code, limit_type), calls in self._reasons.most_common()
            ],
            "limits": self._limits.as_json(most=LISTED),
            "days": [
                {"day": day.isoformat()}
                | {result.value: sums[result].as_json() for result in RESULTS}
                for day, sums in sorted(self._days.items())
            ],
            "refused_models": [
                {"model": name, **sums.as_json()}
                for name, sums in sorted(self._models.items(), key=_dearest_first)
            ],
            "listed": [
                one
                for result in (Result.BLOCKED, Result.THROTTLED, Result.WARNED)
                for one in self._listed[result]
            ],
            "differences": {
                "calls": sum(self._causes.values()),
                "moves": [
                    {"was": was.value, "would_be": now.value, "calls": calls}
                    for (was, now), calls in self._moves.most_common()
                ],
                "causes": dict(self._causes),
            },
            "without_estimate": self._without_estimate,
            "not_judged": not_judged,
            "notes": self._limits.notes(given_up),
        }


def _dearest_first(pair: tuple[str, Sum]) -> int:
    return -pair[1].microcents


def _listed(outcome: Outcome, reason: Reason) -> dict[str, Any]:
    call = outcome.call
    return {
        "call_id": call.call_id,
        "usage_id": str(call.id) if call.landed_at else None,
        "model": call.model,
        "decided_at": call.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "was": call.then.value,
        "would_be": outcome.decision.result.value,
        "code": reason.code.value,
        "message": reason.message,
        "counted_cents": call.spent.cents,
        "cost_microcents": call.spent.microcents,
        "admitted_by": call.admitted_by.value if call.landed_at else None,
        "cause": cause.value if (cause := outcome.cause) else None,
    }
