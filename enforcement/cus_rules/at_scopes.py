"""What limits at scopes find of a call, each at the step of its kind (§15.1). Pure."""

from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from aos_sdk.cus_cost import cents_of, format_cost
from aos_sdk.cus_limit_scopes import CusLimitScope
from aos_sdk.cus_wire import CusEnforcementResult as Result
from aos_sdk.cus_wire import CusReasonCode as Code
from enforcement.cus_rules import reasons as reasons
from enforcement.cus_rules.facts import Facts
from enforcement.cus_rules.measures import Measure
from enforcement.cus_rules.reasons import Reason
from enforcement.cus_rules.scoped import WIDE, ScopedFact
from integrations.cus_lifecycle.limits import BUDGET, RATE, TOKENS, Limit, Unit, Window
from integrations.cus_lifecycle.scope_words import named_text

# The integration's own limit whose steps, codes and name limits of a unit have.
_LIKE = {Unit.CENTS: BUDGET, Unit.TOKENS: TOKENS}
# Scopes whose limits are exceeded with codes of their own; others have those of their unit.
_EXCEEDED = {
    CusLimitScope.SESSION: Code.SESSION_LIMIT_EXCEEDED,
    CusLimitScope.END_USER: Code.END_USER_LIMIT_EXCEEDED,
    CusLimitScope.AGENT: Code.AGENT_LIMIT_EXCEEDED,
    CusLimitScope.TAG: Code.TAG_LIMIT_EXCEEDED,
}


def found_at_scopes(
    facts: Facts, limits: Iterable[ScopedFact], *, allow_unpriced: bool
) -> Iterator[tuple[int, Result, Reason]]:
    """The findings of limits, in their order, each with its step and its result."""
    for fact in limits:
        like = RATE if fact.is_rate else _LIKE[fact.unit]
        measure = fact.measure(facts.estimate)
        if not facts.is_admitted_by(fact):
            reason = _reached(facts, fact, like, measure, allow_unpriced=allow_unpriced)
            if reason:
                # No wait gives a model its price.
                unpriced = reason.code == Code.MODEL_UNPRICED
                yield like.reached.step, Result.BLOCKED if unpriced else Result(fact.result), reason
        if like.near and measure.is_near(fact.warning_percent):
            yield like.near.step, like.near.result, _near(fact, like, measure)


def _reached(
    facts: Facts, fact: ScopedFact, like: Limit, measure: Measure, *, allow_unpriced: bool
) -> Reason | None:
    if not facts.is_estimated_in(fact.unit) and not allow_unpriced:
        return _of(fact, reasons.model_unpriced(facts.model, _LIKE[fact.unit], _shown(fact)))
    if not measure.is_exceeded:
        return None
    too_much = fact.unit is not Unit.CALLS and (
        measure.estimate > measure.limit if fact.window is Window.MINUTE else measure.has_room
    )
    exceeded = _EXCEEDED.get(CusLimitScope(fact.scope), like.reached.code)
    what, asks = _doing(fact, facts.evaluated_at), "Set max_tokens, or ask for less"
    return _of(
        fact,
        Reason(
            code=Code.ESTIMATE_EXCEEDS_ROOM if too_much else exceeded,
            message=_message(fact, measure, "room for this call" if too_much else "room"),
            action=f"{asks}; else {what[0].lower()}{what[1:]}" if too_much else what,
            limit_type=like.kind,
            retry_after_seconds=wait_of(fact.window, facts.evaluated_at),
        ),
        measure,
    )


def wait_of(window: Window, now: datetime) -> int | None:
    """Seconds until a window has room again; None for one that never ends."""
    return None if window is Window.LIFE else window.wait_seconds(now, window.end(now))


def _doing(fact: ScopedFact, now: datetime) -> str:
    end = fact.window.end(now)
    if end:
        return f"Increase limit or wait until {end.day} {end:%B}"
    return "Increase limit" if fact.window is Window.LIFE else f"Wait {wait_of(fact.window, now)} s"


def _message(fact: ScopedFact, measure: Measure, room: str) -> str:
    may = "may cost" if fact.unit is Unit.CENTS else "may take"
    asked = f", and this call {may} {_text(fact, measure.estimate)}"
    elsewhere = f", {_text(fact, measure.elsewhere)} allotted to other integrations"
    return (
        f"The limit of {_limit(fact, measure)} has no {room}: {_text(fact, measure.used)} used, "
        f"{_text(fact, measure.taken - measure.used)} held by running calls"
        f"{elsewhere if measure.lacks_allotment else ''}"
        f"{'' if fact.unit is Unit.CALLS else asked}."
    )


def _near(fact: ScopedFact, like: Limit, measure: Measure) -> Reason:
    assert like.near
    held = measure.taken - measure.used
    return _of(
        fact,
        Reason(
            code=like.near.code,
            message=f"{_text(fact, measure.used)} used and {_text(fact, held)} held of the limit of "
            f"{_limit(fact, measure)}: {fact.warning_percent} % or more.",
            action="Increase limit, or expect calls to be refused",
            limit_type=like.kind,
            threshold_percent=fact.warning_percent,
        ),
        measure,
    )


def _limit(fact: ScopedFact, measure: Measure) -> str:
    named = "" if fact.unit is Unit.CENTS else f" {fact.unit}"
    return f"{_text(fact, measure.limit)}{named} {fact.window.over} of {whose(fact)}"


def whose(fact: ScopedFact) -> str:
    """Whose calls a limit counts, for people."""
    if fact.scope in WIDE:
        return f"this {fact.scope}"
    return named_text(fact.scope, fact.value, fact.tag)


def _of(fact: ScopedFact, reason: Reason, measure: Measure | None = None) -> Reason:
    """The reason with the limit that it is about, and its values in cents, tokens or calls."""
    values = {}
    if measure:
        values = {
            "limit_value": _shown(fact),
            "current_value": _whole(fact, measure.used),
            "held_value": _whole(fact, measure.taken - measure.used),
        }
    value = f"{fact.tag}={fact.value}" if fact.tag else fact.value
    return msgspec.structs.replace(
        reason,
        limit_id=fact.id,
        scope=fact.scope,
        scope_value=value,
        window=fact.window,
        **values,
    )


def _shown(fact: ScopedFact) -> int:
    return _whole(fact, fact.amount)


def _whole(fact: ScopedFact, amount: int) -> int:
    """Microcents as cents, rounded up; other amounts as they are."""
    return cents_of(amount) if fact.is_exact else amount


def written(fact: ScopedFact, amount: int) -> str:
    """An amount of a limit with its unit, for people."""
    return _text(fact, amount) if fact.unit is Unit.CENTS else f"{amount:,} {fact.unit}"


def _text(fact: ScopedFact, amount: int) -> str:
    whole = _whole(fact, amount)
    return format_cost(whole) if fact.unit is Unit.CENTS else f"{whole:,}"
