"""What needs a person's attention, as each plane sees it. The apps' `admin.py` register sources."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import TypeAlias

from django.http import HttpRequest

from integrations.cus_console.panels import Cell

# A source tells no more than this: whoever has so many problems begins with the worst.
MOST_OF_A_SOURCE = 20


class Weight(IntEnum):
    """How bad a problem is, the worst first."""

    STOPPED = 0
    REFUSING = 1
    PRODUCT = 2
    NEAR = 3
    MONEY_UNKNOWN = 4
    EVIDENCE = 5
    UNSTEADY = 6


@dataclass(frozen=True)
class Problem:
    """What is not well, where, since when if that is known, and the link to what to do next."""

    weight: Weight
    where: Cell
    what: str
    action: Cell
    since: datetime | None = None


def calls(count: int, one: str, many: str) -> str:
    """“1 call was …” or “2 calls were …”: a number of calls, and what is so of one or of many."""
    return f"1 call {one}" if count == 1 else f"{count:,} calls {many}"


Source: TypeAlias = Callable[[HttpRequest], Iterable[Problem]]
_sources: list[Source] = []


def register(source: Source) -> None:
    """Add a source; it is asked once for each first page."""
    _sources.append(source)


def problems(request: HttpRequest) -> list[Problem]:
    """All problems that the person may see, the worst first."""
    found = [problem for source in _sources for problem in source(request)]
    return sorted(found, key=lambda problem: problem.weight)
