"""How much of a limit's room a lease gets, and what a replay of calls says of it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from benchmarks.cus_lease_replay.cells import LIMITS_DOLLARS, questions, section_of
from benchmarks.cus_lease_replay.estimates import Basis, LearnedOutput, Prices
from benchmarks.cus_lease_replay.model import Cell, Outcome, Tokens, replay
from enforcement.cus_rules.facts import Authority, Facts, Usage
from enforcement.cus_rules.lending import (
    GROWTH,
    LEAST_CALLS,
    SHARE,
    YOUNG_PERCENT,
    Holder,
    Loan,
    lend,
    slice_of,
)
from integrations.cus_lifecycle.limits import LIMITS, Limit
from telemetry.cus_money.amounts import MOST, Amounts, LeaseAmounts

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


NOW = datetime(2026, 12, 1, tzinfo=UTC)
NO_YOUNG = LeaseAmounts()
# Of what is taken and of limits, so that there is room more often than not.
counts = st.integers(0, 10**4)
limits = st.just(0) | st.integers(1, 10**6)
loads = st.builds(Amounts, counts, st.integers(0, 10**10), counts)


def facts(usage: Usage | None, **columns: object) -> Facts:
    values: dict[str, object] = {
        "status": "enabled", "credential_state": "valid", "enforcement_level": "block",
        "budget_basis": "rounded", "allow_unpriced": False, "config_version": 1,
    } | {limit.column: 0 for limit in LIMITS}  # fmt: skip
    authority = Authority(**(values | columns))  # type: ignore[arg-type]
    return Facts(call_id="", evaluated_at=NOW, authority=authority, usage=usage)


def holder_of(spent: LeaseAmounts | None = None, *, is_durable: bool = True) -> Holder:
    return Holder(LeaseAmounts(2, 1_500_000, 100, 1), spent, is_durable)


def lent(
    usage: Usage | None = None, holder: Holder | None = None, **columns: object
) -> Loan | None:
    asked = facts(usage or Usage(), **columns)
    return lend(asked, holder or holder_of(), holders=1, young=NO_YOUNG)


@given(
    used=loads, held=loads, leased=loads, admitted=counts,
    budget=limits, tokens=limits, rate=limits, is_exact=st.booleans(),
    holders=st.integers(1, 50),
    spent=st.none() | st.builds(LeaseAmounts, counts, counts, counts, counts),
    is_durable=st.booleans(),
    young=st.builds(LeaseAmounts, counts, counts, counts, counts),
)  # fmt: skip
def test_a_lease_never_lends_more_than_half_of_what_is_free_of_any_limit(
    used: Amounts, held: Amounts, leased: Amounts, admitted: int,
    budget: int, tokens: int, rate: int, is_exact: bool,
    holders: int, spent: LeaseAmounts | None, is_durable: bool, young: LeaseAmounts,
) -> None:  # fmt: skip
    """Counted here by hand, limit by limit, and not as the code that is tested does it."""
    usage = Usage(used=used, held=held, leased=leased, admitted=admitted)
    asked = facts(
        usage, budget_limit_cents=budget, token_limit_month=tokens, rate_limit_rpm=rate,
        budget_basis="exact" if is_exact else "rounded",
    )  # fmt: skip
    free = {}
    if budget and is_exact:
        free["microcents"] = budget * 10**6 - used.microcents - held.microcents - leased.microcents
    elif budget:
        free["cents"] = budget - used.cents - held.cents - leased.cents
    if tokens:
        free["tokens"] = tokens - used.tokens - held.tokens - leased.tokens
    if rate:
        free["calls"] = rate - admitted

    holder = holder_of(spent, is_durable=is_durable)
    loan = lend(asked, holder, holders=holders, young=young)

    event("lent" if loan else "nothing lent")
    if loan is None:
        return
    assert [one.unit for one in loan.slices] == list(free)
    for one in loan.slices:
        amount = getattr(loan.lent, one.unit)
        assert one.amount == amount >= LEAST_CALLS * getattr(holder.estimate, one.unit)
        assert amount * SHARE * holders <= free[one.unit]
        if spent is None and not is_durable:
            young_too = amount + getattr(young, one.unit)
            assert young_too * 100 <= (free[one.unit] + getattr(young, one.unit)) * YOUNG_PERCENT


def test_a_first_lease_is_for_the_least_calls_in_every_amount() -> None:
    loan = lent(budget_limit_cents=1_000)

    assert loan
    assert loan.lent == LeaseAmounts(8, 6_000_000, 400, 4)
    assert [(one.limit_id, one.unit, one.amount) for one in loan.slices] == [
        ("budget_limit_cents", "cents", 8)
    ]


def test_an_amount_that_no_limit_binds_follows_the_holders_pace() -> None:
    spent = LeaseAmounts(30, 1, 9_000, MOST)
    loan = lent(holder=holder_of(spent), budget_limit_cents=100)

    assert loan
    assert loan.lent == LeaseAmounts(50, 6_000_000, 9_000 * GROWTH, MOST)


@pytest.mark.parametrize("level", ["visibility", "control_plane", "warn"])
def test_nothing_is_lent_where_no_limit_refuses(level: str) -> None:
    assert lent(budget_limit_cents=1_000, enforcement_level=level) is None
    assert lent(budget_limit_cents=1_000, enforcement_level="throttle")
    assert lent(enforcement_level="block") is None


def test_nothing_is_lent_without_evidence() -> None:
    asked = facts(None, budget_limit_cents=1_000)
    assert lend(asked, holder_of(), holders=1, young=NO_YOUNG) is None
    unknown = Facts(call_id="", evaluated_at=NOW, authority=None, usage=None)
    assert lend(unknown, holder_of(), holders=1, young=NO_YOUNG) is None


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.kind)
def test_one_limit_without_room_is_no_lease(limit: Limit) -> None:
    wide: dict[str, Any] = {one.column: 10**6 for one in LIMITS}
    assert lent(**wide)
    assert lent(**(wide | {limit.column: 1})) is None


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
