"""Contests: each contestant has its turn in each round, so that noise meets all alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Contestant:
    """`turn` does one turn's work and returns its seconds."""

    name: str
    turn: Callable[[], float]


def contest(contestants: Sequence[Contestant], rounds: int) -> dict[str, list[float]]:
    """Seconds of each turn, by contestant. Each round begins with another contestant.

    A first round goes unmeasured: statements are planned, caches filled, pages faulted in.
    """
    seconds: dict[str, list[float]] = {one.name: [] for one in contestants}
    for number in range(rounds + 1):
        shift = number % len(contestants)
        for one in (*contestants[shift:], *contestants[:shift]):
            taken = one.turn()
            if number > 0:
                seconds[one.name].append(taken)
    return seconds


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the ratios within the rounds."""
    return median(a / b for a, b in zip(numerators, denominators, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
