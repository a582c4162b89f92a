"""The audit of races finds what it is there for: an admission beyond the limit, money that is gone."""

from typing import Any

from tests.trust.cus_abuse.audit import Asked, Logged, Race, Reported, admission_findings


def race(*events: Asked | Reported) -> Race:
    """A race for 60 cents of room, in which these things happened."""
    begun = Race(limit_cents=160, used_cents=90, held_cents=10)
    begun.asked += [one for one in events if isinstance(one, Asked)]
    begun.reported += [one for one in events if isinstance(one, Reported)]
    return begun


def logged(call_id: str, *, used: int, held: int, estimate: int, **facts: Any) -> Logged:
    amounts = {"used": [used, 0, 0], "held": [held, 0, 0], "leased": [0, 0, 0]}
    limits = {"budget_limit_cents": 160}
    return Logged(
        call_id,
        {"usage": amounts, "estimate": [estimate, 0, 0], "authority": limits} | facts,
    )


FIRST = Asked("first", sent=1, told=2, result="warned", estimate_cents=20)
SECOND = Asked("second", sent=3, told=4, result="warned", estimate_cents=20)
BOTH = [
    logged("first", used=90, held=10, estimate=20),
    logged("second", used=90, held=30, estimate=20),
]


def test_admissions_that_see_all_that_was_taken_and_fit_are_sound() -> None:
    assert admission_findings(race(FIRST, SECOND), BOTH) == []


def test_an_admission_beyond_the_limit_is_found() -> None:
    beyond = logged("first", used=90, held=55, estimate=20)

    assert admission_findings(race(FIRST), [beyond]) == ["first: 145 + 20 > 160"]


def test_an_admission_that_did_not_see_an_earlier_hold_is_found() -> None:
    blind = logged("second", used=90, held=10, estimate=20)

    found = admission_findings(race(FIRST, SECOND), [BOTH[0], blind])

    assert found == ["second was let in seeing 100 taken, where 120 were"]


def test_an_admission_that_did_not_see_all_of_a_landed_cost_is_found() -> None:
    landed = Reported("first", sent=2.2, told=2.8, status=201, counted_cents=35)
    blind = logged("second", used=90, held=30, estimate=20)

    found = admission_findings(race(FIRST, SECOND, landed), [BOTH[0], blind])

    assert found == ["second was let in seeing 120 taken, where 135 were"]


def test_what_lands_while_a_check_is_under_way_may_be_seen_as_either() -> None:
    landing = Reported("first", sent=2.9, told=3.5, status=201, counted_cents=1)

    for held in (30, 11):
        entry = logged("second", used=90, held=held, estimate=20)
        assert admission_findings(race(FIRST, SECOND, landing), [BOTH[0], entry]) == []


def test_an_admission_without_evidence_or_without_a_log_entry_is_found() -> None:
    blind = Logged("first", {"usage": None})

    assert admission_findings(race(FIRST), [blind]) == ["first was let in without evidence"]
    assert admission_findings(race(FIRST), []) == ["1 admissions are not in the log: ['first']"]


def test_what_must_be_counted_and_held_after_a_race() -> None:
    told = Asked("told", sent=1, told=2, result="blocked", estimate_cents=50)
    landed = Reported("first", sent=3, told=4, status=201, counted_cents=35)
    conflict = Reported("first", sent=5, told=6, status=409, counted_cents=2)

    after = race(FIRST, SECOND, told, landed, conflict)

    assert after.used_after() == 90 + 35
    assert after.held_after() == 10 + 20
