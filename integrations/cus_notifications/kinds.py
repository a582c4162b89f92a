"""What people are told of."""

from collections.abc import Iterable, Mapping
from typing import Final

from django.core.exceptions import ValidationError
from django.db import models


class Kind(models.TextChoices):
    """What an event is about. Rows and receivers hold these words, so never remove one."""

    LIMIT_80 = "limit_80", "80 % of a limit"
    LIMIT_95 = "limit_95", "95 % of a limit"
    LIMIT_100 = "limit_100", "100 % of a limit"
    FIRST_REFUSAL = "first_refusal", "The first refusal"
    CREDENTIAL_INVALID = "credential_invalid", "An invalid credential"
    STOP_MADE = "stop_made", "A stop"
    TOO_MANY = "too_many", "Events that were withheld"
    TEST = "test", "A test"


# The percentages of a limit that people are told of.
LEVELS: Final[Mapping[int, Kind]] = {
    80: Kind.LIMIT_80,
    95: Kind.LIMIT_95,
    100: Kind.LIMIT_100,
}
# A person asks for a test, so nobody mutes tests; and nobody should miss that others are withheld.
MUTABLE: Final = tuple(kind for kind in Kind if kind not in (Kind.TEST, Kind.TOO_MANY))
MUTABLE_CHOICES: Final = tuple((kind.value, kind.label) for kind in MUTABLE)


def level_of(taken: int, amount: int) -> int | None:
    """The highest level that `taken` has reached of a limit; None below the first."""
    reached = [level for level in LEVELS if 100 * taken >= level * amount]
    return max(reached, default=None)


def kinds_to_mute(kinds: Iterable[str], *, field: str) -> list[str]:
    """The kinds, each once, in their order. Raises ValidationError for `field`."""
    chosen = set(kinds)
    if unknown := sorted(chosen - set(MUTABLE)):
        known = ", ".join(MUTABLE)
        raise ValidationError({field: f"{unknown[0]} can't be muted. Those that can are {known}."})
    return [kind.value for kind in MUTABLE if kind in chosen]
