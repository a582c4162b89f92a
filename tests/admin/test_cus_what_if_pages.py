"""The console's pages on what-if, for every role."""

import re
from typing import Any

import pytest
from django.test import Client

from enforcement.cus_what_if import start
from enforcement.cus_what_if.models import CusSimulation
from enforcement.tasks import cus_simulate
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import SdkClient, browser_of, make_integration, record

pytestmark = pytest.mark.django_db(transaction=True)

ROLES = ("operator", "support", "finance", "admin", "member")


def page_of(integration: CusIntegration) -> str:
    return f"/admin/what-if/{integration.id}/"


def boxes(**values: str) -> dict[str, str]:
    """What a browser sends of the form."""
    return {
        "days": "7",
        "budget_limit_cents": "0",
        "token_limit_month": "0",
        "rate_limit_rpm": "0",
        "rate_limit_tpm": "0",
        "rate_limit_rpd": "0",
        "enforcement_level": "block",
        "budget_basis": "rounded",
    } | values


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, answer.status_code
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


@pytest.mark.parametrize("role", ROLES)
def test_each_role_asks_about_what_it_may_see(role: str, integration: CusIntegration) -> None:
    SdkClient.of(integration).report(record(call_id="dear", cost_cents=150))
    SdkClient.of(integration).report(record(call_id="dearer", cost_cents=150))
    tenant = integration.tenant if role in ("admin", "member") else None
    client, foreign = browser_of(role, tenant), make_integration()

    asked = client.post(page_of(integration), boxes(budget_limit_cents="2.50"))
    assert asked.status_code == 302
    text = text_of(client.get(asked["Location"]))

    assert "2 calls and refusals from" in text
    assert "Monthly budget $2.50" in text
    assert "The monthly budget of $2.50 has no room for this call: $1.50 used" in text
    assert "$0.00750000 would not have been spent ($1.50 as budgets in cents count)." in text
    panel = text_of(
        client.get(f"/admin/integrations/cusintegration/{integration.id}/tab/overview/")
    )
    assert "Try other limits" in panel
    assert "UTC, 7 days : done" in panel
    if tenant:
        assert client.get(page_of(foreign)).status_code == 404
        assert (
            client.get(asked["Location"].replace(str(integration.id), str(foreign.id))).status_code
            == 404
        )


def test_the_form_begins_with_the_limits_of_now_and_names_what_is_wrong(
    integration: CusIntegration,
) -> None:
    CusIntegration.objects.update(budget_limit_cents=1_234, rate_limit_rpm=7)
    client = browser_of("operator")

    shown = client.get(page_of(integration)).content.decode()
    assert 'value="12.34"' in shown
    assert 'value="7"' in shown
    wrong = text_of(client.post(page_of(integration), boxes(days="91", rate_limit_rpm="-1")))
    assert "less than or equal to 90" in wrong
    assert "greater than or equal to 0" in wrong
    assert not CusSimulation.objects.exists()


def test_a_job_shows_how_far_it_is_and_looks_again(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "ROWS_OF_A_PAGE", -1)
    monkeypatch.setattr(cus_simulate, "delay", lambda _id: None)
    client = browser_of("operator")
    page = client.post(page_of(integration), boxes())["Location"]
    CusSimulation.objects.update(rows=200, rows_done=50, status="running")

    answer = client.get(page)

    assert '<meta http-equiv="refresh" content="3">' in answer.content.decode()
    assert "Running: 25 % of 200 rows" in text_of(answer)
    again = text_of(client.post(page_of(integration), boxes()))
    assert "A simulation of this integration is running." in again


def test_a_stranger_is_sent_to_the_login(integration: CusIntegration) -> None:
    for client, status in ((Client(), 302), (browser_of("nobody"), 404)):
        assert client.get(page_of(integration)).status_code == status
        assert client.post(page_of(integration), boxes()).status_code == status


def test_texts_of_programs_are_texts(integration: CusIntegration) -> None:
    hostile = "<script>alert(1)</script>"
    SdkClient.of(integration).report(record(call_id="<b>", model=hostile, cost_cents=9))
    client = browser_of("operator")
    page = client.post(page_of(integration), boxes(budget_limit_cents="0.01"))["Location"]

    shown = client.get(page).content.decode()

    assert hostile not in shown
    assert "&lt;script&gt;" in shown
