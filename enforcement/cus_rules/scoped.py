"""Limits at scopes, as facts of decisions: what they are, and what is taken of them. Pure."""

from typing import Final, Protocol

import msgspec

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from aos_sdk.cus_limit_scopes import OF_ALL_CALLS, CusLimitScope, CusScoped
from enforcement.cus_rules.measures import Measure
from integrations.cus_lifecycle.limits import LIMITS, Limit, Unit, Window
from telemetry.cus_money.amounts import Amounts

# The scopes that are no narrower than the integration, whose columns are limits of its own.
WIDE: Final = OF_ALL_CALLS


class ScopedFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A limit at a scope that applies to a call, and what is taken of it without the call.

    `amount`, `used`, `held`, `leased` and `elsewhere` are in the unit in which the limit binds: `binds` says
    which amount of calls that is. `value` is the call's own, of the limit's scope.
    """

    id: str
    scope: str
    value: str
    unit: Unit
    window: Window
    # "cents", "microcents", "tokens" or "calls".
    binds: str
    amount: int
    result: str
    tag: str = ""
    warning_percent: int = 80
    # It stands in for a permanent limit until it ends by itself.
    temporary: bool = False
    used: int = 0
    held: int = 0
    leased: int = 0
    # What other integrations may still take of a limit of the tenant: their allotments, and what is
    # allotted to nobody yet. The other amounts are those of all integrations.
    elsewhere: int = 0
    # The call was admitted by this limit before: the limit counts the call's hold.
    admitted_before: bool = False

    @property
    def is_rate(self) -> bool:
        """Whether the limit is checked with the rates: it counts calls, or slides."""
        return self.unit is Unit.CALLS or self.window is Window.MINUTE

    @property
    def is_shared(self) -> bool:
        """Whether integrations share the limit, so that it allots each its part (ruling F5c)."""
        return self.scope == CusLimitScope.TENANT

    @property
    def is_exact(self) -> bool:
        """Whether the limit binds exact microcents (ruling M3)."""
        return self.binds == "microcents"

    def measure(self, estimate: Amounts) -> Measure:
        """The limit beside what is taken of it and what a call may take."""
        taken = self.used + self.held + self.leased
        asked: int = 1 if self.binds == "calls" else getattr(estimate, self.binds)
        return Measure(self.amount, self.used, taken, asked, self.elsewhere)

    def stands_in_for(self, limit: Limit) -> bool:
        """Whether the limit replaces an integration's own while it is valid."""
        return (
            self.temporary
            and self.scope == CusLimitScope.INTEGRATION
            and self.unit is limit.unit
            and self.window is limit.window
        )


class Binding(CusScoped, Protocol):
    """What a fact needs of a limit beside what the rule of `applying` reads."""

    @property
    def id(self) -> str: ...
    @property
    def basis(self) -> str: ...
    @property
    def result(self) -> str: ...
    @property
    def warning_percent(self) -> int: ...


def fact_of(
    limit: Binding,
    value: str,
    *,
    used: int,
    held: int,
    leased: int = 0,
    elsewhere: int = 0,
    admitted_before: bool = False,
) -> ScopedFact:
    """A limit that applies to a call of this value, and what is taken of it, as it `binds`."""
    return ScopedFact(
        id=limit.id,
        scope=limit.scope,
        tag=limit.tag,
        value=value,
        unit=Unit(limit.unit),
        window=Window(limit.window),
        binds=binds(limit.unit, limit.basis),
        amount=bound(limit.amount, limit.unit, limit.basis),
        result=limit.result,
        warning_percent=limit.warning_percent,
        temporary=limit.valid_until is not None,
        used=used,
        held=held,
        leased=leased,
        elsewhere=elsewhere,
        admitted_before=admitted_before,
    )


def replaced_by(limits: tuple[ScopedFact, ...]) -> frozenset[str]:
    """The columns of the integration's own limits that temporary limits stand in for."""
    if not limits:
        return frozenset()
    return frozenset(
        limit.column for limit in LIMITS if any(fact.stands_in_for(limit) for fact in limits)
    )


def binds(unit: str, basis: str) -> str:
    """The amount of calls that a limit of this unit and basis binds (ruling M3)."""
    return "microcents" if unit == Unit.CENTS and basis == "exact" else unit


def bound(amount: int, unit: str, basis: str) -> int:
    """A limit's amount, in the unit in which the limit binds."""
    return amount * MICROCENTS_PER_CENT if binds(unit, basis) == "microcents" else amount
