"""A replay's memory is bounded, whatever programs report, how late, and for how many names."""

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aos_sdk.cus_limit_scopes import CusCallNames
from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_reading.known_limits import KnownLimit
from enforcement.cus_rules.facts import Authority
from enforcement.cus_what_if.at_scopes import LimitsAtScopes
from enforcement.cus_what_if.remembered import Remembered
from enforcement.cus_what_if.replay import AdmittedBy, Event, PastCall, Replay, Revision
from enforcement.cus_what_if.report_limits import LimitsOfReport
from integrations.cus_lifecycle.limits import LimitColumns
from telemetry.cus_money.amounts import Amounts

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
MUCH_LATER = NOON + timedelta(days=20)
PARTS = 5_600


def authority(**limits: Any) -> Authority:
    values: dict[str, Any] = {
        "status": "enabled",
        "credential_state": "valid",
        "config_version": 1,
        "enforcement_level": "block",
        "budget_basis": "rounded",
        "allow_unpriced": False,
    }
    none = dict.fromkeys(LimitColumns.__struct_fields__, 0)
    return Authority(**none | values | limits)


def many_limits() -> list[KnownLimit]:
    """One of each kind that there is, near enough: 27."""
    windows = ("minute", "day", "life")
    kinds = [
        (scope, unit, window)
        for scope in ("agent_id", "session_id", "end_user")
        for unit in ("cents", "tokens", "calls")
        for window in windows
    ]
    return [
        KnownLimit(str(n), s, "", None, u, w, 10**12, "rounded", "blocked", 80, True, 0.0, None)
        for n, (s, u, w) in enumerate(kinds)
    ]


def replay_of(limits: list[KnownLimit] | None = None, **own: Any) -> Replay:
    return Replay(
        authority(**own),
        LimitsAtScopes(limits or [], NOON, most_values=1_000),
        used=Amounts(),
        admitted_today=0,
        began=NOON,
        since=NOON,
        most_parts=PARTS,
    )


def late_call(number: int, **fields: Any) -> PastCall:
    """A call that begins after those before it, and that its program reports weeks later."""
    name = f"name-{number}"
    values: dict[str, Any] = {
        "id": number,
        "call_id": f"call-{number}",
        "model": "gpt-4o",
        "at": NOON + timedelta(seconds=number),
        "landed_at": MUCH_LATER + timedelta(seconds=number),
        "spent": Amounts(1, 1_000_000, 10),
        "estimate": Amounts(2, 2_000_000, 20),
        "priced": True,
        "tokens_known": True,
        "then": Result.ALLOWED,
        "admitted_by": AdmittedBy.CHECK,
        "names": CusCallNames("gpt-4o", name, name, name),
    }
    return PastCall(**values | fields)


def memory_after(replay: Replay, calls: Iterator[Event]) -> int:
    """The memory that is in use when a replay has decided these calls, in bytes."""
    for _ in replay.outcomes(calls):
        pass
    return tracemalloc.get_traced_memory()[0]


@pytest.fixture
def _traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("_traced")
@pytest.mark.parametrize("limits", [[], many_limits()], ids=["own limits", "27 limits"])
def test_calls_that_are_reported_weeks_late_do_not_fill_the_memory(
    limits: list[KnownLimit],
) -> None:
    replay = replay_of(limits, budget_limit_cents=10**9)
    room = max(PARTS // (1 + len(limits)), 1_000)

    full = memory_after(replay, (late_call(number) for number in range(room + 100)))
    flooded = memory_after(replay, (late_call(number) for number in range(room + 100, 3 * room)))

    assert replay.given_up.landings == 2 * room
    assert flooded < 1.5 * full
    assert full < 6_000_000


def test_a_record_that_counts_before_it_comes_takes_the_place_of_its_hold() -> None:
    replay = replay_of(budget_limit_cents=2 * PARTS + 10)
    calls = [late_call(number) for number in range(PARTS + 15)]

    found = [outcome.decision.admits for outcome in replay.outcomes(iter(calls))]

    # All hold 2 cents; of those that are too many one costs 1 in place of its 2.
    assert found == [True] * (PARTS + 9) + [False] * 6
    assert "Of 9 calls" in LimitsOfReport(()).notes(replay.given_up)[0]


def test_a_record_that_counts_before_it_comes_counts_once() -> None:
    replay = replay_of(budget_limit_cents=10**9)
    calls: list[Event] = [late_call(number) for number in range(PARTS + 15)]
    after = late_call(0, id=-1, call_id="after", at=MUCH_LATER + timedelta(hours=20))

    *_, last = replay.outcomes([*calls, after])

    assert replay._used.cents == PARTS + 15
    assert (replay._held, replay._running) == (Amounts(2, 2_000_000, 20), 1)
    assert last.in_flight == 0


def test_a_flood_of_models_of_refused_and_of_revised_calls_is_remembered_in_part() -> None:
    remembered = Remembered[str, int](most=100)
    for number in range(1_000):
        remembered.keep("busy", number)
        remembered.keep(f"name-{number}", number)

    assert len(remembered._values) <= 100
    assert remembered.get("busy") == 999
    assert remembered.forgotten >= 900
    assert remembered.take("busy") == 999
    assert "busy" not in remembered


def test_a_call_whose_refusal_was_forgotten_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    replay = replay_of(budget_limit_cents=5)
    replay._runs_no_more = Remembered(most=1)
    replay._runs_already = Remembered(most=1)
    calls: list[Event] = [
        late_call(number, spent=Amounts(9, 9_000_000, 10), estimate=None, is_revised=True)
        for number in range(3)
    ]
    revisions: list[Event] = [
        Revision(NOON + timedelta(hours=1), call.id, NOON, Amounts(1), Amounts(), of_month=False)
        for call in calls
        if isinstance(call, PastCall)
    ]

    assert not any(one.decision.admits for one in replay.outcomes([*calls, *revisions]))
    assert "later attempts and revisions" in LimitsOfReport(()).notes(replay.given_up)[0]
