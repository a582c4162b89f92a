"""Finance closes months and checks providers' invoices (rulings C9, M5b and M9)."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_statements.models import CusMonthStatement, CusProviderInvoice
from telemetry.cus_statements.service import CusMonthService, MonthNotOver, is_intact
from tests.cus_factories import (
    SdkClient,
    browser_of,
    correct,
    make_integration,
    make_tenant,
    record,
    settling,
    unmeasured,
)

pytestmark = pytest.mark.django_db

MONTHS = "/api/v1/cus/telemetry/months"
THIS_MONTH = datetime.now(UTC).date().replace(day=1)
NEXT_MONTH = (THIS_MONTH + timedelta(days=32)).replace(day=1)
OVER = datetime.combine(NEXT_MONTH, datetime.min.time(), UTC) + timedelta(minutes=10)
INVOICES = f"{MONTHS}/{THIS_MONTH:%Y-%m}/invoices"


@pytest.fixture
def finance(tenant: CusTenant) -> Client:
    return browser_of("finance", tenant)


def _close(tenant: CusTenant, month: date = THIS_MONTH) -> CusMonthStatement:
    """The statement of a month, closed as soon as this month is over."""
    return CusMonthService(tenant).close(month, now=OVER)


def _put(client: Client, **fields: Any) -> Any:
    return client.put(INVOICES, fields, content_type="application/json")


def _check(client: Client) -> Any:
    (check,) = client.get(INVOICES).json()["invoices"]
    return check


# Month close


def test_a_statement_has_what_the_month_received(
    tenant: CusTenant, integration: CusIntegration, sdk: SdkClient
) -> None:
    sdk.report_batch(record(agent_id="a", cost_cents=3), record(agent_id="b", cost_cents=4))
    sdk.report(unmeasured(response_id="r1"))
    sdk.report(unmeasured(response_id="r2"))
    sdk.report(settling("r2"))
    correct(CusLLMUsage.objects.get(agent_id="a"), by_microcents=-50)

    statement = _close(tenant)

    by_agent = {group["agent_id"]: group for group in statement.groups}
    assert by_agent.keys() == {"a", "b", ""}
    assert by_agent["a"]["integration_id"] == str(integration.id)
    assert (by_agent["a"]["cost_cents"], by_agent["a"]["cost_microcents"]) == (3, 750_000)
    assert by_agent["a"]["corrected_microcents"] == 749_950
    assert (by_agent[""]["unmeasured_calls"], by_agent[""]["settled_calls"]) == (1, 1)
    assert by_agent[""]["provisional_microcents"] > 0
    assert by_agent[""]["settled_microcents"] == by_agent[""]["cost_microcents"] > 0
    totals = statement.totals
    assert (totals["calls"], totals["correction_microcents"]) == (4, -50)
    assert totals["tokens_in"] == 3_000
    assert totals["cost_cents"] == sum(group["cost_cents"] for group in statement.groups)


def test_what_comes_after_the_close_is_in_the_month_in_which_it_comes(
    tenant: CusTenant, sdk: SdkClient
) -> None:
    sdk.report(unmeasured(response_id="r1"))
    statement = _close(tenant)
    row = CusLLMUsage.objects.get()
    correct(row, by_microcents=70, created_at=OVER + timedelta(days=1))

    following = CusMonthService(tenant).close(NEXT_MONTH, now=OVER + timedelta(days=40))

    kept = CusMonthStatement.objects.get(id=statement.id)
    assert kept.totals["correction_microcents"] == 0
    assert following.totals["correction_microcents"] == 70
    assert (following.totals["calls"], following.totals["unmeasured_calls"]) == (0, 0)


def test_a_month_is_closed_once(tenant: CusTenant, finance: Client, sdk: SdkClient) -> None:
    url = f"{MONTHS}/2020-02/close"

    first, again = finance.post(url), finance.post(url)

    assert first.status_code == 201, first.content
    assert first.json()["is_intact"] is True
    assert again.status_code == 409
    assert again.json()["errors"][0]["code"] == "month_closed"
    assert finance.get(url).json() == first.json()
    entry = CusAuditEntry.objects.get(action="month.closed")
    assert (entry.tenant_id, entry.object_label) == (tenant.id, "2020-02")


def test_a_month_that_is_not_over_is_not_closed(tenant: CusTenant, finance: Client) -> None:
    url = f"{MONTHS}/{THIS_MONTH:%Y-%m}/close"

    refused = finance.post(url)

    assert refused.status_code == 409
    assert refused.json()["errors"][0]["code"] == "month_not_over"
    assert finance.get(url).status_code == 404
    with pytest.raises(MonthNotOver):
        CusMonthService(tenant).close(THIS_MONTH, now=OVER - timedelta(seconds=1))


def test_a_changed_figure_breaks_the_seal(tenant: CusTenant, sdk: SdkClient) -> None:
    sdk.report(record())
    statement = CusMonthStatement.objects.get(id=_close(tenant).id)
    assert is_intact(statement)

    statement.totals["calls"] += 1

    assert not is_intact(statement)


@pytest.mark.parametrize("table", ["cus_month_statements", "cus_provider_invoices"])
@pytest.mark.parametrize("change", ["UPDATE {} SET month = month", "DELETE FROM {}", "TRUNCATE {}"])
def test_the_database_refuses_to_change_statements_and_invoices(table: str, change: str) -> None:
    with (
        pytest.raises(DatabaseError),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(change.format(table))


def test_finance_of_all_tenants_names_the_tenant(tenant: CusTenant) -> None:
    staff = browser_of("finance")
    url = f"{MONTHS}/2020-02/close"

    assert staff.post(url).status_code == 400
    assert staff.post(f"{url}?tenant_id={tenant.id}").status_code == 201


def test_a_tenant_s_finance_closes_no_other_tenant_s_month(finance: Client) -> None:
    foreign = make_tenant()

    finance.post(f"{MONTHS}/2020-02/close?tenant_id={foreign.id}")

    assert not CusMonthStatement.objects.filter(tenant_id=foreign.id).exists()


@pytest.mark.parametrize("role", ["admin", "member"])
def test_only_finance_and_operators_close_and_enter(role: str, tenant: CusTenant) -> None:
    client = browser_of(role, tenant)

    assert client.post(f"{MONTHS}/2020-02/close").status_code == 403
    assert _put(client, total_cents=1).status_code == 403
    assert client.get(INVOICES).status_code == 200


# Invoice check


def test_the_difference_to_the_invoice_comes_with_what_explains_it(
    tenant: CusTenant, integration: CusIntegration, finance: Client, sdk: SdkClient
) -> None:
    sdk.report(record(cost_cents=3))
    sdk.report(record(model="no-such-model", cost_cents=None))
    sdk.report(unmeasured())
    sdk.report(record(process_id="p", sequence=3, cost_cents=1))
    correct(CusLLMUsage.objects.filter(process_id="p").get(), by_microcents=-50)
    rollup_usage(timezone.now() + timedelta(seconds=1))

    answer = _put(finance, integration_id=str(integration.id), total_cents=5, note="INV-7")

    assert answer.status_code == 200, answer.content
    check = _check(finance)
    assert check == answer.json()
    assert (check["integration_name"], check["note"]) == (integration.name, "INV-7")
    assert check["corrected_microcents"] == 1_499_950
    assert check["difference_microcents"] == 5_000_000 - 1_499_950
    found = check["explanations"]
    assert (found["unmeasured"]["calls"], found["unpriced"]["calls"]) == (1, 1)
    assert found["gaps"] == {"records": 2}
    assert found["corrections"] == {"microcents": -50}
    assert found["rounding"]["microcents"] == 4_000_000 - 1_500_000
    provisional = found["unmeasured"]["microcents"]
    assert check["unexplained_microcents"] == check["difference_microcents"] - provisional


def test_a_later_total_takes_the_place_of_the_earlier_which_is_kept(
    integration: CusIntegration, finance: Client
) -> None:
    for total in (5, 7, 7):
        _put(finance, integration_id=str(integration.id), total_cents=total)

    assert _check(finance)["total_cents"] == 7
    assert sorted(CusProviderInvoice.objects.values_list("total_cents", flat=True)) == [5, 7]


@pytest.mark.parametrize(
    "fields", [{"total_cents": -1}, {"total_cents": "5"}, {"currency": "EUR"}, {"total": 5}]
)
def test_an_invoice_is_in_whole_cents_of_dollars(
    fields: dict[str, Any], integration: CusIntegration, finance: Client
) -> None:
    whole = {"integration_id": str(integration.id), "total_cents": 5}

    assert _put(finance, **whole | fields).status_code == 400


def test_an_invoice_of_another_tenant_s_integration_is_refused(finance: Client) -> None:
    foreign = make_integration(make_tenant())

    assert _put(finance, integration_id=str(foreign.id), total_cents=5).status_code == 404
