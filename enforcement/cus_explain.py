"""Why a decision came out as it did, from its stored facts alone (ruling F9)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_models import CusEnforcementDecision
from enforcement.cus_precedence import CAPS, Facts, Usage, decide

STEPS = {
    1: "1, is the integration enabled",
    2: "2, is the integration in error",
    3: "3, are the credentials valid",
    4: "4, the budget",
    5: "5, the token limit",
    6: "6, the rate limit",
    7: "7, is the budget nearly used",
    8: "8, are the tokens nearly used",
    9: "9, all checks passed",
}
_LIKE_NEW: dict[str, Any] = {"status": "enabled", "credential_state": "valid", "deleted": False}


@dataclass(frozen=True)
class Explanation:
    """A decision explained. `identical` is None where its facts are not ours to decide on."""

    decision: CusEnforcementDecision
    step: str
    facts: list[tuple[str, Any]]
    changes: list[str]
    identical: bool | None

    @property
    def verdict(self) -> str:
        """What deciding again came to, in words."""
        if self.identical is None:
            return "not possible: the SDK's facts are not in the server's form"
        return "identical" if self.identical else "DIFFERENT"


def explain(decision: CusEnforcementDecision) -> Explanation:
    """Decide again on the stored facts, and try what would have come out otherwise."""
    step = STEPS.get(decision.step or 0, "unknown")
    stored = list(_flat(decision.facts))
    try:
        facts = msgspec.convert(decision.facts, Facts)
    except msgspec.ValidationError:
        return Explanation(decision, step, stored, [], None)
    again = decide(facts)
    identical = (
        again.result == decision.result
        and again.degraded == decision.degraded
        and again.step == decision.step
        and msgspec.to_builtins(again.reasons) == _tuples(decision.reasons)
    )
    changes = [
        f"{what}: {result}" for what, result in _outcomes(facts) if result != decision.result
    ]
    return Explanation(decision, step, stored, changes, identical)


def _tuples(reasons: Any) -> Any:
    return tuple(reasons) if isinstance(reasons, list) else reasons


def _outcomes(facts: Facts) -> Iterator[tuple[str, Result]]:
    """Single changes of the facts, and the result that each would have had."""
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
    yield "an enabled integration with a valid credential", replace(facts, authority=serving)
    yield "a call id of its own", replace(facts, recorded=False)
    for name in ("budget_limit_cents", "token_limit_month", "rate_limit_rpm", "max_live_holds"):
        if getattr(authority, name):
            lifted = replace(authority, **{name: 0})
            yield f"no {name}", replace(facts, authority=lifted)
    yield "a priced model", replace(facts, priced=True, tokens_known=True)
    yield (
        "the next month, with nothing used",
        replace(facts, usage=replace(facts.usage, used=Usage().used)),
    )
    alone = replace(facts.usage, held=Usage().held, running=0)
    yield "no other call running", replace(facts, usage=alone)
    yield "an estimate of nothing", replace(facts, estimate=Usage().used)
    for level in CAPS:
        if level != authority.enforcement_level:
            yield (
                f"level {level}",
                replace(facts, authority=replace(authority, enforcement_level=level)),
            )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value
