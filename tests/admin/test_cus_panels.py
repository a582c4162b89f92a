"""The pages that compose the planes: the first page, the search, an integration's panels, links."""

import re
import uuid
from collections import Counter
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
from django.conf import settings
from django.contrib.staticfiles.finders import find as find_static
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_decisions.panels import decision_page
from integrations.cus_console import finders, panels
from integrations.cus_console.amounts import dollars, exact_dollars
from integrations.cus_console.finders import Finder
from integrations.cus_console.panels import Page, Panel
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_lifecycle.limits import month_end
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.models import CusUsageHourly
from telemetry.cus_evidence.models import CusLLMUsage
from tests.cus_factories import (
    SdkClient,
    browser_of,
    make_integration,
    make_tenant,
    make_user,
    record,
)

pytestmark = pytest.mark.django_db
EVERYBODY = ("operator", "support", "admin", "member")
OWN_CLASS = re.compile(r"^cus-")


def page_of(integration: CusIntegration) -> str:
    return f"/admin/integrations/cusintegration/{integration.id}/tab/overview/"


def text_of(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, answer.status_code
    return str(answer.content.decode())


_MONEY = ["today", "cost", "nearest", "month"]


@pytest.mark.parametrize(
    ("role", "keys"),
    [
        ("operator", ["attention", *_MONEY, "unusual", "refused"]),
        ("finance", ["statements", "attention", *_MONEY, "unusual", "refused"]),
        ("support", ["attention", "refused"]),
        ("admin", ["start", "attention", *_MONEY, "models", "agents", "unusual", "refusals"]),
        ("member", ["attention", *_MONEY, "models", "agents", "unusual", "refusals"]),
    ],
)
def test_the_first_page_has_what_the_role_looks_for(role: str, keys: list[str]) -> None:
    tenant = make_tenant() if role in ("admin", "member") else None
    text = text_of(browser_of(role, tenant), "/admin/")

    assert re.findall(r'id="([a-z]+)-title"', text) == keys
    assert ("Agents, by their whole name" in text) == (role == "support")


@pytest.mark.parametrize("role", EVERYBODY)
def test_each_role_sees_its_own_tenants_on_the_first_page(role: str) -> None:
    tenant, other = make_tenant("Ours"), make_tenant("Theirs")
    for one in (tenant, other):
        SdkClient.of(make_integration(one, name=f"of {one.name}")).report_calls(2)
    CusIntegration.objects.update(health_state="failing")
    text = text_of(browser_of(role, tenant if role in ("admin", "member") else None), "/admin/")

    assert "of Ours" in text
    assert ("of Theirs" in text) == (role in ("operator", "support"))


def test_the_month_adds_up_all_integrations() -> None:
    tenant = make_tenant()
    for name in ("first", "second"):
        # A million tokens of gpt-4o: $2.50 each.
        SdkClient.of(make_integration(tenant, name=name)).report(
            record(model="gpt-4o", tokens_in=1_000_000, tokens_out=0)
        )
    text = text_of(browser_of("admin", tenant), "/admin/")
    assert "All 2 integrations" in text
    assert "$5.00" in text


def test_the_month_shows_what_it_will_have_cost_at_its_end() -> None:
    integration = make_integration()
    SdkClient.of(integration).report(record(model="gpt-4o", tokens_in=1_000_000, tokens_out=0))
    text = text_of(browser_of("operator"), "/admin/")
    assert "Forecast" in text
    this_hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    CusUsageHourly.objects.bulk_create(
        CusUsageHourly(
            tenant_id=integration.tenant_id,
            integration_id=integration.id,
            hour=this_hour - timedelta(hours=number),
            provider="openai",
            model="gpt-4o",
            agent_id="",
            policy_result="allowed",
            has_error=False,
            cost_microcents=100 * 100_000_000,
        )
        for number in range(1, 49)
    )

    text = text_of(browser_of("operator"), "/admin/")

    # $100 an hour; the page may be shown a moment later than the month's end is computed here.
    left = (month_end(timezone.now()) - timezone.now()) / timedelta(hours=1)
    shown = [float(one.replace(",", "")) for one in re.findall(r"\$([\d,]+\.\d\d)", text)]
    assert any(abs(one - (2.5 + 100 * left)) < 20 for one in shown)


def test_today_is_compared_with_the_same_hours_of_last_week() -> None:
    integration, foreign = make_integration(), make_integration(make_tenant("Theirs"))
    this_hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    midnight = this_hour.replace(hour=0)
    week = timedelta(days=7)
    full = {this_hour - timedelta(hours=1)} - {midnight - timedelta(hours=1)}
    moments = [
        *((moment, 3) for moment in full),
        *((moment - week, 2) for moment in full),
        # Neither the hour that runs, nor that of last week, nor yesterday's hours count.
        *((moment, 50) for moment in (this_hour, this_hour - week, midnight - timedelta(hours=1))),
    ]
    for one in (integration, foreign):
        CusUsageHourly.objects.bulk_create(
            CusUsageHourly(
                tenant_id=one.tenant_id,
                integration_id=one.id,
                hour=moment,
                provider="openai",
                model="gpt-4o",
                agent_id="",
                policy_result="allowed",
                has_error=False,
                calls=calls,
                errors=1,
                cost_microcents=calls * 100_000_000,
            )
            for moment, calls in moments
        )
    text = text_of(browser_of("member", integration.tenant), "/admin/")
    panel = " ".join(text.split('id="today"')[1].split("</section>")[0].split())
    calls = re.search(r"Calls today</dt>.*?>(\d+)</a>.*?>(\d+) by", panel)
    assert calls
    assert calls.groups() == (("3", "2") if full else ("0", "0"))
    assert ("$3.00" in panel) is bool(full)
    assert "outcome=failed" in panel


@pytest.mark.django_db(transaction=True)
def test_an_integrations_page_shows_limits_calls_and_refusals() -> None:
    integration = make_integration(budget_limit_cents=100)
    sdk = SdkClient.of(integration)
    sdk.report(record(call_id="call-of-today", model="gpt-4o", tokens_in=200_000, tokens_out=0))
    sdk.check("refused-call", estimated_cost_cents=60, reserve=False)
    text = text_of(browser_of("operator"), page_of(integration))

    assert "$0.50 used of $1.00: $0.50 left" in text
    assert 'class="cus-bar-used" width="500"' in text
    row = CusLLMUsage.objects.get()
    assert f'href="/admin/telemetry/cusllmusage/{row.id}/change/"' in text
    decision = CusEnforcementDecision.objects.get()
    assert f'href="/admin/enforcement/cusenforcementdecision/{decision.id}/change/"' in text
    assert "The monthly budget of $1.00 has no room" in text


def test_a_new_integrations_page_says_what_to_do_next() -> None:
    text = text_of(browser_of("operator"), page_of(make_integration()))
    assert "No call was reported yet. Issue an SDK key" in text
    assert "No call was refused." in text


def test_the_panels_cost_the_same_number_of_queries_for_any_number_of_rows(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    tenant = make_tenant()
    client = browser_of("admin", tenant)
    SdkClient.of(make_integration(tenant, name="first")).report_calls(1)
    client.get("/admin/")
    for number in range(12):
        SdkClient.of(make_integration(tenant, name=f"further {number}")).report_calls(1)
    # Four are savepoints of sums, which only a test's transaction needs.
    with django_assert_max_num_queries(27):
        client.get("/admin/")


@pytest.mark.parametrize("role", ["operator", "admin"])
@pytest.mark.parametrize(
    "page", ["", "cost/", "statement/2026-11/", "coverage/", "seals/", "find/?q=umbrella"]
)
def test_no_page_asks_the_database_the_same_twice(page: str, role: str) -> None:
    tenant = make_tenant("Umbrella")
    SdkClient.of(make_integration(tenant)).report_calls(2)
    client = browser_of(role, tenant if role == "admin" else None)
    address = f"/admin/{page}"
    if page and "?" not in page:
        address += f"?tenant={tenant.id}"
    client.get(address)

    with CaptureQueriesContext(connection) as captured:
        client.get(address)

    asked = Counter(query["sql"] for query in captured if "SELECT" in query["sql"])
    assert len(asked) > 5
    assert [sql for sql, times in asked.items() if times > 1] == []


@pytest.mark.django_db(transaction=True)
def test_the_search_finds_each_kind_of_thing() -> None:
    tenant = make_tenant("Umbrella")
    integration = make_integration(tenant, name="assistant", token_limit_month=1)
    sdk = SdkClient.of(integration)
    named = {"session_id": "chat-9", "agent_id": "clerk", "end_user": "ada"}
    sdk.report(record(call_id="call-Abcdef-1", **named))
    sdk.check("blocked-call-7", estimated_tokens=5, reserve=False)
    key = CusSdkKey.objects.get()
    address = make_user("admin", tenant).email
    client = browser_of("operator")

    decision = CusEnforcementDecision.objects.get()
    for text, kind in (
        ("call-Abcdef-1", "Calls"),
        (" call-Ab ", "Calls"),
        ("blocked-call-7", "Decisions"),
        (str(decision.id), "Decisions"),
        ("assis", "Integrations"),
        (str(integration.id), "Integrations"),
        ("umbrella", "Tenants"),
        (str(tenant.id), "Tenants"),
        ("chat-9", "Sessions"),
        ("clerk", "Agents"),
        ("ada", "End users"),
        (address.upper(), "People"),
        (address.partition("@")[0], "Members"),
        (f"aosk_…{key.hint}", "SDK keys"),
        (sdk.key, "SDK keys"),
        (f"{tenant.id}:{integration.id}:aosk_", "SDK keys"),
    ):
        answer = client.get("/admin/find/", {"q": text})
        assert f">{kind}</h2>" in answer.content.decode(), text


def test_a_call_is_found_whatever_letters_it_was_copied_in() -> None:
    SdkClient.of(make_integration()).report(record(call_id="abcdef-77"))
    assert (
        "abcdef-77"
        in text_of(browser_of("support"), "/admin/find/?q=ABCDEF-77").split("</form>")[-1]
    )


def test_what_is_not_found_says_where_we_looked() -> None:
    text = text_of(browser_of("support"), "/admin/find/?q=no-such-thing")
    assert "Nothing was found for “no-such-thing”" in text
    where = re.findall("<li>([^<]*)</li>", text.split("We looked")[1])
    assert where == [
        "Integrations, by a part of their name, or by their id",
        "Calls, by their whole id, or at least its first 6 characters",
        "Sessions, by their whole name, in the last 31 days",
        "Agents, by their whole name, in the last 31 days",
        "End users, by their whole name, among the newest 50,000 calls",
        "Decisions, by their id or their call&#x27;s, whole",
    ]


@pytest.mark.parametrize("q", ["", "%00", "\0", "a" * 5_000, "<script>alert(1)</script>", "%", "'"])
def test_the_search_takes_any_text(q: str) -> None:
    answer = browser_of("operator").get("/admin/find/", {"q": q})
    assert answer.status_code == 200
    assert b"<script>alert" not in answer.content


@pytest.mark.django_db(transaction=True)
def test_nobody_finds_what_another_tenant_has() -> None:
    ours, theirs = make_tenant("Ours"), make_tenant("Theirs")
    integration = make_integration(theirs, name="hidden", token_limit_month=1)
    sdk = SdkClient.of(integration)
    named = {"session_id": "their-chat", "agent_id": "their-clerk", "end_user": "their-ada"}
    sdk.report(record(call_id="their-call-1", **named))
    sdk.check("their-refused-call", estimated_tokens=5, reserve=False)
    decision = CusEnforcementDecision.objects.get()
    client = browser_of("admin", ours)
    for text in (
        "their-call-1",
        "their-refused-call",
        *named.values(),
        sdk.key,
        "hidden",
        str(integration.id),
        str(decision.id),
    ):
        assert "Nothing was found" in text_of(client, f"/admin/find/?q={text}"), text


def test_who_is_not_signed_in_is_asked_to() -> None:
    answer = Client().get("/admin/find/?q=call")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


@pytest.mark.django_db(transaction=True)
def test_permanent_links_lead_to_the_pages() -> None:
    integration = make_integration(token_limit_month=1)
    sdk = SdkClient.of(integration)
    sdk.check("linked-call", estimated_tokens=5, reserve=False)
    sdk.report(record(call_id="call/with#signs?", session_id="chat 1/2"))
    decision, row = CusEnforcementDecision.objects.get(), CusLLMUsage.objects.get()
    client = browser_of("operator")
    page = page_of(integration)
    usage = "/admin/telemetry/cusllmusage/"
    for address, target in (
        # A refused call without a record leads to its decision.
        ("evidence/call/linked-call", decision_page(decision)),
        ("evidence/call/call%2Fwith%23signs%3F", f"{usage}{row.id}/change/"),
        (f"integrations/{integration.id}/activity", f"{page}#calls"),
        (f"integrations/{integration.id}/limits", f"{page}#limits"),
        (f"limits/{integration.id}", f"{page}#limits"),
        (f"decisions/{decision.id}", decision_page(decision)),
        (
            f"tenants/{integration.tenant_id}",
            f"/admin/integrations/custenant/{integration.tenant_id}/change/",
        ),
        (
            f"sessions/{integration.id}/chat%201/2",
            f"{usage}?integration={integration.id}&session_id=chat+1%2F2&received=31",
        ),
    ):
        answer = client.get(f"/console/{address}", follow=True)
        assert (answer.redirect_chain[-1][0], answer.status_code) == (target, 200)


def test_a_link_to_a_call_that_two_integrations_have_names_the_one_that_is_meant() -> None:
    tenant = make_tenant()
    first, second = (make_integration(tenant, name=name) for name in ("first", "second"))
    for one in (first, second):
        SdkClient.of(one).report(record(call_id="shared-call"))
    client = browser_of("support")

    both = client.get("/console/evidence/call/shared-call", follow=True)
    assert both.content.decode().count("/admin/telemetry/cusllmusage/0") == 2
    link = f"/console/evidence/call/shared-call?integration={second.id}"
    row = CusLLMUsage.objects.get(integration_id=second.id)
    assert client.get(link, follow=True).redirect_chain[-1][0].endswith(f"{row.id}/change/")


def test_a_link_never_leads_to_a_call_whose_id_only_begins_so() -> None:
    SdkClient.of(make_integration()).report(record(call_id="begins-so-and-goes-on"))
    answer = browser_of("support").get("/console/evidence/call/begins-so", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/admin/find/")
    assert b"begins-so-and-goes-on" in answer.content


@pytest.mark.parametrize(
    "address",
    ["evidence/call/linked-call", f"limits/{uuid.UUID(int=1)}", f"sessions/{uuid.UUID(int=1)}/s"],
)
def test_a_link_leads_through_the_login_to_the_page(address: str) -> None:
    client = Client()
    answer = client.get(f"/console/{address}", follow=True)
    login = answer.redirect_chain[-1][0]
    assert login.startswith(("/admin/login/?next=/admin/", "/admin/login/?next=/console/"))
    user = make_user("operator")
    entered = client.post(login, {"username": user.email, "password": "correct horse"})
    assert entered["Location"] == unquote(login.split("next=")[1])


@pytest.mark.parametrize("role", ["support", "finance", "admin", "member"])
def test_a_link_to_a_tenant_leads_nobody_to_a_refusal(role: str) -> None:
    tenant = make_tenant()
    client = browser_of(role, tenant if role in ("admin", "member") else None)
    answer = client.get(f"/console/tenants/{tenant.id}", follow=True)
    assert (answer.status_code, answer.redirect_chain[-1][0]) == (200, "/admin/")


def test_a_page_has_each_panel_and_the_search_each_kind_once() -> None:
    panel = Panel(Page.HOME, "month", "again", EVERYBODY, lambda _request, _subject: None)
    with pytest.raises(ValueError, match="has a panel month already"):
        panels.register(panel)
    with pytest.raises(ValueError, match="has the kind Calls already"):
        finders.register(Finder("Calls", EVERYBODY, lambda _request, _text: []))


@pytest.mark.parametrize(
    ("microcents", "text", "exact"),
    [
        (0, "$0.00", "$0.00000000"),
        (750_000, "$0.00750000", "$0.00750000"),
        (1_000_000, "$0.01", "$0.01000000"),
        (123_456_789_012, "$1,234.57", "$1,234.56789012"),
        (-2_000_000, "-$0.02", "-$0.02000000"),
    ],
)
def test_amounts_are_to_the_cent_where_they_have_one(
    microcents: int, text: str, exact: str
) -> None:
    assert (dollars(microcents), exact_dollars(microcents)) == (text, exact)


def test_each_class_in_our_templates_exists_in_a_stylesheet() -> None:
    """The theme's stylesheet is a finished build: a class that is not in it does nothing."""
    sheets = [
        Path(find_static(name) or "")
        for name in ("unfold/css/styles.css", "aos_project/cus_console.css")
    ]
    css = "\n".join(sheet.read_text() for sheet in sheets).replace("\\", "")
    templates = [
        path
        for folder in (settings.BASE_DIR / "templates",)
        for path in Path(folder).rglob("*.html")
        if path.parent.name in ("admin", "second_factor", "registration")
    ]
    assert len(templates) > 12
    missing = {
        (path.name, name)
        for path in templates
        for classes in re.findall(r'class="([^"]*)"', path.read_text())
        for name in re.sub(r"{[{%].*?[%}]}", " ", classes).split()
        if f".{name}" not in css
    }
    assert not missing
