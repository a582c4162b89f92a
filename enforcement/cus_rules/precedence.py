"""The order of enforcement checks (§15, locked), as data and pure functions.

`decide(facts)` is the verdict on a call. The facts hold everything that `decide` reads, the time
included, so deciding again on stored facts always gives the same verdict. No input, no output, no
clock, no Django.
"""

from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Final

import msgspec

from aos_sdk.cus_cost import MICROCENTS_PER_CENT, cents_of
from aos_sdk.cus_wire import CusEnforcementResult as Result
from aos_sdk.cus_wire import CusReasonCode as Code
from enforcement.cus_rules import reasons as reasons
from enforcement.cus_rules.at_scopes import found_at_scopes
from enforcement.cus_rules.facts import Authority, Facts, Policy, Usage
from enforcement.cus_rules.measures import Measure
from enforcement.cus_rules.reasons import Reason, Taken
from enforcement.cus_rules.scoped import WIDE, replaced_by
from integrations.cus_lifecycle.limits import LIMITS, Limit, Unit, Window
from telemetry.cus_money.amounts import Amounts


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict. `step` is the number of the check that decided (§15.1)."""

    result: Result
    step: int
    reasons: tuple[Reason, ...]
    degraded: bool = False
    retry_after_seconds: int | None = None

    @property
    def admits(self) -> bool:
        """Whether the call may run."""
        return self.result in (Result.ALLOWED, Result.WARNED)

    @property
    def is_plain(self) -> bool:
        """Whether all checks passed without a warning: such decisions are counted, not logged."""
        return self.reasons[0].code == Code.ALL_CHECKS_PASSED


class _Asked(msgspec.Struct, frozen=True):
    """Facts whose authority and usage are known, as the checks 4 to 8 need them."""

    facts: Facts
    authority: Authority
    usage: Usage
    taken: Amounts


_PASSED: Final = Decision(result=Result.ALLOWED, step=9, reasons=(reasons.all_checks_passed(),))
# The bounds of holds and of budgets in code throttle as the rates do, so they have their step
# (ruling F5b).
_HOLDS_STEP: Final = 6
_HARDNESS: Final = {result: rank for rank, result in enumerate(Result)}
# The hardest result at each enforcement level (§15.4, ruling F7).
CAPS: Final = {
    "visibility": Result.ALLOWED,
    "control_plane": Result.ALLOWED,
    "warn": Result.WARNED,
    "throttle": Result.THROTTLED,
    "block": Result.BLOCKED,
}


def decide(facts: Facts) -> Decision:
    """The verdict of §15 on these facts."""
    authority = facts.authority
    if authority is None:
        return _contended_unknown(facts.policy) if facts.contended else _unknown()
    for step, check in _AUTHORITY_CHECKS:
        found = check(authority)
        if found:
            return _hard(step, found)
    # A person's word, which every level heeds, whatever can be read of usage.
    if facts.stopped:
        return _hard(4, reasons.stopped(facts.stopped))
    if facts.contended:
        reason = reasons.contention(facts.policy.contention_seconds)
        return _capped(4, Result.THROTTLED, (reason,), authority, facts.policy)
    if facts.usage is None:
        unavailable = (reasons.evidence_unavailable(),)
        return Decision(result=Result.ALLOWED, step=4, reasons=unavailable, degraded=True)
    # The call would run uncounted, so every level refuses it (ruling F5).
    if facts.recorded:
        return _hard(4, reasons.call_recorded(facts.call_id))
    return _by_usage(_Asked(facts, authority, facts.usage, facts.usage.taken))


def _by_usage(asked: _Asked) -> Decision:
    # The sort is stable: within a step, limits stay in their table's order.
    found = sorted(_found(asked), key=itemgetter(0))
    if not found:
        return _PASSED
    step, result, _ = found[0]
    # Keep the first reason of each limit: an exceeded limit gets no warning beside.
    firsts = {_limit_of(reason): reason for _, _, reason in reversed(found)}
    kept = tuple(reason for _, _, reason in found if firsts[_limit_of(reason)] is reason)
    return _capped(step, result, kept, asked.authority, asked.facts.policy)


def _limit_of(reason: Reason) -> tuple[str | None, str | None]:
    # The budgets of a run, one of each unit, have one id.
    return reason.limit_id, reason.limit_type


def _unknown() -> Decision:
    return _hard(1, reasons.state_unknown())


def _contended_unknown(policy: Policy) -> Decision:
    """A process that is too busy to read a state that it never read: load is never absence (F6a)."""
    wait = policy.contention_seconds
    return Decision(
        result=Result.THROTTLED,
        step=4,
        reasons=(reasons.contention(wait),),
        retry_after_seconds=wait,
    )


def _hard(step: int, reason: Reason) -> Decision:
    return Decision(result=Result.HARD_BLOCKED, step=step, reasons=(reason,))


def _capped(
    step: int, uncapped: Result, found: tuple[Reason, ...], authority: Authority, policy: Policy
) -> Decision:
    result = min(uncapped, CAPS[authority.enforcement_level], key=_HARDNESS.__getitem__)
    wait = found[0].retry_after_seconds
    if result in (Result.ALLOWED, Result.WARNED):
        wait = None
    elif result == Result.THROTTLED and wait is not None and not _waits_for_a_day(found[0], policy):
        wait = min(wait, policy.longest_throttle_seconds)
    return Decision(result=result, step=step, reasons=found, retry_after_seconds=wait)


def _waits_for_a_day(reason: Reason, policy: Policy) -> bool:
    # Whoever waits a minute for a day's limit waits in vain (ruling F4a).
    if reason.window:
        return reason.window != Window.MINUTE
    return policy.windows.get(reason.limit_type or "") is Window.DAY


# --- Checks 1 to 3: authority. They block at every level. ---------------------------------------


def _not_serving(authority: Authority) -> Reason | None:
    if authority.deleted:
        return reasons.integration_not_found()
    return reasons.NOT_SERVING[authority.status]() if authority.status in _NOT_SERVING else None


def _in_error(authority: Authority) -> Reason | None:
    return reasons.integration_error() if authority.status == "error" else None


def _credentials_invalid(authority: Authority) -> Reason | None:
    return reasons.credentials_invalid() if authority.credential_state == "invalid" else None


_NOT_SERVING: Final = frozenset(reasons.NOT_SERVING)
_AUTHORITY_CHECKS: Final[tuple[tuple[int, Callable[[Authority], Reason | None]], ...]] = (
    (1, _not_serving),
    (2, _in_error),
    (3, _credentials_invalid),
)


# --- Checks 4 to 8: usage, as evidence has it. --------------------------------------------------


def _found(asked: _Asked) -> Iterator[tuple[int, Result, Reason]]:
    """The findings of checks 4 to 8, each with its step and its result; narrower scopes first."""
    facts = asked.facts
    if facts.most_runs:
        yield _HOLDS_STEP, Result.THROTTLED, _too_many_runs(facts)
    if not facts.limits:
        yield from _found_of_integration(asked, frozenset())
        return
    unpriced = asked.authority.allow_unpriced
    narrow = [fact for fact in facts.limits if fact.scope not in WIDE]
    wide = [fact for fact in facts.limits if fact.scope in WIDE]
    yield from found_at_scopes(facts, narrow, allow_unpriced=unpriced)
    yield from _found_of_integration(asked, replaced_by(facts.limits))
    yield from found_at_scopes(facts, wide, allow_unpriced=unpriced)


def _found_of_integration(
    asked: _Asked, replaced: frozenset[str]
) -> Iterator[tuple[int, Result, Reason]]:
    facts, authority = asked.facts, asked.authority
    percent = facts.policy.warning_percent
    for limit in LIMITS:
        value: int = getattr(authority, limit.column)
        if not value or limit.column in replaced:
            continue
        measure = _MEASURED[limit.unit](asked, limit, value)
        if not facts.admitted_before and (reason := _reached(asked, limit, measure)):
            yield limit.reached.step, _result_of(limit, reason), reason
        if limit.near and measure.is_near(percent):
            taken = _shown(asked, limit, measure)
            yield limit.near.step, limit.near.result, reasons.limit_near(limit, taken, percent)
    if facts.wants_hold and facts.is_at_bound:
        yield _HOLDS_STEP, Result.THROTTLED, _too_many_running(asked)


def _result_of(limit: Limit, reason: Reason) -> Result:
    # No wait gives a model its context window.
    return Result.BLOCKED if reason.code == Code.MODEL_UNPRICED else limit.reached.result


def _measured_cents(asked: _Asked, _limit: Limit, value: int) -> Measure:
    used, taken, estimate = asked.usage.used, asked.taken, asked.facts.estimate
    if asked.authority.is_exact:
        value *= MICROCENTS_PER_CENT
        return Measure(value, used.microcents, taken.microcents, estimate.microcents)
    return Measure(value, used.cents, taken.cents, estimate.cents)


def _measured_tokens(asked: _Asked, limit: Limit, value: int) -> Measure:
    estimate = asked.facts.estimate.tokens
    if limit.admissions:
        admitted: int = getattr(asked.usage, limit.admissions)
        return Measure(value, admitted, admitted, estimate)
    return Measure(value, asked.usage.used.tokens, asked.taken.tokens, estimate)


def _measured_calls(asked: _Asked, limit: Limit, value: int) -> Measure:
    admitted: int = getattr(asked.usage, limit.admissions)
    return Measure(value, admitted, admitted, 1)


# How a limit of each unit is measured.
_MEASURED: Final[Mapping[Unit, Callable[[_Asked, Limit, int], Measure]]] = {
    Unit.CENTS: _measured_cents,
    Unit.TOKENS: _measured_tokens,
    Unit.CALLS: _measured_calls,
}


def free_of_limits(facts: Facts) -> Iterator[tuple[Limit, int]]:
    """Each limit that is set, and what is free of it, in the unit in which it binds.

    Nothing where evidence was not read.
    """
    authority, usage = facts.authority, facts.usage
    if authority is None or usage is None:
        return
    asked = _Asked(facts, authority, usage, usage.taken)
    replaced = replaced_by(facts.limits)
    for limit in LIMITS:
        value: int = getattr(authority, limit.column)
        if value and limit.column not in replaced:
            yield limit, _MEASURED[limit.unit](asked, limit, value).free


def _reached(asked: _Asked, limit: Limit, measure: Measure) -> Reason | None:
    facts = asked.facts
    if not facts.is_estimated_in(limit.unit) and not asked.authority.allow_unpriced:
        return reasons.model_unpriced(facts.model, limit, getattr(asked.authority, limit.column))
    if not measure.is_exceeded:
        return None
    # Facts that an SDK sent may lack the window.
    window = facts.policy.windows.get(limit.kind, limit.window)
    taken, now = _shown(asked, limit, measure), facts.evaluated_at
    if facts.policy.tells_estimates and _asks_too_much(limit, measure):
        return reasons.estimate_exceeds_room(limit, taken, window, now)
    return reasons.limit_reached(limit, taken, window, now)


def _asks_too_much(limit: Limit, measure: Measure) -> bool:
    """Whether a smaller call would be admitted, now or, in a window that slides, ever."""
    if limit.unit is Unit.CALLS:
        return False
    return measure.estimate > measure.limit if limit.admissions else measure.has_room


def _shown(asked: _Asked, limit: Limit, measure: Measure) -> Taken:
    """A measure as reasons show it: microcents as cents, rounded up."""
    value, used, taken, estimate = measure[:4]
    if limit.admissions:
        # `used` counts calls that run and calls that ended together.
        return Taken(value, used, None, estimate)
    if limit.unit is Unit.CENTS and asked.authority.is_exact:
        numbers = (value, used, taken - used, estimate)
        return Taken(*map(cents_of, numbers))
    return Taken(value, used, taken - used, estimate)


def _too_many_runs(facts: Facts) -> Reason:
    return reasons.runs_exceeded(facts.most_runs, facts.policy.contention_seconds)


def _too_many_running(asked: _Asked) -> Reason:
    return reasons.holds_exceeded(
        asked.authority.max_live_holds, asked.usage.running, asked.facts.policy.contention_seconds
    )
