"""A tenant's own currency is shown beside US dollars, at the latest rate that holds."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_currency.models import CusDisplayRate
from integrations.cus_currency.service import CusDisplayRateService, display_currency
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import SdkClient, make_tenant, make_user, record, signed_in

pytestmark = pytest.mark.django_db
URL = "/api/v1/cus/display-rates"
ADMIN = "/admin/integrations/cusdisplayrate/"
NOW = datetime(2026, 11, 20, tzinfo=UTC)


def _append(tenant: CusTenant, currency: str, rate: str, days_ago: int) -> CusDisplayRate:
    moment = NOW - timedelta(days=days_ago)
    return CusDisplayRateService(tenant).append(currency=currency, rate=rate, valid_from=moment)


def _post(client: Client, **fields: Any) -> Any:
    body = {"currency": "EUR", "rate": "0.92", "valid_from": "2026-11-01T00:00:00Z"} | fields
    return client.post(URL, body, content_type="application/json")


def test_amounts_are_shown_at_the_latest_rate_that_holds(tenant: CusTenant) -> None:
    _append(tenant, "EUR", "0.9", days_ago=10)
    _append(tenant, "CHF", "0.8", days_ago=5)
    _append(tenant, "CHF", "0.7", days_ago=-1)
    _append(make_tenant(), "JPY", "150", days_ago=1)

    def shown(days_ago: int) -> str | None:
        display = display_currency(tenant.id, NOW - timedelta(days=days_ago))
        return f"{display.shown(1_000_000_000)} {display.currency}" if display else None

    assert [shown(days) for days in (11, 10, 4, 0)] == [
        None, "9.0000 EUR", "8.0000 CHF", "8.0000 CHF",
    ]  # fmt: skip


def test_a_rate_of_dollars_ends_the_display(tenant: CusTenant) -> None:
    _append(tenant, "EUR", "0.9", days_ago=10)
    _append(tenant, "USD", "1", days_ago=5)

    assert display_currency(tenant.id, NOW) is None


def test_limits_show_the_currency_beside_dollars_and_keep_these(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    tenant = integration.tenant
    sdk.report(record(cost_cents=50))
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=10_000)
    client = signed_in(make_user("member", tenant))
    url = f"/api/v1/cus/integrations/{integration.id}/limits"
    before = client.get(url).json()
    _append(tenant, "EUR", "0.92", days_ago=400)

    answer = client.get(url).json()

    assert before["display"] is None
    assert {name: value for name, value in answer.items() if name != "display"} == {
        name: value for name, value in before.items() if name != "display"
    }
    shown = answer["display"]
    assert (shown["currency"], shown["rate"]) == ("EUR", "0.92000000")
    assert (shown["cost"], shown["counted"]) == ("0.4600", "0.4600")
    assert (shown["exact"], shown["budget_limit"]) == ("0.0069", "92.0000")
    assert (shown["budget_used"], shown["budget_remaining"]) == ("0.4600", "91.5400")


def test_an_unlimited_budget_has_no_limit_in_any_currency(integration: CusIntegration) -> None:
    _append(integration.tenant, "EUR", "0.92", days_ago=400)
    client = signed_in(make_user("member", integration.tenant))

    shown = client.get(f"/api/v1/cus/integrations/{integration.id}/limits").json()["display"]

    assert (shown["budget_limit"], shown["budget_remaining"]) == (None, None)


def test_the_integrations_page_shows_the_budget_in_the_currency(
    integration: CusIntegration,
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=10_000)
    page = f"/admin/integrations/cusintegration/{integration.id}/change/"
    people = [signed_in(make_user(role, integration.tenant)) for role in ("admin", "member")]
    assert all("amounts are in US dollars" in one.get(page).content.decode() for one in people)

    _append(integration.tenant, "EUR", "0.92", days_ago=400)

    for client in people:
        text = client.get(page).content.decode()
        assert "92.00 EUR (at 0.92 EUR a US dollar, since 2025-10-16)" in text


def test_rates_are_appended_and_listed_over_http(tenant: CusTenant) -> None:
    admin = signed_in(make_user("admin", tenant))

    created = _post(admin)

    assert (created.status_code, created.json()["rate"]) == (201, "0.92000000")
    assert [one["currency"] for one in admin.get(URL).json()["results"]] == ["EUR"]
    assert signed_in(make_user("admin", make_tenant())).get(URL).json()["results"] == []
    entry = CusAuditEntry.objects.get(action="display_rate.appended")
    assert entry.changes["rate"]["to"] == "0.92"
    again = _post(admin, rate="0.93")
    assert (again.status_code, again.json()["errors"][0]["attr"]) == (400, "__all__")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("currency", "eur"),
        ("currency", "EURO"),
        ("currency", ""),
        ("currency", "E1R"),
        ("rate", "0"),
        ("rate", "-1"),
        ("rate", "1e3"),
        ("rate", 0.92),
        ("rate", "0.123456789"),
        ("valid_from", "today"),
    ],
)
def test_what_is_no_rate_is_refused_by_field(tenant: CusTenant, field: str, value: Any) -> None:
    answer = _post(signed_in(make_user("admin", tenant)), **{field: value})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == field
    assert not CusDisplayRate.objects.exists()


def test_a_tenant_admin_enters_a_rate_in_the_console(tenant: CusTenant) -> None:
    admin = make_user("admin", tenant)
    client = signed_in(admin)
    form = {"currency": "EUR", "valid_from_0": "2026-11-01", "valid_from_1": "00:00:00"}

    refused = client.post(f"{ADMIN}add/", form | {"rate": "free"})
    taken = client.post(f"{ADMIN}add/", form | {"rate": "0.92"})

    assert (refused.status_code, taken.status_code) == (200, 302)
    rate = CusDisplayRate.objects.get()
    assert (rate.tenant, rate.created_by) == (tenant, admin)
    assert "EUR" in client.get(ADMIN).content.decode()
    assert client.get(f"{ADMIN}{rate.id}/change/").status_code == 200


def test_the_database_keeps_rates_as_they_were_appended(tenant: CusTenant) -> None:
    _append(tenant, "EUR", "0.92", days_ago=1)

    for change in ("UPDATE cus_display_rates SET rate = 1", "DELETE FROM cus_display_rates"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)
    assert CusDisplayRate.objects.get().valid_from < timezone.now()
