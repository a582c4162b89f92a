"""Charts, each from the table beside it: on the page on cost, the first page and integrations'."""

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from integrations.cus_accounts.models import CusTenant
from integrations.cus_console.charts import Chart, Kind, Series, Unit, drawn, in_dollars
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_clock import database_now
from telemetry.cus_reads.month_panel import _pace, _projected
from telemetry.cus_reads.usage_series import CusUsageSeries
from tests.cus_factories import (
    SdkClient,
    browser_of,
    make_integration,
    make_tenant,
    record,
    turn_health,
)

pytestmark = pytest.mark.django_db

COST = "/admin/cost/"
MILLION = 1_000_000
# A million tokens of gpt-4o.
DOLLARS = 2.5


def _report(integration: CusIntegration, *calls: dict[str, Any], days_ago: int = 0) -> None:
    moment = (timezone.now() - timedelta(days=days_ago)).isoformat()
    given = {"model": "gpt-4o", "tokens_in": MILLION, "tokens_out": 0, "timestamp": moment}
    answer = SdkClient.of(integration).report_batch(*(record(**given | call) for call in calls))
    assert answer.json()["accepted"] == len(calls)
    rollup_usage(timezone.now() + timedelta(seconds=1))


def _tables(client: Client, page: str = COST) -> dict[str, list[dict[str, str]]]:
    """The rows of each chart's table, by the panel's key."""
    answer = client.get(page)
    assert answer.status_code == 200, answer
    found = {}
    for panel in re.split(r'<section id="', answer.content.decode())[1:]:
        table = re.search(r"<table[^>]*data-cus-chart.*?</table>", panel, re.DOTALL)
        if table:
            rows = [
                [
                    html.unescape(cell).strip()
                    for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
                ]
                for row in re.findall(r"<tr.*?</tr>", table[0], re.DOTALL)
            ]
            found[panel.split('"')[0]] = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    return found


def _panel(client: Client, key: str, page: str = COST) -> str:
    text = client.get(page).content.decode()
    return re.split(r"<section ", text.split(f'<section id="{key}"')[1])[0]


def _day(days_ago: int = 0) -> str:
    day = (timezone.now() - timedelta(days=days_ago)).date()
    return f"{day.day} {day:%b}"


def test_cost_is_shown_by_day_and_integration() -> None:
    tenant = make_tenant()
    first, second = (make_integration(tenant, name=name) for name in ("first", "second"))
    _report(first, {}, {}, days_ago=3)
    _report(second, {}, days_ago=3)
    _report(second, {})
    rows = {row["Day"]: row for row in _tables(browser_of("admin", tenant))["cost"]}

    assert len(rows) == 30
    assert rows[_day(3)] == {"Day": _day(3), "first": "$5.00", "second": "$2.50"}
    assert rows[_day()] == {"Day": _day(), "first": "$0.00", "second": "$2.50"}
    assert rows[_day(1)]["first"] == "$0.00"


def test_all_but_the_dearest_are_one_series() -> None:
    tenant = make_tenant()
    integration = make_integration(tenant)
    _report(
        integration, *({"agent_id": f"agent-{n}", "tokens_in": MILLION * n} for n in range(1, 8))
    )
    rows = _tables(browser_of("member", tenant), f"{COST}?by=agent&days=7")["cost"]
    assert len(rows) == 7
    named = [f"agent-{number}" for number in (7, 6, 5, 4, 3)]
    assert list(rows[-1]) == ["Day", *named, "Other"]
    assert rows[-1]["agent-7"] == "$17.50"
    assert rows[-1]["Other"] == "$7.50"


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Kathmandu"])
def test_days_are_those_of_the_tenants_zone(zone: str) -> None:
    tenant = make_tenant()
    CusTenant.objects.filter(id=tenant.id).update(time_zone=zone)
    integration = make_integration(tenant)
    tenant.refresh_from_db()
    _report(integration, {}, days_ago=2)
    client = browser_of("admin", tenant)
    assert zone in _panel(client, "cost")
    local = timezone.now() - timedelta(days=2)
    day = local.astimezone(ZoneInfo(zone)).date()
    rows = {row["Day"]: row for row in _tables(client)["cost"]}
    assert rows[f"{day.day} {day:%b}"][integration.name] == "$2.50"
    assert sum(row[integration.name] != "$0.00" for row in rows.values()) == 1


def test_tokens_by_kind_add_up_to_all_tokens() -> None:
    integration = make_integration()
    _report(
        integration,
        {
            "tokens_in": 1_000, "tokens_out": 300, "tokens_cached": 400, "tokens_cache_write": 100,
            "tokens_audio_in": 50, "tokens_reasoning": 120,
        },
    )  # fmt: skip
    row = _tables(browser_of("operator"))["tokens"][-1]
    assert row == {
        "Day": _day(), "Input": "450", "Cached input": "400", "Cache write": "100",
        "Audio and images": "50", "Output": "180", "Reasoning": "120",
    }  # fmt: skip


def test_blocked_failed_and_latency_are_of_the_days_calls() -> None:
    integration = make_integration()
    nothing = {"tokens_in": 0, "cost_cents": 0}
    _report(
        integration,
        {"latency_ms": 100},
        {"latency_ms": 120, "error_code": "timeout"},
        {"latency_ms": 140},
        {"policy_result": "blocked", "error_code": "budget_exceeded", **nothing},
    )
    tables = _tables(browser_of("operator"))
    assert tables["blocked"][-1] == {"Day": _day(), "Blocked": "25.0 %", "Failed": "25.0 %"}
    assert tables["blocked"][-2] == {"Day": _day(1), "Blocked": "-", "Failed": "-"}
    percentiles = [int(tables["latency"][-1][name].removesuffix(" ms")) for name in ("p50", "p95")]
    assert 100 <= percentiles[0] <= percentiles[1] <= 150


@pytest.mark.django_db(transaction=True)
def test_refusals_are_counted_by_day_and_result() -> None:
    integration = make_integration(budget_limit_cents=5)
    sdk = SdkClient.of(integration)
    for number in range(3):
        sdk.check(f"refused-{number}", estimated_cost_cents=9, reserve=False)
    rows = _tables(browser_of("admin", integration.tenant))["decisions"]
    assert rows[-1]["Blocked"] == "3"
    assert rows[-1]["Told to wait"] == "0"
    stranger = browser_of("admin", make_tenant("Strangers"))
    assert "decisions" not in _tables(stranger)


# --- The month ----------------------------------------------------------------------------------


def test_the_month_of_an_integration_with_a_budget_burns_down() -> None:
    integration = make_integration(budget_limit_cents=1_000)
    _report(integration, {})
    rows = _tables(browser_of("operator"), f"{COST}?integration={integration.id}")["month"]
    today = timezone.now().astimezone(UTC).day
    assert rows[today - 1]["Left of the budget"] == "$7.50"
    if today < len(rows):
        assert rows[-1]["Left of the budget"] == "-"
    page = f"/admin/integrations/cusintegration/{integration.id}/tab/overview/"
    assert _tables(browser_of("operator"), page)["budget"] == rows


def test_without_a_budget_the_month_adds_up() -> None:
    integration = make_integration()
    _report(integration, {}, {})
    rows = _tables(browser_of("admin", integration.tenant))["month"]
    assert rows[timezone.now().astimezone(UTC).day - 1]["Spent"] == "$5.00"


def test_the_rest_of_the_month_is_spread_evenly() -> None:
    days = [datetime(2026, 11, day, tzinfo=UTC).date() for day in range(1, 6)]
    ahead = _projected(days, days[1], 100, 90)
    assert ahead == [None, 100, 130, 160, 190]
    assert _projected(days, days[4], 100, 90)[-1] == 100
    assert _projected(days, days[1], 100, None) == [None] * 5
    assert _pace(150, days, ahead, 90) == "At this pace the budget lasts until 4 November."
    assert _pace(500, days, ahead, 90).endswith("until the end of the month.")
    assert "no forecast yet" in _pace(500, days, [None] * 5, None)


# --- The dearest --------------------------------------------------------------------------------


def test_the_dearest_lead_to_their_calls() -> None:
    tenant = make_tenant()
    integration = make_integration(tenant, name="chat")
    _report(
        integration,
        {"agent_id": "dear", "session_id": "s 1"},
        {"agent_id": "dear", "session_id": "s 1"},
        {"model": "gpt-4o-mini", "tokens_in": 10},
    )
    client = browser_of("admin", tenant)
    agents = _panel(client, "agents")
    assert re.search(r'agent_id=dear"[^>]*>dear</a>.*\$5\.00.*>2<', agents, re.DOTALL)
    assert "(no agent named)" in agents
    sessions = _panel(client, "sessions")
    link = html.unescape(re.findall(r'href="([^"]*session_id=[^"]*)"', sessions)[0])
    listed = client.get(link, follow=True).context["cl"].result_list
    assert len(listed) == 2
    assert "gpt-4o-mini" in _panel(client, "models")


def test_the_staff_choose_a_tenant_for_what_hours_alone_tell() -> None:
    tenant = make_tenant("Umbrella")
    _report(make_integration(tenant), {"agent_id": "dear"})
    client = browser_of("support")
    assert "Choose a tenant to see its dearest agents" in _panel(client, "agents")
    assert ">dear</a>" in _panel(client, "agents", f"{COST}?tenant={tenant.id}")


# --- Who sees what ------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["operator", "support", "finance", "admin", "member"])
def test_each_role_sees_the_cost_of_its_own_tenants(role: str) -> None:
    ours, theirs = make_tenant("Ours"), make_tenant("Theirs")
    for one in (ours, theirs):
        _report(make_integration(one, name=f"of {one.name}"), {})
    client = browser_of(role, ours if role in ("admin", "member") else None)
    is_staff = role in ("operator", "support", "finance")
    # Support's first page is the search.
    for page in (COST, "/admin/") if role != "support" else (COST,):
        text = _panel(client, "cost", page)
        assert "of Ours" in text
        assert ("of Theirs" in text) is is_staff
    named = client.get(f"{COST}?tenant={theirs.id}").content.decode()
    assert ("of Theirs" in named) is is_staff


def test_nobody_names_an_integration_of_another_tenant() -> None:
    theirs = make_integration(make_tenant("Theirs"), name="Their chat")
    _report(theirs, {})
    client = browser_of("admin", make_tenant("Ours"))
    page = client.get(f"{COST}?integration={theirs.id}").content.decode()
    assert "Their chat" not in page


@pytest.mark.parametrize(
    "query", ["days=0", "days=x", "by=password", "tenant=%00", "integration='"]
)
def test_the_page_takes_any_address(query: str) -> None:
    assert browser_of("operator").get(f"{COST}?{query}").status_code == 200


def test_who_has_no_role_gets_no_page() -> None:
    assert browser_of("nobody").get(COST).status_code in (302, 403)
    assert Client().get(COST)["Location"].startswith("/admin/login/")


def test_a_page_without_usage_says_what_to_do_next() -> None:
    text = browser_of("admin", make_tenant()).get(COST).content.decode()
    assert "data-cus-chart" not in text
    assert "Issue an SDK key, and let the program report with it." in text
    assert "Nothing was spent this month yet." in text
    assert "No program named a session yet" in text


def test_the_page_takes_the_same_queries_whatever_the_number_of_rows(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    tenant = make_tenant()
    client = browser_of("admin", tenant)
    _report(make_integration(tenant), {"session_id": "a", "agent_id": "b"})
    client.get(COST)
    with django_assert_max_num_queries(40) as captured:
        client.get(COST)
        few = len(captured)
    for number in range(9):
        integration = make_integration(tenant)
        _report(
            integration, {"session_id": f"s{number}", "agent_id": f"a{number}"}, days_ago=number
        )
    with django_assert_max_num_queries(few):
        client.get(COST)


# --- Charts -------------------------------------------------------------------------------------


def test_a_cell_has_its_number_beside_its_text() -> None:
    values = [in_dollars(123_456_789), None]
    text = drawn(
        Chart(Kind.LINES, Unit.DOLLARS, "About <this>.", "Day", ["a", "b"],
              [Series("One", values), Series("Ahead", [None, 2], is_projected=True)], "nothing")
    )  # fmt: skip
    assert 'data-value="1.23456789">$1.23</td>' in text
    assert 'data-value="">-</td>' in text
    assert "data-projected>Ahead</th>" in text
    assert "About &lt;this&gt;." in text


def test_a_chart_of_nothing_is_a_sentence() -> None:
    chart = Chart(
        Kind.LINES, Unit.COUNT, "About.", "Day", ["a"], [Series("One", [0])], "Nothing yet."
    )
    assert "<table" not in drawn(chart)
    assert "Nothing yet." in drawn(chart)


def test_the_series_of_days_agree_with_each_other() -> None:
    integration = make_integration()
    _report(integration, {"model": "gpt-4o-mini"}, {})
    series = CusUsageSeries(integration.tenant_id, integration.id, now=database_now(), days=7)
    by_model = sum(sum(of.values()) for of in series.costs_by("model").values())
    assert by_model == sum(one.microcents for one in series.dearest("integration"))
    assert sum(day.calls for day in series.figures.values()) == 2


# --- Health -------------------------------------------------------------------------------------


def _turned(integration: CusIntegration, days_ago: int, before: str, after: str) -> None:
    at = timezone.now() - timedelta(days=days_ago)
    turn_health(integration, before, after, at=at, message="the provider was slow")


def test_the_health_of_an_integration_is_a_strip_over_time() -> None:
    integration = make_integration()
    page = f"/admin/integrations/cusintegration/{integration.id}/tab/health/"
    client = browser_of("member", integration.tenant)
    assert "Health did not change in these days." in _panel(client, "health", page)
    _turned(integration, 40, "unknown", "healthy")
    _turned(integration, 15, "healthy", "failing")
    _turned(integration, 3, "failing", "healthy")
    text = _panel(client, "health", page)
    strips = re.findall(r'<rect class="cus-(\w+)" x="(\d+)" width="(\d+)"', text)
    assert [name for name, _, _ in strips] == ["healthy", "failing", "healthy"]
    # Of a thousand: half of the 30 days, then 12 days, then 3.
    lengths = [int(length) for _, _, length in strips]
    assert all(abs(one - due) <= 1 for one, due in zip(lengths, (500, 400, 100), strict=True))
    assert "failing → healthy, the provider was slow" in text
