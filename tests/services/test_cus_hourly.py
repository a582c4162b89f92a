"""Usage by hour: what an hour keeps, and that it converges to the evidence (rulings E8, E8a)."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.models import Sum
from django.utils import timezone

from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics import usage_aggregator
from telemetry.cus_analytics.figures import MOST_TAG_SETS, OTHER_TAGS
from telemetry.cus_analytics.latency import BOUNDS_MS, BUCKETS, percentile_ms
from telemetry.cus_analytics.models import (
    CusRollupDue,
    CusRollupRun,
    CusUsageDaily,
    CusUsageHourly,
)
from telemetry.cus_analytics.reconcile import reconcile
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_evidence.models import CusLLMUsage
from tests.conftest import ROOT, _superuser
from tests.cus_factories import (
    SdkClient,
    correct,
    make_integration,
    record,
    settling,
    unmeasured,
    usage_row,
)
from tests.services.cus_analytics_audit import analytics_findings, totals_findings
from tests.services.cus_broken_tenant import broken

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


class Killed(BaseException):
    """The process dies here."""


def _roll_up() -> None:
    """A run that reads all that is committed."""
    result = rollup_usage(timezone.now() + timedelta(seconds=1))
    assert result.failed == []
    assert not CusRollupDue.objects.exists()


def _ago(**period: float) -> str:
    return (datetime.now(UTC) - timedelta(**period)).isoformat()


def _superusers() -> "psycopg.Connection[tuple[object, ...]]":
    return _superuser(str(connections["default"].settings_dict["NAME"]))


# One of everything that an hour tells apart or counts.
def _mixed() -> list[dict[str, Any]]:
    return [
        record(agent_id="a", latency_ms=9, tokens_cached=100, tokens_reasoning=7, tags=["team=a"]),
        record(agent_id="b", latency_ms=10, timestamp=_ago(hours=1)),
        record(latency_ms=299_999, timestamp=_ago(days=1)),
        record(latency_ms=None, model="gpt-4o-mini", tokens_in=10, cost_cents=1),
        record(latency_ms=400_000, error_code="timeout", policy_result="warned"),
        record(policy_result="blocked", tokens_in=0, tokens_out=0, cost_cents=0, latency_ms=5),
        record(model="nobody-knows", provider="custom"),
        record(billed_units={"never_heard_of": 3}, timestamp=_ago(days=34)),
        unmeasured(response_id="r1", timestamp=_ago(days=2)),
        unmeasured(response_id="r2"),
    ]


def test_hours_days_and_totals_say_what_the_rows_say(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    assert sdk.report_batch(*_mixed()).json()["accepted"] == 10
    SdkClient.of(make_integration(integration.tenant)).report_calls(2)
    SdkClient.of(make_integration()).report_calls(3)
    _roll_up()
    assert analytics_findings() == []
    assert CusUsageHourly.objects.count() > 8


def test_an_hour_tells_a_hundred_sets_of_tags_apart_and_sums_the_others(
    sdk: SdkClient,
) -> None:
    sets = [[f"request={number:03}"] for number in range(MOST_TAG_SETS + 5)]
    # A set whose text is longer than an index takes.
    sets += [[f"{key}=" + "\x01" * 60 for key in "abcde"]]
    assert sdk.report_batch(*(record(tags=tags) for tags in [*sets, None])).status_code == 200
    sdk.report(unmeasured(response_id="r", tags=["request=000"]))
    sdk.report(settling("r"))

    _roll_up()

    calls = dict(CusUsageHourly.objects.values_list("tags").annotate(sum=Sum("calls")))
    assert calls[""] == 1
    assert calls['["request=000"]'] == 2
    assert len(calls) == MOST_TAG_SETS
    assert sum(calls.values()) == len(sets) + 2
    assert calls[OTHER_TAGS] == len(sets) + 2 - MOST_TAG_SETS
    assert totals_findings() == []
    assert not reconcile(timezone.now() + timedelta(seconds=1)).differences.exists()


def test_settlements_and_corrections_stand_beside_what_was_recorded_in_the_hour_of_the_call(
    sdk: SdkClient,
) -> None:
    at = datetime.now(UTC) - timedelta(days=2)
    sdk.report(unmeasured(response_id="r", timestamp=at.isoformat()))
    _roll_up()
    hour = CusUsageHourly.objects.get()
    assert (hour.unmeasured, hour.settled, hour.cost_microcents) == (1, 0, 0)

    sdk.report(settling("r"))
    correct(CusLLMUsage.objects.get(), by_microcents=-5)
    _roll_up()

    hour = CusUsageHourly.objects.get()
    assert hour.hour == at.replace(minute=0, second=0, microsecond=0)
    assert (hour.unmeasured, hour.settled) == (1, 1)
    assert (hour.cost_microcents, hour.settled_cost_microcents) == (0, 750_000)
    assert (hour.tokens_in, hour.settled_tokens_in) == (0, 1000)
    assert hour.released_microcents == hour.provisional_microcents > 0
    assert hour.correction_microcents == -5
    assert analytics_findings() == []


def test_a_transaction_that_is_open_across_midnight_is_not_missed(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    row = usage_row(
        integration,
        created_at=midnight - timedelta(seconds=1),
        occurred_at=midnight - timedelta(seconds=2),
    )
    parameters = connections["default"].get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    with psycopg.connect(**parameters) as ingest:
        columns, marks = ", ".join(row), ", ".join(["%s"] * len(row))
        ingest.execute(
            f"INSERT INTO cus_llm_usage ({columns}) VALUES ({marks})".encode(), list(row.values())
        )
        rollup_usage(midnight + timedelta(seconds=20))
        assert not CusUsageHourly.objects.exists()
    rollup_usage(midnight + timedelta(minutes=1))

    assert CusUsageHourly.objects.get().hour == midnight - HOUR
    assert CusUsageDaily.objects.get().date == (midnight - HOUR).date()


def test_a_spool_that_is_replayed_late_counts_once_where_its_calls_belong(sdk: SdkClient) -> None:
    spool = [
        record(timestamp=_ago(days=days, hours=hours)) for days in (1, 5, 34) for hours in (0, 3)
    ]
    sdk.report_calls(1)
    _roll_up()
    for _ in range(2):
        sdk.report_batch(*spool)
        _roll_up()

    assert analytics_findings() == []
    assert sum(CusUsageDaily.objects.values_list("total_calls", flat=True)) == 7


@contextmanager
def _killed_at(statement: int) -> Iterator[list[str]]:
    """Whoever executes the statement of this number dies; the list has the statements before."""
    seen: list[str] = []

    def execute(run: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if len(seen) == statement:
            raise Killed
        seen.append(sql)
        return run(sql, params, many, context)

    with connection.execute_wrapper(execute):
        yield seen


def test_a_rollup_that_is_killed_at_any_statement_is_made_up_by_the_next(sdk: SdkClient) -> None:
    for statement in range(100):
        # Late calls, so that each run has two days to do.
        assert sdk.report_batch(record(), record(timestamp=_ago(days=3))).status_code == 200
        try:
            with _killed_at(statement) as seen:
                rollup_usage(timezone.now() + timedelta(seconds=1))
        except Killed:
            continue
        break
    assert len(seen) == statement > 20
    assert analytics_findings() == []


def test_a_rollup_whose_process_is_killed_while_it_writes_is_made_up_by_the_next(
    sdk: SdkClient,
) -> None:
    sdk.report_batch(*_mixed())
    with _superusers() as other, other.transaction():
        # The run waits for this lock when it has replaced its first hours.
        other.execute("LOCK TABLE cus_usage_daily IN EXCLUSIVE MODE")
        run = subprocess.Popen(
            [sys.executable, "manage.py", "cus_usage_aggregator"],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": _database_url()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for_a_blocked_run(run)
        finally:
            run.send_signal(signal.SIGKILL)
            run.wait()
    _wait_until_the_server_noticed()
    assert not CusUsageHourly.objects.exists()

    _roll_up()

    assert analytics_findings() == []


def _database_url() -> str:
    """The test's own database, by the application's role."""
    name = connections["default"].settings_dict["NAME"]
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


def _wait_for_a_blocked_run(run: "subprocess.Popen[bytes]") -> None:
    with _superusers() as watcher:
        for _ in range(600):
            waiting = watcher.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted"
                " AND relation = 'cus_usage_daily'::regclass"
            ).fetchone()
            if waiting and waiting[0]:
                return
            assert run.poll() is None, "the run ended by itself"
            time.sleep(0.05)
    raise AssertionError("the run never came to the days")


def _wait_until_the_server_noticed() -> None:
    with _superusers() as watcher:
        for _ in range(600):
            left = watcher.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            ).fetchone()
            if left and not left[0]:
                return
            time.sleep(0.05)
    raise AssertionError("PostgreSQL goes on with the killed run")


def test_two_rollups_at_once_while_calls_come_in_converge(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sibling = SdkClient.of(make_integration(integration.tenant))
    stranger = SdkClient.of(make_integration())

    def ingest(client: SdkClient) -> None:
        try:
            for number in range(12):
                calls = [record(agent_id=f"a{number % 3}"), record(timestamp=_ago(days=number % 4))]
                assert client.report_batch(*calls).status_code == 200
        finally:
            connections.close_all()

    def roll_up() -> None:
        try:
            for _ in range(6):
                assert rollup_usage(timezone.now()).failed == []
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as pool:
        work = [pool.submit(ingest, client) for client in (sdk, sibling, stranger)]
        work += [pool.submit(roll_up) for _ in range(2)]
        for one in work:
            one.result()
    _roll_up()

    assert analytics_findings() == []
    assert sum(CusUsageDaily.objects.values_list("total_calls", flat=True)) == 72


def test_a_tenant_whose_day_fails_holds_up_nobody_and_is_tried_again(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report_calls(1)
    other = make_integration()
    SdkClient.of(other).report_calls(1)
    with broken(integration.tenant_id, table="cus_usage_hourly"):
        for _ in range(2):
            result = rollup_usage(timezone.now() + timedelta(seconds=1))
            assert [day.tenant_id for day in result.failed] == [integration.tenant_id]
        with pytest.raises(CommandError, match="could not be recomputed"):
            call_command("cus_usage_aggregator", stdout=io.StringIO())
    assert [hour.integration_id for hour in CusUsageHourly.objects.all()] == [other.id]
    assert CusRollupDue.objects.get().failures == 3
    run = CusRollupRun.objects.order_by("-covered_to").first()
    assert run
    assert run.failed_days == 1

    # Long after: the failed hours are not lost behind the overlap.
    rollup_usage(timezone.now() + 3 * HOUR)

    assert analytics_findings() == []


def test_a_run_recomputes_what_is_noted_while_another_run_reads_what_was_received(
    sdk: SdkClient,
) -> None:
    sdk.report_calls(1)
    rollup_usage(timezone.now() + timedelta(seconds=1), within=timedelta(seconds=-1))
    with _superusers() as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(%s)", [usage_aggregator._LOCK_KEY])
        with pytest.raises(CommandError, match="Another run is reading what was received"):
            call_command("cus_usage_aggregator", stdout=io.StringIO())

    assert analytics_findings() == []
    assert CusRollupRun.objects.count() == 1


def test_a_run_without_time_leaves_the_days_to_the_next(sdk: SdkClient) -> None:
    sdk.report_batch(record(), record(timestamp=_ago(days=1)))

    result = rollup_usage(timezone.now() + timedelta(seconds=1), within=timedelta(seconds=-1))

    assert (result.days, result.waiting) == ([], 2)
    _roll_up()
    assert analytics_findings() == []


# Backfill


def _backfill(*arguments: str) -> str:
    output = io.StringIO()
    call_command("cus_telemetry_backfill", *arguments, stdout=output)
    return output.getvalue()


def _break_analytics() -> None:
    CusUsageHourly.objects.update(cost_cents=5, calls=9)
    CusUsageDaily.objects.update(total_calls=1_000)


def test_a_backfill_brings_a_period_back_to_its_evidence(sdk: SdkClient) -> None:
    sdk.report_batch(*_mixed())
    _roll_up()
    _break_analytics()

    first = (timezone.now() - timedelta(days=36)).date()
    said = _backfill("--from", str(first))

    assert "days recomputed" in said
    assert analytics_findings() == []


def test_a_backfill_leaves_other_days_alone(sdk: SdkClient) -> None:
    sdk.report_batch(record(), record(timestamp=_ago(days=3)))
    _roll_up()
    _break_analytics()
    three_days_ago = (timezone.now() - timedelta(days=3)).date()

    assert "1 days recomputed" in _backfill(
        "--from", str(three_days_ago), "--to", str(three_days_ago)
    )

    days = dict(CusUsageDaily.objects.values_list("date", "total_calls"))
    assert days == {three_days_ago: 1, timezone.now().date(): 1_000}


def test_a_dry_run_names_the_days_and_changes_nothing(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report_calls(1)
    _roll_up()
    _break_analytics()
    today = timezone.now().date()

    said = _backfill("--from", str(today), "--dry-run")

    assert f"{today} of tenant {integration.tenant_id}" in said
    assert "1 days would be recomputed" in said
    assert CusUsageDaily.objects.get().total_calls == 1_000
    assert not CusRollupDue.objects.exists()


def test_a_backfill_that_is_stopped_is_finished_by_the_rollup(sdk: SdkClient) -> None:
    sdk.report_batch(record(), record(timestamp=_ago(days=3)))
    _roll_up()
    _break_analytics()
    with pytest.raises(Killed), _killed_at(20):
        _backfill("--from", str((timezone.now() - timedelta(days=3)).date()))
    assert CusRollupDue.objects.exists()

    _roll_up()

    assert analytics_findings() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--from", "2026-13-01"), "is not a date like 2026-11-22"),
        (("--from", "2026-11-02", "--to", "2026-11-01"), "--from is after --to"),
    ],
)
def test_a_backfill_says_what_is_wrong_with_its_days(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        _backfill(*arguments)


# Percentiles


def test_percentiles_are_in_the_bucket_of_the_true_percentile() -> None:
    latencies = sorted(17 * n % 4_001 for n in range(1_000))
    buckets = [0] * BUCKETS
    for latency in latencies:
        buckets[sum(latency >= bound for bound in BOUNDS_MS)] += 1
    for percent in (1, 50, 90, 95, 99, 100):
        true = latencies[-(-len(latencies) * percent // 100) - 1]
        found = percentile_ms(buckets, latencies[-1], percent)
        assert found is not None
        low = max((bound for bound in BOUNDS_MS if bound <= true), default=0)
        high = min((bound for bound in BOUNDS_MS if bound > true), default=latencies[-1])
        assert low <= found <= min(high, latencies[-1])


@pytest.mark.parametrize(
    ("buckets", "highest", "expected"),
    [([0] * BUCKETS, None, None), ([1] + [0] * (BUCKETS - 1), 4, 4)],
)
def test_percentiles_of_few_calls(buckets: list[int], highest: int, expected: int) -> None:
    assert percentile_ms(buckets, highest, 100) == expected
