"""What needs attention, on the first page: the worst first, since when, and what to do next."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from aos_project.cus_schedule import BEAT_SCHEDULE
from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.limits import month_of
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.models import CusCostForecast
from telemetry.cus_holds.nearest import BudgetUse
from tests.cus_factories import (
    SdkClient,
    browser_of,
    make_integration,
    make_tenant,
    record,
    turn_health,
)

pytestmark = pytest.mark.django_db
_DOLLAR = 100_000_000


def _rows(client: Client, panel: str = "attention") -> list[list[str]]:
    """The cells of a panel's rows, as texts."""
    text = client.get("/admin/").content.decode()
    part = re.split(r"<section ", text.split(f'<section id="{panel}"')[1])[0]
    return [
        [
            " ".join(re.sub(r"<[^>]*>", " ", cell).split())
            for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)
        ]
        for row in re.findall(r'<tr class="data-row.*?</tr>', part, re.DOTALL)
    ]


def _set(integration: CusIntegration, **values: object) -> None:
    CusIntegration.objects.filter(id=integration.id).update(**values)


def test_all_is_well_has_the_time_of_the_check(tenant: CusTenant) -> None:
    make_integration(tenant)
    text = browser_of("member", tenant).get("/admin/").content.decode()
    assert re.search(r"All is well, checked \d\d:\d\d UTC", text)


def test_the_worst_is_first_and_says_since_when_and_what_to_do(tenant: CusTenant) -> None:
    slow, dead, away = (make_integration(tenant, name=name) for name in ("slow", "dead", "away"))
    _set(slow, health_state="degraded", health_latency_ms=4_000)
    _set(dead, status="error", error_reason="the provider closed the account")
    _set(away, health_state="failing", health_message="the host does not answer")
    since = datetime(2026, 11, 28, 3, 7, tzinfo=UTC)
    for moment in (since - timedelta(days=2), since):
        turn_health(away, "healthy", "failing", at=moment, verdict="unreachable")

    rows = _rows(browser_of("admin", tenant))

    assert [(row[0].split(" ,")[0], *row[1:]) for row in rows] == [
        (
            "dead",
            "every call is refused: the provider closed the account",
            "-",
            "Look at its health",
        ),
        ("away", "failing: the host does not answer", "2026-11-28 03:07", "Look at its health"),
        ("slow", "degraded: the provider took 4,000 ms to answer", "-", "Look at its health"),
    ]


@pytest.mark.django_db(transaction=True)
def test_budgets_calls_without_a_price_and_refusals_are_named() -> None:
    tenant = make_tenant()
    near = make_integration(tenant, name="near", budget_limit_cents=300)
    blocked = make_integration(tenant, name="blocked", token_limit_month=1)
    SdkClient.of(near).report(record(model="gpt-4o", tokens_in=1_000_000, tokens_out=0))
    SdkClient.of(near).report(record(model="nobody-knows-this-model"))
    SdkClient.of(blocked).check(estimated_tokens=5, reserve=False)

    rows = _rows(browser_of("operator"))
    told = {row[0].split(" ,")[0]: row[1] for row in reversed(rows)}

    # $2.50, and a cent for the call without a price.
    assert told["near"] == "83 % of the budget: $2.51 used of $3.00"
    assert "1 call has no known price this month" in [row[1] for row in rows]
    assert told["blocked"] == "1 call was refused within the last hour"


def test_what_is_open_of_another_tenants_month_is_not_named(tenant: CusTenant) -> None:
    theirs = make_integration(make_tenant("Theirs"), name="theirs")
    SdkClient.of(theirs).report(record(model="nobody-knows-this-model"))

    assert _rows(browser_of("operator"))
    assert _rows(browser_of("admin", tenant)) == []


def test_late_jobs_are_one_problem_and_an_operators_alone(tenant: CusTenant) -> None:
    often, _ = IntervalSchedule.objects.get_or_create(every=10, period="seconds")
    now = timezone.now()
    for name, job in BEAT_SCHEDULE.items():
        PeriodicTask.objects.create(name=name, task=job["task"], interval=often, last_run_at=now)
    assert _rows(browser_of("operator")) == []
    PeriodicTask.objects.update(last_run_at=now - timedelta(hours=1))

    (row,) = _rows(browser_of("operator"))

    assert row[0] == "System"
    assert re.match(
        r"The job cus-\S+ is late by \d+ minutes: is beat running\? And \d+ more jobs", row[1]
    )
    assert _rows(browser_of("admin", tenant)) == []


def test_each_problem_leads_to_a_page_that_the_person_may_open(tenant: CusTenant) -> None:
    one = make_integration(tenant)
    _set(
        one, status="error", credential_state="invalid", health_state="failing", coverage_percent=3,
        unproven_calls=2,
    )  # fmt: skip
    for role in ("operator", "support", "finance", "admin", "member"):
        client = browser_of(role, tenant if role in ("admin", "member") else None)
        text = client.get("/admin/").content.decode().split('<section id="attention"')[1]
        links = re.findall(r'href="(/admin/[^"]*)"', text.split("</section>")[0])
        assert len(links) >= 8
        for link in set(links):
            assert client.get(link.partition("#")[0]).status_code == 200, (role, link)


# --- Budgets nearest their end ------------------------------------------------------------------


def test_the_budget_nearest_its_end_is_first_and_says_how_long_it_lasts() -> None:
    tenant = make_tenant()
    full, half = (
        make_integration(tenant, name=name, budget_limit_cents=cents)
        for name, cents in (("full", 300), ("half", 500))
    )
    make_integration(tenant, name="free")
    for one in (full, half):
        SdkClient.of(one).report(record(model="gpt-4o", tokens_in=1_000_000, tokens_out=0))
    CusCostForecast.objects.create(
        tenant_id=tenant.id, integration_id=half.id, period=month_of(timezone.now())[0].date(),
        microcents=3 * _DOLLAR, computed_at=timezone.now(),
    )  # fmt: skip

    text = browser_of("member", tenant).get("/admin/").content.decode()
    panel = text.split('<section id="nearest"')[1].split("</section>")[0]

    assert re.findall(r">(full|half|free)</a>", panel) == ["full", "half"]
    assert "<span>$2.50 used of $3.00</span>" in panel
    assert "$2.50 used of $5.00: at this pace it lasts this month" in panel


@pytest.mark.parametrize(
    ("used", "held", "rest", "day"),
    [
        (5, 0, 10, 26),  # half of the rest is left
        (5, 5, 10, 21),  # used up now
        (5, 0, 4, None),
        (5, 0, None, None),
    ],
)
def test_a_budget_lasts_until_the_rest_of_the_month_reaches_it(
    used: int, held: int, rest: int | None, day: int | None
) -> None:
    use = BudgetUse(CusIntegration(), budget=10, used=used, held=held, rest=rest)
    until = use.lasts_until(datetime(2026, 11, 21, tzinfo=UTC))
    assert (until.day if until else None) == day


def test_another_tenants_budget_is_not_shown() -> None:
    ours = make_tenant("Ours")
    make_integration(make_tenant("Theirs"), name="theirs", budget_limit_cents=100)
    text = browser_of("admin", ours).get("/admin/").content.decode()
    assert "theirs" not in text
    assert "No integration has a monthly budget" in text
