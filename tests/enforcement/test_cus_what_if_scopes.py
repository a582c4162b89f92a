"""A replay knows limits at scopes, and decides by them as the live ladder did."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_what_if.report import RESULTS
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.partitions import make_partitions
from tests.conftest import as_if
from tests.cus_factories import SdkClient, record
from tests.cus_limits import make_limit
from tests.enforcement.cus_limits_machine import STARTS, clock_of_limits, move, now
from tests.enforcement.test_cus_scoped_limits import check
from tests.enforcement.test_cus_what_if import outcomes, simulation_of

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

# Scope, value, tag: None is each value.
LIMITS: list[tuple[str, str | None, str, dict[str, Any]]] = [
    ("agent_id", None, "", {"unit": "cents", "window": "day", "amount": 75}),
    ("agent_id", "writer", "", {"unit": "cents", "window": "day", "amount": 60, "basis": "exact"}),
    ("session_id", None, "", {"unit": "cents", "window": "life", "amount": 200}),
    ("end_user", None, "", {"unit": "tokens", "window": "month", "amount": 31_000}),
    ("tag", None, "team", {"unit": "cents", "window": "week", "amount": 260}),
    ("model", "gpt-4o-mini", "", {"unit": "tokens", "window": "minute", "amount": 3_000}),
    ("integration", "", "", {"unit": "calls", "window": "minute", "amount": 6}),
    ("tenant", "", "", {"unit": "cents", "window": "month", "amount": 750}),
]
_DECISIONS = CusEnforcementDecision._meta.db_table
OWN = {"rate_limit_tpm": 6_000, "rate_limit_rpd": 18}


class LiveTraffic:
    """Calls of some agents, sessions, people and teams, one after the other, at the moved clock."""

    def __init__(self, integration: CusIntegration, sdk: SdkClient) -> None:
        self.integration = integration
        self.sdk = sdk
        self.decided: list[tuple[str, Result]] = []
        # Refusals by the scope and window of the limit that decided; without a scope its own limits.
        self.refused_by: Counter[tuple[str | None, str | None]] = Counter()
        self._random = random.Random(3)

    def pass_by(self) -> None:
        """Bursts of eight calls, ten seconds apart, about every nine hours."""
        number = 0
        for burst in range(30):
            move(STARTS[0] + timedelta(hours=9 * burst))
            for _ in range(8):
                number += 1
                self._call(f"call-{number}", f"session-{burst // 3}")
                move(now() + timedelta(seconds=7))

    def _call(self, call_id: str, session: str) -> None:
        pick = self._random.choice
        names: dict[str, Any] = {
            "agent_id": pick(["writer", "reader", "critic"]),
            "session_id": session,
            "end_user": pick(["ann", "bob"]),
            "tags": [f"team={pick(['red', 'blue'])}", "stage=live"],
        }
        model, cents = pick(["gpt-4o", "gpt-4o-mini"]), self._random.randint(2, 30)
        asked = names | {"model": model, "estimated_tokens": cents * 90}
        decision = check(self.integration, call_id, cents, at=now(), **asked).decision
        self.decided.append((call_id, decision.result))
        if not decision.admits:
            first = decision.reasons[0]
            self.refused_by[first.scope or first.limit_type, first.window] += 1
        move(now() + timedelta(seconds=3))
        if not decision.admits and pick([True, False]):
            # Nobody reports this refusal: only the decision knows of it.
            return
        spent = self._random.randint(1, cents + 3) if decision.admits else 0
        words = {Result.ALLOWED: "allowed", Result.WARNED: "warned"}
        told = {
            "policy_result": words.get(decision.result, "blocked"),
            "tokens_in": spent * 60,
            "tokens_out": spent * 20,
            "cost_cents": spent,
        }
        began = (now() - timedelta(seconds=3)).isoformat()
        body = record(call_id=call_id, model=model, timestamp=began, **names, **told)
        assert self.sdk.report(body).status_code == 201


@pytest.fixture
def clock() -> Iterator[None]:
    with clock_of_limits():
        made = make_partitions(STARTS[0], table=_DECISIONS)
        yield
        as_if(*(f"DROP TABLE {month.partition_of(_DECISIONS)}" for month in made))


def test_single_file_traffic_is_decided_again_by_limits_at_scopes_as_the_live_ladder_did(
    clock: None, integration: CusIntegration, sdk: SdkClient
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(**OWN)
    for scope, value, tag, fields in LIMITS:
        make_limit(integration, scope, value, tag=tag, valid_from=STARTS[0], **fields)
    live = LiveTraffic(integration, sdk)
    live.pass_by()
    # The log's own time is that of the machine's clock.
    as_if(f"UPDATE {_DECISIONS} SET created_at = evaluated_at")

    again = outcomes(simulation_of(integration))

    assert [(one.call.call_id, one.decision.result) for one in again] == live.decided
    assert [one for one in again if one.cause] == []
    seen = Counter(result for _, result in live.decided)
    assert min(seen[result] for result in RESULTS) >= 5, seen
    assert {scope for scope, _ in live.refused_by} >= {*(one[0] for one in LIMITS), "rpd"}
    # A part of the days knows of the time before what these days do not show.
    some = outcomes(simulation_of(integration, days=7))
    assert [(one.call.call_id, one.decision.result) for one in some] == live.decided[-len(some) :]
    assert 100 < len(some) < len(again)
