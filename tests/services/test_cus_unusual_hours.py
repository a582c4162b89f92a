"""Hours that cost far more than is usual are kept as events, once, and shown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics import unusual_hours
from telemetry.cus_analytics.models import CusUsageAnomaly, CusUsageHourly
from telemetry.cus_analytics.unusual_hours import find_unusual_hours, is_unusual, usual_cost
from telemetry.cus_signals.exposition import labels_of
from telemetry.cus_signals.upkeep import upkeep_families
from tests.cus_factories import browser_of, listed, make_integration

pytestmark = pytest.mark.django_db

DOLLAR = 100_000_000
HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)
NOW = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
THIS_HOUR = NOW.replace(minute=0)


def _spend(
    integration: CusIntegration, hour: datetime, dollars: float, **key: Any
) -> CusUsageHourly:
    values = {"model": "gpt-4o", "agent_id": "", "policy_result": "allowed", "has_error": False}
    return CusUsageHourly.objects.create(
        tenant_id=integration.tenant_id,
        integration_id=integration.id,
        provider="openai",
        hour=hour,
        cost_microcents=round(dollars * DOLLAR),
        **values | key,
    )


def _usual(integration: CusIntegration, dollars: float, *, weeks: int = 8, **key: Any) -> None:
    for number in range(1, weeks + 1):
        _spend(integration, THIS_HOUR - number * WEEK, dollars, **key)


def _events() -> list[tuple[str, str]]:
    return [(one.subject, one.name) for one in CusUsageAnomaly.objects.order_by("subject", "name")]


def test_an_hour_above_five_times_the_usual_is_an_event_of_its_integration_and_model(
    integration: CusIntegration,
) -> None:
    _usual(integration, 2)
    _spend(integration, THIS_HOUR, 28.5)

    assert find_unusual_hours(NOW) == 2

    assert _events() == [("integration", ""), ("model", "gpt-4o")]
    event = CusUsageAnomaly.objects.filter(subject="integration").get()
    assert (event.cost_microcents, event.usual_microcents) == (round(28.5 * DOLLAR), 2 * DOLLAR)
    assert (event.hour, event.weeks) == (THIS_HOUR, 8)
    assert event.text == f"14 times its usual {THIS_HOUR:%A}"


def test_an_event_is_found_once_and_grows_with_its_hour(integration: CusIntegration) -> None:
    _usual(integration, 2)
    row = _spend(integration, THIS_HOUR, 11)
    assert find_unusual_hours(NOW) == 2
    CusUsageHourly.objects.filter(pk=row.pk).update(cost_microcents=50 * DOLLAR)

    assert find_unusual_hours(NOW + timedelta(minutes=5)) == 0
    assert find_unusual_hours(NOW + 20 * HOUR) == 0

    events = CusUsageAnomaly.objects.values_list("cost_microcents", flat=True)
    assert list(events) == [50 * DOLLAR] * 2


def test_an_agent_or_model_is_compared_with_itself(integration: CusIntegration) -> None:
    _usual(integration, 40, agent_id="steady")
    _usual(integration, 1, agent_id="runaway", model="gpt-4o-mini")
    _spend(integration, THIS_HOUR, 40, agent_id="steady")
    _spend(integration, THIS_HOUR, 20, agent_id="runaway", model="gpt-4o-mini")

    find_unusual_hours(NOW)

    assert _events() == [("agent", "runaway"), ("model", "gpt-4o-mini")]


def test_calls_without_an_agent_are_no_agent(integration: CusIntegration) -> None:
    _usual(integration, 1)
    _spend(integration, THIS_HOUR, 20)
    find_unusual_hours(NOW)
    assert ("agent", "") not in _events()


@pytest.mark.parametrize(("usual", "cost"), [(2.0, 10.0), (0.01, 0.99), (100.0, 20.0), (0.0, 0.99)])
def test_an_hour_at_five_times_the_usual_or_below_the_floor_is_no_event(
    integration: CusIntegration, usual: float, cost: float
) -> None:
    _usual(integration, usual)
    _spend(integration, THIS_HOUR, cost)
    assert find_unusual_hours(NOW) == 0


def test_the_floor_is_a_setting(integration: CusIntegration, settings: Any) -> None:
    _usual(integration, 0.01)
    _spend(integration, THIS_HOUR, 0.99)
    settings.CUS_ANOMALY_FLOOR_CENTS = 99
    assert find_unusual_hours(NOW) == 2


@pytest.mark.parametrize(("weeks", "events"), [(0, 0), (3, 0), (4, 2)])
def test_the_rule_needs_four_weeks_of_history(
    integration: CusIntegration, weeks: int, events: int
) -> None:
    _usual(integration, 1, weeks=weeks)
    _spend(integration, THIS_HOUR, 30)
    assert find_unusual_hours(NOW) == events


def test_an_hour_that_usually_costs_nothing_is_an_event_above_the_floor(
    integration: CusIntegration,
) -> None:
    _spend(integration, THIS_HOUR - 6 * WEEK - HOUR, 3)
    _spend(integration, THIS_HOUR, 30)

    find_unusual_hours(NOW)

    event = CusUsageAnomaly.objects.filter(subject="integration").get()
    assert (event.usual_microcents, event.weeks) == (0, 6)
    assert event.text == f"usually nothing on a {THIS_HOUR:%A} at {THIS_HOUR:%H}:00"


def test_one_extreme_week_does_not_change_what_is_usual() -> None:
    assert usual_cost([1, 1, 1, 1, 1, 1, 1, 10**9]) == 1
    assert usual_cost([1, 1, 1]) is None
    assert is_unusual(51, 10, floor=0)
    assert not is_unusual(50, 10, floor=0)


def test_hours_before_the_last_day_are_not_looked_at(integration: CusIntegration) -> None:
    hour = THIS_HOUR - 26 * HOUR
    for number in range(1, 9):
        _spend(integration, hour - number * WEEK, 1)
    _spend(integration, hour, 30)
    assert find_unusual_hours(NOW) == 0


def test_settled_usage_counts(integration: CusIntegration) -> None:
    _usual(integration, 1)
    row = _spend(integration, THIS_HOUR, 0)
    CusUsageHourly.objects.filter(pk=row.pk).update(settled_cost_microcents=30 * DOLLAR)
    assert find_unusual_hours(NOW) == 2


def test_tenants_are_compared_with_themselves_and_see_their_own_events(
    integration: CusIntegration, tenant: CusTenant
) -> None:
    stranger = make_integration(name="strange")
    _usual(stranger, 100)
    _spend(stranger, THIS_HOUR, 100)
    _usual(integration, 1)
    _spend(integration, THIS_HOUR, 14)

    find_unusual_hours(NOW)

    assert {one.tenant_id for one in CusUsageAnomaly.objects.all()} == {tenant.id}
    shown = f"14 times its usual {THIS_HOUR:%A}"
    assert shown in browser_of("member", tenant).get("/admin/").content.decode()
    assert shown not in browser_of("member", stranger.tenant).get("/admin/").content.decode()


def test_a_tenant_whose_hours_cannot_be_read_holds_up_no_other(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = make_integration()
    _usual(integration, 1)
    _spend(integration, THIS_HOUR, 14)
    real = unusual_hours._unusual

    def failing(tenant_id: Any, now: datetime) -> Any:
        if tenant_id == broken.tenant_id:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")
        return real(tenant_id, now)

    monkeypatch.setattr(unusual_hours, "_unusual", failing)
    assert find_unusual_hours(NOW) == 2


def test_the_metric_counts_the_events_of_the_last_day(integration: CusIntegration) -> None:
    _usual(integration, 1)
    _spend(integration, THIS_HOUR, 14)
    find_unusual_hours(NOW)
    families = {one.name: one for one in upkeep_families(NOW, {})}
    whose = labels_of(str(integration.tenant_id), str(integration.id))
    assert {*families["cus_integration_anomalies"].text().splitlines()[2:]} == {
        f'cus_integration_anomalies{{{whose},subject="{subject}"}} 1'
        for subject in ("integration", "model")
    }


# The API


ANOMALIES = "/api/v1/cus/telemetry/anomalies"


def test_the_api_lists_a_tenant_s_events_newest_first_by_pages(
    tenant: CusTenant, integration: CusIntegration
) -> None:
    other, foreign = make_integration(tenant), make_integration()
    for one, dollars in ((integration, 28.5), (other, 30), (foreign, 40)):
        _usual(one, 2, agent_id="a")
        _spend(one, THIS_HOUR, dollars, agent_id="a")
    find_unusual_hours(NOW)
    member = browser_of("member", tenant)

    events = listed(member, f"{ANOMALIES}?limit=2")

    assert {(event["integration_id"], event["subject"]) for event in events} == {
        (str(one.id), subject)
        for one in (integration, other)
        for subject in ("integration", "model", "agent")
    }
    assert len(events) == 6
    of_model = next(event for event in events if event["subject"] == "model")
    usual = of_model["usual_microcents"]
    assert (of_model["name"], usual, of_model["weeks"]) == ("gpt-4o", 2 * DOLLAR, 8)
    assert of_model["text"].endswith(f"times its usual {THIS_HOUR:%A}")
    chosen = f"{ANOMALIES}?integration_id={integration.id}&subject=agent&name=a"
    (agent,) = listed(member, chosen)
    assert agent["text"] == f"14 times its usual {THIS_HOUR:%A}"
    assert listed(member, f"{ANOMALIES}?to={(THIS_HOUR - HOUR).isoformat()[:19]}Z") == []


@pytest.mark.parametrize(
    ("query", "status"),
    [("subject=session", 400), ("cursor=x", 404), (f"integration_id={DOLLAR:032x}", 404)],
)
def test_the_api_refuses_what_names_no_event(query: str, status: int, tenant: CusTenant) -> None:
    assert browser_of("member", tenant).get(f"{ANOMALIES}?{query}").status_code == status
