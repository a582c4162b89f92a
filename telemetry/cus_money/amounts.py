"""Amounts that limits bind: cost in both units, and tokens."""

from typing import NamedTuple

# Beyond this a column can't hold it; sums are kept at their end, never over it.
MOST = 2**63 - 1


class Amounts(NamedTuple):
    """What calls cost or may cost: whole cents, exact microcents (10⁻⁶ cent), tokens."""

    cents: int = 0
    microcents: int = 0
    tokens: int = 0

    def plus(self, other: "Amounts") -> "Amounts":
        """The sum of both."""
        return Amounts._make(min(a + b, MOST) for a, b in zip(self, other, strict=True))

    def covers(self, other: "Amounts") -> bool:
        """Whether no part of `other` is more than ours."""
        return all(a >= b for a, b in zip(self, other, strict=True))

    def at_least(self, other: "Amounts") -> "Amounts":
        """The larger of each."""
        return Amounts._make(map(max, self, other))
