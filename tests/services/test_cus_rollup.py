"""Daily aggregates: whole days, recomputed from evidence, nothing missed (ruling E8a)."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.models import CusRollupRun, CusUsageDaily
from telemetry.cus_analytics.usage_aggregator import RollupResult, rollup_usage
from telemetry.tasks import cus_make_partitions, cus_rollup_usage
from tests.cus_factories import SdkClient, make_integration, record

pytestmark = pytest.mark.django_db


def _later(seconds: int = 1) -> datetime:
    # Inside a test's transaction every row was received at its start.
    return timezone.now() + timedelta(seconds=seconds)


def _days(result: RollupResult) -> list[date]:
    assert not result.failed
    return [day.day for day in result.days]


def test_a_day_sums_the_calls_that_occurred_in_it(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    yesterday = datetime.now(UTC).replace(hour=12, minute=0) - timedelta(days=1)
    for fields in (
        {"latency_ms": 100},
        {"latency_ms": 201, "tokens_in": 2000, "cost_cents": 1},
        {
            "error_code": "timeout",
            "tokens_in": 0,
            "tokens_out": 0,
            "cost_cents": 0,
            "latency_ms": None,
        },
        {
            "policy_result": "blocked",
            "tokens_in": 0,
            "tokens_out": 0,
            "cost_cents": 0,
            "latency_ms": 7,
        },
    ):
        sdk.report(record(timestamp=yesterday.isoformat(), **fields))
    sdk.report(record())

    days = _days(rollup_usage(_later()))

    today = timezone.now().date()
    assert days == [today, yesterday.date()]
    day = CusUsageDaily.objects.get(date=yesterday.date())
    assert (day.tenant_id, day.integration_id) == (integration.tenant_id, integration.id)
    assert (day.total_calls, day.blocked_count, day.error_count) == (3, 1, 1)
    assert (day.total_tokens_in, day.total_tokens_out) == (3000, 1000)
    assert day.total_cost_cents == 2
    assert day.total_cost_microcents == 750_000 + 1_000_000
    assert day.avg_latency_ms == 151
    assert CusUsageDaily.objects.get(date=today).total_calls == 1


def test_a_late_fact_changes_the_day_that_it_belongs_to(sdk: SdkClient) -> None:
    sdk.report(record())
    rollup_usage(_later())
    three_days_ago = datetime.now(UTC) - timedelta(days=3)

    sdk.report(record(timestamp=three_days_ago.isoformat()))
    days = _days(rollup_usage(_later(60)))

    assert three_days_ago.date() in days
    assert CusUsageDaily.objects.get(date=three_days_ago.date()).total_calls == 1
    assert CusUsageDaily.objects.get(date=timezone.now().date()).total_calls == 1


def test_a_row_that_committed_behind_the_last_run_is_caught_by_the_overlap(
    sdk: SdkClient,
) -> None:
    rollup_usage(_later(300))

    sdk.report(record())

    assert _days(rollup_usage(_later(600))) == [timezone.now().date()]
    assert CusUsageDaily.objects.get().total_calls == 1


def test_a_run_without_new_rows_computes_nothing(sdk: SdkClient) -> None:
    sdk.report(record())
    rollup_usage(_later(1200))

    assert _days(rollup_usage(_later(3600))) == []


def test_running_twice_counts_nothing_twice(sdk: SdkClient) -> None:
    sdk.report(record())

    rollup_usage(_later())
    rollup_usage(_later(2))

    assert CusUsageDaily.objects.get().total_calls == 1
    assert CusRollupRun.objects.count() == 2


def test_a_day_that_is_over_by_more_than_facts_may_be_late_is_final(
    integration: CusIntegration,
) -> None:
    rollup_usage(_later())
    old = timezone.now() - timedelta(days=38)
    final = CusUsageDaily.objects.create(
        tenant_id=integration.tenant_id,
        integration_id=integration.id,
        date=old.date(),
        total_calls=5,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO cus_llm_usage (id, tenant_id, integration_id, call_id, provider, model,"
            " tokens_in, tokens_out, cost_cents, cost_microcents, pricing, occurred_at)"
            " VALUES (gen_random_uuid(), %s, %s, 'c', 'openai', 'm', 1, 1, 0, 0, 'unknown', %s)",
            [integration.tenant_id, integration.id, old],
        )

    rollup_usage(_later(2))
    final.refresh_from_db()
    assert final.total_calls == 5


def test_a_day_begins_and_ends_at_midnight_utc(sdk: SdkClient) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    sdk.report(record(timestamp=(midnight - timedelta(microseconds=1)).isoformat()))
    sdk.report(record(timestamp=midnight.isoformat()))

    rollup_usage(_later())

    days = dict(CusUsageDaily.objects.values_list("date", "total_calls"))
    assert days == {midnight.date(): 1, (midnight - timedelta(days=1)).date(): 1}


def test_each_integration_has_its_own_day(sdk: SdkClient) -> None:
    sdk.report(record())
    SdkClient.of(make_integration()).report(record())

    rollup_usage(_later())

    assert CusUsageDaily.objects.filter(date=timezone.now().date(), total_calls=1).count() == 2


@pytest.mark.django_db(databases=["default", "owner"])
def test_beat_has_tasks_that_run(sdk: SdkClient) -> None:
    sdk.report(record())

    cus_rollup_usage()
    cus_make_partitions()

    assert CusRollupRun.objects.exists()


def test_a_row_that_came_late_is_rolled_up_even_after_an_outage_of_days(
    sdk: SdkClient, settings: Settings
) -> None:
    almost_too_old = datetime.now(UTC) - timedelta(days=34, hours=22)
    sdk.report(record(timestamp=almost_too_old.isoformat()))

    rollup_usage(_later(2 * 86_400))

    assert CusUsageDaily.objects.get(date=almost_too_old.date()).total_calls == 1


def test_facts_may_be_as_late_as_the_setting_says(sdk: SdkClient, settings: Settings) -> None:
    settings.CUS_TELEMETRY_MAX_AGE_DAYS = 60
    old = datetime.now(UTC) - timedelta(days=50)
    sdk.report(record(timestamp=old.isoformat()))

    rollup_usage(_later())

    assert CusUsageDaily.objects.get(date=old.date()).total_calls == 1


def test_a_poisoned_integration_does_not_stop_the_days_of_the_others(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO cus_llm_usage (id, tenant_id, integration_id, call_id, provider, model,"
            " tokens_in, tokens_out, cost_cents, cost_microcents, pricing, occurred_at)"
            " SELECT gen_random_uuid(), %s, %s, n, 'openai', 'm', 1, 1, 0, 9e18, 'unknown', now()"
            " FROM generate_series(1, 3) AS n",
            [integration.tenant_id, integration.id],
        )
    other = make_integration()
    SdkClient.of(other).report(record())

    rollup_usage(_later())

    poisoned = CusUsageDaily.objects.get(integration_id=integration.id)
    assert poisoned.total_cost_microcents == 2**63 - 1
    assert CusUsageDaily.objects.get(integration_id=other.id).total_calls == 1
