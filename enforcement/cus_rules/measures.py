"""A limit beside what is taken of it, in the unit in which the limit binds. Pure."""

from typing import NamedTuple


class Measure(NamedTuple):
    """A limit and the amounts taken of it, in the unit in which the limit binds."""

    limit: int
    used: int
    taken: int
    estimate: int

    @property
    def is_exceeded(self) -> bool:
        """Whether the call does not fit (ruling F3)."""
        return self.taken + self.estimate > self.limit or self.used >= self.limit

    @property
    def has_room(self) -> bool:
        """Whether a smaller call would fit."""
        return self.taken < self.limit

    @property
    def free(self) -> int:
        """What is not taken."""
        return max(self.limit - self.taken, 0)

    def is_near(self, percent: int) -> bool:
        """Whether usage has reached the percentage that warns."""
        return self.taken * 100 >= self.limit * percent
