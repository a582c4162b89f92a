"""Leases of limits at scopes: one for each combination of names that limits count by (F5c)."""

import asyncio
import time
from typing import Any

import openai
import pytest

from aos_sdk import CusBlocked, cus_context, cus_track
from aos_sdk.cus_enforcing import lease_book
from aos_sdk.cus_enforcing.lease import CusLease
from aos_sdk.cus_enforcing.scoped_limits import CusCombination, CusScopedLimits
from tests.sdk.cus_fake_servers import CusFakeGovernor
from tests.sdk.cus_governed_programs import (
    PLENTY,
    Configure,
    asked_later,
    known_by,
    patched,
    records_of,
    wait_until,
)


@pytest.fixture
def lender(governor: CusFakeGovernor) -> CusFakeGovernor:
    """A server whose integration has a limit of each agent."""
    governor.lent = dict(PLENTY)
    governor.limit(each_agent=("agent_id", None))
    return governor


def _book(reporter: Any) -> Any:
    return reporter.decider.book


def _lease_of(reporter: Any, *values: str | None) -> CusLease:
    """The lease of a combination of values, once it is sure."""

    def lease() -> CusLease | None:
        for names, line in list(_book(reporter)._lines.items()):
            found: CusLease | None = line.current
            if names.values == values and found is not None and found.is_sure:
                return found
        return None

    found = wait_until(lease)
    assert found is not None
    return found


def _begun(reporter: Any, client: openai.OpenAI, agent: str) -> CusLease:
    """Let an agent's first two calls be checked, and its lease come."""
    if known_by(reporter).current is None:
        known_by(reporter).refresh()
    with cus_context(agent_id=agent):
        patched(client)
        patched(client)
    return _lease_of(reporter, agent)


def _asked_for(governor: CusFakeGovernor) -> list[dict[str, Any]]:
    return [one for one in governor.lease_requests if "estimate" in one]


def test_each_agent_has_a_lease_of_its_own_and_asks_for_it_by_its_name(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    one, two = _begun(reporter, client, "one"), _begun(reporter, client, "two")
    assert one.id != two.id
    asked = [request["scopes"] for request in _asked_for(lender)]
    assert {tuple(scopes.items()) for scopes in asked} == {
        (("agent_id", "one"),),
        (("agent_id", "two"),),
    }
    checks = len(lender.checks)
    for agent, lease in (("one", one), ("two", two)):
        before = lease.set_aside.calls
        with cus_context(agent_id=agent):
            patched(client)
        assert lease.set_aside.calls == before + 1
    assert len(lender.checks) == checks


def test_a_calls_record_names_the_lease_of_its_own_names(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    leases = {agent: str(_begun(reporter, client, agent).id) for agent in ("one", "two")}
    for agent in leases:
        with cus_context(agent_id=agent):
            patched(client)
    leased = [one for one in records_of(lender, reporter) if "lease_id" in one]
    assert {one["agent_id"]: one["lease_id"] for one in leased} == leases


def test_calls_whose_names_have_no_lease_are_checked(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    _begun(reporter, client, "one")
    checks = len(lender.checks)
    with cus_context(agent_id="two"):
        patched(client)
    assert lender.checks[checks]["agent_id"] == "two"


def test_names_that_no_limit_counts_by_share_a_lease(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    lease = _begun(reporter, client, "one")
    before = lease.set_aside.calls
    for session in ("a", "b"):
        with cus_context(agent_id="one", session_id=session, tags={"team": session}):
            patched(client)
    assert lease.set_aside.calls == before + 2


def test_a_model_and_a_tag_are_told_as_the_call_names_them(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    lender.limit(of_model=("model", None), of_tag=("tag", None, "team"))
    reporter = configure()
    known_by(reporter).refresh()
    with cus_context(tags={"team": "search", "place": "x"}):
        patched(client)
        patched(client)
        wait_until(lambda: _asked_for(lender))
    assert _asked_for(lender)[0]["scopes"] == {"model": "gpt-4o", "tags": ["team=search"]}


def test_one_call_of_a_session_asks_for_no_lease(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    lender.limit(each_session=("session_id", None))
    reporter = configure()
    known_by(reporter).refresh()
    for number in range(50):
        with cus_context(session_id=f"session-{number}"):
            patched(client)
    assert len(lender.checks) == 50
    assert _asked_for(lender) == []
    assert len(_book(reporter)._lines) <= lease_book._MOST_LINES


def test_the_least_recently_used_combination_makes_room_and_its_lease_is_returned(
    configure: Configure,
    lender: CusFakeGovernor,
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aos_sdk.cus_enforcing.lease_book._MOST_LINES", 2)
    reporter = configure()
    first = _begun(reporter, client, "first")
    second = _begun(reporter, client, "second")
    _begun(reporter, client, "third")
    wait_until(lambda: str(first.id) not in lender.owed)
    assert str(second.id) in lender.owed
    with cus_context(agent_id="first"):
        checks = len(lender.checks)
        patched(client)
        assert len(lender.checks) == checks + 1


def test_a_lease_that_lacks_a_limit_which_applies_is_not_used_and_returned(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    known_by(reporter).refresh()
    lender._slices = lambda scopes: []  # type: ignore[method-assign]
    with cus_context(agent_id="one"):
        patched(client)
        patched(client)
        wait_until(lambda: lender.set_aside)
        checks = len(lender.checks)
        patched(client)
    assert len(lender.checks) == checks + 1
    assert {one["calls"] for one in lender.set_aside.values()} == {0}


def test_leases_of_names_that_limits_no_longer_count_by_end(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    lease = _begun(reporter, client, "one")
    lender.limit(each_session=("session_id", None))
    known_by(reporter).refresh()
    known_by(reporter).hurry()
    wait_until(lambda: str(lease.id) not in lender.owed)
    checks = len(lender.checks)
    with cus_context(agent_id="one", session_id="s"):
        patched(client)
    assert len(lender.checks) == checks + 1


def test_a_lease_of_a_newer_configuration_waits_until_that_is_known(
    configure: Configure,
    lender: CusFakeGovernor,
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its names may be too few: a limit by which leases differ may have come since."""
    monkeypatch.setattr("aos_sdk.cus_enforcing.configuration.REFRESH_SECONDS", 60.0)
    configure()
    with cus_context(agent_id="another"):
        patched(client)
    wait_until(lambda: lender.asked)
    lender.limit(each_agent=("agent_id", None), each_session=("session_id", None))
    with cus_context(agent_id="one", session_id="s"):
        patched(client)
        patched(client)
        wait_until(lambda: lender.owed)
        checks = len(lender.checks)
        patched(client)
        assert len(lender.checks) == checks + 1


def test_an_end_user_whose_limit_is_of_a_pseudonym_has_checks_alone(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    lender.limit(of_ada=("end_user", "hmac-sha256:00"), each_agent=("agent_id", None))
    reporter = configure()
    known_by(reporter).refresh()
    with cus_context(agent_id="one", end_user="ada"):
        for _ in range(4):
            patched(client)
    assert len(lender.checks) == 4
    assert _asked_for(lender) == []
    with cus_context(agent_id="one"):
        patched(client)
        patched(client)
    _lease_of(reporter, "one", None)


def test_an_older_server_is_told_no_scopes(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    governor.lent = dict(PLENTY)
    reporter = configure()
    known_by(reporter).refresh()
    with cus_context(agent_id="one"):
        patched(client)
        wait_until(lambda: _book(reporter).current)
    assert all("scopes" not in one for one in governor.lease_requests)


def test_a_fork_takes_the_leases_of_no_names_along_and_its_calls_end_without_a_wait(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    lease = _begun(reporter, client, "one")
    reserved = lease.take(1, 1)
    assert reserved is not None
    with lease._changing:  # As by another thread at the moment of the fork.
        book = _book(reporter)
        book.restart_in_child()
    assert list(book._lines) == []
    assert lease.take(1, 1) is None
    lease.end(reserved, 1)


def test_asynchronous_calls_take_of_the_lease_of_their_names(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI, provider: Any
) -> None:
    reporter = configure()
    lease = _begun(reporter, client, "one")
    checks, before = len(lender.checks), lease.set_aside.calls
    with cus_context(agent_id="one"):
        asyncio.run(asked_later(provider))
    assert (len(lender.checks), lease.set_aside.calls) == (checks, before + 1)


def test_a_call_within_a_call_has_the_names_of_both(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    lease = _begun(reporter, client, "one")
    before = lease.set_aside.calls
    with cus_track("gpt-4o", max_tokens=10, agent_id="one"):
        patched(client)
    assert lease.set_aside.calls == before + 1


def test_a_refused_call_tells_which_limit_of_whom_and_when_it_resets(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    configure()
    lender.room = 0
    lender.refusal = {
        "result": "blocked",
        "retry_after_seconds": 3_600,
        "reasons": [
            {
                "code": "agent_limit_exceeded",
                "message": "The limit of $1.00 a day of agent one has no room.",
                "limit_type": "budget",
                "limit_value": 100,
                "current_value": 70,
                "held_value": 18,
                "limit_id": "11111111-1111-1111-1111-111111111111",
                "scope": "agent_id",
                "scope_value": "one",
                "window": "day",
            }
        ],
    }
    with cus_context(agent_id="one"), pytest.raises(CusBlocked) as refused:
        patched(client)
    error = refused.value
    assert (error.limit_id or "").startswith("11111111")
    assert (error.scope, error.scope_value, error.window) == ("agent_id", "one", "day")
    assert (error.unit, error.left) == ("cents", 12)
    assert error.decision is not None
    assert error.resets_at is not None
    assert (error.resets_at - error.decision.evaluated_at).total_seconds() == 3_600


# --- Which limits leases differ by --------------------------------------------------------------


def _limits(*limits: dict[str, Any]) -> CusScopedLimits:
    return CusScopedLimits.read({"limits": list(limits)})


_DAY = {"id": "1", "scope": "agent_id", "value": None, "unit": "cents", "window": "day"}


@pytest.mark.parametrize("content", [None, {}, {"limits": 5}, {"limits": [5, None]}], ids=str)
def test_what_is_no_limit_is_left_out(content: Any) -> None:
    assert CusScopedLimits.read(content).scopes == ()


def test_a_limit_of_a_temporary_kind_is_covered_by_any_of_its_kind() -> None:
    """Which of them applies is a matter of the server's clock."""
    until = time.time() + 60
    temporary = {**_DAY, "id": "2", "valid_until": time.strftime("%FT%TZ", time.gmtime(until))}
    limits = _limits(_DAY, temporary)
    names = CusCombination((("agent_id", ""),), ("one",))
    assert not limits.lacks(names, frozenset({"1"}))
    assert not limits.lacks(names, frozenset({"2"}))
    assert limits.lacks(names, frozenset())


def test_limits_of_all_calls_are_part_of_each_lease_and_split_none() -> None:
    limits = _limits({**_DAY, "scope": "tenant", "value": None})
    assert limits.scopes == ()
    assert limits.lacks(CusCombination(), frozenset())
