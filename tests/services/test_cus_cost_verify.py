"""Any stored cost can be recomputed, and a wrong price corrected without touching a row."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_prices.service import CusPriceOverrideService
from telemetry.cus_analytics.models import CusUsageDaily
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_corrections import cost_audit
from telemetry.cus_corrections.models import CusCostAdjustment
from telemetry.cus_corrections.repricing import corrected_microcents, reprice
from telemetry.cus_evidence.models import CusLifetimeTotals, CusLLMUsage, CusPeriodTotals
from telemetry.cus_money.own_prices import forget_overrides
from tests.cus_factories import (
    SdkClient,
    browser_of,
    make_integration,
    make_tenant,
    record,
    usage_row,
)

pytestmark = pytest.mark.django_db


def _run(command: str, *arguments: str) -> str:
    output = io.StringIO()
    call_command(command, *arguments, stdout=output)
    return output.getvalue()


def _verify(*arguments: str) -> str:
    return _run(
        "cus_cost_verify", "--to", (timezone.now() + timedelta(days=1)).isoformat(), *arguments
    )


def _stray_row(integration: CusIntegration, **values: Any) -> None:
    """A row past all of our code, as a bug or a hand would make it."""
    stray: dict[str, Any] = {
        "id": "00000000-0000-7000-8000-000000000001",
        "call_id": "stray",
        "occurred_at": timezone.now(),
    }
    row = usage_row(integration, **stray | values)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO cus_llm_usage ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
            list(row.values()),
        )


def _own_price(tenant: CusTenant, *, days_ago: int = 30, **prices: str) -> None:
    CusPriceOverrideService(tenant).append(
        model="gpt-4o",
        prices={"input": "1", "output": "1"} | prices,
        valid_from=timezone.now() - timedelta(days=days_ago),
    )
    forget_overrides()


def _reprice(*arguments: str) -> str:
    start = (timezone.now() - timedelta(days=1)).isoformat()
    end = (timezone.now() + timedelta(days=1)).isoformat()
    return _run("cus_reprice", "--model", "gpt-4o", "--from", start, "--to", end, *arguments)


def test_what_was_priced_by_any_source_is_recomputed_without_a_difference(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    sdk.report_batch(
        record(tokens_cached=10, tokens_reasoning=5),
        record(model="claude-opus-4", tokens_cache_write=100, tokens_cache_write_1h=40),
        record(model="o1-2024-12-17", service_tier="flex"),
        record(model="nobody-knows", cost_cents=None),
        record(billed_units={"searches": 2}),
        record(cost_cents=99),
    )
    bedrock = SdkClient.of(make_integration(tenant, provider_type="bedrock"))
    bedrock.report(record(model="amazon.nova-pro-v1:0"))
    _own_price(tenant)
    sdk.report(record())

    assert "8 rows recomputed, none differs." in _verify()


def test_a_row_that_does_not_follow_from_its_price_is_shown(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(record())
    kept = CusLLMUsage.objects.get().price_id
    _stray_row(integration, price_id=kept)

    with pytest.raises(CommandError, match="1 of 2 rows differ"):
        _verify()


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "names no price"),
        ({"price_id": "00000000-0000-0000-0000-000000000009"}, "its price was not kept"),
        ({"pricing": "unknown"}, "names no price"),
    ],
)
def test_a_row_whose_price_cannot_be_found_is_shown(
    integration: CusIntegration, values: dict[str, Any], why: str
) -> None:
    _stray_row(integration, **values)

    (row,) = CusLLMUsage.objects.all()
    found = cost_audit.difference(row)
    assert found
    assert found.reason == why


def test_only_the_named_tenant_and_time_are_recomputed(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(record())
    _stray_row(make_integration())

    assert "1 rows recomputed" in _verify("--tenant", integration.tenant.name)
    assert "1 rows recomputed" in _verify("--tenant", str(integration.tenant_id))
    assert "0 rows recomputed" in _run(
        "cus_cost_verify", "--from", "2020-01-01", "--to", "2020-02-01"
    )
    with pytest.raises(CommandError, match="There is no tenant 'nobody'"):
        _verify("--tenant", "nobody")


def test_a_price_table_that_got_the_known_calls_wrong_is_not_used_to_verify(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cost_audit, "calculate_cost", lambda *_: 75)

    with pytest.raises(CommandError, match="self-test for gpt-4o, gpt-4o-mini"):
        _verify()


def test_the_known_calls_cost_what_the_checklist_says() -> None:
    assert cost_audit.failed_checks() == []
    assert [cents for *_, cents, _ in cost_audit.CHECKLIST] == [1, 1, 2, 6, 5]


def test_a_wrong_price_is_corrected_by_an_entry_and_no_row_changes(
    sdk: SdkClient, tenant: CusTenant, integration: CusIntegration
) -> None:
    sdk.report_batch(record(tokens_in=100, tokens_out=0, cost_cents=1), record(model="o1"))
    before = list(CusLLMUsage.objects.order_by("id").values())
    _own_price(tenant)

    output = _reprice()

    assert "1 calls looked at, 1 adjusted by -15,000 microcents." in output
    assert list(CusLLMUsage.objects.order_by("id").values()) == before
    entry = CusCostAdjustment.objects.get()
    row = CusLLMUsage.objects.get(model="gpt-4o")
    assert (entry.usage_id, entry.number, entry.difference_microcents) == (row.id, 1, -15_000)
    assert (entry.old_price_id, entry.old_version) == (row.price_id, row.pricing_version)
    assert entry.new_version != entry.old_version
    assert corrected_microcents(row) == 10_000


def test_repricing_again_adds_nothing(sdk: SdkClient, tenant: CusTenant) -> None:
    sdk.report_batch(*(record() for _ in range(3)))
    _own_price(tenant)
    _reprice()

    assert "3 calls looked at, 0 adjusted by +0 microcents." in _reprice()
    assert CusCostAdjustment.objects.count() == 3


def test_a_correction_can_be_corrected(sdk: SdkClient, tenant: CusTenant) -> None:
    sdk.report(record(tokens_in=100, tokens_out=0))
    _own_price(tenant, days_ago=30)
    _reprice()
    _own_price(tenant, days_ago=20, input="4")

    _reprice()

    first, second = CusCostAdjustment.objects.order_by("number")
    assert (first.difference_microcents, second.difference_microcents) == (-15_000, 30_000)
    assert second.old_price_id == first.new_price_id
    assert corrected_microcents(CusLLMUsage.objects.get()) == 40_000


def test_a_call_that_had_no_price_gets_one(tenant: CusTenant) -> None:
    sdk = SdkClient.of(make_integration(tenant, provider_type="custom"))
    sdk.report(record(model="ours", cost_cents=None, tokens_in=10, tokens_out=0))
    CusPriceOverrideService(tenant).append(
        model="ours",
        prices={"input": "1", "output": "1"},
        valid_from=timezone.now() - timedelta(days=1),
    )
    forget_overrides()

    start = (timezone.now() - timedelta(hours=1)).isoformat()
    end = (timezone.now() + timedelta(hours=1)).isoformat()
    _run("cus_reprice", "--model", "ours", "--from", start, "--to", end)

    entry = CusCostAdjustment.objects.get()
    assert (entry.old_price_id, entry.difference_microcents) == (None, 1_000)


def test_every_model_is_brought_as_far_as_its_rows_tell_and_the_rest_is_counted(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(provider_type="bedrock")
    bare = {"model": "claude-opus-5", "cost_cents": None, "provider": "bedrock"}
    sdk.report(record(**bare))
    sdk.report(record(**bare, region="eu-west-1"))
    sdk.report(record(model="nobody-knows", cost_cents=None))
    sdk.report(record(usage_known=False, tokens_in=0, tokens_out=0, cost_cents=None))
    start = timezone.now() - timedelta(days=1)

    said = _run("cus_reprice", "--from", start.isoformat())

    assert "4 calls looked at, 0 adjusted by +0 microcents." in said
    assert "1 calls cannot be brought further than to the plain price" in said
    assert "1 calls have no price: their model is not known." in said
    assert "1 calls are left alone: their usage is unknown." in said


def test_only_the_named_tenant_is_repriced(sdk: SdkClient, tenant: CusTenant) -> None:
    stranger = make_tenant()
    for client, owner in ((sdk, tenant), (SdkClient.of(make_integration(stranger)), stranger)):
        client.report(record())
        _own_price(owner)

    _reprice("--tenant", stranger.name)

    assert set(CusCostAdjustment.objects.values_list("tenant_id", flat=True)) == {stranger.id}


def test_reports_follow_as_recorded_and_as_corrected(
    sdk: SdkClient, tenant: CusTenant, integration: CusIntegration
) -> None:
    sdk.report_batch(*(record(tokens_in=100, tokens_out=0) for _ in range(2)))
    rollup_usage(timezone.now() + timedelta(seconds=1))
    _own_price(tenant)
    _reprice()

    rollup_usage(timezone.now() + timedelta(seconds=2))

    day = CusUsageDaily.objects.get()
    assert (day.total_cost_microcents, day.correction_microcents) == (50_000, -30_000)
    totals = CusLifetimeTotals.objects.filter(integration_id=integration.id)
    assert sum(total.cost_microcents for total in totals) == 50_000
    assert sum(total.correction_microcents for total in totals) == -30_000
    months = CusPeriodTotals.objects.filter(integration_id=integration.id)
    assert sum(month.cost_microcents for month in months) == 50_000
    assert sum(month.correction_microcents for month in months) == -30_000
    console = browser_of("support")
    row = CusLLMUsage.objects.first()
    assert row
    metrics = console.get("/metrics").content.decode()
    labels = f'integration_id="{integration.id}",tenant_id="{tenant.id}"'
    assert f"cus_llm_cost_correction_microcents{{{labels}}} -30000\n" in metrics
    model = f'{labels},provider="{row.provider}",model="{row.model}"'
    assert f"cus_llm_cost_microcents_total{{{model}}} 50000\n" in metrics
    page = console.get(f"/admin/telemetry/cusllmusage/{row.id}/change/").content.decode()
    assert "$0.00025000" in page
    assert "$0.00010000" in page
    assert "-$0.00015000" in console.get("/admin/telemetry/cuscostadjustment/").content.decode()


def test_many_rows_are_repriced_chunk_by_chunk(
    sdk: SdkClient, tenant: CusTenant, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    sdk.report_batch(*(record() for _ in range(1000)))
    sdk.report(record())
    _own_price(tenant)

    with django_assert_max_num_queries(40):
        parts = list(
            reprice(
                "gpt-4o", timezone.now() - timedelta(days=1), timezone.now() + timedelta(days=1)
            )
        )

    assert [part.rows for part in parts] == [500, 500, 1]
    assert sum(part.adjusted for part in parts) == CusCostAdjustment.objects.count() == 1001
