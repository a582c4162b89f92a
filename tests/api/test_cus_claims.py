"""What programs claim as governed counts as far as calls were stored (ruling F8a)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from aos_sdk.cus_wire import INT32_MAX
from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.models import CusRollupDue, CusRollupRun, CusUsageDaily
from telemetry.cus_clock import database_now
from telemetry.cus_coverage.claims import flag_unproven_claims
from telemetry.cus_coverage.models import CusBypassHour, CusCallMark
from telemetry.cus_coverage.service import refresh_all_coverage
from telemetry.cus_coverage.stored_calls import mark_calls, start_of_hour, stored_calls
from telemetry.cus_delivery.models import CusReportingProcess
from telemetry.tasks import cus_flag_unproven_claims, cus_refresh_coverage
from tests.api.test_cus_bypass import send, window
from tests.cus_factories import SdkClient, make_integration, make_user, record, signed_in

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def _coverage(integration: CusIntegration) -> Decimal | None:
    cus_refresh_coverage()
    integration.refresh_from_db()
    return integration.coverage_percent


# --- Coverage -----------------------------------------------------------------------------------


def test_a_claim_buys_no_more_coverage_than_there_are_records(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report_calls(20)
    send(sdk, window(governed_calls=10, bypassed_calls=5))

    assert send(sdk, window(governed_calls=INT32_MAX, bypassed_calls=0)).status_code == 201

    assert _coverage(integration) == 80  # 20 of 25


def test_a_claim_without_any_record_is_no_coverage(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    send(sdk, window(governed_calls=INT32_MAX, bypassed_calls=0))

    assert _coverage(integration) == 0


def test_calls_that_were_blocked_did_not_run(sdk: SdkClient, integration: CusIntegration) -> None:
    blocked = {"policy_result": "blocked", "tokens_in": 0, "tokens_out": 0, "cost_cents": 0}
    sdk.report_calls(1)
    sdk.report_batch(*(record(**blocked) for _ in range(3)))

    send(sdk, window(governed_calls=4, bypassed_calls=1))

    assert _coverage(integration) == 50  # 1 of 2


def test_records_of_another_integration_back_no_claim(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    for other in (make_integration(integration.tenant), make_integration()):
        SdkClient.of(other).report_calls(5)

    send(sdk, window(governed_calls=5, bypassed_calls=5))

    assert _coverage(integration) == 0


def test_a_report_that_comes_before_its_records_moves_nothing_until_beat_looks(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    send(sdk, window(governed_calls=3, bypassed_calls=1))
    integration.refresh_from_db()
    assert integration.coverage_percent is None

    sdk.report_calls(3)

    assert _coverage(integration) == 75


def test_records_that_come_late_heal_coverage(sdk: SdkClient, integration: CusIntegration) -> None:
    send(sdk, window(governed_calls=3, bypassed_calls=1))
    assert _coverage(integration) == 0

    sdk.report_calls(2)
    assert _coverage(integration) == Decimal("66.66")

    sdk.report_calls(1)
    assert _coverage(integration) == 75


def test_a_report_that_records_back_counts_at_once(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report_calls(3)

    send(sdk, window(governed_calls=3, bypassed_calls=1))

    integration.refresh_from_db()
    assert integration.coverage_percent == 75


# --- Stored calls -------------------------------------------------------------------------------


def _marks(integration: CusIntegration) -> list[tuple[datetime, int]]:
    rows = CusCallMark.objects.filter(integration_id=integration.id).order_by("hour")
    return list(rows.values_list("hour", "calls"))


def _mark(integration: CusIntegration, now: datetime) -> None:
    mark_calls(integration.tenant_id, integration.id, since=now - 7 * DAY, now=now)


def test_calls_that_were_stored_before_the_mark_are_not_counted(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    whose = (integration.tenant_id, integration.id)
    sdk.report_calls(5)
    now = database_now()
    for days, calls in ((8, 1), (7, 2), (1, 4)):
        CusCallMark.objects.create(
            tenant_id=whose[0], integration_id=whose[1], hour=now - days * DAY, calls=calls
        )

    found = [stored_calls(*whose, now - days * DAY) for days in (9, 8, 7, 6, 1)]
    assert found == [5, 4, 3, 3, 1]


def test_the_first_marks_count_the_calls_of_the_seven_days_before_by_the_hour(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report_calls(3)
    CusIntegration.objects.update(coverage_percent=1)
    now = database_now()

    _mark(integration, now)

    marks = _marks(integration)
    assert len(marks) == 7 * 24 + 1
    assert marks[0] == (start_of_hour(now - 7 * DAY), 0)
    assert marks[-1] == (start_of_hour(now), 0)
    assert stored_calls(integration.tenant_id, integration.id, now - DAY) == 3
    in_an_hour = now + timedelta(hours=1)
    _mark(integration, in_an_hour)
    assert stored_calls(integration.tenant_id, integration.id, in_an_hour) == 0


def test_an_hour_is_marked_once_and_marks_that_nobody_needs_are_forgotten(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    now = database_now()
    _mark(integration, now)
    sdk.report_calls(2)
    _mark(integration, now)
    assert _marks(integration)[-1] == (start_of_hour(now), 0)

    _mark(integration, now + 8 * DAY)

    hours = [hour for hour, _ in _marks(integration)]
    assert hours == [start_of_hour(now), start_of_hour(now + 8 * DAY)]
    assert stored_calls(integration.tenant_id, integration.id, now + DAY) == 2


def test_beat_marks_the_hour_of_every_integration_that_reports(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    silent = make_integration()
    send(sdk, window())

    assert refresh_all_coverage(database_now()) == 1

    assert _marks(integration)
    assert not _marks(silent)


# --- Claims that no record backs a day later ----------------------------------------------------


def _claim(integration: CusIntegration, calls: int, *, days_ago: int, hour: int = 12) -> None:
    day = (datetime.now(UTC) - days_ago * DAY).replace(hour=hour, minute=0, second=0, microsecond=0)
    CusBypassHour.objects.create(
        tenant_id=integration.tenant_id,
        integration_id=integration.id,
        hour=day,
        governed_calls=calls,
        bypassed_calls=0,
    )


def _stored(integration: CusIntegration, calls: int, *, days_ago: int) -> None:
    CusUsageDaily.objects.create(
        tenant_id=integration.tenant_id,
        integration_id=integration.id,
        date=(datetime.now(UTC) - days_ago * DAY).date(),
        total_calls=calls,
    )


def _flagged(integration: CusIntegration, *, rolled_up_to: timedelta = timedelta()) -> int | None:
    CusRollupRun.objects.create(covered_to=timezone.now() + rolled_up_to, days=1)
    flag_unproven_claims(timezone.now())
    integration.refresh_from_db()
    return integration.unproven_calls


def test_claims_without_records_are_flagged_a_day_later(integration: CusIntegration) -> None:
    _claim(integration, 100, days_ago=3)
    _stored(integration, 60, days_ago=3)

    assert _flagged(integration) == 40


def test_claims_that_records_back_are_not_flagged(integration: CusIntegration) -> None:
    _claim(integration, 100, days_ago=3)
    _claim(integration, 100, days_ago=4)
    _stored(integration, 150, days_ago=3)
    _stored(integration, 50, days_ago=4)

    assert _flagged(integration) == 0


def test_records_have_a_day_to_come(integration: CusIntegration) -> None:
    _claim(integration, 100, days_ago=0, hour=0)

    assert _flagged(integration) is None


def test_a_flag_goes_when_the_records_come(integration: CusIntegration) -> None:
    _claim(integration, 100, days_ago=3)
    assert _flagged(integration) == 100

    _stored(integration, 100, days_ago=3)

    assert _flagged(integration) == 0


def test_a_flag_goes_when_the_claim_is_older_than_seven_days(integration: CusIntegration) -> None:
    _claim(integration, 100, days_ago=3)
    assert _flagged(integration) == 100

    CusRollupRun.objects.create(covered_to=timezone.now() + 10 * DAY, days=1)
    flag_unproven_claims(timezone.now() + 10 * DAY)

    integration.refresh_from_db()
    assert integration.unproven_calls == 0


def test_while_the_daily_sums_are_behind_nothing_is_flagged(integration: CusIntegration) -> None:
    _claim(integration, 100, days_ago=3)

    assert _flagged(integration, rolled_up_to=-2 * DAY) is None


def test_a_tenant_whose_days_wait_to_be_recomputed_is_left_alone(
    integration: CusIntegration,
) -> None:
    _claim(integration, 100, days_ago=3)
    other = make_integration()
    _claim(other, 100, days_ago=3)
    CusRollupDue.objects.create(tenant_id=integration.tenant_id, hour=datetime.now(UTC) - 3 * DAY)

    assert _flagged(integration) is None
    other.refresh_from_db()
    assert other.unproven_calls == 100


@pytest.mark.parametrize(
    ("last_sequence", "dropped", "flagged"),
    [(30, {}, 70), (30, {"full": 30}, 70), (5, {"full": 30}, 70), (0, {}, 100)],
    ids=["known gap", "gap that is declared", "declared beyond the gap", "nothing missing"],
)
def test_what_is_known_to_be_missing_or_dropped_explains_a_claim(
    integration: CusIntegration, last_sequence: int, dropped: dict[str, int], flagged: int
) -> None:
    _claim(integration, 100, days_ago=3)
    CusReportingProcess.objects.create(
        tenant_id=integration.tenant_id,
        integration_id=integration.id,
        process_id="worker-1",
        last_sequence=last_sequence,
        dropped=dropped,
        came="{}",
    )

    assert _flagged(integration) == flagged


def test_what_another_integration_lacks_explains_nothing(integration: CusIntegration) -> None:
    _claim(integration, 100, days_ago=3)
    sibling = make_integration(integration.tenant)
    CusReportingProcess.objects.create(
        tenant_id=sibling.tenant_id,
        integration_id=sibling.id,
        process_id="worker-1",
        last_sequence=100,
        came="{}",
    )

    assert _flagged(integration) == 100


def test_beat_and_metrics_tell_of_flagged_claims(
    integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_METRICS_NETWORKS = ["127.0.0.1/32"]
    _claim(integration, 100, days_ago=3)
    CusRollupRun.objects.create(covered_to=timezone.now(), days=1)

    cus_flag_unproven_claims()

    lines = Client().get("/metrics").content.decode().splitlines()
    (line,) = [one for one in lines if one.startswith("cus_integration_unproven_calls{")]
    assert str(integration.id) in line
    assert line.endswith(" 100")


@pytest.mark.parametrize(
    ("calls", "shown"), [(None, "not looked at yet"), (0, "none"), (1_234, "1,234 of the 7 days")]
)
def test_the_console_shows_flagged_claims(
    tenant: CusTenant, integration: CusIntegration, calls: int | None, shown: str
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(unproven_calls=calls)
    console = signed_in(make_user("member", tenant))

    page = console.get(f"/admin/integrations/cusintegration/{integration.id}/change/")

    assert shown in page.content.decode()
