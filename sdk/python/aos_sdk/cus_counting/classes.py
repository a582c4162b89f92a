"""What has been found out of a class is remembered: to find it out costs more than all the rest."""

from typing import Final, TypeVar

T = TypeVar("T")

# Programs that make classes as they go, one a call, must not fill the memory with them.
MOST_REMEMBERED: Final = 512


def remember(known: dict[type, T], kind: type, what: T) -> T:
    """Note it of a class, and hand it back. All that was noted may be forgotten on the way."""
    if len(known) >= MOST_REMEMBERED:
        known.clear()
    known[kind] = what
    return what
