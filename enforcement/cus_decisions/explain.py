"""Why a decision came out as it did, from its stored facts alone (ruling F9)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from aos_sdk.cus_wire import CusEnforcementResult as Result
from aos_sdk.cus_wire import CusReasonCode as Code
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_rules.at_scopes import whose
from enforcement.cus_rules.facts import Facts, Usage, facts_of
from enforcement.cus_rules.precedence import CAPS, Decision, decide
from enforcement.cus_rules.reasons import Reason
from integrations.cus_lifecycle.limits import BUDGET, LIMITS, RATES, admissions_of

_RUNGS = [rung for limit in LIMITS for rung in (limit.reached, limit.near) if rung]
TITLES: Final[Mapping[int, str]] = {
    1: "is the integration enabled",
    2: "is the integration in error",
    3: "are the credentials valid",
    # Where several limits are checked at one step, the first gives the step its title.
    **{rung.step: rung.title for rung in reversed(_RUNGS)},
    9: "all checks passed",
}
# What is found at step 4 before the budget itself is looked at.
_BEFORE_THE_BUDGET: Final[Mapping[str, str]] = {
    Code.STOPPED: "is anything stopped that the call names",
    Code.CALL_RECORDED: "is the call recorded already",
    Code.CONTENTION: "is there a turn in time",
    Code.EVIDENCE_UNAVAILABLE: "can the usage be read",
}
_BOUNDS: Final = {
    **{limit.column: limit.label.removesuffix(" (cents)") for limit in LIMITS},
    "max_live_holds": "calls that may be held for at once",
}
_BUDGET_STEP: Final = BUDGET.reached.step
# A reason's wording may change with any release; its code and values may not.
_WORDING = {"message", "action"}
_LIKE_NEW: dict[str, Any] = {"status": "enabled", "credential_state": "valid", "deleted": False}


@dataclass(frozen=True)
class Explanation:
    """A decision explained. `identical` is None if its facts are not in the server's form."""

    decision: CusEnforcementDecision
    step: str
    facts: list[tuple[str, Any]]
    changes: list[str]
    identical: bool | None

    @property
    def verdict(self) -> str:
        """The outcome of deciding again, in words."""
        if self.identical is None:
            return "not possible: the SDK's facts are not in the server's form"
        return "identical" if self.identical else "DIFFERENT"


def explain(decision: CusEnforcementDecision) -> Explanation:
    """Decide again on the stored facts, and find changes of facts that alter the result."""
    title = title_of(decision)
    step = f"{decision.step}, {title}" if title else "unknown"
    stored = list(_flat(decision.facts))
    try:
        facts = facts_of(decision.facts)
    except msgspec.ValidationError:
        return Explanation(decision, step, stored, [], None)
    identical = is_same(decide(facts), decision)
    changes = [
        f"{what}: {result}" for what, result in _outcomes(facts) if result != decision.result
    ]
    return Explanation(decision, step, stored, changes, identical)


def is_same(again: Decision, stored: CusEnforcementDecision) -> bool:
    """Whether a repeated decision equals the stored decision.

    Result, step, and each reason's code and values count; wording does not. A stored decision of
    an older release lacks values that reasons got later; those values are not compared.
    """
    return (
        again.result == stored.result
        and again.step == stored.step
        and again.degraded == stored.degraded
        and len(again.reasons) == len(stored.reasons)
        and all(map(_is_same_reason, again.reasons, stored.reasons))
    )


def _is_same_reason(again: Reason, stored: Any) -> bool:
    # A reason from an SDK may have any type.
    if not isinstance(stored, Mapping):
        return False
    values = {name: value for name, value in stored.items() if name not in _WORDING}
    now: dict[str, Any] = msgspec.to_builtins(again)
    return "code" in values and all(
        name in now and now[name] == value for name, value in values.items()
    )


def title_of(decision: CusEnforcementDecision) -> str | None:
    """What the step that decided asks, by the decision's reason; None for an unknown step."""
    title = TITLES.get(decision.step or 0)
    return (
        _BEFORE_THE_BUDGET.get(decision.reason, title) if decision.step == _BUDGET_STEP else title
    )


def _outcomes(facts: Facts) -> Iterator[tuple[str, Result]]:
    """Single changes of the facts, each with its result."""
    for what, changed in _changed(facts):
        yield what, decide(changed).result


def _changed(facts: Facts) -> Iterator[tuple[str, Facts]]:
    replace = msgspec.structs.replace
    authority = facts.authority
    if authority is None or facts.usage is None:
        if authority is not None:
            yield (
                "had usage been read, and been nothing",
                replace(facts, usage=Usage(), contended=False),
            )
        return
    serving = replace(authority, **_LIKE_NEW)
    if facts.stopped:
        yield "no stop", replace(facts, stopped=None)
    yield "an enabled integration with a valid credential", replace(facts, authority=serving)
    yield "a call id of its own", replace(facts, recorded=False)
    for name, title in _BOUNDS.items():
        if getattr(authority, name):
            lifted = replace(authority, **{name: 0})
            yield f"no limit of {title}", replace(facts, authority=lifted)
    yield from _without_limits(facts)
    yield "a priced model", replace(facts, priced=True, tokens_known=True)
    yield (
        "the next month, with nothing used",
        replace(facts, usage=replace(facts.usage, used=Usage().used)),
    )
    alone = replace(facts.usage, held=Usage().held, running=0)
    yield "no other call running", replace(facts, usage=alone)
    unhurried = replace(facts.usage, **admissions_of([0] * len(RATES)))
    yield "nothing admitted within the windows of rates", replace(facts, usage=unhurried)
    yield "an estimate of nothing", replace(facts, estimate=Usage().used)
    for level in CAPS:
        if level != authority.enforcement_level:
            yield (
                f"level {level.replace('_', ' ')}",
                replace(facts, authority=replace(authority, enforcement_level=level)),
            )


def _without_limits(facts: Facts) -> Iterator[tuple[str, Facts]]:
    for place, limit in enumerate(facts.limits):
        others = facts.limits[:place] + facts.limits[place + 1 :]
        yield f"no limit of {whose(limit)}", msgspec.structs.replace(facts, limits=others)
    if any(limit.elsewhere for limit in facts.limits):
        alone = tuple(msgspec.structs.replace(limit, elsewhere=0) for limit in facts.limits)
        yield "nothing left to other integrations", msgspec.structs.replace(facts, limits=alone)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value
