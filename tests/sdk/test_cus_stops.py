"""What a person has stopped: no call of it begins, with and without a server, leases or limits."""

from typing import Any

import openai
import pytest

from aos_sdk import CusEnforcer, CusHardBlocked, cus_context, cus_track
from aos_sdk.cus_enforcing.stops import CusStops
from tests.sdk.cus_capture_cases import CHAT
from tests.sdk.cus_fake_providers import CusFakeProvider
from tests.sdk.cus_fake_servers import CusFakeGovernor
from tests.sdk.cus_governed_programs import PLENTY, Configure, known_by, patched, records_of
from tests.sdk.test_cus_leases import _begun

_STOP = {"scope": "agent_id", "value": "crawler", "reason": "It loops."}
_REFUSAL = {
    "result": "hard_blocked",
    "reasons": [{"code": "stopped", "message": "It loops.", "action": "Have the stop lifted"}],
}


class _StoppingGovernor(CusFakeGovernor):
    """Refuses the calls of the agent `crawler` once it is stopped."""

    def stop(self, **fields: str) -> None:
        self.configuration["stops"] = [_STOP | fields]
        self.configuration["config_version"] += 1

    def _receive(self, path: str, body: dict[str, Any]) -> Any:
        if path.endswith("/check"):
            stopped = self.configuration.get("stops") and body.get("agent_id") == "crawler"
            self.verdict = _REFUSAL if stopped else {"result": "allowed", "reasons": []}
        return super()._receive(path, body)


@pytest.fixture
def governor() -> Any:
    with _StoppingGovernor() as running:
        running.lent = dict(PLENTY)
        yield running


def test_a_check_says_whose_the_call_is_as_its_record_does(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure(enforce="check")
    with cus_context(agent_id="a", session_id="s", end_user="e", tags={"team": "x"}):
        patched(client)
    (check,), (record,) = governor.checks, records_of(governor, reporter)
    names = {"agent_id": "a", "session_id": "s", "end_user": "e", "tags": ["team=x"]}
    assert {name: check[name] for name in names} == names
    assert {name: record[name] for name in names} == names


def test_an_outer_call_says_whose_the_call_within_it_is(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    configure(enforce="check")
    with cus_context(agent_id="inner"), cus_track("gpt-4o", agent_id="outer"):
        patched(client)
    assert {check["agent_id"] for check in governor.checks} == {"outer"}


def test_a_lease_lets_no_call_begin_that_is_stopped(
    configure: Configure,
    governor: _StoppingGovernor,
    client: openai.OpenAI,
    provider: CusFakeProvider,
) -> None:
    reporter = configure()
    _begun(reporter, client)
    asked = len(governor.checks)
    governor.stop()
    known_by(reporter).refresh()

    reached = len(provider.requests)
    with cus_context(agent_id="crawler"), pytest.raises(CusHardBlocked, match="It loops"):
        client.chat.completions.create(**CHAT)
    assert len(provider.requests) == reached
    with cus_context(agent_id="another"):
        client.chat.completions.create(**CHAT)
    assert len(governor.checks) == asked + 1


def test_a_lease_that_is_newer_than_what_is_known_of_stops_lets_no_call_begin(
    configure: Configure, governor: _StoppingGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    lease = _begun(reporter, client)
    governor.stop()
    lease.config_version += 1
    lease.is_sure = False
    with cus_context(agent_id="crawler"), pytest.raises(CusHardBlocked, match="It loops"):
        client.chat.completions.create(**CHAT)


def test_without_a_limit_what_is_stopped_is_refused_too(
    configure: Configure, governor: _StoppingGovernor, client: openai.OpenAI
) -> None:
    governor.configuration["is_limited"] = False
    governor.stop()
    known_by(configure()).refresh()
    patched(client)
    assert governor.checks == []
    with cus_context(agent_id="crawler"), pytest.raises(CusHardBlocked, match="It loops"):
        client.chat.completions.create(**CHAT)


def test_while_the_server_is_away_the_last_known_stops_hold(
    configure: Configure, governor: _StoppingGovernor, client: openai.OpenAI
) -> None:
    governor.stop()
    reporter = configure()
    known_by(reporter).refresh()
    governor.trouble = [None]
    with cus_context(agent_id="crawler"), pytest.raises(CusHardBlocked) as refused:
        patched(client)
    assert refused.value.reason is not None
    assert str(refused.value.reason.code) == "stopped"
    assert "The agent crawler is stopped: It loops." in str(refused.value)
    with cus_context(agent_id="another"):
        client.chat.completions.create(**CHAT)
    assert CusEnforcer(reporter).check("gpt-4o").admits


def test_an_end_user_who_is_stopped_by_a_pseudonym_is_asked_for_at_the_server() -> None:
    stop = {"scope": "end_user", "value": "hmac-sha256:00", "reason": "Abuse."}
    stops = CusStops.read({"stops": [stop]})

    class Call:
        agent_id = session_id = model = tags = None
        end_user: str | None = "ada"

    assert stops.may_stop(Call())
    assert stops.reason(Call()) is None
    Call.end_user = None
    assert not stops.may_stop(Call())


@pytest.mark.parametrize("content", [None, {}, {"stops": 5}, {"stops": [5, None]}], ids=str)
def test_what_is_no_stop_stops_nothing(content: Any) -> None:
    assert CusStops.read(content).reasons == {}
