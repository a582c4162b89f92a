"""What a replay remembers by name, for a while. Bounded, and pure."""

from collections.abc import Hashable
from itertools import islice
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)
Value = TypeVar("Value")


class Remembered(Generic[Name, Value]):
    """Values by name. Of more than `most` names those that rested longest are forgotten."""

    def __init__(self, most: int = 100_000) -> None:
        self.forgotten = 0
        self._most = most
        self._values: dict[Name, Value] = {}

    def __contains__(self, name: Name) -> bool:
        return name in self._values

    def take(self, name: Name) -> Value | None:
        """The value, which is remembered no more; None if there is none."""
        return self._values.pop(name, None)

    def get(self, name: Name) -> Value | None:
        """The value; None if there is none."""
        return self._values.get(name)

    def clear(self) -> None:
        """Remember nothing more: the time of all values is over."""
        self._values.clear()

    def keep(self, name: Name, value: Value) -> None:
        """Remember a value as the newest."""
        values = self._values
        values.pop(name, None)
        values[name] = value
        if len(values) > self._most:
            # Many at once, because the first of a dictionary is slow to find again and again.
            oldest = list(islice(values, len(values) // 4 + 1))
            for forgotten in oldest:
                del values[forgotten]
            self.forgotten += len(oldest)
