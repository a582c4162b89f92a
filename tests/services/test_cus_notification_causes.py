"""What people are told of limits, refusals and credentials, from evidence, decisions and checks."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from enforcement.cus_decisions.first_refusals import watch_refusals
from enforcement.cus_decisions.models import CusEnforcementDecision
from integrations.cus_accounts.models import CusTenant
from integrations.cus_health.service import CusHealthService
from integrations.cus_lifecycle.limits import LIMITS, Unit, Window
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_notifications.announcing import (
    ALL_TIME,
    LimitReading,
    announce_limits,
    started,
)
from integrations.cus_notifications.kinds import level_of
from integrations.cus_notifications.models import CusNotificationEvent
from integrations.cus_notifications.payload import body_of
from telemetry.cus_clock import database_now
from telemetry.cus_ids import uuid7
from telemetry.cus_watching.limit_readings import watch_limits
from tests.cus_factories import SdkClient, make_integration, record
from tests.cus_limits import change_limit, make_limit
from tests.cus_raw_server import RawServer, says

pytestmark = pytest.mark.django_db(transaction=True)


def limit_to(integration: CusIntegration, **columns: Any) -> None:
    CusIntegration.objects.filter(id=integration.id).update(**columns)


def told() -> list[tuple[str, str]]:
    """Kind and limit of each event, in the order in which they were announced."""
    events = CusNotificationEvent.objects.order_by("created_at")
    return [(one.kind, one.subject.partition(":")[0]) for one in events]


def spend(sdk: SdkClient, cents: int) -> None:
    answer = sdk.report(record(cost_cents=cents, tokens_in=0, tokens_out=0))
    assert answer.status_code == 201, answer.content


# --- Levels of limits ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "level"), [(79, None), (80, 80), (94, 80), (95, 95), (99, 95), (100, 100), (200, 100)]
)
def test_a_level_is_reached_exactly_at_its_percentage(taken: int, level: int | None) -> None:
    assert level_of(taken, 100) == level


def test_each_level_of_the_budget_is_told_once_as_it_is_reached(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit_to(integration, budget_limit_cents=1_000)
    expected: list[str] = []
    for cents, kind in ((790, None), (10, "limit_80"), (150, "limit_95"), (50, "limit_100")):
        spend(sdk, cents)
        expected += [kind] if kind else []
        for _ in range(2):
            watch_limits(database_now())
        assert [kind for kind, _ in told()] == expected

    last = CusNotificationEvent.objects.get(kind="limit_100")
    assert last.summary == (
        f"100 % of the limit of {integration.name} is taken: monthly budget, $10.00 of $10.00"
    )
    assert last.path == f"/console/limits/{integration.id}"
    assert last.details == {
        "limit": "budget_limit_cents",
        "scope": "integration",
        "value": "",
        "unit": "microcents",
        "window": "month",
        "level": 100,
        "used": 10**9,
        "held": 0,
        "amount": 10**9,
    }


def test_of_several_levels_at_once_the_highest_is_told_and_a_lower_one_not_afterwards(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit_to(integration, budget_limit_cents=100)
    spend(sdk, 99)
    watch_limits(database_now())
    assert told() == [("limit_95", "budget_limit_cents")]
    # Taken falls, as after a correction: the reading is below the level that was told of.
    reading = _reading(integration, used=85, amount=100, limit="budget_limit_cents")
    assert announce_limits([reading], now=database_now()) == 1
    assert announce_limits([_reading(integration, used=97)], now=database_now()) == 1
    assert announce_limits([_reading(integration, used=85)], now=database_now()) == 0


def _reading(integration: CusIntegration, **values: Any) -> LimitReading:
    fields: dict[str, Any] = {
        "tenant_id": integration.tenant_id,
        "integration_id": integration.id,
        "integration": integration.name,
        "limit": "some",
        "label": "some limit",
        "unit": Unit.CALLS,
        "window": Window.DAY,
        "window_start": started(Window.DAY, database_now()),
        "used": 0,
        "held": 0,
        "amount": 100,
    }
    return LimitReading(**fields | values)


def test_a_limit_that_is_raised_is_told_of_anew(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit_to(integration, budget_limit_cents=100)
    spend(sdk, 100)
    watch_limits(database_now())
    limit_to(integration, budget_limit_cents=1_000)
    watch_limits(database_now())
    spend(sdk, 850)
    watch_limits(database_now())
    assert [kind for kind, _ in told()] == ["limit_100", "limit_95"]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.column)
def test_every_limit_of_an_integration_is_watched(
    integration: CusIntegration, sdk: SdkClient, limit: Any
) -> None:
    """Each limit is set to what a call takes of it, with the call held."""
    amounts = {Unit.CENTS: 1, Unit.TOKENS: 10, Unit.CALLS: 1}
    limit_to(integration, **{limit.column: amounts[limit.unit]})
    assert sdk.check(estimated_tokens=10, estimated_cost_cents=1).json()["result"] != "blocked"
    watch_limits(database_now())
    assert told() == [("limit_100", limit.column)]


def test_a_budget_on_the_exact_basis_counts_exact_costs(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit_to(integration, budget_limit_cents=1, budget_basis="exact")
    # 0.75 cents of gpt-4o by its tokens; a cent as rounded.
    sdk.report(record(model="gpt-4o", tokens_in=1_000, tokens_out=500, cost_cents=1))
    watch_limits(database_now())
    assert told() == []
    limit_to(integration, budget_basis="rounded")
    watch_limits(database_now())
    assert told() == [("limit_100", "budget_limit_cents")]


def test_nothing_is_told_of_what_is_deleted_closed_or_unlimited(tenant: CusTenant) -> None:
    gone, free = make_integration(tenant), make_integration(tenant)
    for integration in (gone, free):
        SdkClient.of(integration).report(record(cost_cents=100))
    limit_to(gone, budget_limit_cents=10, deleted_at=timezone.now())
    closed = make_integration()
    SdkClient.of(closed).report(record(cost_cents=100))
    limit_to(closed, budget_limit_cents=10)
    CusTenant.objects.filter(id=closed.tenant_id).update(closed_at=timezone.now())
    watch_limits(database_now())
    assert told() == []


@pytest.mark.parametrize(
    ("window", "start"),
    [
        (Window.MINUTE, datetime(2028, 2, 29, tzinfo=UTC)),
        (Window.DAY, datetime(2028, 2, 29, tzinfo=UTC)),
        (Window.WEEK, datetime(2028, 2, 28, tzinfo=UTC)),
        (Window.MONTH, datetime(2028, 2, 1, tzinfo=UTC)),
        (Window.LIFE, ALL_TIME),
    ],
)
def test_a_window_is_told_of_by_when_it_began(window: Window, start: datetime) -> None:
    assert started(window, datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC)) == start


# --- Limits at scopes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "names", "value", "label"),
    [
        ("tenant", {}, "", "all calls"),
        ("integration", {}, "", "all calls"),
        ("model", {"model": "gpt-4o"}, "gpt-4o", "model gpt-4o"),
        ("agent_id", {"agent_id": "writer"}, "writer", "agent writer"),
        ("session_id", {"session_id": "s-1"}, "s-1", "session s-1"),
        ("end_user", {"end_user": "ann"}, "ann", "end user ann"),
        ("tag", {"tags": ["team=red"]}, "red", "tag team=red"),
    ],
)
@pytest.mark.parametrize("named", [True, False], ids=["one value", "each value"])
def test_a_limit_at_a_scope_is_told_with_the_value_that_it_counts(
    integration: CusIntegration,
    sdk: SdkClient,
    scope: str,
    names: dict[str, Any],
    value: str,
    label: str,
    named: bool,
) -> None:
    tag = "team" if scope == "tag" else ""
    limit = make_limit(integration, scope, value if named or not value else None, tag=tag)
    sdk.report(record(cost_cents=79, **names))
    watch_limits(database_now())
    assert told() == []
    sdk.report(record(cost_cents=20, **names))
    sdk.report(record(cost_cents=20, model="o3", agent_id="another"))
    for _ in range(2):
        watch_limits(database_now())
    event = CusNotificationEvent.objects.first()
    assert event
    assert event.subject == f"{limit.id}:{100 * MICROCENTS_PER_CENT}"
    assert f"{label}, a month" in event.summary
    assert event.details["scope"] == scope
    assert event.value == (f"team={value}" if tag else value)
    assert event.path == f"/console/limits/{limit.id}"
    assert json.loads(body_of(event))["link"].endswith(event.path)
    assert CusNotificationEvent.objects.count() == 1


@pytest.mark.parametrize("window", ["minute", "day", "week", "month", "life"])
@pytest.mark.parametrize(
    ("unit", "fields"), [("cents", {"cost_cents": 8}), ("tokens", {}), ("calls", {})]
)
def test_every_unit_and_window_is_watched(
    integration: CusIntegration, sdk: SdkClient, window: str, unit: str, fields: dict[str, int]
) -> None:
    amounts = {"cents": 10, "tokens": 18, "calls": 1}
    make_limit(integration, "session_id", "s", unit=unit, window=window, amount=amounts[unit])
    sdk.report(
        record(**{"cost_cents": 0, "tokens_in": 10, "tokens_out": 5} | fields, session_id="s")
    )
    watch_limits(database_now())
    (event,) = CusNotificationEvent.objects.all()
    assert event.details["window"] == window
    assert event.window_start == started(Window(window), database_now())


def test_what_is_held_counts(integration: CusIntegration, sdk: SdkClient) -> None:
    make_limit(integration, "agent_id", None, amount=10)
    sdk.check(agent_id="writer", estimated_cost_cents=9)
    watch_limits(database_now())
    (event,) = CusNotificationEvent.objects.all()
    assert (event.kind, event.value, event.details["used"]) == ("limit_80", "writer", 0)
    assert event.details["held"] == 9 * MICROCENTS_PER_CENT


def test_of_limits_that_count_the_same_the_one_that_applies_is_told(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    """A value's own limit goes before each value's, and a temporary one before a permanent one."""
    make_limit(integration, "agent_id", None, amount=10)
    make_limit(integration, "agent_id", "writer", amount=1_000)
    later = timezone.now() + timedelta(hours=1)
    limit_to(integration, budget_limit_cents=10)
    make_limit(integration, "integration", "", amount=2_000, valid_until=later)
    sdk.report(record(cost_cents=10, agent_id="writer"))
    watch_limits(database_now())
    assert told() == []
    sdk.report(record(cost_cents=10, agent_id="another"))
    watch_limits(database_now())
    (event,) = CusNotificationEvent.objects.all()
    assert event.value == "another"


@pytest.mark.parametrize(
    "fields",
    [
        {"enabled": False},
        {"deleted_at": timezone.now()},
        {"valid_until": timezone.now() + timedelta(seconds=1), "valid_from": ALL_TIME},
        {"valid_from": timezone.now() + timedelta(days=1)},
    ],
    ids=["disabled", "deleted", "over", "not yet begun"],
)
def test_a_limit_that_is_not_in_force_is_not_told_of(
    integration: CusIntegration, sdk: SdkClient, fields: dict[str, Any]
) -> None:
    limit = make_limit(integration, "agent_id", None, amount=10)
    if "valid_until" in fields:
        fields = {"valid_from": ALL_TIME, "valid_until": timezone.now() - timedelta(seconds=1)}
    change_limit(limit, **fields)
    sdk.report(record(cost_cents=10, agent_id="writer"))
    watch_limits(database_now())
    assert told() == []


def test_a_runs_budget_in_code_is_its_programs_own(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    sdk.check(session_id="s", run={"cents": 10}, estimated_cost_cents=10)
    watch_limits(database_now())
    assert told() == []


def test_a_session_that_its_limit_refuses_is_told_of_once(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "session_id", None, window="life", amount=10)
    sdk.report(record(cost_cents=10, session_id="s"))
    for _ in range(3):
        assert sdk.check(session_id="s").json()["result"] == "blocked"
        watch_refusals(database_now())
    (event,) = CusNotificationEvent.objects.all()
    assert (event.subject, event.value) == (f"session_limit_exceeded:{limit.id}", "s")
    assert event.window_start == ALL_TIME
    assert event.summary.endswith("session limit exceeded (session s)")


# --- First refusals -----------------------------------------------------------------------------


def test_the_first_refusal_of_a_limit_is_told_once_in_its_window(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit_to(integration, budget_limit_cents=1)
    sdk.check("fits")
    assert watch_refusals(database_now()) == 0
    for _ in range(3):
        assert sdk.check().json()["result"] == "blocked"
    assert watch_refusals(database_now()) == 1
    assert sdk.check().json()["result"] == "blocked"
    assert watch_refusals(database_now()) == 0

    (event,) = CusNotificationEvent.objects.all()
    assert event.kind == "first_refusal"
    assert event.window_start == started(Window.MONTH, database_now())
    assert event.summary.startswith(f"Calls of {integration.name} are refused: ")
    assert event.details["window"] == "month"
    decision = CusEnforcementDecision.objects.get(id=event.details["decision_id"])
    assert event.path == f"/console/decisions/{decision.id}"
    assert decision.result == "blocked"


def test_each_limit_that_refuses_is_told_of(integration: CusIntegration, sdk: SdkClient) -> None:
    limit_to(integration, rate_limit_rpm=1)
    sdk.check()
    sdk.check()
    watch_refusals(database_now())
    limit_to(integration, rate_limit_rpm=0, rate_limit_rpd=1)
    sdk.check()
    watch_refusals(database_now())
    events = CusNotificationEvent.objects.order_by("created_at")
    assert [one.subject for one in events] == [
        "rate_limit_exceeded:rate",
        "rate_limit_exceeded:rpd",
    ]
    assert "told to wait" in events[0].summary


def test_a_call_of_a_disabled_integration_is_told_of_and_a_stopped_or_repeated_one_is_not(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    sdk.report(record(call_id="reported"))
    assert sdk.check("reported").json()["reasons"][0]["code"] == "call_recorded"
    watch_refusals(database_now())
    assert told() == []
    limit_to(integration, status="disabled")
    sdk.check()
    watch_refusals(database_now())
    assert told() == [("first_refusal", "integration_disabled")]


def _decided(
    integration: CusIntegration,
    reason: Any,
    *,
    code: str = "token_limit_exceeded",
    **columns: Any,
) -> None:
    now = database_now()
    fields: dict[str, Any] = {
        "id": uuid7(),
        "tenant_id": integration.tenant_id,
        "integration_id": integration.id,
        "call_id": "call",
        "result": "blocked",
        "reason": code,
        "decided_by": "sdk",
        "facts": {},
        "reasons": [reason],
        "evaluated_at": now,
        "created_at": now,
    }
    CusEnforcementDecision.objects.create(**fields | columns)


def test_a_refusal_of_a_scoped_limit_names_the_limit_its_value_and_its_window(
    integration: CusIntegration,
) -> None:
    limit_id = str(uuid7())
    reason = {
        "code": "token_limit_exceeded",
        "limit_id": limit_id,
        "scope": "session_id",
        "scope_value": "s-1",
        "window": "life",
    }
    _decided(integration, reason)
    _decided(integration, reason | {"scope_value": "s-2"})
    assert watch_refusals(database_now()) == 2
    first, second = CusNotificationEvent.objects.order_by("value")
    assert (first.value, second.value) == ("s-1", "s-2")
    assert first.window_start == ALL_TIME
    assert first.details["limit"] == limit_id
    assert first.summary.endswith("token limit exceeded (session s-1)")


@pytest.mark.parametrize(
    "reason",
    [
        None,
        "text",
        [],
        {"limit_id": 5, "scope": ["x"], "scope_value": {}, "window": "aeon", "limit_type": []},
        {"limit_id": "nonsense", "scope_value": "x" * 5_000},
    ],
)
def test_whatever_an_sdk_says_for_a_reason_breaks_nothing(
    integration: CusIntegration, reason: Any
) -> None:
    _decided(integration, reason)
    assert watch_refusals(database_now()) == 1
    (event,) = CusNotificationEvent.objects.all()
    assert (event.value, event.window_start) == ("", started(Window.DAY, database_now()))


def test_a_decision_that_arrives_days_late_is_no_news(integration: CusIntegration) -> None:
    _decided(integration, {}, created_at=database_now() - timedelta(days=2))
    assert watch_refusals(database_now()) == 0
    assert told() == []


# --- Credentials --------------------------------------------------------------------------------


@pytest.fixture
def refusing(settings: Settings) -> Iterator[RawServer]:
    bad_key = says(401, {"error": {"message": "Wrong key", "code": "invalid_api_key"}})
    with RawServer(bad_key) as server:
        settings.CUS_ALLOW_HTTP_PROVIDERS = True
        settings.CUS_ALLOWED_PRIVATE_HOSTS = [f"127.0.0.1:{server.port}"]
        yield server


def test_a_credential_that_turns_invalid_is_told_once(refusing: RawServer) -> None:
    integration = make_integration(provider_type="custom", config={"base_url": refusing.url})
    service = CusHealthService(integration.tenant)
    now = timezone.now()
    states = [
        service.check(integration, now=now + timedelta(minutes=number)).credential_state
        for number in range(4)
    ]
    assert states[-1] == "invalid"
    (event,) = CusNotificationEvent.objects.all()
    assert event.kind == "credential_invalid"
    assert event.path == f"/console/integrations/{integration.id}"
    assert integration.name in event.summary
