"""The system page: all is well, or each thing that is not."""

import re
from datetime import date, timedelta

import pytest
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_django import DjangoAssertNumQueries
from redis import Redis, RedisError

from aos_project.cus_console import system_checks
from aos_project.cus_schedule import BEAT_SCHEDULE
from enforcement.cus_decisions.models import CusEnforcementDecision
from integrations.cus_credentials.models import CusCredential
from integrations.cus_mail.models import CusMail
from telemetry.cus_analytics.models import (
    CusReconcileDifference,
    CusReconcileRun,
    CusRollupDue,
    CusRollupRun,
)
from telemetry.cus_clock import database_now
from telemetry.cus_evidence.partitions import Month, existing_months
from telemetry.cus_seals.models import CusEvidenceSeal
from tests.cus_factories import SdkClient, browser_of, make_integration, make_tenant

pytestmark = pytest.mark.django_db
SYSTEM = "/admin/system/"


@pytest.fixture(autouse=True)
def running_well() -> None:
    """A product whose jobs all ran just now."""
    now = timezone.now()
    often = IntervalSchedule.objects.create(every=60, period="seconds")
    for name, job in BEAT_SCHEDULE.items():
        PeriodicTask.objects.create(name=name, task=job["task"], interval=often, last_run_at=now)
    CusRollupRun.objects.create(covered_to=database_now(), finished_at=now)
    CusReconcileRun.objects.create(started_at=database_now(), finished_at=now)


def text_of_page() -> str:
    answer = browser_of("operator").get(SYSTEM)
    assert answer.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def test_all_is_well_with_the_moment_of_the_check() -> None:
    make_integration()
    text = text_of_page()

    assert re.search(r"All is well, checked \d\d:\d\d:\d\d UTC", text)
    for name in BEAT_SCHEDULE:
        assert name in text
    assert "every 60 seconds" in text
    assert str(Month.of(database_now())) in text


def test_a_late_a_missing_and_a_disabled_job_are_named() -> None:
    tasks = PeriodicTask.objects
    tasks.filter(name="cus-send-mail").update(last_run_at=timezone.now() - timedelta(minutes=31))
    tasks.filter(name="cus-sweep-holds").update(enabled=False)
    tasks.filter(name="cus-rollup-usage").delete()

    text = text_of_page()

    assert "Not well" in text
    assert "The job cus-send-mail is late by 30 minutes" in text
    assert "The job cus-sweep-holds is switched off." in text
    assert "The job cus-rollup-usage is not scheduled." in text


def test_a_job_that_is_late_by_less_than_beat_writes_down_is_no_news() -> None:
    late = timezone.now() - timedelta(minutes=5)
    PeriodicTask.objects.filter(name="cus-send-mail").update(last_run_at=late)

    assert "All is well" in text_of_page()


@pytest.mark.parametrize("lacking", ["cus_llm_usage", CusEnforcementDecision._meta.db_table])
def test_missing_partitions_are_named(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    last = Month.of(database_now()).shifted(3)

    def without_the_last(*, table: str) -> set[Month]:
        found = existing_months(table=table)
        return found - {last} if table == lacking else found

    monkeypatch.setattr(system_checks, "existing_months", without_the_last)

    assert f"{lacking} has no partition for {last}." in text_of_page()


def test_rollups_that_stand_still_or_fail_are_named() -> None:
    CusRollupRun.objects.update(covered_to=database_now() - timedelta(hours=1))
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    CusRollupDue.objects.create(tenant_id=make_tenant().id, hour=hour, failures=2)
    run = CusReconcileRun.objects.get()
    CusReconcileDifference.objects.create(
        run=run,
        kind="day",
        tenant_id=run.id,
        integration_id=run.id,
        figure="calls",
        stored=1,
        expected=2,
    )

    text = text_of_page()

    assert "Hours and days are computed to" in text
    assert "1 hours could not be computed" in text
    assert "found 1 differences" in text


def test_days_that_wait_for_their_seal_are_named() -> None:
    digests = dict.fromkeys(
        ("rows_digest", "settlements_digest", "adjustments_digest", "previous", "digest"), "0" * 64
    )
    CusEvidenceSeal.objects.create(
        tenant_id=make_tenant().id,
        day=date(2026, 1, 1),
        form=1,
        key_id="k",
        rows=0,
        settlements=0,
        adjustments=0,
        sealed_at=timezone.now(),
        **digests,
    )

    text = text_of_page()

    assert "1 tenants have days that are not sealed." in text
    assert "up to 2026-01-01" in text


def test_a_key_that_the_ring_lacks_is_named_and_no_key_is_shown() -> None:
    make_integration()
    CusCredential.objects.update(key_id="lost")

    text = text_of_page()

    assert "1 credentials are sealed by the key lost, which the ring lacks." in text


def test_a_broker_that_is_away_and_a_deep_queue_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Redis, "llen", lambda _self, _name: 5_000)
    assert "5,000 tasks wait in the queue cus_health" in text_of_page()

    def away(_self: Redis, _name: str) -> int:
        raise RedisError

    monkeypatch.setattr(Redis, "llen", away)
    assert "The broker does not answer (RedisError)." in text_of_page()


def test_mail_that_waits_or_was_given_up_is_named() -> None:
    now = timezone.now()
    late = {"next_try_at": now - timedelta(minutes=20), "tries": 3}
    CusMail.objects.create(to="a@example.com", template="invitation", **late)
    CusMail.objects.create(to="b@example.com", template="invitation", dropped_at=now)

    text = text_of_page()

    assert "A mail waits since" in text
    assert "The mail server refused mails" in text
    assert "1 mails were given up within 24 hours." in text
    assert "@example.com" not in text.split("Not well")[1].split("Jobs")[0]


def test_the_page_costs_the_same_number_of_queries_for_any_number_of_rows(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(5):
        SdkClient.of(make_integration()).report_calls(1)
    client = browser_of("operator")
    client.get(SYSTEM)

    with django_assert_max_num_queries(26):
        client.get(SYSTEM)
