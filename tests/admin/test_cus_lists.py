"""Lists of the console: filters in the address, messages on what is not possible, exports."""

import csv
import html
import io
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_console import newest_first
from integrations.cus_console.export import safe_cell
from integrations.cus_console.newest_first import Order, Place
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage
from tests.cus_factories import (
    SdkClient,
    browser_of,
    correct,
    make_integration,
    make_tenant,
    record,
)

pytestmark = pytest.mark.django_db

USAGE = "/admin/telemetry/cusllmusage/"
TRAIL = "/admin/integrations/cusauditentry/"
LISTS = sorted(
    f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in admin.site._registry
)
# The calls of `_calls`, by a name of their own.
CALLS: dict[str, dict[str, Any]] = {
    "plain": {"model": "gpt-4o", "tokens_in": 1_000, "tokens_out": 0},
    "dear": {"model": "gpt-4o", "tokens_in": 1_000_000, "tokens_out": 0},
    "failed": {"model": "gpt-4o", "error_code": "timeout"},
    "warned": {"model": "gpt-4o", "policy_result": "warned"},
    "blocked": {
        "model": "gpt-4o",
        "policy_result": "blocked",
        "error_code": "budget_exceeded",
        "tokens_in": 0,
        "tokens_out": 0,
        "cost_cents": 0,
    },
    "unpriced": {"model": "unheard-of", "cost_cents": None},
    "degraded": {"model": "gpt-4o-mini", "degraded": True},
}


@pytest.fixture
def operator() -> Client:
    return browser_of("operator")


def _calls(integration: CusIntegration) -> None:
    sdk = SdkClient.of(integration)
    answer = sdk.report_batch(*(record(call_id=name, **facts) for name, facts in CALLS.items()))
    assert answer.json()["accepted"] == len(CALLS)


def _listed(client: Client, page: str = USAGE, **query: str) -> set[str]:
    answer = client.get(page, query, follow=True)
    assert answer.status_code == 200
    return {row.call_id for row in answer.context["cl"].result_list}


def _messages(client: Client, page: str, query: str) -> str:
    answer = client.get(f"{page}?{query}", follow=True)
    assert answer.status_code == 200
    return " ".join(str(message) for message in answer.context["messages"])


# --- Filters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"outcome": "ok"}, {"plain", "dear", "unpriced", "degraded"}),
        ({"outcome": "failed"}, {"failed"}),
        ({"outcome": "warned"}, {"warned"}),
        ({"outcome": "blocked"}, {"blocked"}),
        ({"error_code": "timeout"}, {"failed"}),
        ({"pricing": "unknown"}, {"unpriced"}),
        ({"degraded": "yes"}, {"degraded"}),
        ({"degraded": "no", "outcome": "ok"}, {"plain", "dear", "unpriced"}),
        ({"cost_above": "1"}, {"dear"}),
        ({"cost_above": "$0.5", "model": "gpt-4o"}, {"dear"}),
        ({"cost_above": "1", "outcome": "failed"}, set()),
        ({"model": "gpt-4o-mini"}, {"degraded"}),
        ({"provider": "no-such"}, set()),
        ({"received": "7", "model": "unheard-of"}, {"unpriced"}),
        ({"from": "2000-01-01", "to": "2000-01-02"}, set()),
        ({"from": "2000-01-01"}, set(CALLS)),
    ],
)
def test_filters_of_usage_combine(
    query: dict[str, str], expected: set[str], operator: Client, integration: CusIntegration
) -> None:
    _calls(integration)
    assert _listed(operator, **query) == expected


def test_a_flag_is_found_whole_and_by_its_kind(operator: Client, sdk: SdkClient) -> None:
    sdk.report(record(call_id="no-flag"))
    sdk.report(record(call_id="mismatch", cost_cents=77))
    row = CusLLMUsage.objects.get(call_id="mismatch")
    assert "cost_mismatch" in row.flags
    assert _listed(operator, flag="cost_mismatch") == {"mismatch"}
    assert _listed(operator, flag="*") == {"mismatch"}
    assert _listed(operator, flag="cost") == set()


def test_the_staff_narrow_a_list_to_a_tenant_and_an_integration(operator: Client) -> None:
    ours, theirs = make_tenant("Ours"), make_tenant("Theirs")
    own, foreign = make_integration(ours, name="A"), make_integration(theirs, name="B")
    SdkClient.of(own).report(record(call_id="of-ours"))
    SdkClient.of(foreign).report(record(call_id="of-theirs"))
    assert _listed(operator, tenant=str(ours.id)) == {"of-ours"}
    assert _listed(operator, integration=str(foreign.id)) == {"of-theirs"}
    assert _listed(operator, integration=str(foreign.id), tenant=str(ours.id)) == set()
    assert b">Theirs</" in operator.get(USAGE).content


def test_a_tenants_people_are_offered_their_own_integrations_alone(tenant: CusTenant) -> None:
    foreign = make_integration(make_tenant("Theirs"), name="Their chat")
    make_integration(tenant, name="Our chat")
    SdkClient.of(foreign).report(record(call_id="of-theirs"))
    client = browser_of("member", tenant)
    page = client.get(USAGE).content.decode()
    assert "Our chat" in page
    assert "Their chat" not in page
    assert 'name="tenant"' not in page
    assert "has no choice" in _messages(client, USAGE, f"integration={foreign.id}")
    assert "no filter “tenant”" in _messages(client, USAGE, f"tenant={foreign.tenant_id}")
    assert _listed(client, integration=str(foreign.id)) == set()


def test_the_page_names_the_filters_in_use_with_the_address_without_them(
    operator: Client, integration: CusIntegration
) -> None:
    _calls(integration)
    text = operator.get(USAGE, {"outcome": "failed", "received": "7"}).content.decode()
    assert re.search(r'href="\?received=7"[^>]*>\s*outcome: failed', text)
    assert re.search(r'href="\?outcome=failed"[^>]*>\s*time: 7 days', text)


# --- What is not possible -----------------------------------------------------------------------


@pytest.mark.parametrize("page", LISTS)
@pytest.mark.parametrize("name", ["no_such_filter", "tenant__name__startswith", "_to_field"])
def test_a_filter_that_a_list_does_not_have_is_named_in_a_message(
    page: str, name: str, operator: Client
) -> None:
    answer = operator.get(f"{page}?{name}=x&q=a")
    assert (answer.status_code, answer["Location"]) == (302, f"{page}?q=a")
    assert f"This list has no filter “{name}”" in _messages(operator, page, f"{name}=x")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("outcome=great", "“outcome” has no choice 'great'"),
        ("from=yesterday", "“from (UTC)” takes a time"),
        ("to=0001-01-01", "“up to (UTC)” takes a time"),
        ("cost_above=much", "“Cost above” takes US dollars"),
        ("cost_above=NaN", "“Cost above” takes US dollars"),
        ("integration=nonsense", "“integration” has no choice 'nonsense'"),
        (f"integration={uuid.UUID(int=7)}", "“integration” has no choice"),
        ("model=%00", "not possible"),
        ("<script>alert(1)</script>=1", "“<script>alert(1)</script>”"),
    ],
)
def test_a_value_that_a_filter_cannot_have_is_told(query: str, text: str, operator: Client) -> None:
    answer = operator.get(f"{USAGE}?{query}", follow=True)
    assert text in " ".join(str(message) for message in answer.context["messages"])
    assert b"<script>alert" not in answer.content
    exported = operator.get(f"{USAGE}export/?{query}&received=7", follow=True)
    assert text in " ".join(str(message) for message in exported.context["messages"])


# --- Pages --------------------------------------------------------------------------------------


def _entries(tenant: CusTenant, count: int) -> None:
    """Entries `made.0`, `made.1`, … of the first of November, a minute apart."""
    start = datetime(2026, 11, 1, tzinfo=UTC)
    CusAuditEntry.objects.bulk_create(
        CusAuditEntry(
            tenant=tenant,
            actor_label="somebody",
            action=f"made.{number}",
            object_type="thing",
            created_at=start + timedelta(minutes=number),
        )
        for number in range(count)
    )


def _older(answer: Any) -> str | None:
    """The query of the page that follows."""
    link = re.search(r'href="(\?[^"]*)" rel="next"', answer.content.decode())
    return html.unescape(link[1]) if link else None


def test_a_page_with_a_rare_filter_says_how_far_it_looked_and_leads_on(
    operator: Client, tenant: CusTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    _entries(tenant, 12)
    monkeypatch.setattr(newest_first, "MOST_LOOKED_AT", 5)
    answer = operator.get(TRAIL, {"q": "made.1", "to": "2026-11-02"})
    pages = []
    for _ in range(10):
        pages.append([row.action for row in answer.context["cl"].result_list])
        following = _older(answer)
        if following is None:
            break
        assert "Look further back" in answer.content.decode()
        answer = operator.get(TRAIL + following)
    assert pages == [["made.11", "made.10"], [], ["made.1"]]


def test_a_page_is_the_same_with_and_without_windows_of_time(
    tenant: CusTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    _entries(tenant, 30)
    monkeypatch.setattr(newest_first, "MOST_LOOKED_AT", 20)
    rows = CusAuditEntry.objects.filter(object_type="thing")
    rare, order = rows.filter(action__endswith="5"), Order()
    for before in (None, Place(datetime(2026, 11, 1, 0, 17, tzinfo=UTC), uuid.UUID(int=1))):
        for given, indexed in ((rows, None), (rare, rows)):
            pages = [
                order.page(given, before, 4, indexed=indexed, is_in_index=is_in_index)
                for is_in_index in (True, False)
            ]
            assert pages[0] == pages[1]
            assert pages[0].rows


def test_rows_of_one_moment_are_shown_once_each() -> None:
    now = timezone.now()
    CusAuditEntry.objects.bulk_create(
        CusAuditEntry(actor_label="x", action=f"a.{number}", object_type="thing", created_at=now)
        for number in range(9)
    )
    order, rows = Order(), CusAuditEntry.objects.filter(object_type="thing")
    seen, before = [], None
    for _ in range(5):
        page = order.page(rows, before, 2)
        seen += [row.action for row in page.rows]
        before = page.following
    assert before is None
    assert sorted(seen) == [f"a.{number}" for number in range(9)]


@pytest.mark.parametrize(
    "text", ["", "x", "2026-11-29~", f"9999-01-01T00:00+00:00~{uuid.UUID(int=0)}"]
)
def test_no_text_but_a_place_is_a_place(text: str) -> None:
    assert Place.read(text) is None


def test_the_audit_trail_is_a_list_by_place(operator: Client, tenant: CusTenant) -> None:
    _entries(tenant, 120)
    seen: list[str] = []
    following: str | None = "?q=made.&from=2026-11-01&to=2026-11-02"
    while following is not None:
        answer = operator.get(TRAIL + following)
        seen += [row.action for row in answer.context["cl"].result_list]
        following = _older(answer)
    assert seen == [f"made.{number}" for number in reversed(range(120))]


def test_times_are_to_the_second_and_name_their_zone(operator: Client, sdk: SdkClient) -> None:
    sdk.report(record(call_id="timed"))
    row = CusLLMUsage.objects.get(call_id="timed")
    shown = f"{row.created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    assert shown in operator.get(USAGE).content.decode()
    assert shown in operator.get(f"{USAGE}{row.id}/change/").content.decode()


# --- Export -------------------------------------------------------------------------------------


def _exported(client: Client, page: str, query: str = "") -> list[dict[str, str]]:
    answer = client.get(f"{page}export/{query}")
    assert answer.status_code == 200, answer
    assert answer.streaming
    return list(csv.DictReader(io.StringIO(answer.getvalue().decode())))


def test_an_export_of_usage_has_the_filtered_rows_with_all_that_adds_up(
    operator: Client, integration: CusIntegration
) -> None:
    _calls(integration)
    rows = _exported(operator, USAGE, "?model=gpt-4o&cost_above=1")
    assert [row["Call id"] for row in rows] == ["dear"]
    assert rows[0]["Exact cost (us dollars)"] == "2.50000000"
    assert rows[0]["Tokens in"] == "1000000"
    assert rows[0]["Degraded"] == "no"
    assert rows[0]["Tenant"] == integration.tenant.name


def test_no_text_of_a_program_is_a_formula_in_an_export(operator: Client, sdk: SdkClient) -> None:
    sdk.report(record(call_id="=1+1", agent_id='=HYPERLINK("http://evil.example")'))
    (row,) = _exported(operator, USAGE)
    assert row["Call id"] == "'=1+1"
    assert row["Agent id"] == '\'=HYPERLINK("http://evil.example")'


@pytest.mark.parametrize("text", ["-0.02000000", "12", "0.5"])
def test_a_number_is_no_formula(text: str) -> None:
    assert safe_cell(text) == text


@pytest.mark.parametrize("text", ["-1+2", "=1", "+1", "@SUM(A1)", "-", "-1\n=2", "\t=1"])
def test_what_a_spreadsheet_would_compute_is_made_a_text(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


def test_corrections_and_decisions_are_exported_too(
    operator: Client, integration: CusIntegration
) -> None:
    _calls(integration)
    correct(CusLLMUsage.objects.get(call_id="dear"), by_microcents=-2_000_000)
    (row,) = _exported(operator, "/admin/telemetry/cuscostadjustment/")
    assert row["Call"] == "dear"
    assert row["Adds to the exact cost"] == "'-$0.02000000"
    assert _exported(operator, "/admin/enforcement/cusenforcementdecision/") == []
