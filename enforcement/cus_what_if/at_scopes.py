"""Limits at scopes in a replay: which of them count a call, and what is taken of each. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

from aos_sdk.cus_limit_scopes import CusCallNames, CusLimitScope, applying
from enforcement.cus_reading.known_limits import CountedBy, KnownLimit, KnownLimits
from enforcement.cus_rules.scoped import ScopedFact, binds, fact_of
from enforcement.cus_what_if.windows import CalendarCount, Count, SlidingCount
from integrations.cus_lifecycle.limits import Window
from telemetry.cus_money.amounts import Amounts, LeaseAmounts

# So many values of all limits together are counted at a time: some hundred bytes each.
MOST_VALUES: Final = 250_000
_LEAST_VALUES: Final = 1_000
_CALLS: Final = LeaseAmounts._fields.index("calls")
Counting: TypeAlias = Sequence[CountedBy]


class Past(NamedTuple):
    """What a replay must know of the time before: what calls of a scope used in a window.

    `values` are those that limits name; None: every value.
    """

    scope: str
    window: Window
    values: frozenset[str] | None


class LimitsAtScopes:
    """What past calls take of limits at scopes.

    All limits hold over the whole time of the replay, in the order of `limits`.
    """

    def __init__(
        self, limits: Sequence[KnownLimit], began: datetime, *, most_values: int = MOST_VALUES
    ) -> None:
        self.limits = limits
        self._known = KnownLimits(limits)
        most = max(most_values // max(len(limits), 1), _LEAST_VALUES)
        self._counts = {limit.id: _count_of(limit, began, most) for limit in limits}
        self._places = {
            limit.id: LeaseAmounts._fields.index(binds(limit.unit, limit.basis)) for limit in limits
        }

    @property
    def forgotten(self) -> int:
        """How many values were forgotten, although their window was not over."""
        return sum(count.forgotten for count in self._counts.values())

    def pasts(self) -> Iterator[Past]:
        """What `begin_with` must be told before the first call."""
        named: dict[tuple[str, Window], set[str | None]] = {}
        for limit in self.limits:
            if limit.window != Window.MINUTE:
                named.setdefault((limit.scope, Window(limit.window)), set()).add(limit.value)
        for (scope, window), values in named.items():
            # Of a tag the key is not among the names, so rows are told apart here.
            is_every = None in values or scope == CusLimitScope.TAG
            of = None if is_every else frozenset(value for value in values if value)
            yield Past(scope, window, of or None)

    def begin_with(self, past: Past, names: CusCallNames, used: LeaseAmounts) -> None:
        """Count what calls of these names used in a window before the replay began."""
        for counted in self._known.counting(names):
            limit = counted.limit
            if (limit.scope, limit.window) == (past.scope, past.window):
                count = self._counts[limit.id]
                assert isinstance(count, CalendarCount)
                count.add(counted.value, used[self._places[limit.id]])

    def counting(self, names: CusCallNames) -> Counting:
        """The limits that count a call."""
        return self._known.counting(names) if self.limits else ()

    def facts(
        self, counting: Counting, names: CusCallNames, now: datetime
    ) -> tuple[ScopedFact, ...]:
        """The limits that apply to a call, narrowest scope first, with what is taken of each."""
        if not counting:
            return ()
        limits = [counted.limit for counted in counting]
        return tuple(
            self._fact(limit, value, now)
            for limit, value in applying(limits, names, now.timestamp())
        )

    def _fact(self, limit: KnownLimit, value: str, now: datetime) -> ScopedFact:
        used, held = self._counts[limit.id].taken(value, now)
        return fact_of(limit, value, used=used, held=held)

    def admit(self, counting: Counting, at: datetime, hold: Amounts | None) -> None:
        """A call begins."""
        for limit, value in counting:
            self._counts[limit.id].admit(value, at, self._part(limit, hold))

    def land(
        self,
        counting: Counting,
        at: datetime,
        admitted_at: datetime,
        hold: Amounts | None,
        spent: Amounts,
    ) -> None:
        """A call's record comes."""
        for limit, value in counting:
            held, used = self._part(limit, hold), self._part(limit, spent)
            self._counts[limit.id].land(value, at, admitted_at, held, used)

    def revise(
        self,
        counting: Counting,
        at: datetime,
        counted_at: datetime,
        change: Amounts,
        *,
        calls: int = 0,
        sign: int = 1,
    ) -> None:
        """What was counted at an earlier moment changes, where that is of the present window."""
        for limit, value in counting:
            part = self._part(limit, change, calls=calls)
            self._counts[limit.id].revise(value, at, counted_at, sign * part)

    def _part(self, limit: KnownLimit, amounts: Amounts | None, *, calls: int = 1) -> int:
        """What the limit counts of a call's amounts."""
        if amounts is None:
            return 0
        place = self._places[limit.id]
        return calls if place == _CALLS else amounts[place]


def _count_of(limit: KnownLimit, began: datetime, most_values: int) -> Count:
    if limit.window == Window.MINUTE:
        return SlidingCount(most_values)
    return CalendarCount(Window(limit.window), began, most_values)
