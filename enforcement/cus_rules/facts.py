"""What a decision depends on, as one value; the decision log keeps it as JSON (ruling F9)."""

from collections.abc import Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import msgspec

from enforcement.cus_rules.reasons import Stopped
from enforcement.cus_rules.scoped import ScopedFact
from integrations.cus_lifecycle.limits import LIMITS, Admissions, LimitColumns, Unit, Window
from telemetry.cus_money.amounts import MOST, Amounts


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The constants of a decision. Facts keep them, because a later release may change them."""

    # Calls get a warning from this share of a limit on.
    warning_percent: int
    # The longest wait that a throttled caller is told (§15.3: about a minute), but for limits a day.
    longest_throttle_seconds: int
    # The wait that a caller is told after contention.
    contention_seconds: int
    # The window of each limit, by the limit's kind.
    windows: Mapping[str, Window]
    # Whether a refusal that rests on the call's estimate has a code of its own (ruling F3b).
    tells_estimates: bool = False


POLICY: Final = Policy(
    warning_percent=80,
    longest_throttle_seconds=60,
    contention_seconds=1,
    windows={limit.kind: limit.window for limit in LIMITS},
    tells_estimates=True,
)
# The constants of release 0.1.0, which did not keep them with its facts. They never change.
POLICY_OF_0_1_0: Final = Policy(
    warning_percent=80,
    longest_throttle_seconds=60,
    contention_seconds=1,
    windows={"budget": Window.MONTH, "tokens": Window.MONTH, "rate": Window.MINUTE},
)
_limit_values = attrgetter(*(limit.column for limit in LIMITS))


class Authority(LimitColumns, frozen=True, kw_only=True):
    """An integration as decisions see it. A limit of 0 means unlimited (ruling F3)."""

    status: str
    credential_state: str
    enforcement_level: str
    budget_basis: str
    allow_unpriced: bool
    config_version: int
    deleted: bool = False
    # How many calls may be held for at once (ruling F5b). 0 means unlimited.
    max_live_holds: int = 0

    @property
    def is_limited(self) -> bool:
        """Whether any limit is set; without one nothing is held for calls (ruling F5b)."""
        return any(_limit_values(self))

    @property
    def is_exact(self) -> bool:
        """Whether the budget binds exact microcents, not each call's cents rounded up (M3)."""
        return self.budget_basis == "exact"


class Usage(Admissions, frozen=True, kw_only=True):
    """An integration's usage of the month by evidence, without the call of the check."""

    used: Amounts = Amounts()
    held: Amounts = Amounts()
    leased: Amounts = Amounts()
    # How many holds there are.
    running: int = 0

    @property
    def taken(self) -> Amounts:
        """Used, held and leased together."""
        return Amounts._make(map(_total, self.used, self.held, self.leased))


def _total(used: int, held: int, leased: int) -> int:
    return min(used + held + leased, MOST)


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
    # The caller asks for a hold if the call is admitted.
    wants_hold: bool = False
    # The call was admitted before and its hold covers the estimate: this check renews the hold.
    admitted_before: bool = False
    estimate: Amounts = Amounts()
    # Whether the model has a price, and whether the call's most tokens are known.
    priced: bool = True
    tokens_known: bool = True
    # What a person has stopped, if the call names that.
    stopped: Stopped | None = None
    # How many budgets in code the integration has room for, if the call's found no place; else 0.
    most_runs: int = 0
    # The limits at scopes that apply to the call, the narrowest scope first, with what is taken of
    # each without the call.
    limits: tuple[ScopedFact, ...] = ()
    policy: Policy = POLICY

    def is_estimated_in(self, unit: Unit) -> bool:
        """Whether the call's estimate is known in that unit."""
        # Nearly every call ends here; comparing the unit costs more than reading both flags.
        if self.priced and self.tokens_known:
            return True
        if unit is Unit.CENTS:
            return self.priced
        return self.tokens_known or unit is Unit.CALLS

    def is_admitted_by(self, limit: ScopedFact) -> bool:
        """Whether the limit admitted the call before.

        A call that is checked again may name what it did not name before.
        """
        return self.admitted_before and limit.admitted_before

    @property
    def may_hold(self) -> bool:
        """Whether the caller asks for a hold, and the bound of holds has room."""
        return self.wants_hold and not self.is_at_bound

    @property
    def is_at_bound(self) -> bool:
        """Whether the number of holds has reached its bound."""
        bound = self.authority.max_live_holds if self.authority else 0
        return bool(bound) and self.usage is not None and self.usage.running >= bound


def facts_of(stored: Mapping[str, Any]) -> Facts:
    """The facts of a stored decision. Raises msgspec.ValidationError if the form is unknown."""
    facts = msgspec.convert(stored, Facts)
    if "policy" in stored:
        return facts
    return msgspec.structs.replace(facts, policy=POLICY_OF_0_1_0)
