"""What is used of limits, as facts tell: another plane registers who reads them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

from django.utils.html import format_html
from django.utils.safestring import SafeString

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_console.amounts import dollars
from integrations.cus_console.bars import Bar, bars_shown
from integrations.cus_console.panels import table
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.words import amount_text, number_text

# Values of a limit that are live at once: used or held in the present window. More count all the same,
# or a flood of made-up names would free what others used; but people are told.
MANY_VALUES: Final = 100_000


@dataclass(frozen=True)
class Use:
    """What calls of one value take of a limit: microcents, tokens or calls.

    `held` is for running calls, `lent` is with programs that hold a lease.
    """

    value: str
    used: int
    held: int = 0
    lent: int = 0

    @property
    def taken(self) -> int:
        """All of it: what no other call can have."""
        return self.used + self.held + self.lent


@dataclass(frozen=True)
class Part:
    """What an integration's calls take of a limit of the tenant, and what they may take before the
    integration has to ask for more: microcents, tokens or calls."""

    integration: str
    taken: int
    allotted: int


@dataclass(frozen=True)
class Uses:
    """How many values a limit counts in its present window, and those that take most of it; of more
    than `MANY_VALUES` perhaps no more are counted, and none is known to be the fullest.

    `parts`: on the page of a limit of the tenant, its integrations.
    """

    values: int = 0
    fullest: Sequence[Use] = ()
    parts: Sequence[Part] = ()

    @property
    def are_many(self) -> bool:
        """Whether more values are live than a limit is made for."""
        return self.values > MANY_VALUES


# Limits and how many values of each to tell of, to their uses by id.
Reader: TypeAlias = Callable[[Sequence[CusScopedLimit], int], Mapping[UUID, Uses]]
_readers: Final[list[Reader]] = []


def register(reader: Reader) -> None:
    """Let the console's pages show what this reads."""
    _readers[:] = [reader]


def uses_of(limits: Sequence[CusScopedLimit], most: int = 1) -> Mapping[UUID, Uses]:
    """The uses of limits by id, each with the `most` fullest values."""
    return _readers[0](limits, most) if _readers and limits else {}


def uses_shown(limit: CusScopedLimit, uses: Uses) -> SafeString:
    """A bar for each of the fullest values; of a limit of each value also how many it counts."""
    bars = [_bar(limit, use) for use in uses.fullest]
    if limit.value is None or not bars:
        bars.append(Bar("", _counted(limit, uses), limited=False))
    shown = bars_shown(bars)
    return format_html("{}{}", shown, _parts_shown(limit, uses.parts)) if uses.parts else shown


def _parts_shown(limit: CusScopedLimit, parts: Sequence[Part]) -> SafeString:
    rows = [
        (part.integration, _written(limit, part.taken), _written(limit, part.allotted))
        for part in parts
    ]
    return table(["Integration", "Used, held and lent", "Allotted"], rows, empty="")


def _bar(limit: CusScopedLimit, use: Use) -> Bar:
    most = limit.amount
    if limit.unit == CusScopedLimit.Unit.CENTS:
        most *= MICROCENTS_PER_CENT
    parts = (("used", use.used), ("held", use.held), ("lent", use.lent))
    shown = [f"{_written(limit, part)} {name}" for name, part in parts if part or name == "used"]
    return Bar.of(
        use.value if limit.value is None else "",
        f"{', '.join(shown)} of {amount_text(limit.unit, limit.amount)}",
        used=use.used,
        held=use.held + use.lent,
        most=most,
        is_near=use.taken * 100 >= most * limit.warning_percent,
    )


def _written(limit: CusScopedLimit, part: int) -> str:
    return dollars(part) if limit.unit == CusScopedLimit.Unit.CENTS else f"{part:,}"


def _counted(limit: CusScopedLimit, uses: Uses) -> str:
    if not uses.values:
        return "nothing yet"
    rest = ", the fullest first" if uses.values > len(uses.fullest) > 0 else ""
    many = f": more than {MANY_VALUES:,}, are names made up?" if uses.are_many else ""
    return f"{number_text(uses.values, limit.scope, limit.tag)} counted now{rest}{many}"
