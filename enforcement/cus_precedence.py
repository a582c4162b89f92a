"""The order of enforcement checks (§15, locked), as data and pure functions.

`decide(facts)` says what may happen to a call. Everything it looks at is in the facts, the
time included, so a decision that was stored with its facts can be made again for ever and
comes out the same. No input, no output, no clock, no Django.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from aos_sdk.cus_wire import CusEnforcementResult as Result
from aos_sdk.cus_wire import CusReasonCode as Code
from enforcement import cus_reasons as reasons
from enforcement.cus_reasons import Reason
from telemetry.cus_money.amounts import Amounts

WARNING_PERCENT: Final = 80
# What a throttled caller is told to wait (§15.3: about a minute), and one who met contention.
_RATE_SECONDS: Final = 60
_CONTENTION_SECONDS: Final = 1


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """An integration as decisions see it. A limit of 0 is no limit (ruling F3)."""

    status: str
    credential_state: str
    enforcement_level: str
    budget_limit_cents: int
    budget_basis: str
    token_limit_month: int
    rate_limit_rpm: int
    allow_unpriced: bool
    config_version: int
    deleted: bool = False
    # How many calls may be held for at once (ruling F5b). 0 means unlimited.
    max_live_holds: int = 0

    @property
    def is_limited(self) -> bool:
        """Whether any limit is set; without one nothing is held for calls (ruling F5b)."""
        return bool(self.budget_limit_cents or self.token_limit_month or self.rate_limit_rpm)

    @property
    def is_exact(self) -> bool:
        """Whether the budget binds exact microcents, not each call's cents rounded up (M3)."""
        return self.budget_basis == "exact"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What evidence says of an integration's month, without the call that is asked about."""

    used: Amounts = Amounts()
    held: Amounts = Amounts()
    leased: Amounts = Amounts()
    # How many holds there are.
    running: int = 0
    # Calls that were let in within the last 60 seconds (ruling F4).
    admitted: int = 0

    @property
    def taken(self) -> Amounts:
        """Used, held and leased together."""
        return self.used.plus(self.held).plus(self.leased)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decision depends on; as JSON, it is what the decision log keeps (ruling F9).

    `authority` is None where no state of the integration is known; `usage` is None where
    evidence was not read, because it could not be (or, if `contended`, for want of the lock).
    """

    call_id: str
    model: str | None = None
    evaluated_at: datetime
    authority: Authority | None
    usage: Usage | None
    contended: bool = False
    # The call's id is stored already.
    recorded: bool = False
    # A hold is to be taken for the call if it is let in.
    wants_hold: bool = False
    # The call was let in before and its hold still covers the estimate: asked again, it renews.
    admitted_before: bool = False
    estimate: Amounts = Amounts()
    # Whether the model has a price, and whether anything says how many tokens the call may take.
    priced: bool = True
    tokens_known: bool = True

    @property
    def may_hold(self) -> bool:
        """Whether a hold is wanted, and the bound of holds has room for it."""
        return self.wants_hold and not self.is_at_bound

    @property
    def is_at_bound(self) -> bool:
        """Whether as many calls are held for as may be at once."""
        bound = self.authority.max_live_holds if self.authority else 0
        return bool(bound) and self.usage is not None and self.usage.running >= bound


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
        """Whether there is nothing to say but that all checks passed: counted, not logged."""
        return self.reasons[0].code == Code.ALL_CHECKS_PASSED


class _Asked(msgspec.Struct, frozen=True):
    """Facts once it is sure that the checks 4 to 8 can be made."""

    facts: Facts
    authority: Authority
    usage: Usage
    taken: Amounts


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
    """What §15 says of these facts."""
    authority = facts.authority
    if authority is None:
        return _hard(1, reasons.state_unknown())
    for step, check in _AUTHORITY_CHECKS:
        found = check(authority)
        if found:
            return _hard(step, found)
    if facts.contended:
        reason = reasons.contention(_CONTENTION_SECONDS)
        return _capped(4, Result.THROTTLED, (reason,), authority)
    if facts.usage is None:
        unavailable = (reasons.evidence_unavailable(),)
        return Decision(result=Result.ALLOWED, step=4, reasons=unavailable, degraded=True)
    # It would run uncounted: refused at every level (ruling F5).
    if facts.recorded:
        return _hard(4, reasons.call_recorded(facts.call_id))
    return _by_usage(_Asked(facts, authority, facts.usage, facts.usage.taken))


def _by_usage(asked: _Asked) -> Decision:
    found = [
        (step, result, reason)
        for step, result, check in _USAGE_CHECKS
        if (reason := check(asked)) is not None
    ]
    if not found:
        passed = (reasons.all_checks_passed(),)
        return Decision(result=Result.ALLOWED, step=9, reasons=passed)
    step, result, _ = found[0]
    said = {reason.limit_type: reason for _, _, reason in reversed(found)}
    kept = tuple(reason for _, _, reason in found if said[reason.limit_type] is reason)
    return _capped(step, result, kept, asked.authority)


def _hard(step: int, reason: Reason) -> Decision:
    return Decision(result=Result.HARD_BLOCKED, step=step, reasons=(reason,))


def _capped(step: int, wanted: Result, found: tuple[Reason, ...], authority: Authority) -> Decision:
    result = min(wanted, CAPS[authority.enforcement_level], key=_HARDNESS.__getitem__)
    wait = found[0].retry_after_seconds
    if result in (Result.ALLOWED, Result.WARNED):
        wait = None
    elif result == Result.THROTTLED and wait is not None:
        wait = min(wait, _RATE_SECONDS)
    return Decision(result=result, step=step, reasons=found, retry_after_seconds=wait)


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


def _budget_exceeded(asked: _Asked) -> Reason | None:
    limit = asked.authority.budget_limit_cents
    if not limit or asked.facts.admitted_before:
        return None
    if not asked.facts.priced and not asked.authority.allow_unpriced:
        return reasons.model_unpriced(asked.facts.model, "budget", limit)
    if not _exceeds(*_budget(asked), asked.facts.estimate[asked.authority.is_exact]):
        return None
    return reasons.budget_exceeded(asked.facts, asked.authority, asked.usage)


def _tokens_exceeded(asked: _Asked) -> Reason | None:
    limit = asked.authority.token_limit_month
    if not limit or asked.facts.admitted_before:
        return None
    if not asked.facts.tokens_known and not asked.authority.allow_unpriced:
        return reasons.model_unpriced(asked.facts.model, "tokens", limit)
    if not _exceeds(*_tokens(asked), asked.facts.estimate.tokens):
        return None
    return reasons.token_limit_exceeded(asked.facts, asked.authority, asked.usage)


def _rate_exceeded(asked: _Asked) -> Reason | None:
    limit = asked.authority.rate_limit_rpm
    if not limit or asked.facts.admitted_before or asked.usage.admitted < limit:
        return None
    return reasons.rate_limit_exceeded(limit, asked.usage.admitted, _RATE_SECONDS)


def _too_many_running(asked: _Asked) -> Reason | None:
    if not asked.facts.wants_hold or not asked.facts.is_at_bound:
        return None
    return reasons.holds_exceeded(
        asked.authority.max_live_holds, asked.usage.running, _CONTENTION_SECONDS
    )


def _budget_near(asked: _Asked) -> Reason | None:
    if not _is_near(*_budget(asked)):
        return None
    return reasons.budget_warning(asked.authority, asked.usage, WARNING_PERCENT)


def _tokens_near(asked: _Asked) -> Reason | None:
    if not _is_near(*_tokens(asked)):
        return None
    return reasons.token_warning(asked.authority, asked.usage, WARNING_PERCENT)


def _budget(asked: _Asked) -> tuple[int, int, int]:
    """Limit, used, and used, held and leased together, in the unit that the budget binds."""
    unit = asked.authority.is_exact  # microcents stand second in amounts, cents first
    limit = asked.authority.budget_limit_cents * (MICROCENTS_PER_CENT if unit else 1)
    return limit, asked.usage.used[unit], asked.taken[unit]


def _tokens(asked: _Asked) -> tuple[int, int, int]:
    return asked.authority.token_limit_month, asked.usage.used.tokens, asked.taken.tokens


def _exceeds(limit: int, used: int, taken: int, estimate: int) -> bool:
    return taken + estimate > limit or used >= limit


def _is_near(limit: int, _used: int, taken: int) -> bool:
    return limit > 0 and taken * 100 >= limit * WARNING_PERCENT


_USAGE_CHECKS: Final[tuple[tuple[int, Result, Callable[[_Asked], Reason | None]], ...]] = (
    (4, Result.BLOCKED, _budget_exceeded),
    (5, Result.BLOCKED, _tokens_exceeded),
    (6, Result.THROTTLED, _rate_exceeded),
    (6, Result.THROTTLED, _too_many_running),
    (7, Result.WARNED, _budget_near),
    (8, Result.WARNED, _tokens_near),
)
