"""Bypass reports, and the coverage that follows from them (§13.1, ruling F8)."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_coverage.models import CusBypassHour, CusBypassReport
from telemetry.cus_coverage.service import coverage_percent, refresh_all_coverage
from telemetry.tasks import cus_refresh_coverage
from tests.cus_factories import SdkClient, make_integration, make_user, signed_in

pytestmark = pytest.mark.django_db

URL = "/api/v1/cus/telemetry/bypass"
_HUGE = "9" * 5_000


def window(**fields: Any) -> dict[str, Any]:
    """A good report of the last minute."""
    now = timezone.now()
    values: dict[str, Any] = {
        "process_id": uuid.uuid4().hex,
        "window_start": (now - timedelta(minutes=1)).isoformat(),
        "window_end": now.isoformat(),
        "governed_calls": 93,
        "bypassed_calls": 7,
        "hosts": {"api.openai.com": 7},
        "sdk": "aos-sdk-python/0.1.0",
    }
    return values | fields


@pytest.fixture(autouse=True)
def _calls_that_ran(request: pytest.FixtureRequest) -> None:
    """Records of the calls that the reports below claim; tests/api/test_cus_claims.py has none."""
    if {"sdk", "integration"} <= set(request.fixturenames):
        request.getfixturevalue("sdk").report_calls(200)


def send(sdk: SdkClient, body: Any) -> Any:
    return sdk.client.post(URL, body, content_type="application/json")


def covered(integration: CusIntegration) -> Decimal | None:
    integration.refresh_from_db()
    shown = integration.coverage_percent
    assert shown == coverage_percent(integration.tenant_id, integration.id, timezone.now())
    return shown


def test_a_hundred_calls_of_which_seven_bypass_the_sdk_are_covered_to_93_percent(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    assert covered(integration) is None
    version = integration.config_version

    response = send(sdk, window())

    assert response.status_code == 201
    assert covered(integration) == Decimal("93.00")
    assert integration.config_version == version
    row = CusBypassReport.objects.get()
    assert (row.tenant_id, row.integration_id) == (integration.tenant_id, integration.id)
    assert row.occurred_at == row.window_end
    assert (row.hosts, row.clock_skew) == ({"api.openai.com": 7}, False)


def test_a_key_in_front_of_a_host_is_masked_and_the_window_is_known_again(sdk: SdkClient) -> None:
    report = window(hosts={"sk-proj-abcdef123456@api.openai.com": 7}, sdk="mine sk-proj-abcdef")

    assert send(sdk, report).status_code == 201
    assert send(sdk, report).status_code == 200

    row = CusBypassReport.objects.get()
    assert (row.hosts, row.sdk) == ({"[masked]@api.openai.com": 7}, "mine [masked]")


def test_the_same_window_again_counts_once_and_is_answered_the_same(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    report = window()
    first = send(sdk, report)
    again = send(sdk, report)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert CusBypassReport.objects.count() == 1
    hour = CusBypassHour.objects.get()
    assert (hour.governed_calls, hour.bypassed_calls) == (93, 7)


def test_another_report_of_the_same_window_is_refused_and_the_first_stands(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    report = window()
    send(sdk, report)

    response = send(sdk, report | {"governed_calls": 193, "bypassed_calls": 0, "hosts": {}})

    assert response.status_code == 409
    errors = response.json()["errors"]
    assert {error["attr"] for error in errors} == {"governed_calls", "bypassed_calls", "hosts"}
    assert {error["code"] for error in errors} == {"window_conflict"}
    assert covered(integration) == 93


def test_windows_of_all_processes_add_up(sdk: SdkClient, integration: CusIntegration) -> None:
    process_id = "worker-1"
    start = timezone.now() - timedelta(minutes=2)
    send(sdk, window(process_id=process_id, window_start=start.isoformat()))
    send(sdk, window(process_id=process_id))
    send(sdk, window(governed_calls=0, bypassed_calls=14, hosts={}))

    assert covered(integration) == Decimal("86.91")  # 186 of 214


@pytest.mark.django_db(transaction=True)
def test_reports_that_come_at_once_are_counted_once_each() -> None:
    integration = make_integration()
    key = SdkClient.of(integration).key
    SdkClient(key).report_calls(120)
    # Each window twice, from two threads.
    reports = [window(governed_calls=10, bypassed_calls=number) for number in range(12)] * 2

    def deliver(report: dict[str, Any]) -> int:
        try:
            return int(send(SdkClient(key), report).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(deliver, reports))

    assert answers == [200] * 12 + [201] * 12
    assert CusBypassReport.objects.count() == 12
    assert covered(integration) == Decimal("64.51")  # 120 of 186


def test_coverage_is_rounded_down_so_that_a_gate_is_not_passed_too_early(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    send(sdk, window(governed_calls=113, bypassed_calls=6))

    assert covered(integration) == Decimal("94.95")  # 94.957 …


def test_an_empty_window_is_kept_and_says_nothing_of_coverage(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    assert send(sdk, window(governed_calls=0, bypassed_calls=0, hosts={})).status_code == 201
    assert covered(integration) is None


def test_what_is_older_than_seven_days_falls_out(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    now = timezone.now()
    old = now - timedelta(days=6, hours=23)
    send(
        sdk,
        window(window_start=(old - timedelta(minutes=1)).isoformat(), window_end=old.isoformat()),
    )
    send(sdk, window(governed_calls=100, bypassed_calls=0, hosts={}))
    assert covered(integration) == Decimal("96.50")

    refresh_all_coverage(now + timedelta(hours=3))
    integration.refresh_from_db()
    assert integration.coverage_percent == 100

    refresh_all_coverage(now + timedelta(days=8))
    integration.refresh_from_db()
    assert integration.coverage_percent is None


def test_beat_brings_coverage_up_to_date(sdk: SdkClient, integration: CusIntegration) -> None:
    send(sdk, window())
    CusIntegration.objects.filter(id=integration.id).update(coverage_percent=1)

    cus_refresh_coverage()

    assert covered(integration) == 93


@pytest.mark.parametrize(
    "end",
    [timedelta(days=400), timedelta(days=-36), timedelta(minutes=6)],
    ids=["far ahead", "long ago", "a little ahead"],
)
def test_a_clock_that_is_wrong_moves_no_call_out_of_coverage(
    sdk: SdkClient, integration: CusIntegration, end: timedelta
) -> None:
    moment = timezone.now() + end
    report = window(
        window_start=(moment - timedelta(minutes=1)).isoformat(), window_end=moment.isoformat()
    )
    assert send(sdk, report).json()["clock_skew"] is True
    assert send(sdk, report).status_code == 200

    row = CusBypassReport.objects.get()
    assert row.window_end == moment
    assert abs(row.occurred_at - timezone.now()) < timedelta(minutes=1)
    assert covered(integration) == 93


def test_a_window_that_ends_before_it_starts_is_counted_when_it_is_received(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    report = window()
    report["window_start"], report["window_end"] = report["window_end"], report["window_start"]

    assert send(sdk, report).json()["clock_skew"] is True
    assert covered(integration) == 93


def test_one_moment_in_two_spellings_is_one_window(sdk: SdkClient) -> None:
    start, end = datetime.now(UTC) - timedelta(minutes=1), datetime.now(UTC)
    report = window(window_start=start.isoformat(), window_end=end.isoformat())
    send(sdk, report)
    elsewhere = start.replace(tzinfo=None) + timedelta(hours=2)
    report["window_start"] = f"{elsewhere.isoformat()}+02:00"

    assert send(sdk, report).status_code == 200
    assert CusBypassReport.objects.count() == 1


@pytest.mark.parametrize(
    ("attr", "value"),
    [
        ("governed_calls", "5"),
        ("governed_calls", 1.0),
        ("governed_calls", True),
        ("governed_calls", -1),
        ("bypassed_calls", 2**31),
        ("bypassed_calls", None),
        ("process_id", ""),
        ("process_id", "a b"),
        ("process_id", "x" * 101),
        ("process_id", "nul\x00"),
        ("process_id", 5),
        ("window_start", "yesterday"),
        ("window_start", "2026-11-22T10:00:00"),
        ("window_start", 1_795_000_000),
        ("window_start", "0001-01-01T00:00:00+14:00"),
        ("window_end", None),
        ("hosts", {"api.openai.com": -1}),
        ("hosts", {"a b": 1}),
        ("hosts", {"x" * 256: 1}),
        ("hosts", {f"host-{number}": 1 for number in range(51)}),
        ("hosts", [1]),
        ("sdk", "x" * 101),
        ("sdk", "é"),
    ],
)
def test_what_is_not_plainly_right_is_refused_by_name(
    sdk: SdkClient, attr: str, value: Any
) -> None:
    response = send(sdk, json.dumps(window(**{attr: value})))

    assert response.status_code == 400, response.content
    (error,) = response.json()["errors"]
    assert error["attr"] == attr
    assert error["code"] == "invalid"
    assert CusBypassReport.objects.count() == 0


@pytest.mark.parametrize("attr", ["process_id", "window_start", "window_end", "governed_calls"])
def test_what_is_missing_is_named(sdk: SdkClient, attr: str) -> None:
    report = window()
    del report[attr]

    response = send(sdk, report)

    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == attr


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"process_id": "\\ud800"}',
        b'{"governed_calls": ' + _HUGE.encode() + b"}",
        b"[" * 100_000,
        b'{"hosts": ' + b'{"a":' * 50_000,
    ],
    ids=["empty", "null", "list", "torn", "bytes", "surrogate", "digits", "deep", "deep hosts"],
)
def test_no_body_whatsoever_is_more_than_a_400(sdk: SdkClient, body: bytes) -> None:
    response = send(sdk, body)

    assert response.status_code == 400
    assert response.json()["errors"][0]["code"]


def test_fields_that_are_not_known_yet_are_ignored(sdk: SdkClient) -> None:
    assert send(sdk, window(future={"a": [1]})).status_code == 201


def test_only_a_key_may_report(tenant: CusTenant, integration: CusIntegration) -> None:
    anonymous = Client().post(URL, window(), content_type="application/json")
    person = signed_in(make_user("admin", tenant))

    assert anonymous.status_code == 401
    assert person.post(URL, window(), content_type="application/json").status_code in (401, 403)
    assert CusBypassReport.objects.count() == 0


def test_one_process_id_at_two_integrations_is_two_processes(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    foreign = make_integration()
    report = window()
    send(sdk, report)

    response = send(SdkClient.of(foreign), report | {"governed_calls": 0})

    assert response.status_code == 201
    assert [covered(integration), covered(foreign)] == [Decimal(93), Decimal(0)]


def test_reports_are_limited_like_all_that_a_key_sends(sdk: SdkClient, settings: Settings) -> None:
    settings.CUS_SDK_REQUESTS_PER_SECOND = 0.1

    assert [send(sdk, window()).status_code for _ in range(3)][-1] == 429


def test_metrics_show_the_share_of_governed_calls(
    sdk: SdkClient, integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_METRICS_NETWORKS = ["127.0.0.1/32"]
    unseen = make_integration()
    send(sdk, window())

    text = Client().get("/metrics").content.decode()

    (line,) = [
        line for line in text.splitlines() if line.startswith("cus_integration_coverage_ratio{")
    ]
    assert str(integration.id) in line
    assert line.endswith(" 0.93")
    assert str(unseen.id) not in line


@pytest.mark.parametrize("role", ["member", "support", "operator"])
def test_the_console_shows_reports_to_those_who_may_see_them(
    role: str, sdk: SdkClient, tenant: CusTenant, integration: CusIntegration
) -> None:
    send(sdk, window(process_id="own-process"))
    send(SdkClient.of(make_integration()), window(process_id="foreign-process"))
    console = signed_in(make_user(role, tenant if role == "member" else None))

    page = console.get("/admin/telemetry/cusbypassreport/").content.decode()

    assert "own-process" in page
    assert integration.name in page
    assert ("foreign-process" in page) is (role != "member")


@pytest.mark.parametrize(
    "change", ["UPDATE {} SET governed_calls = 0", "DELETE FROM {}", "TRUNCATE {}"]
)
def test_reports_cannot_be_changed(sdk: SdkClient, change: str) -> None:
    send(sdk, window())
    with (
        pytest.raises(DatabaseError, match=r"is evidence|permission denied"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(change.format("cus_bypass_reports"))

    assert CusBypassReport.objects.get().governed_calls == 93
