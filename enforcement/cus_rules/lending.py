"""How much a lease lends (rulings F5a and F5c). Pure: amounts in, amounts out.

A lease lends all four amounts, also those that no limit binds: its holder sets all of them aside
for each call. So when a new limit comes, or the budget another basis, the calls that began before
are counted in its unit.

The figures behind the constants: `make lease-replay`, printed in docs/enforcement.md.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_rules.facts import Authority, Facts
from enforcement.cus_rules.precedence import CAPS, free_of_limits
from integrations.cus_lifecycle.limits import Unit
from telemetry.cus_money.amounts import MOST, LeaseAmounts

# All slices that are lent at a time leave at least this part of the room to plain checks: a holder
# of n gets at most 1 / (SHARE x n) of what is free.
SHARE: Final = 2
# A lease that was used up is followed by one that is so many times larger.
GROWTH: Final = 2
# A slice for fewer calls than this is not worth a lease: a plain check decides each call.
LEAST_CALLS: Final = 4
# Without a durable disk, leases of young holders lock at most this part of the room: a program that
# crashes at each start must not lock a budget.
YOUNG_PERCENT: Final = 10


def slice_of(
    room: int, *, holders: int, estimate: int, spent: int | None, young_leased: int | None = None
) -> int:
    """The amount to lend of a limit with `room` left, 0 for none.

    `holders` counts those with a lease, the asking one included. `estimate` is the amount of one
    call, of the limit's unit. `spent` is what the holder set aside of its lease before; None for
    its first. `young_leased` is what young holders without a durable disk have of this limit
    already; None for a holder that is not one of them.
    """
    lent = min(room // (SHARE * max(holders, 1)), wanted(estimate, spent))
    if young_leased is not None:
        lent = min(lent, (room + young_leased) * YOUNG_PERCENT // 100 - young_leased)
    return lent if lent >= estimate * LEAST_CALLS else 0


def wanted(estimate: int, spent: int | None) -> int:
    """The amount that a holder needs until its next lease, by what it spent since the last."""
    return min(max((spent or 0) * GROWTH, estimate * LEAST_CALLS), MOST)


class Holder(NamedTuple):
    """What a holder says of its calls.

    `estimate` is what one call may take, at least 1 of each amount. `spent` is what the holder set
    aside since its lease before; None for its first. `is_durable`: what it sets aside outlives it.
    """

    estimate: LeaseAmounts
    spent: LeaseAmounts | None
    is_durable: bool

    @property
    def is_young(self) -> bool:
        """Whether nothing is known of the holder, and nothing of it would outlive a crash."""
        return self.spent is None and not self.is_durable


def shares_wanted(holder: Holder, name: str, *, holders: int) -> int:
    """The room that a limit must have, for a slice as large as the holder wants."""
    spent = holder.spent and getattr(holder.spent, name)
    return min(wanted(getattr(holder.estimate, name), spent) * SHARE * max(holders, 1), MOST)


class Slice(NamedTuple):
    """The part of a limit that a lease lends (ruling F5c).

    `limit_id` is the column of an integration's own limit, or the id of a limit at a scope, which
    `value` and `window` go with.
    """

    limit_id: str
    unit: str
    amount: int
    value: str | None = None
    window: str | None = None

    def document(self) -> dict[str, Any]:
        """The slice as a lease keeps it."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Loan(NamedTuple):
    """The amounts of a lease, and of each limit that is set the slice that they are."""

    lent: LeaseAmounts
    slices: list[Slice]


def lend(facts: Facts, holder: Holder, *, holders: int, young: LeaseAmounts) -> Loan | None:
    """The lease of a holder, or None: then a plain check decides each call.

    `holders` counts those with a lease, the asking one included; `young` is what remains of the
    leases of young holders. Each limit that is set must give a slice. An amount that no limit binds
    is lent as the holder's pace asks. Where no limit can refuse a call, nothing is lent.
    """
    if facts.authority is None or not _refuses(facts.authority.enforcement_level):
        return None
    lent = {
        name: wanted(getattr(holder.estimate, name), holder.spent and getattr(holder.spent, name))
        for name in LeaseAmounts._fields
    }
    binding = list(_binding(facts, facts.authority, young))
    for one in binding:
        amount = slice_of(
            one.free,
            holders=holders,
            estimate=getattr(holder.estimate, one.name),
            spent=holder.spent and getattr(holder.spent, one.name),
            young_leased=one.young if holder.is_young else None,
        )
        if not amount:
            return None
        lent[one.name] = min(lent[one.name], amount)
    if not binding:
        return None
    slices = [
        Slice(one.limit_id, one.name, lent[one.name], one.value, one.window) for one in binding
    ]
    return Loan(LeaseAmounts(**lent), slices)


class _Binding(NamedTuple):
    """A limit that calls of the lease take from: the amount that it binds, and what is free of it.

    `young`: what young holders without a durable disk have of it, at most.
    """

    limit_id: str
    name: str
    free: int
    young: int
    value: str | None = None
    window: str | None = None


def _binding(facts: Facts, authority: Authority, young: LeaseAmounts) -> Iterator[_Binding]:
    for limit, free in free_of_limits(facts):
        name = _amount(limit.unit, is_exact=authority.is_exact)
        yield _Binding(limit.column, name, free, getattr(young, name))
    for fact in facts.limits:
        free = fact.measure(facts.estimate).free
        yield _Binding(fact.id, fact.binds, free, fact.leased, fact.value, fact.window)


def _refuses(level: str) -> bool:
    return CAPS[level] not in (Result.ALLOWED, Result.WARNED)


def _amount(unit: Unit, *, is_exact: bool) -> str:
    """The amount of a lease that a limit of this unit binds (ruling M3)."""
    return "microcents" if unit is Unit.CENTS and is_exact else unit.value
