"""The sizes of a run: the default in a few minutes, the full size, or a trial."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MILLION = 1_000_000
BATCHES = (1, 50, 500)


def options_of_sizes(
    program: str, about: str | None, parts: Sequence[str], *, full: str
) -> argparse.ArgumentParser:
    """A parser that knows which size is measured, and of which parts. `full`: what `--full` does."""
    parser = argparse.ArgumentParser(prog=program, description=about)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help=full)
    size.add_argument("--tiny", action="store_true", help="whether it works; says nothing of speed")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    return parser


@dataclass(frozen=True)
class Sizes:
    """Numbers that decide how long a run takes, and how much its figures are worth."""

    # Rounds of each contest; in every one, each contestant has its turn.
    rounds: int
    # How many batches of a size make one turn of the database's contestants.
    turns: Mapping[int, int]
    # How long a turn over HTTP lasts, and how often it comes.
    http_seconds: float
    http_rounds: int
    # Rows of the filled partition; an integration has all of them, or these shares in twelfths.
    filled_rows: int
    twelfths: tuple[int, ...]
    # Batches of 500 that make one turn into a fresh or a filled partition.
    growth_turn: int
    # Calls that each peer gets, and how long it may take.
    peer_events: int
    # Rows of evidence that checks are made over, and how long each load of checks lasts.
    checked_rows: int
    check_seconds: float
    peer_seconds: float


DEFAULT = Sizes(
    rounds=7,
    turns={1: 300, 50: 60, 500: 16},
    http_seconds=4.0,
    http_rounds=3,
    filled_rows=MILLION,
    twelfths=(12,),
    growth_turn=10,
    peer_events=3_000,
    checked_rows=200_000,
    check_seconds=4.0,
    peer_seconds=120.0,
)
FULL = Sizes(
    rounds=15,
    turns={1: 500, 50: 100, 500: 30},
    http_seconds=10.0,
    http_rounds=5,
    filled_rows=12 * MILLION,
    twelfths=(10, 1, 1),
    growth_turn=20,
    peer_events=10_000,
    checked_rows=10 * MILLION,
    check_seconds=15.0,
    peer_seconds=300.0,
)
# Only shows that the benchmarks work.
TINY = Sizes(
    rounds=2,
    turns={1: 20, 50: 4, 500: 2},
    http_seconds=0.5,
    http_rounds=1,
    filled_rows=24_000,
    twelfths=(10, 1, 1),
    growth_turn=2,
    peer_events=200,
    checked_rows=12_000,
    check_seconds=0.5,
    peer_seconds=60.0,
)
