"""Usage and cost as rows of FOCUS, by API and command."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_focus.columns import COLUMNS, shares
from tests.cus_factories import SdkClient, browser_of, correct, make_tenant, record

pytestmark = pytest.mark.django_db

FOCUS = "/api/v1/cus/telemetry/focus"
TODAY = datetime.now(UTC).date()
MONTH = TODAY.replace(day=1)
# Columns that the specification demands in each dataset, and which of them may be empty.
MANDATORY = {
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency"),
    *("BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass"),
    *("ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost"),
    *("EffectiveCost", "HostProviderName", "InvoiceIssuerName", "ListCost", "PricingQuantity"),
    *("PricingUnit", "ServiceCategory", "ServiceName", "ServiceProviderName"),
}
MAY_BE_EMPTY = {"ChargeClass", "PricingQuantity", "PricingUnit"}


@pytest.fixture
def member(tenant: CusTenant) -> Client:
    return browser_of("member", tenant)


def _roll_up() -> None:
    rollup_usage(timezone.now() + timedelta(seconds=1))


def _text(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    return b"".join(answer.streaming_content).decode()


def _rows(client: Client, **query: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_text(client.get(FOCUS, query)))))


def _dollars(rows: list[dict[str, str]]) -> Decimal:
    return sum((Decimal(row["BilledCost"]) for row in rows), Decimal(0))


def test_a_day_has_a_row_for_each_kind_of_tokens(
    tenant: CusTenant, integration: CusIntegration, sdk: SdkClient, member: Client
) -> None:
    sdk.report_batch(*(record(tokens_in=1000, tokens_cached=400, tokens_out=500) for _ in "ab"))
    _roll_up()

    rows = {row["SkuMeter"]: row for row in _rows(member)}

    quantities = {meter: int(row["ConsumedQuantity"]) for meter, row in rows.items()}
    assert quantities == {"Input Tokens": 1200, "Cached Input Tokens": 800, "Output Tokens": 1000}
    # gpt-4o: $2.50, $1.25 and $10 a million tokens.
    costs = {meter: Decimal(row["BilledCost"]) for meter, row in rows.items()}
    assert costs == {
        "Input Tokens": Decimal("0.003"),
        "Cached Input Tokens": Decimal("0.001"),
        "Output Tokens": Decimal("0.01"),
    }
    row = rows["Input Tokens"]
    assert row["BillingAccountId"] == str(tenant.id)
    assert (row["SubAccountId"], row["SubAccountName"]) == (str(integration.id), integration.name)
    assert (row["x_Model"], row["x_CostSplit"]) == ("gpt-4o", "list_prices")
    assert row["ChargePeriodStart"] == f"{TODAY}T00:00:00Z"
    assert (row["PricingQuantity"], row["PricingUnit"]) == ("0.0012", "1000000 Tokens")
    assert "Not an invoice" in row["x_Notice"]
    assert row["InvoiceId"] == ""


def test_mandatory_columns_are_there_and_filled(sdk: SdkClient, member: Client) -> None:
    sdk.report(record())
    correct(CusLLMUsage.objects.get(), by_microcents=-50)
    _roll_up()

    rows = _rows(member)

    assert set(COLUMNS) >= MANDATORY
    assert rows
    for row in rows:
        assert {name for name in MANDATORY if not row[name]} <= MAY_BE_EMPTY


def test_the_rows_add_up_to_the_exact_cost_of_models_without_a_price_too(
    sdk: SdkClient, member: Client
) -> None:
    sdk.report_batch(
        record(tokens_in=7, tokens_out=3),
        record(model="no-such-model", cost_cents=None),
        record(tokens_in=0, tokens_out=0, cost_cents=0),
    )
    _roll_up()

    rows = _rows(member)

    exact = sum(CusLLMUsage.objects.values_list("cost_microcents", flat=True))
    assert _dollars(rows) == Decimal(exact).scaleb(-8)
    assert {row["x_CostSplit"] for row in rows if row["x_Model"] == "no-such-model"} == {"tokens"}


def test_a_correction_is_a_row_of_its_own_in_the_period_in_which_it_was_made(
    sdk: SdkClient, member: Client
) -> None:
    sdk.report(record(cost_cents=1))
    row = CusLLMUsage.objects.get()
    row.occurred_at = datetime.combine(MONTH, datetime.min.time(), UTC) - timedelta(hours=1)
    correct(row, by_microcents=-50)
    _roll_up()

    (found,) = (one for one in _rows(member) if one["x_CostBasis"] == "correction")

    assert (found["ChargeClass"], found["BilledCost"]) == ("Correction", "-0.00000050")
    assert found["BillingPeriodStart"] == f"{MONTH}T00:00:00Z"
    assert found["ChargePeriodStart"] == f"{MONTH - timedelta(days=1)}T00:00:00Z"
    assert found["ConsumedQuantity"] == ""


def test_a_name_that_a_spreadsheet_would_compute_is_escaped(sdk: SdkClient, member: Client) -> None:
    sdk.report(record(model="=HYPERLINK(1)", cost_cents=None))
    _roll_up()

    assert {row["x_Model"] for row in _rows(member)} == {"'=HYPERLINK(1)"}


def test_json_lines_have_exact_numbers_and_nulls(sdk: SdkClient, member: Client) -> None:
    sdk.report(record(tokens_in=1, tokens_out=0))
    _roll_up()

    answer = member.get(FOCUS, {"format": "jsonl"}, headers={"Accept": "application/jsonl"})
    (line,) = _text(answer).splitlines()

    row = json.loads(line, parse_float=Decimal)
    assert tuple(row) == COLUMNS
    assert row["BilledCost"] == Decimal("0.0000025")
    assert row["ChargeClass"] is None


@pytest.mark.parametrize("query", [{"format": "xml"}, {"from": "yesterday"}, {"limit": "5"}])
def test_a_wrong_parameter_is_refused_as_json(query: dict[str, str], member: Client) -> None:
    answer = member.get(FOCUS, query, headers={"Accept": "text/csv"})

    assert (answer.status_code, answer["Content-Type"]) == (400, "application/json")


def test_other_tenants_usage_is_not_exported(sdk: SdkClient) -> None:
    sdk.report(record())
    _roll_up()

    assert _rows(browser_of("member", make_tenant())) == []


def test_the_command_writes_the_same_rows(
    tenant: CusTenant, sdk: SdkClient, member: Client
) -> None:
    sdk.report(record())
    _roll_up()
    written = io.StringIO()

    call_command(
        "cus_focus_export",
        f"--tenant={tenant.name}",
        f"--from={TODAY}",
        f"--to={TODAY}",
        stdout=written,
    )

    days = {"from": str(TODAY), "to": str(TODAY)}
    assert written.getvalue() == _text(member.get(FOCUS, days))


@pytest.mark.parametrize("amount", [0, 1, 10, -7])
def test_shares_add_up_to_the_amount(amount: int) -> None:
    assert sum(shares(amount, [1, 1, 1])) == amount
    assert shares(amount, [0, 5]) == [0, amount]


def test_each_set_of_tags_has_rows_of_its_own(sdk: SdkClient, member: Client) -> None:
    tagged = record(tags=["team=search", 'note="a=b"'], tokens_in=7)
    sdk.report_batch(tagged, record(tokens_in=5), record(tags=["team=ads"], tokens_in=3))
    correct(CusLLMUsage.objects.get(tokens_in=3), by_microcents=-5)
    _roll_up()

    rows = _rows(member)
    inputs = {row["Tags"]: row["ConsumedQuantity"] for row in rows if "Input" in row["SkuMeter"]}
    assert inputs == {
        "": "5", '{"team": "search", "note": "\\"a=b\\""}': "7", '{"team": "ads"}': "3",
    }  # fmt: skip
    (correction,) = (row for row in rows if row["x_CostBasis"] == "correction")
    assert correction["Tags"] == '{"team": "ads"}'
    lines = _text(member.get(FOCUS, {"format": "jsonl"})).splitlines()
    assert {"team": "ads"} in [json.loads(line)["Tags"] for line in lines]
