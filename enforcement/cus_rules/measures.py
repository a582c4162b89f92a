"""A limit beside what is taken of it, in the unit in which the limit binds. Pure."""

from typing import NamedTuple


class Measure(NamedTuple):
    """A limit and the amounts taken of it, in the unit in which the limit binds.

    `elsewhere` is what other integrations may still take of a limit of the tenant (ruling F5c).
    """

    limit: int
    used: int
    taken: int
    estimate: int
    elsewhere: int = 0

    @property
    def is_exceeded(self) -> bool:
        """Whether the call does not fit (ruling F3)."""
        needed = self.taken + self.elsewhere + self.estimate
        return needed > self.limit or self.used >= self.limit

    @property
    def fits_alone(self) -> bool:
        """Whether the call would fit, were nothing left to other integrations."""
        return self.taken + self.estimate <= self.limit and self.used < self.limit

    @property
    def lacks_allotment(self) -> bool:
        """Whether the call does not fit only because of what is left to other integrations."""
        return self.is_exceeded and self.fits_alone

    @property
    def has_room(self) -> bool:
        """Whether a smaller call would fit."""
        elsewhere = self.elsewhere if self.lacks_allotment else 0
        return self.taken + elsewhere < self.limit

    @property
    def free(self) -> int:
        """What is neither taken nor left to other integrations."""
        return max(self.limit - self.taken - self.elsewhere, 0)

    def is_near(self, percent: int) -> bool:
        """Whether usage has reached the percentage that warns."""
        return self.taken * 100 >= self.limit * percent
