"""How much of a limit's room a lease gets, and what a replay of calls says of it."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cus_lease_replay.cells import LIMITS_DOLLARS, questions, section_of
from benchmarks.cus_lease_replay.estimates import Basis, LearnedOutput, Prices
from benchmarks.cus_lease_replay.model import Cell, Outcome, Tokens, replay
from enforcement.cus_rules.lending import LEAST_CALLS, SHARE, YOUNG_PERCENT, slice_of

DOLLAR = 100_000_000
TRACE = [Tokens(2_000, 20 + number % 30) for number in range(1_000)]
amounts = st.integers(0, 10**12)
estimates = st.integers(1, 10**9)


@given(room=amounts, holders=st.integers(1, 500), estimate=estimates, spent=st.none() | amounts)
def test_holders_together_get_at_most_a_share_of_the_room(
    room: int, holders: int, estimate: int, spent: int | None
) -> None:
    left = room
    for number in range(holders):
        left -= slice_of(left, holders=number + 1, estimate=estimate, spent=spent)
        assert left >= 0
    lent = slice_of(room, holders=holders, estimate=estimate, spent=spent)
    assert lent * SHARE * holders <= room
    assert lent == 0 or lent >= estimate * LEAST_CALLS


@given(room=amounts, estimate=estimates)
def test_a_holder_gets_more_after_it_spent_more(room: int, estimate: int) -> None:
    first = slice_of(room, holders=1, estimate=estimate, spent=None)
    assert slice_of(room, holders=1, estimate=estimate, spent=first) >= first


@given(room=amounts, estimate=estimates, starts=st.integers(1, 200))
def test_a_program_that_crashes_at_each_start_locks_a_tenth_of_the_room(
    room: int, estimate: int, starts: int
) -> None:
    """Its holders have no durable disk, so none of their leases comes back (ruling F5a)."""
    locked = 0
    for _ in range(starts):
        locked += slice_of(
            room - locked, holders=1, estimate=estimate, spent=None, young_leased=locked
        )
    assert locked * 100 <= room * YOUNG_PERCENT


def test_no_replayed_call_passes_the_limit_where_estimates_are_bounds() -> None:
    prices = Prices("gpt-4o-mini")
    for basis in (Basis.BOUND, Basis.CLAMP):
        for callers in (1, 16):
            outcome = replay(Cell(DOLLAR, callers, prices, 256, basis), TRACE)
            assert outcome.over == 0
            assert 0.5 < outcome.usable <= 1
            assert 0 < outcome.leased < 1


def test_learned_estimates_leave_more_usable_than_the_models_maximum() -> None:
    prices = Prices("gpt-5.5")
    bound, learned = (
        replay(Cell(25 * DOLLAR, 16, prices, None, basis), TRACE)
        for basis in (Basis.BOUND, Basis.LEARNED)
    )
    assert bound.usable < 0.01
    assert learned.usable > 0.5


def test_learned_output_is_above_nearly_all_of_the_last_outputs() -> None:
    learned = LearnedOutput()
    for output in range(1, 100):
        learned.add(output)
    assert learned.estimate(16_384) == 16_384  # too few to learn from
    for output in range(100, 3_001):
        learned.add(output)
    assert learned.estimate(16_384) == 3_000 * 5 // 4
    assert learned.estimate(3_100) == 3_100


def test_the_table_has_a_row_for_each_limit_of_each_way_to_estimate() -> None:
    asked = list(questions(["gpt-4o"]))
    section = section_of(asked, [Outcome(0.5, 0.25, 0.0)] * len(asked))
    assert len(section.rows) == 2 * len(Basis) * len(LIMITS_DOLLARS)
    assert section.rows[0][-1] == "50.0% / 25%"
