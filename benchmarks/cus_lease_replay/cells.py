"""The cells of the table: every question, and the table of their outcomes."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final, TypeAlias

from benchmarks.cus_lease_replay.estimates import Basis, Prices
from benchmarks.cus_lease_replay.model import Cell, Outcome, Tokens, replay
from benchmarks.cus_report import Section

MODELS: Final = ("gpt-4o-mini", "gpt-4o", "claude-sonnet-4-5", "gpt-5.5")
LIMITS_DOLLARS: Final = (1, 25, 100, 1_000)
CALLERS: Final = (1, 16, 64, 500)
# Above the largest output of the public trace, so that no call is cut by it.
MAX_TOKENS: Final = (2_048, None)
_MICROCENTS_PER_DOLLAR: Final = 100_000_000

Question: TypeAlias = tuple[str, int | None, Basis, int, int]


def questions(models: Sequence[str]) -> Iterator[Question]:
    """Model, `max_tokens`, basis, limit in dollars, callers: in the order of the table."""
    return product(models, MAX_TOKENS, Basis, LIMITS_DOLLARS, CALLERS)


def answer(question: Question, trace: Sequence[Tokens]) -> Outcome:
    model, max_tokens, basis, dollars, callers = question
    limit = dollars * _MICROCENTS_PER_DOLLAR
    return replay(Cell(limit, callers, Prices(model), max_tokens, basis), trace)


def section_of(asked: Sequence[Question], outcomes: Sequence[Outcome]) -> Section:
    """A row for each model, `max_tokens`, basis and limit; a column for each number of callers."""
    section = Section(
        "Usable share of a budget / share of decisions by lease, at the first refusal",
        ["model", "max_tokens", "basis", "limit", *(f"{callers} callers" for callers in CALLERS)],
    )
    width = len(CALLERS)
    for start in range(0, len(asked), width):
        model, max_tokens, basis, dollars, _ = asked[start]
        cells = [f"{one.usable:.1%} / {one.leased:.0%}" for one in outcomes[start : start + width]]
        named = str(max_tokens or "absent")
        section.rows.append([model, named, basis.value, f"${dollars:,}", *cells])
    beyond = max((one.over for one in outcomes), default=0.0)
    section.notes = [
        "usable: spent / limit when the first call is refused. Calls follow one another in each "
        "caller, at the trace's tokens; records land up to 5 s after a call.",
        f"Spent beyond the limit after all admitted calls landed: at most {beyond:.3%} of it.",
    ]
    return section
