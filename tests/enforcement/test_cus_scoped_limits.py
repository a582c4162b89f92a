"""Checks beside limits at scopes: what they hold, what is refused, and what is said of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import RequestFactory
from django.utils import timezone

from enforcement.cus_checks.requests import CheckRequest, RunBudget
from enforcement.cus_checks.rounds import Verdict
from enforcement.cus_checks.service import CusEnforcementService
from enforcement.cus_decisions.decision_page import figures
from enforcement.cus_decisions.explain import explain
from enforcement.cus_decisions.models import CusEnforcementDecision
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.models import CusEnforcementHold
from tests.conftest import as_if
from tests.cus_factories import ENFORCEMENT, SdkClient, make_integration, record
from tests.cus_limits import change_limit, make_limit
from tests.enforcement.test_cus_leases import caller_of

pytestmark = pytest.mark.django_db(transaction=True)


def check(
    integration: CusIntegration,
    call_id: str,
    cents: int = 40,
    *,
    at: datetime | None = None,
    **fields: Any,
) -> Verdict:
    return check_all(integration, (call_id, cents, fields), at=at)[0]


def request(call_id: str, cents: int, **fields: Any) -> CheckRequest:
    values: dict[str, Any] = {
        "model": "gpt-4o",
        "estimated_tokens": 10,
        "estimated_cost_cents": cents,
    }
    return CheckRequest(call_id=call_id, **values | fields)


def check_all(
    integration: CusIntegration, *calls: tuple[str, int, dict[str, Any]], at: datetime | None = None
) -> list[Verdict]:
    requests = [request(call_id, cents, **fields) for call_id, cents, fields in calls]
    return CusEnforcementService(caller_of(integration), at=at).check_batch(requests)


def said(verdict: Verdict) -> tuple[Any, ...]:
    reason = verdict.decision.reasons[0]
    return str(verdict.decision.result), str(reason.code), reason.scope, reason.scope_value


PASSED = ("allowed", "all_checks_passed", None, None)

EXCEEDED = {
    "session_id": "session_limit_exceeded",
    "agent_id": "agent_limit_exceeded",
    "end_user": "end_user_limit_exceeded",
    "tag": "tag_limit_exceeded",
}
SCOPES = [
    ("tenant", "", "", {}),
    ("integration", "", "", {}),
    ("model", "", "gpt-4o", {}),
    ("agent_id", "", "writer", {"agent_id": "writer"}),
    ("session_id", "", "s-1", {"session_id": "s-1"}),
    ("end_user", "", "ann", {"end_user": "ann"}),
    ("tag", "team", "red", {"tags": ["team=red"]}),
]


@pytest.mark.parametrize(("scope", "tag", "value", "names"), SCOPES)
def test_a_scope_is_bound_by_what_its_calls_hold_and_used(
    integration: CusIntegration,
    sdk: SdkClient,
    scope: str,
    tag: str,
    value: str,
    names: dict[str, Any],
) -> None:
    make_limit(integration, scope, value, tag=tag)
    assert said(check(integration, "one", **names)) == PASSED
    assert said(check(integration, "two", **names))[0] == "allowed"
    shown = f"{tag}={value}" if tag else value
    over = ("blocked", "estimate_exceeds_room", scope, shown)
    assert said(check(integration, "three", **names)) == over
    sdk.report(record(call_id="one", cost_cents=70, **names))
    full = said(check(integration, "four", 1, **names))
    assert full == ("blocked", EXCEEDED.get(scope, "budget_exceeded"), scope, shown)
    assert said(check(integration, "one-more", model="o3", **no_others(names)))[0] == (
        "blocked" if scope in ("tenant", "integration") else "allowed"
    )


def no_others(names: dict[str, Any]) -> dict[str, Any]:
    return {name: ["team=blue"] if name == "tags" else "other" for name in names}


def test_calls_of_one_batch_see_each_others_holds(integration: CusIntegration) -> None:
    make_limit(integration, "session_id", None)
    calls = [(f"call-{n}", 40, {"session_id": f"s-{n % 2}"}) for n in range(6)]
    results = [str(verdict.decision.result) for verdict in check_all(integration, *calls)]
    assert results == ["allowed"] * 4 + ["blocked"] * 2


def test_a_call_that_is_checked_again_does_not_count_twice(integration: CusIntegration) -> None:
    make_limit(integration, "session_id", "s")
    assert said(check(integration, "one", 60, session_id="s")) == PASSED
    assert said(check(integration, "one", 90, session_id="s")) == PASSED
    assert said(check(integration, "two", 20, session_id="s"))[0] == "blocked"


def test_a_hold_that_ends_makes_room(integration: CusIntegration) -> None:
    make_limit(integration, "session_id", "s")
    check(integration, "one", 90, session_id="s")
    as_if("DELETE FROM cus_enforcement_holds", "DELETE FROM cus_limit_holds")
    assert said(check(integration, "two", 90, session_id="s")) == PASSED


def test_a_limit_that_is_made_later_knows_the_calls_that_run(
    limited: CusIntegration, sdk: SdkClient
) -> None:
    check(limited, "running", 70, session_id="s")
    sdk.report(record(call_id="ended", cost_cents=20, session_id="s"))
    make_limit(limited, "session_id", "s")
    assert said(check(limited, "next", 20, session_id="s"))[1] == "estimate_exceeds_room"
    assert said(check(limited, "small", 10, session_id="s"))[0] in ("allowed", "warned")


def test_the_narrowest_scope_is_named_first_and_all_are_listed(
    integration: CusIntegration,
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=50)
    for scope, value in (("tenant", ""), ("session_id", "s"), ("model", "gpt-4o")):
        make_limit(integration, scope, value, amount=50)
    found = check(integration, "one", 60, session_id="s").decision
    assert [reason.scope for reason in found.reasons] == ["session_id", "model", None, "tenant"]
    assert len({reason.limit_id for reason in found.reasons}) == 4


def test_a_value_of_its_own_goes_before_the_default(integration: CusIntegration) -> None:
    make_limit(integration, "end_user", None, amount=10)
    own = make_limit(integration, "end_user", "ann", amount=200)
    assert said(check(integration, "one", 150, end_user="ann"))[0] == "allowed"
    assert said(check(integration, "two", 150, end_user="bob"))[0] == "blocked"
    change_limit(own, enabled=False)
    assert said(check(integration, "three", 5, end_user="ann"))[0] == "blocked"


def test_a_temporary_increase_ends_by_itself_and_what_was_used_still_counts(
    integration: CusIntegration,
) -> None:
    now = timezone.now()
    make_limit(integration, "session_id", "s", window="life")
    make_limit(
        integration,
        "session_id",
        "s",
        window="life",
        amount=300,
        valid_from=now - timedelta(seconds=1),
        valid_until=now + timedelta(hours=1),
    )
    assert said(check(integration, "one", 200, session_id="s"))[0] == "allowed"
    later = now + timedelta(hours=2)
    found = check(integration, "two", 1, session_id="s", at=later)
    assert said(found)[1] == "session_limit_exceeded"
    assert found.decision.reasons[0].limit_value == 100
    assert found.decision.retry_after_seconds is None


def test_a_temporary_limit_of_the_integration_stands_in_for_its_column(
    integration: CusIntegration,
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=50)
    now = timezone.now()
    assert said(check(integration, "one", 60))[0] == "blocked"
    make_limit(integration, "integration", "", amount=90, valid_until=now + timedelta(hours=1))
    assert said(check(integration, "two", 60))[0] == "allowed"
    assert said(check(integration, "three", 40))[0] == "blocked"
    assert said(check(integration, "four", 1, at=now + timedelta(hours=2)))[0] == "blocked"


@pytest.mark.parametrize("window", ["minute", "day", "week", "month"])
def test_a_window_begins_anew(integration: CusIntegration, sdk: SdkClient, window: str) -> None:
    make_limit(integration, "session_id", "s", window=window)
    check(integration, "one", 90, session_id="s")
    sdk.report(record(call_id="one", cost_cents=90, session_id="s"))
    assert said(check(integration, "two", 20, session_id="s"))[0] == "blocked"
    ends = {
        "minute": timedelta(seconds=62),
        "day": timedelta(days=1),
        "week": timedelta(days=7),
        "month": timedelta(days=31),
    }
    later = timezone.now() + ends[window]
    assert said(check(integration, "three", 20, session_id="s", at=later)) == PASSED


def test_a_throttled_limit_says_how_long_to_wait(integration: CusIntegration) -> None:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    make_limit(
        integration,
        "agent_id",
        "bot",
        unit="calls",
        window="day",
        amount=1,
        result="throttled",
        valid_from=noon,
    )
    assert said(check(integration, "one", agent_id="bot", at=noon)) == PASSED
    found = check(integration, "two", agent_id="bot", at=noon).decision
    assert (str(found.result), found.step) == ("throttled", 6)
    assert found.retry_after_seconds == 12 * 3600 + 1


def test_exact_cents_bind_microcents(integration: CusIntegration) -> None:
    make_limit(integration, "session_id", "s", basis="exact", amount=1)
    fields: dict[str, Any] = {"session_id": "s", "estimated_cost_microcents": 400_000}
    assert said(check(integration, "one", 1, **fields)) == PASSED
    assert said(check(integration, "two", 1, **fields)) == PASSED
    assert said(check(integration, "three", 1, **fields))[0] == "blocked"


def test_a_limit_of_the_tenant_binds_all_its_integrations(integration: CusIntegration) -> None:
    other = make_integration(integration.tenant)
    make_limit(integration, "tenant", "")
    assert said(check(integration, "one", 60))[0] == "allowed"
    assert said(check(other, "one", 60))[0] == "blocked"
    assert said(check(other, "two", 40))[0] == "allowed"


def test_a_limit_that_is_made_again_starts_from_evidence(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "session_id", "s")
    check(integration, "one", 30, session_id="s")
    sdk.report(record(call_id="one", cost_cents=30, session_id="s"))
    check(integration, "two", 30, session_id="s")
    change_limit(limit, deleted_at=timezone.now())
    assert said(check(integration, "three", 500, session_id="s")) == PASSED
    sdk.report(record(call_id="three", cost_cents=30, session_id="s"))
    make_limit(integration, "session_id", "s")
    assert said(check(integration, "four", 10, session_id="s"))[0] == "warned"
    assert said(check(integration, "five", 1, session_id="s"))[0] == "blocked"


def test_a_changed_amount_binds_the_next_check(integration: CusIntegration) -> None:
    limit = make_limit(integration, "session_id", "s")
    check(integration, "one", 60, session_id="s")
    change_limit(limit, amount=50)
    assert said(check(integration, "two", 1, session_id="s"))[1] == "session_limit_exceeded"
    change_limit(limit, amount=200)
    assert said(check(integration, "three", 140, session_id="s"))[0] == "allowed"


def test_end_users_are_counted_by_their_pseudonyms_where_names_are_not_stored(
    integration: CusIntegration, sdk: SdkClient, settings: Any
) -> None:
    settings.CUS_HASH_END_USERS = True
    make_limit(integration, "end_user", None)
    check(integration, "one", 60, end_user="ann")
    assert "ann" not in str(CusEnforcementHold.objects.get().names)
    sdk.report(record(call_id="one", cost_cents=60, end_user="ann"))
    assert said(check(integration, "two", 60, end_user="ann"))[0] == "blocked"
    assert said(check(integration, "three", 60, end_user="bob"))[0] == "allowed"


def test_a_refusal_is_decided_the_same_again_from_the_log(integration: CusIntegration) -> None:
    make_limit(integration, "session_id", "s", amount=10)
    check(integration, "one", 60, session_id="s")
    explained = explain(CusEnforcementDecision.objects.get())
    assert explained.verdict == "identical"
    assert "no limit of session s: allowed" in explained.changes


# --- Budgets in code ----------------------------------------------------------------------------


def run(integration: CusIntegration, call_id: str, cost: int = 40, **budget: int) -> Verdict:
    names: dict[str, Any] = {"run": RunBudget(**budget)} if budget else {}
    return check(integration, call_id, cost, session_id="s", **names)


def test_a_budget_in_code_binds_its_session_in_all_processes(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    assert said(run(integration, "one", cents=100))[0] == "allowed"
    assert said(run(integration, "two"))[0] == "allowed"
    refused = run(integration, "three")
    assert said(refused) == ("blocked", "estimate_exceeds_room", "session_id", "s")
    assert refused.decision.reasons[0].window == "life"
    assert said(check(integration, "four", 40, session_id="other"))[0] == "allowed"
    sdk.report(record(call_id="one", cost_cents=10, session_id="s"))
    assert said(run(integration, "five"))[0] == "allowed"


def test_the_least_budget_in_code_counts(integration: CusIntegration) -> None:
    run(integration, "one", 10, cents=100)
    assert said(run(integration, "two", 50, cents=500))[0] == "allowed"
    assert said(run(integration, "three", 30, cents=80))[0] == "blocked"
    assert said(run(integration, "four", 30, cents=200))[0] == "blocked"


def test_a_budget_in_code_knows_what_the_session_used_before(
    limited: CusIntegration, sdk: SdkClient
) -> None:
    sdk.report(record(cost_cents=50, session_id="s"))
    check(limited, "running", 30, session_id="s")
    assert said(run(limited, "two", 30, cents=100))[0] == "blocked"


def test_a_loop_stops_at_its_dollar(integration: CusIntegration, sdk: SdkClient) -> None:
    ran = 0
    for turn in range(100):
        if run(integration, f"turn-{turn}", 18, cents=100).decision.admits:
            sdk.report(record(call_id=f"turn-{turn}", cost_cents=18, session_id="s"))
            ran += 1
    assert ran == 5


def test_a_run_may_have_budgets_of_each_kind(integration: CusIntegration) -> None:
    assert said(run(integration, "one", 1, calls=1, tokens=1_000))[0] == "allowed"
    found = run(integration, "two", 1)
    assert said(found)[:2] == ("blocked", "session_limit_exceeded")
    assert found.decision.reasons[0].limit_value == 1


# --- What programs and people are told ----------------------------------------------------------


def test_configuration_and_status_tell_of_limits(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    session = make_limit(integration, "session_id", None, window="life", basis="exact")
    make_limit(integration, "agent_id", "a", enabled=False)
    day = make_limit(integration, "integration", "", window="day", unit="calls", amount=5)
    check(integration, "one", session_id="s")
    sdk.report(record(session_id="s"))

    config = sdk.client.get(f"{ENFORCEMENT}/config").json()
    assert config["is_limited"] is True
    assert [limit["id"] for limit in config["limits"]] == [str(session.id), str(day.id)]
    told = config["limits"][0]
    assert (told["value"], told["window"], told["basis"]) == (None, "life", "exact")
    assert (told["amount"], told["valid_until"]) == (100, None)

    (limit,) = sdk.client.get(f"{ENFORCEMENT}/status").json()["limits"]
    assert (limit["id"], limit["unit"], limit["amount"]) == (str(day.id), "calls", 5)
    assert (limit["used"], limit["held"], limit["leased"]) == (1, 1, 0)


def test_a_check_over_http_names_the_limit_that_refused(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "tag", None, tag="team", amount=2)
    assert sdk.check("one", tags=["team=red"]).json()["result"] == "allowed"
    sdk.report(record(call_id="one", cost_cents=2, tags=["team=red"]))
    (reason,) = sdk.check("two", tags=["team=red"]).json()["reasons"]
    assert reason["limit_id"] == str(limit.id)
    assert (reason["code"], reason["scope"]) == ("tag_limit_exceeded", "tag")
    assert (reason["scope_value"], reason["window"]) == ("team=red", "month")
    assert reason["message"].startswith("The limit of $0.02 a month of tag team=red has no room")


def test_a_decision_page_shows_limits_at_scopes(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    make_limit(integration, "session_id", "s", amount=10)
    check(integration, "one", 60, session_id="s")
    decision = CusEnforcementDecision.objects.get()
    page = str(figures(RequestFactory().get("/"), decision))
    assert "Session s, a month" in page
    assert "$0.60" in page
