"""A tenant reads usage by days and months of its own time zone; budgets stay in UTC."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from tests.cus_factories import (
    USAGE,
    SdkClient,
    browser_of,
    listed,
    make_integration,
    record,
    signed_in,
)

pytestmark = pytest.mark.django_db

TENANT = "/api/v1/cus/tenant"
DAILY = "/api/v1/cus/telemetry/usage-daily"
ZONES = ("UTC", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Kiritimati", "America/New_York")
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
FIRST = TODAY - timedelta(days=3)
# Around each hour in which a day of one of the zones begins.
MOMENTS = [FIRST + timedelta(minutes=7 + 15 * n) for n in range(0, 2 * 96, 3)]


def _report(sdk: SdkClient) -> None:
    sdk.report_batch(*(record(timestamp=moment.isoformat()) for moment in MOMENTS))
    rollup_usage(timezone.now() + timedelta(seconds=1))


def _by_day(zone: str) -> dict[str, int]:
    days = [str(moment.astimezone(ZoneInfo(zone)).date()) for moment in MOMENTS]
    return {day: days.count(day) for day in sorted(set(days))}


def _summary(client: Client, **query: Any) -> Any:
    bounds = {"from": FIRST.isoformat(), "to": TODAY.isoformat(), "group_by": "day"}
    answer = client.get(f"{USAGE}/summary", bounds | query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_a_day_of_any_zone_has_the_calls_of_that_day_in_summaries_and_days(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    _report(sdk)
    member = browser_of("member", tenant)
    bounds = f"from={date(FIRST.year, FIRST.month, FIRST.day) - timedelta(days=1)}&to={TODAY:%F}"
    for zone in ZONES:
        expected = _by_day(zone)
        found = _summary(member, zone=zone)
        assert found["zone"] == zone
        assert {one["day"]: one["calls"] for one in found["groups"]} == expected, zone
        assert found["totals"]["calls"] == len(MOMENTS)
        by_model = _summary(member, zone=zone, group_by="day,model")["groups"]
        assert {one["day"]: one["calls"] for one in by_model} == expected, zone
        days = listed(member, f"{DAILY}?{bounds}&zone={zone}&limit=1")
        assert {one["date"]: one["calls"] for one in days} == expected, zone
        assert [one["date"] for one in days] == sorted(expected, reverse=True)


def test_hours_and_sessions_keep_their_figures_where_a_day_splits_an_hour(
    sdk: SdkClient, tenant: CusTenant, integration: CusIntegration
) -> None:
    for moment in MOMENTS:
        sdk.report(record(timestamp=moment.isoformat(), session_id="s"))
    rollup_usage(timezone.now() + timedelta(seconds=1))
    member = browser_of("member", tenant)

    def hours(**query: Any) -> dict[str, int]:
        found: dict[str, int] = {}
        for one in _summary(member, **query)["groups"]:
            found[one["hour"]] = found.get(one["hour"], 0) + one["calls"]
        return found

    split = hours(group_by="day,hour", zone="Asia/Kolkata")
    assert split == hours(group_by="hour", zone="UTC")
    whose = {"integration_id": integration.id, "session": "s"}
    of_session = _summary(member, zone="Asia/Kolkata", **whose)["groups"]
    assert {one["day"]: one["calls"] for one in of_session} == _by_day("Asia/Kolkata")


def test_the_days_of_all_integrations_come_in_pages(sdk: SdkClient, tenant: CusTenant) -> None:
    _report(sdk)
    _report(SdkClient.of(make_integration(tenant)))
    member = browser_of("member", tenant)
    url = f"{DAILY}?from={FIRST - timedelta(days=1):%F}&to={TODAY:%F}&zone=Asia/Kathmandu"
    pages, whole = listed(member, f"{url}&limit=1"), listed(member, url)
    assert [(one["date"], one["integration_id"], one["calls"]) for one in pages] == [
        (one["date"], one["integration_id"], one["calls"]) for one in whole
    ]
    assert len(whole) == 2 * len(_by_day("Asia/Kathmandu"))


def test_a_tenant_admin_chooses_the_zone_in_which_usage_is_read(
    sdk: SdkClient, tenant: CusTenant, admin: CusUser
) -> None:
    _report(sdk)
    client = signed_in(admin)
    assert client.get(TENANT).json()["time_zone"] == "UTC"

    answer = client.patch(TENANT, {"time_zone": "Asia/Kolkata"}, "application/json")

    assert answer.json()["time_zone"] == "Asia/Kolkata"
    found = _summary(client)
    assert found["zone"] == "Asia/Kolkata"
    assert {one["day"]: one["calls"] for one in found["groups"]} == _by_day("Asia/Kolkata")
    month = client.get(f"{USAGE}/summary").json()
    assert month["from"].endswith("T18:30:00Z")
    assert client.get(DAILY).json()["zone"] == "Asia/Kolkata"
    entry = CusAuditEntry.objects.get(action="tenant.changed")
    assert entry.changes == {"time_zone": {"from": "UTC", "to": "Asia/Kolkata"}}
    assert (entry.tenant_id, entry.actor) == (tenant.id, admin)


@pytest.mark.parametrize("name", ["", "Europe/Nowhere", "+05:30", "../etc/passwd", "utc", "a\0b"])
def test_a_zone_that_does_not_exist_is_refused(admin: CusUser, name: str) -> None:
    client = signed_in(admin)
    assert client.patch(TENANT, {"time_zone": name}, "application/json").status_code == 400
    assert client.get(f"{USAGE}/summary", {"zone": name}).status_code == 400
    assert client.get(DAILY, {"zone": name}).status_code == 400


def test_an_operator_chooses_a_zone_in_the_console(tenant: CusTenant) -> None:
    page = f"/admin/integrations/custenant/{tenant.id}/change/"
    client = browser_of("operator")

    client.post(page, {"name": tenant.name, "time_zone": "Asia/Kathmandu"})
    refused = client.post(page, {"name": tenant.name, "time_zone": "Mars/Olympus"})

    tenant.refresh_from_db()
    assert tenant.time_zone == "Asia/Kathmandu"
    assert "There is no such time zone" in refused.content.decode()
