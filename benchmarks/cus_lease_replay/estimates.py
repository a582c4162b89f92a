"""What a call is estimated to cost before it runs, by each estimate basis (ruling F3b)."""

from bisect import insort
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from aos_sdk import get_model_pricing
from aos_sdk.cus_cost import CusTokenUsage

LEARNED_CALLS: Final = 1_000
# Learned is 1.25 times the 99.9th percentile of the last outputs, never above the bound.
LEARNED_PERMILLE: Final = 999
# With fewer outputs than this there is nothing to learn from: the bound holds.
LEAST_LEARNED: Final = 100
# A clamped call is worth running if it may write so many tokens.
LEAST_CLAMPED_OUTPUT: Final = 1_024
# A clamped call takes at most this part of the room.
CLAMPED_SHARE: Final = 8


class Basis(StrEnum):
    """An integration's `estimate_basis` (ruling F3b)."""

    BOUND = "bound"
    CLAMP = "clamp"
    LEARNED = "learned"


class Estimate(NamedTuple):
    """Microcents to set aside: `least` is the smallest amount that the call can run with."""

    most: int
    least: int

    @property
    def usual(self) -> int:
        """What a call is admitted with where there is room enough for many."""
        return min(self.most, self.least * CLAMPED_SHARE)

    def within(self, room: int) -> int:
        """The amount to admit the call with, 0 to refuse it.

        A call that may be shortened takes a share of the room, so that others find room too.
        """
        aside = max(min(self.most, room // CLAMPED_SHARE), self.least)
        return aside if aside <= room else 0


class Prices:
    """A model's cost in microcents, linear in tokens: these models have no long-context prices here."""

    def __init__(self, model: str) -> None:
        pricing = get_model_pricing(model)
        if pricing is None or pricing.max_output is None:
            message = f"{model} has no price or no maximum output in the table"
            raise ValueError(message)
        self.model = model
        self.max_output = pricing.max_output
        self._input = pricing.cost_microcents(CusTokenUsage(1_000, 0))
        self._output = pricing.cost_microcents(CusTokenUsage(0, 1_000))

    def cost(self, tokens_in: int, tokens_out: int) -> int:
        return -(-(self._input * tokens_in + self._output * tokens_out) // 1_000)


class LearnedOutput:
    """The output of the last calls of a model, kept in order."""

    def __init__(self) -> None:
        self._last: deque[int] = deque()
        self._ordered: list[int] = []

    def add(self, tokens_out: int) -> None:
        self._last.append(tokens_out)
        insort(self._ordered, tokens_out)
        if len(self._last) > LEARNED_CALLS:
            self._ordered.remove(self._last.popleft())

    def estimate(self, bound: int) -> int:
        count = len(self._ordered)
        if count < LEAST_LEARNED:
            return bound
        place = min(count * LEARNED_PERMILLE // 1_000, count - 1)
        return min(bound, self._ordered[place] * 5 // 4)


def estimator(
    basis: Basis, prices: Prices, max_tokens: int | None, learned: LearnedOutput
) -> Callable[[int], Estimate]:
    """The estimate of a call by its input tokens."""
    bound = prices.max_output if max_tokens is None else min(max_tokens, prices.max_output)

    def by_bound(tokens_in: int) -> Estimate:
        cost = prices.cost(tokens_in, bound)
        return Estimate(cost, cost)

    def by_clamp(tokens_in: int) -> Estimate:
        least = min(bound, LEAST_CLAMPED_OUTPUT)
        return Estimate(prices.cost(tokens_in, bound), prices.cost(tokens_in, least))

    def by_learning(tokens_in: int) -> Estimate:
        cost = prices.cost(tokens_in, learned.estimate(bound))
        return Estimate(cost, cost)

    return {Basis.BOUND: by_bound, Basis.CLAMP: by_clamp, Basis.LEARNED: by_learning}[basis]
