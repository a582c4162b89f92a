"""What a round knows of holds: those of its own calls, and what they add to sums and limits."""

from collections.abc import Collection, Mapping, Sequence

from integrations.cus_lifecycle.limits import RATES, Unit
from telemetry.cus_holds.holds import OwnHold
from telemetry.cus_holds.limit_sums import LimitKey, LimitTaken
from telemetry.cus_money.amounts import Amounts, LeaseAmounts

_NO_HOLD = OwnHold(Amounts(), (0,) * len(RATES))
# A hold that is taken now counts within every window.
ADMITTED_NOW = (1,) * len(RATES)
_SIZE = len(Amounts._fields)


class OwnHolds:
    """The holds of a round's own calls, as they were read and as the round changes them."""

    def __init__(self, read: Mapping[str, OwnHold], limits: Mapping[LimitKey, LimitTaken]) -> None:
        self._own = dict(read)
        # The sums of `_own`: amounts, then admissions. They are integers, so subtracting a hold
        # gives exactly the sum without it.
        self._sums = _numbers(_NO_HOLD)
        for own in read.values():
            self._sums = _changed(self._sums, _NO_HOLD, own)
        # What was read of limits counts the holds that were read; what the round adds comes here.
        self._limits = limits
        self._added: dict[LimitKey, LeaseAmounts] = {}

    def get(self, call_id: str) -> OwnHold | None:
        """The hold of a call of the round, if it has one."""
        return self._own.get(call_id)

    def set(self, call_id: str, own: OwnHold) -> None:
        """Take or change the hold of a call of the round."""
        was = self._own.get(call_id, _NO_HOLD)
        self._sums = _changed(self._sums, was, own)
        self._add(was.limits, was, sign=-1)
        self._add(own.limits, own, sign=1)
        self._own[call_id] = own

    def count_without(self, call_id: str) -> int:
        """How many other calls of the round are held for."""
        return len(self._own) - (call_id in self._own)

    def sums_without(self, call_id: str) -> tuple[Amounts, Sequence[int]]:
        """What the other calls of the round hold, and what each rate counts of it."""
        own = self._own.get(call_id)
        sums = _changed(self._sums, own, _NO_HOLD) if own else self._sums
        return Amounts._make(sums[:_SIZE]), sums[_SIZE:]

    def limits_without(
        self, call_id: str, keys: Collection[LimitKey]
    ) -> Mapping[LimitKey, LimitTaken]:
        """What is taken of limits without a call of the round."""
        own = self._own.get(call_id)
        if not self._added and (own is None or not own.limits):
            return self._limits
        found: dict[LimitKey, LimitTaken] = {}
        for key in keys:
            taken = self._limits.get(key, LimitTaken())
            held = _plus(taken.held, self._added.get(key, LeaseAmounts()))
            if own and key in own.limits:
                held = _plus(held, _of_hold(own), sign=-1)
            found[key] = taken._replace(held=held)
        return found

    def _add(self, keys: Collection[LimitKey], own: OwnHold, *, sign: int) -> None:
        for key in keys:
            before = self._added.get(key, LeaseAmounts())
            self._added[key] = _plus(before, _of_hold(own), sign=sign)


def _of_hold(own: OwnHold) -> LeaseAmounts:
    return LeaseAmounts(*own.amounts, calls=1)


def _plus(one: LeaseAmounts, other: LeaseAmounts, *, sign: int = 1) -> LeaseAmounts:
    return LeaseAmounts._make(a + sign * b for a, b in zip(one, other, strict=True))


def _numbers(own: OwnHold) -> list[int]:
    """The amounts of a hold, and what each rate counts of it."""
    tokens = own.amounts.tokens
    counted = (
        flag * tokens if limit.unit is Unit.TOKENS else flag
        for limit, flag in zip(RATES, own.admitted, strict=True)
    )
    return [*own.amounts, *counted]


def _changed(sums: Sequence[int], was: OwnHold, becomes: OwnHold) -> list[int]:
    numbers = zip(sums, _numbers(was), _numbers(becomes), strict=True)
    return [total - before + after for total, before, after in numbers]
