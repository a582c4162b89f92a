"""The pages of a usage record and of a decision: all that is known, in words, with links."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from enforcement.cus_decisions.models import CusEnforcementDecision
from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_corrections.models import CusCostAdjustment
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_ids import uuid7
from tests.cus_factories import (
    SdkClient,
    browser_of,
    correct,
    make_integration,
    make_tenant,
    record,
)

pytestmark = pytest.mark.django_db


def _read(client: Client, row: Any) -> str:
    """The page of a row as a person reads it."""
    answer = client.get(_page(row))
    assert answer.status_code == 200
    return _text(answer)


def _page(row: Any) -> str:
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.id}/change/"


def _text(answer: Any) -> str:
    page = answer.content.decode().split('id="content"', 1)[-1]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


@pytest.fixture
def operator() -> Client:
    return browser_of("operator")


# --- A usage record -----------------------------------------------------------------------------


def test_a_records_page_shows_how_its_cost_came_about(operator: Client, sdk: SdkClient) -> None:
    sdk.report(
        record(
            call_id="priced",
            model="gpt-4o",
            tokens_in=2_000,
            tokens_out=100,
            tokens_cached=1_000,
            latency_ms=1_234,
            cost_cents=None,
        )
    )
    text = _read(operator, CusLLMUsage.objects.get())
    # $2.50, $1.25 and $10 a million tokens.
    assert "gpt-4o answered." in text
    assert "Input 1,000 $2.50 $0.0025000000" in text
    assert "Cached input 1,000 $1.25 $0.0012500000" in text
    assert "Output 100 $10.00 $0.0010000000" in text
    assert "Sum, rounded up to the microcent $0.00475000" in text
    assert "$0.01 as limits count it, rounded up" in text
    assert "Price table, version" in text
    assert "1,234 ms" in text


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"model": "unheard-of", "cost_cents": None}, "No price was known for unheard-of"),
        (
            {"usage_known": False, "tokens_in": 0, "tokens_out": 0, "cost_cents": None},
            "does not know what the call used",
        ),
    ],
)
def test_a_record_without_a_cost_says_why(
    facts: dict[str, Any], text: str, operator: Client, sdk: SdkClient
) -> None:
    assert sdk.report(record(**facts)).status_code == 201
    assert text in _read(operator, CusLLMUsage.objects.get())


def test_a_records_page_shows_corrections(operator: Client, sdk: SdkClient) -> None:
    sdk.report(record(model="gpt-4o", tokens_in=1_000_000, tokens_out=0))
    row = CusLLMUsage.objects.get()
    assert "Corrections" not in _read(operator, row)
    correct(row, by_microcents=-50_000_000)
    text = _read(operator, row)
    assert "Adds to the exact cost" in text
    assert "-$0.50" in text
    assert "Exact, as settled and corrected $2.00000000" in text


def test_a_corrections_page_names_its_call_and_its_prices(operator: Client, sdk: SdkClient) -> None:
    sdk.report(record(call_id="corrected", model="gpt-4o"))
    row = CusLLMUsage.objects.get()
    correct(row, by_microcents=10)
    correction = CusCostAdjustment.objects.get()
    page = operator.get(_page(correction))
    text = _text(page)
    assert "Call corrected" in text
    assert "Adds to the exact cost $0.00000010" in text
    assert _page(row) in page.content.decode()
    for name in ("old_price_id", "new_price_id"):
        assert name.replace("_", " ") not in text.lower()


def test_a_records_page_leads_to_the_calls_of_its_session(
    operator: Client, integration: CusIntegration, sdk: SdkClient
) -> None:
    for name in ("first", "second"):
        sdk.report(record(call_id=name, session_id="chat 1/2", agent_id="planner"))
    sdk.report(record(call_id="of-another", session_id="chat 2"))
    first = CusLLMUsage.objects.get(call_id="first")
    page = operator.get(_page(first)).content.decode()
    others = page.split('id="session"')[1]
    assert "second" in others
    assert "of-another" not in others
    link = html.unescape(re.findall(r'href="([^"]*session_id=[^"]*)"', page)[0])
    listed = operator.get(link, follow=True).context["cl"].result_list
    assert {row.call_id for row in listed} == {"first", "second"}
    assert f"integration={integration.id}" in link


def test_a_records_page_leaves_out_what_is_empty(operator: Client, sdk: SdkClient) -> None:
    sdk.report(record())
    text = _read(operator, CusLLMUsage.objects.get())
    for empty in ("None", "null", "[]", "{}", "Audio in", "Lease"):
        assert empty not in text


@pytest.mark.django_db(transaction=True)
def test_a_records_page_shows_the_decision_on_its_call() -> None:
    integration = make_integration(budget_limit_cents=5)
    sdk = SdkClient.of(integration)
    sdk.check("refused", estimated_cost_cents=9, reserve=False)
    sdk.report(
        record(
            call_id="refused", policy_result="blocked", error_code="budget_exceeded",
            tokens_in=0, tokens_out=0, cost_cents=0,
        )
    )  # fmt: skip
    operator = browser_of("operator")
    row, decision = CusLLMUsage.objects.get(), CusEnforcementDecision.objects.get()
    page = operator.get(_page(row)).content.decode()
    assert _page(decision) in page
    assert "was refused before it reached the provider: budget_exceeded" in page
    assert _page(row) in operator.get(_page(decision)).content.decode()


def test_a_call_without_a_stored_decision_says_what_that_means(
    operator: Client, sdk: SdkClient
) -> None:
    sdk.report(record())
    assert "Nothing but a plain “allowed”" in _read(operator, CusLLMUsage.objects.get())


def test_a_records_page_takes_the_same_queries_whatever_the_number_of_rows(
    operator: Client, sdk: SdkClient, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    sdk.report(record(call_id="one", session_id="chat"))
    row = CusLLMUsage.objects.get()
    operator.get(_page(row))
    with django_assert_max_num_queries(20) as captured:
        operator.get(_page(row))
        few = len(captured)
    sdk.report_batch(*(record(session_id="chat") for _ in range(30)))
    with django_assert_max_num_queries(few):
        operator.get(_page(row))


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_no_text_of_a_program_is_markup(text: str, operator: Client, sdk: SdkClient) -> None:
    sdk.report(
        record(
            model=text, agent_id=text, session_id=text, end_user=text, error_code="x",
            error_message=text, metadata={text: text}, tags=[f"a={text}"[:64]],
        )
    )  # fmt: skip
    row = CusLLMUsage.objects.get()
    for page in (_page(row), "/admin/telemetry/cusllmusage/"):
        assert text not in operator.get(page).content.decode()


# --- A decision ---------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_decisions_page_is_in_words() -> None:
    integration = make_integration(name="chat", budget_limit_cents=5, token_limit_month=1_000)
    sdk = SdkClient.of(integration)
    sdk.report(record(model="gpt-4o", tokens_in=400, tokens_out=0, cost_cents=3))
    sdk.check("refused", estimated_cost_cents=9, estimated_tokens=100, reserve=False)
    decision = CusEnforcementDecision.objects.get()
    page = browser_of("operator").get(_page(decision))
    text = _text(page)
    assert "Blocked: This call may cost $0.09" in text or "Blocked: The monthly budget" in text
    assert "What to do:" in text
    assert "3. Are the credentials valid passed" in text
    assert "4. The budget decided" in text
    assert "5. The token limit not reached" in text
    assert "Monthly budget $0.05 $0.03 $0.00 $0.00 $0.09 $0.12" in text
    assert "Monthly tokens 1,000 tokens 400 tokens 0 tokens 0 tokens 100 tokens 500 tokens" in text
    assert "Decided again now on the stored facts: identical" in text
    assert "no limit of monthly budget: allowed" in text
    assert "<details>" in page.content.decode()
    assert '"budget_limit_cents": 5' in text


@pytest.mark.django_db(transaction=True)
def test_a_decision_that_comes_out_otherwise_says_so() -> None:
    SdkClient.of(make_integration(budget_limit_cents=5)).check(
        "refused", estimated_cost_cents=9, reserve=False
    )
    real = CusEnforcementDecision.objects.get()
    now = timezone.now()
    changed = CusEnforcementDecision.objects.create(
        id=uuid7(),
        tenant_id=real.tenant_id,
        integration_id=real.integration_id,
        call_id="changed",
        result="warned",
        reason=real.reason,
        step=7,
        decided_by="server",
        facts=real.facts,
        reasons=real.reasons,
        evaluated_at=now - timedelta(seconds=1),
        created_at=now,
    )
    assert "on the stored facts: DIFFERENT" in _read(browser_of("operator"), changed)


@pytest.mark.parametrize(
    ("facts", "reasons"),
    [
        ({}, []),
        ({"anything": [1, {"x": "<b>"}]}, [{"code": "state_unknown", "message": "<b>bold</b>"}]),
        ({}, ["text", 7, None]),
    ],
)
def test_a_decision_of_a_program_is_shown_whatever_it_sent(
    facts: dict[str, Any], reasons: list[Any], operator: Client, integration: CusIntegration
) -> None:
    now = timezone.now()
    decision = CusEnforcementDecision.objects.create(
        id=uuid7(),
        tenant_id=integration.tenant_id,
        integration_id=integration.id,
        call_id="of-a-program",
        result="blocked",
        reason="state_unknown",
        decided_by="sdk",
        facts=facts,
        reasons=reasons,
        evaluated_at=now,
        created_at=now,
    )
    text = _read(operator, decision)
    assert "the program (SDK)" in text
    assert "not possible: the SDK's facts" in text
    assert "The step that decided is not known" in text
    assert b"<b>bold" not in operator.get(_page(decision)).content


def test_only_operators_get_a_link_to_the_tenant(
    tenant: CusTenant, integration: CusIntegration, sdk: SdkClient
) -> None:
    sdk.report(record())
    row = CusLLMUsage.objects.get()
    link = f"/admin/integrations/custenant/{tenant.id}/change/"
    for role, expected in (("operator", True), ("support", False), ("member", False)):
        client = browser_of(role, tenant if role == "member" else None)
        assert (link in client.get(_page(row)).content.decode()) is expected


def test_nobody_reads_the_pages_of_another_tenant(sdk: SdkClient) -> None:
    sdk.report(record())
    stranger = browser_of("admin", make_tenant("Strangers"))
    assert stranger.get(_page(CusLLMUsage.objects.get())).status_code == 302
