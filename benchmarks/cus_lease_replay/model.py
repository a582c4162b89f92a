"""A model of holds and leases in one process: callers, one budget, no server and no real time.

Callers start one call after the other. A caller with a lease decides by itself; else a plain check
decides. Records land some seconds after a call's end, as the SDK sends them in batches. The replay
ends at the first refusal.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final, NamedTuple, TypeAlias

from benchmarks.cus_lease_replay.estimates import (
    Basis,
    Estimate,
    LearnedOutput,
    Prices,
    estimator,
)
from enforcement.cus_rules.lending import slice_of

LEASE_SECONDS: Final = 5.0
RENEW_AFTER_SECONDS: Final = 2.5
ROUND_TRIP_SECONDS: Final = 0.005
BATCH_SECONDS: Final = 5.0
FIRST_TOKEN_SECONDS: Final = 0.3
SECONDS_PER_TOKEN: Final = 0.02
# Calls that a cell replays before it reaches the limit; what was used before them is set.
CALLS: Final = 3_000
# Calls of the month before, from which outputs were learned.
LEARNED_BEFORE: Final = 1_000
_Work: TypeAlias = Callable[[], None]


class Tokens(NamedTuple):
    """A call of the trace."""

    tokens_in: int
    tokens_out: int


class Cell(NamedTuple):
    """One question: how much of this limit is usable under these conditions?"""

    limit: int  # microcents
    callers: int
    prices: Prices
    max_tokens: int | None
    basis: Basis


class Outcome(NamedTuple):
    """`usable`: spent / limit at the first refusal. `leased`: the share of decisions by lease.

    `over`: spent beyond the limit once all admitted calls landed, / limit.
    """

    usable: float
    leased: float
    over: float


@dataclass
class _Lease:
    remaining: int  # in the database: lent, less what landed
    unspent: int  # at the holder: lent, less what it set aside
    lent: int
    ends_at: float


@dataclass
class _Caller:
    lease: _Lease | None = None
    asked_at: float = -1.0
    spent: int | None = None


@dataclass
class Replay:
    """The state of one cell, and its clock."""

    cell: Cell
    trace: Sequence[Tokens]
    used: int
    now: float = 0.0
    held: int = 0
    leased: int = 0
    holders: int = 0
    decisions: int = 0
    by_lease: int = 0
    refused: bool = False
    spent_then: int = 0
    random: Random = field(default_factory=lambda: Random(7))  # noqa: S311 - times, the same at each run
    _next: int = 0
    _queue: list[tuple[float, int, _Work]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        self.learned = LearnedOutput()
        # A month of traffic came before: what it wrote is known.
        for tokens in self.trace[:LEARNED_BEFORE]:
            self.learned.add(tokens.tokens_out)
        cell = self.cell
        self.estimate = estimator(cell.basis, cell.prices, cell.max_tokens, self.learned)

    @property
    def room(self) -> int:
        return self.cell.limit - self.used - self.held - self.leased

    def run(self) -> Outcome:
        for _ in range(self.cell.callers):
            caller = _Caller()
            self._at(self.random.random(), lambda caller=caller: self._start(caller))  # type: ignore[misc]
        while self._queue:
            self.now, _, work = heapq.heappop(self._queue)
            work()
        limit = self.cell.limit
        return Outcome(
            self.spent_then / limit,
            self.by_lease / max(self.decisions, 1),
            max(self.used - limit, 0) / limit,
        )

    def _at(self, seconds: float, work: _Work) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._numbers), work))

    # --- A caller -------------------------------------------------------------------------------

    def _start(self, caller: _Caller) -> None:
        if self.refused:
            return
        tokens = self.trace[self._next % len(self.trace)]
        self._next += 1
        estimate = self.estimate(tokens.tokens_in)
        self.decisions += 1
        lease = caller.lease
        aside = 0
        if lease is not None and self.now < lease.ends_at:
            aside = estimate.within(lease.unspent)
        if lease is not None and aside:
            lease.unspent -= aside
            self.by_lease += 1
        else:
            lease, aside = None, estimate.within(self.room)
            if not aside:
                self.refused, self.spent_then = True, self.used
                return
            self.held += aside
        self._ask_for_lease(caller, estimate)
        self._run(caller, tokens, lease, aside)

    def _run(self, caller: _Caller, tokens: Tokens, lease: _Lease | None, aside: int) -> None:
        cost = self.cell.prices.cost(*tokens)
        if self.cell.basis is Basis.CLAMP:
            cost = min(cost, aside)
        took = FIRST_TOKEN_SECONDS + tokens.tokens_out * SECONDS_PER_TOKEN
        self._at(took, lambda: self._start(caller))
        sent = self.random.random() * BATCH_SECONDS
        self._at(took + sent, lambda: self._land(tokens, lease, aside, cost))

    def _land(self, tokens: Tokens, lease: _Lease | None, aside: int, cost: int) -> None:
        self.used += cost
        self.learned.add(tokens.tokens_out)
        if lease is None:
            self.held -= aside
        else:
            lease.remaining -= aside
            self.leased -= aside

    # --- Its lease ------------------------------------------------------------------------------

    def _ask_for_lease(self, caller: _Caller, estimate: Estimate) -> None:
        """In the background, at most once in each half of a lease's life."""
        if self.now - caller.asked_at < RENEW_AFTER_SECONDS and caller.asked_at >= 0:
            return
        caller.asked_at = self.now
        self._at(ROUND_TRIP_SECONDS, lambda: self._lend(caller, estimate))

    def _lend(self, caller: _Caller, estimate: Estimate) -> None:
        if self.refused:
            return
        if caller.lease is not None:
            self._give_back(caller, caller.lease)
        lent = slice_of(
            self.room, holders=self.holders + 1, estimate=estimate.usual, spent=caller.spent
        )
        if not lent:
            caller.spent = None
            return
        self.holders += 1
        self.leased += lent
        caller.lease = lease = _Lease(lent, lent, lent, self.now + LEASE_SECONDS)
        self._at(LEASE_SECONDS, lambda: self._end(caller, lease))

    def _end(self, caller: _Caller, lease: _Lease) -> None:
        if caller.lease is lease:
            self._give_back(caller, lease)
            caller.spent = None

    def _give_back(self, caller: _Caller, lease: _Lease) -> None:
        caller.lease, caller.spent = None, lease.lent - lease.unspent
        self.holders -= 1
        lease.remaining -= lease.unspent
        self.leased -= lease.unspent
        lease.unspent = 0


def replay(cell: Cell, trace: Sequence[Tokens]) -> Outcome:
    """The outcome of one cell, by the calls of a trace, again and again."""
    mean = sum(cell.prices.cost(*tokens) for tokens in trace) // len(trace)
    bound = cell.prices.max_output if cell.max_tokens is None else cell.max_tokens
    largest = cell.prices.cost(max(tokens.tokens_in for tokens in trace), bound)
    # All that calls can hold at a time, and the calls that are replayed.
    held = cell.callers * largest
    window = min(CALLS * mean + 48 * held, 20_000 * mean + 12 * held)
    return Replay(cell, trace, used=max(cell.limit - window, 0)).run()
