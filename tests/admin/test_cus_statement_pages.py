"""The console's pages on a month: the statement, its close, the check of invoices."""

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from integrations.cus_audit.models import CusAuditEntry
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_clock import database_now
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_statements.models import CusMonthStatement, CusProviderInvoice
from telemetry.cus_statements.month_figures import totals_of
from telemetry.cus_statements.service import CusMonthService
from tests.cus_factories import (
    SdkClient,
    browser_of,
    correct,
    make_integration,
    make_tenant,
    record,
)

pytestmark = pytest.mark.django_db
MONTH = f"{datetime.now(UTC):%Y-%m}"
STATEMENT = f"/admin/statement/{MONTH}/"


def text_of(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.status_code
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def rolled_up() -> None:
    """Update the figures with what was received until now."""
    rollup_usage(database_now() + timedelta(minutes=11), within=timedelta(seconds=30))


def test_this_months_statement_is_found_without_naming_it() -> None:
    answer = browser_of("finance").get("/admin/statement/?by=model")

    assert answer["Location"] == f"{STATEMENT}?by=model"


def test_the_staff_begin_with_all_tenants_dearest_first() -> None:
    for name, tokens in (("Small", 1_000), ("Large", 1_000_000)):
        integration = make_integration(make_tenant(name))
        SdkClient.of(integration).report(record(model="gpt-4o", tokens_in=tokens, tokens_out=0))

    text = text_of(browser_of("finance"), STATEMENT)

    assert text.index("Large") < text.index("Small")
    assert "$2.50" in text


def test_a_month_is_shown_by_integration_model_agent_and_day() -> None:
    tenant = make_tenant()
    integration = make_integration(tenant, name="assistant")
    # A million tokens of gpt-4o: $2.50, and 1 cent as rounded up for the small call.
    for body in (
        record(model="gpt-4o", tokens_in=1_000_000, tokens_out=0, agent_id="planner"),
        record(model="gpt-4o-mini", tokens_in=200, tokens_out=50),
    ):
        assert SdkClient.of(integration).report(body).status_code == 201
    correct(CusLLMUsage.objects.get(model="gpt-4o"), by_microcents=-50_000_000)
    rolled_up()
    client = browser_of("admin", tenant)

    by_integration = text_of(client, STATEMENT)
    assert "assistant" in by_integration
    assert "$2.50" in by_integration
    assert "-$0.50" in by_integration
    assert "$2.00" in by_integration
    by_model = text_of(client, f"{STATEMENT}?by=model")
    assert by_model.index("gpt-4o") < by_model.index("gpt-4o-mini")
    assert "All 2" in by_model
    by_agent = text_of(client, f"{STATEMENT}?by=agent")
    assert "planner" in by_agent
    assert "No agent named" in by_agent
    assert f"{datetime.now(UTC):%a %d %B}" in text_of(client, f"{STATEMENT}?by=day")


def test_a_group_that_months_do_not_have_is_answered_in_words() -> None:
    tenant = make_tenant()

    text = text_of(browser_of("member", tenant), f"{STATEMENT}?by=<script>")

    assert "A month is not shown by" in text


@pytest.mark.parametrize("role", ["operator", "finance"])
def test_a_month_that_is_over_is_closed_by_a_button_that_asks(role: str) -> None:
    tenant = make_tenant()
    address = f"/admin/statement/2026-10/close/?tenant={tenant.id}"
    client = browser_of(role)
    assert "Close the month" in text_of(client, f"/admin/statement/2026-10/?tenant={tenant.id}")

    assert "This can't be undone" in " ".join(text_of(client, address).split()).replace(
        "&#x27;", "'"
    )
    assert not CusMonthStatement.objects.exists()
    client.post(address)

    assert CusMonthStatement.objects.get().tenant_id == tenant.id
    text = text_of(client, f"/admin/statement/2026-10/?tenant={tenant.id}")
    assert "October 2026 is closed." in text
    assert "Its seal is intact" in text
    assert "Close the month" not in text


def test_the_month_that_runs_has_no_button_to_close_it() -> None:
    tenant = make_tenant()
    client = browser_of("finance")

    assert "Close the month" not in text_of(client, f"{STATEMENT}?tenant={tenant.id}")
    answer = client.post(f"{STATEMENT}close/?tenant={tenant.id}", follow=True)
    assert "This month is not over" in answer.content.decode()


@pytest.mark.parametrize("role", ["admin", "member"])
def test_a_tenants_people_read_the_month_and_close_nothing(role: str) -> None:
    tenant = make_tenant()
    client = browser_of(role, tenant)

    assert "Close the month" not in text_of(client, "/admin/statement/2026-10/")
    assert client.post("/admin/statement/2026-10/close/").status_code == 403


def test_a_closed_month_shows_its_statement_and_a_broken_seal() -> None:
    tenant = make_tenant()
    figures = totals_of([]) | {"calls": 7, "cost_microcents": 250_000_000}
    keys = {"integration_id": str(make_integration(tenant, name="kept one").id)}
    keys |= {"provider": "openai", "model": "gpt-4o", "agent_id": ""}
    CusMonthStatement.objects.create(
        tenant_id=tenant.id,
        month=date(2026, 10, 1),
        version=1,
        totals=figures,
        groups=[keys | figures],
        closed_at=database_now(),
        digest="0" * 64,
    )

    text = text_of(browser_of("member", tenant), "/admin/statement/2026-10/")

    assert "kept one" in text
    assert "$2.50" in text
    assert "ITS SEAL IS BROKEN" in text


def test_finance_enters_an_invoice_and_reads_what_explains_the_difference() -> None:
    tenant = make_tenant()
    integration = make_integration(tenant, name="assistant")
    sdk = SdkClient.of(integration)
    sdk.report(record(model="gpt-4o", tokens_in=1_000_000, tokens_out=0))
    sdk.report(record(model="nobody-knows-me", cost_cents=None))
    rolled_up()
    address = f"{STATEMENT}invoices/?tenant={tenant.id}"
    client = browser_of("finance")

    answer = client.post(
        address, {"integration": integration.id, "total": "3.10", "note": "INV-7"}, follow=True
    )

    assert answer.redirect_chain == [(address, 302)]
    assert CusProviderInvoice.objects.get().total_cents == 310
    assert CusAuditEntry.objects.filter(action="invoice.entered").exists()
    text = text_of(client, address)
    assert "$3.10 $2.50 $0.60" in text
    assert "1 calls without a known price" in text
    assert "note: INV-7" in text


@pytest.mark.parametrize("total", ["", "-1", "1.005", "99999999999", "NaN", "much"])
def test_a_wrong_total_is_refused_beside_its_box(total: str) -> None:
    tenant = make_tenant()
    integration = make_integration(tenant)

    answer = browser_of("finance").post(
        f"{STATEMENT}invoices/?tenant={tenant.id}", {"integration": integration.id, "total": total}
    )

    assert answer.status_code == 200
    assert not CusProviderInvoice.objects.exists()
    assert "errorlist" in answer.content.decode() or "text-red" in answer.content.decode()


@pytest.mark.parametrize("role", ["support", "admin", "member"])
def test_others_read_invoices_and_enter_none(role: str) -> None:
    tenant = make_tenant()
    integration = make_integration(tenant)
    client = browser_of(role, tenant if role != "support" else None)
    address = f"{STATEMENT}invoices/?tenant={tenant.id}"

    assert "Enter an invoice" not in text_of(client, address)
    body = {"integration": integration.id, "total": "1.00"}
    assert client.post(address, body).status_code == 403
    assert not CusProviderInvoice.objects.exists()


def test_no_invoice_is_entered_for_another_tenants_integration() -> None:
    tenant, foreign = make_tenant(), make_integration(make_tenant())

    browser_of("finance").post(
        f"{STATEMENT}invoices/?tenant={tenant.id}", {"integration": foreign.id, "total": "1.00"}
    )

    assert not CusProviderInvoice.objects.exists()


@pytest.mark.parametrize("query", ["", "by=model", "by=agent", "by=day"])
def test_a_month_costs_the_same_number_of_queries_for_any_number_of_rows(
    query: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    tenant = make_tenant()
    for number in range(12):
        SdkClient.of(make_integration(tenant, name=f"one of many {number}")).report_calls(1)
    rolled_up()
    client = browser_of("admin", tenant)
    client.get(STATEMENT)
    # Two of each are the savepoint of the sums.
    with django_assert_max_num_queries(16):
        client.get(f"{STATEMENT}?{query}")
    with django_assert_max_num_queries(22):
        client.get(f"{STATEMENT}invoices/")


def test_finances_first_page_begins_with_the_last_months() -> None:
    tenant = make_tenant()
    SdkClient.of(make_integration(tenant)).report(
        record(model="gpt-4o", tokens_in=1_000_000, tokens_out=0)
    )
    CusMonthService(tenant).close(date(2026, 10, 1), now=database_now())
    answer = browser_of("finance").get("/admin/")

    page = answer.content.decode()
    titles = re.findall(r'id="([a-z]+)-title"', page)
    assert titles[0] == "statements"
    assert f'href="{STATEMENT}"' in page
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert f"{datetime.now(UTC):%B %Y} $2.50 1 0" in text
    assert "October 2026 $0.00 0 1" in text


def test_a_tenants_own_finance_sees_its_own_last_months_alone() -> None:
    tenant, other = make_tenant(), make_tenant()
    for one in (tenant, other):
        report = record(model="gpt-4o", tokens_in=1_000_000, tokens_out=0)
        SdkClient.of(make_integration(one)).report(report)
    CusMonthService(other).close(date(2026, 10, 1), now=database_now())

    text = text_of(browser_of("finance", tenant), "/admin/")

    assert f"{datetime.now(UTC):%B %Y} $2.50 1 0" in text
    assert "October 2026 $0.00 0 0" in text
