"""Contests: each contestant has its turn in each round, so that noise meets all alike."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Contestant:
    """`prepare` makes one turn's pieces of work off the clock; `work` does one, on the clock."""

    name: str
    prepare: Callable[[], Sequence[Any]]
    work: Callable[[Any], object]


def contest(contestants: Sequence[Contestant], rounds: int) -> dict[str, list[float]]:
    """Seconds of each turn, by contestant. Who begins changes from round to round.

    A first round goes unmeasured: statements are planned, caches filled, pages faulted in.
    """
    seconds: dict[str, list[float]] = {one.name: [] for one in contestants}
    for number in range(rounds + 1):
        shift = number % len(contestants)
        for one in (*contestants[shift:], *contestants[:shift]):
            taken = _turn(one)
            if number > 0:
                seconds[one.name].append(taken)
    return seconds


def _turn(contestant: Contestant) -> float:
    pieces = contestant.prepare()
    gc.collect()
    started = time.perf_counter()
    for piece in pieces:
        contestant.work(piece)
    return time.perf_counter() - started


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the ratios within the rounds."""
    return median(a / b for a, b in zip(numerators, denominators, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
