"""The nightly comparison: it repairs hours and days, and raises an alarm where a total is wrong."""

import io
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from structlog.testing import capture_logs

from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.models import (
    CusReconcileDifference,
    CusReconcileRun,
    CusRollupRun,
    CusUsageDaily,
    CusUsageDayGroup,
    CusUsageHourly,
)
from telemetry.cus_analytics.reconcile import reconcile
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.tasks import cus_reconcile_usage
from tests.conftest import as_if
from tests.cus_factories import SdkClient, correct, make_integration, record, settling
from tests.services.cus_analytics_audit import analytics_findings
from tests.services.test_cus_hourly import _mixed

pytestmark = pytest.mark.django_db(transaction=True)


def _soon() -> datetime:
    """A moment at which nothing that is stored now is in motion any more."""
    return timezone.now() + timedelta(hours=1)


def _reconcile(**options: Any) -> list[tuple[str, str]]:
    """The kind and figure of each difference."""
    run = reconcile(_soon(), **options)
    assert run.failed_tenants == 0
    return sorted(set(run.differences.values_list("kind", "figure")))


@pytest.fixture(autouse=True)
def _some_usage(sdk: SdkClient) -> None:
    sdk.report_batch(*_mixed())
    sdk.report(settling("r1"))
    SdkClient.of(make_integration()).report_calls(2)
    row = CusLLMUsage.objects.order_by("call_id").last()
    assert row
    correct(row, by_microcents=11)
    rollup_usage(_soon())


def test_where_nothing_differs_nothing_is_found() -> None:
    assert _reconcile(all_months=True) == []
    assert analytics_findings() == []


def test_hours_that_differ_are_named_and_repaired() -> None:
    hour = CusUsageHourly.objects.filter(agent_id="a").get()
    CusUsageHourly.objects.filter(pk=hour.pk).update(calls=7, tokens_cached=3)
    CusUsageHourly.objects.filter(agent_id="b").delete()

    found = _reconcile()

    assert {("hour", "calls"), ("hour", "tokens_cached")} <= {*found}
    one = CusReconcileDifference.objects.filter(kind="hour", figure="tokens_cached").get()
    assert (int(one.stored), int(one.expected)) == (3, 100)
    assert (one.integration_id, one.starts_at) == (hour.integration_id, hour.hour)
    assert analytics_findings() == []
    assert _reconcile() == []


def test_an_hour_whose_sums_agree_and_whose_parts_do_not_is_repaired_too() -> None:
    CusUsageHourly.objects.filter(agent_id="a").update(model="another")

    assert _reconcile() == [("hour", "rows")]
    assert analytics_findings() == []


def test_days_that_differ_from_their_hours_are_repaired() -> None:
    CusUsageDaily.objects.update(total_calls=1_000)

    assert _reconcile() == [("day", "calls")]
    assert analytics_findings() == []


def test_what_came_just_now_is_the_rollups_business_and_no_difference(sdk: SdkClient) -> None:
    CusRollupRun.objects.update(covered_to=timezone.now())
    sdk.report_calls(3)

    run = reconcile(timezone.now() - timedelta(minutes=1))

    assert not run.differences.exists()


@pytest.mark.parametrize(
    ("table", "kinds"),
    [
        ("cus_period_totals", {"month_total", "lifetime_total"}),
        ("cus_lifetime_totals", {"lifetime_total", "all_time"}),
    ],
)
def test_a_total_that_is_wrong_is_an_alarm_and_stays(
    integration: CusIntegration, table: str, kinds: set[str]
) -> None:
    as_if(
        f"UPDATE {table} SET tokens_in = tokens_in + 1 WHERE ctid ="
        f" (SELECT min(ctid) FROM {table} WHERE integration_id = '{integration.id}')"
    )

    with capture_logs() as logs:
        found = _reconcile()

    assert found == sorted((kind, "tokens_in") for kind in kinds)
    (alarm,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert "a total is not the sum of its evidence" in alarm["event"]
    assert alarm["integration_id"] == str(integration.id)
    assert _reconcile() == found


def test_the_command_prints_differences_and_fails_for_a_wrong_total() -> None:
    as_if("UPDATE cus_period_totals SET calls = calls + 1")
    output = io.StringIO()

    with pytest.raises(CommandError, match="totals are not the sums of their evidence"):
        call_command("cus_usage_reconcile", "--all-months", stdout=output)

    assert "month_total" in output.getvalue()


def test_the_command_says_that_all_is_well() -> None:
    output = io.StringIO()
    call_command("cus_usage_reconcile", stdout=output)
    assert "0 figures differed." in output.getvalue()


def test_metrics_tell_of_the_last_comparison_and_of_the_rollup(
    integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_METRICS_NETWORKS = ["127.0.0.0/8"]
    CusUsageDaily.objects.filter(integration_id=integration.id).update(total_calls=1_000)
    _reconcile()

    lines = Client().get("/metrics").content.decode().splitlines()

    labels = f'integration_id="{integration.id}",tenant_id="{integration.tenant_id}",kind="day"'
    assert any(line.startswith(f"cus_llm_reconcile_differences{{{labels}}}") for line in lines)
    for name in ("cus_llm_reconcile_timestamp_seconds", "cus_llm_rollup_covered_timestamp_seconds"):
        assert any(line.startswith(f"{name} ") for line in lines)


def test_a_wrong_group_of_a_day_is_found_by_its_hours_and_repaired() -> None:
    CusUsageDayGroup.objects.filter(agent_id="a").update(calls=50)

    assert _reconcile() == [("day", "calls")]

    assert analytics_findings() == []


def test_a_wrong_hour_of_a_final_day_is_found_by_the_sums_of_all_time(sdk: SdkClient) -> None:
    sdk.report(record(timestamp=(timezone.now() - timedelta(days=34)).isoformat()))
    rollup_usage(_soon())
    hour = CusUsageHourly.objects.order_by("hour").first()
    assert hour
    CusUsageHourly.objects.filter(pk=hour.pk).update(calls=50)
    CusUsageDaily.objects.filter(date=hour.hour.date()).update(total_calls=50)
    CusUsageDayGroup.objects.filter(date=hour.hour.date()).update(calls=50)

    run = reconcile(timezone.now() + timedelta(days=4))

    kinds = {*run.differences.values_list("kind", flat=True)}
    assert kinds == {"hour", "all_time"}
    assert analytics_findings() == []


def test_beat_has_a_task_that_runs() -> None:
    cus_reconcile_usage()

    assert CusReconcileRun.objects.exclude(finished_at=None).count() == 1
