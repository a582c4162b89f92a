"""The console's pages on what-if, for every role."""

import re
from typing import Any

import pytest
from django.test import Client

from enforcement.cus_what_if import start
from enforcement.cus_what_if.models import CusSimulation
from enforcement.cus_what_if.service import CusWhatIfService
from enforcement.tasks import cus_simulate
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import SdkClient, browser_of, make_integration, record
from tests.cus_limits import make_limit

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


def test_a_simulation_is_read_below_its_own_integration_alone(integration: CusIntegration) -> None:
    client = browser_of("admin", integration.tenant)
    for other in (make_integration(integration.tenant), make_integration()):
        asked = CusWhatIfService(other.tenant).ask(other, days=1, proposed={})

        assert client.get(f"{page_of(integration)}{asked.id}/").status_code == 404


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


def test_limits_at_scopes_are_tried_with_other_amounts_and_beside_new_ones(
    integration: CusIntegration,
) -> None:
    sdk = SdkClient.of(integration)
    for agent in ("writer", "writer", "reader"):
        sdk.report(record(cost_cents=150, agent_id=agent, tags=["team=red"]))
    limit = make_limit(integration, "agent_id", None, amount=1_000)
    client, box = browser_of("operator"), f"limit-{limit.id}"
    shown = client.get(page_of(integration)).content.decode()
    assert "Us dollars a month for each agent" in shown
    assert f'name="{box}" value="10.00"' in shown

    def asked(**values: str) -> Any:
        return client.post(page_of(integration), boxes(**{box: "10.00"} | values))

    def report(**values: str) -> str:
        return text_of(client.get(asked(**values)["Location"]))

    assert "Each agent, a month $10.00" in report()
    lower = report(**{box: "2.00"})
    assert "Each agent, a month $2.00" in lower
    assert "$2.00: Each agent, a month 0 0 1" in lower
    assert "writer ($0.00750000)" in lower
    assert "Each agent" not in report(**{box: ""})
    new = {"scope": "tag", "tag": "team", "value": "red", "unit": "calls", "window": "day"}
    row = {f"new0-{name}": value for name, value in new.items()}
    assert "2 calls: Tag team=red, a day 0 1 0" in report(**row, **{"new0-amount": "2"})
    assert "Tag team" not in report(**row, **{"new0-amount": ""})

    wrong = text_of(asked(**row, **{"new0-amount": "2.5"}))
    assert "Enter a whole number of calls." in wrong
    wrong = text_of(asked(**row | {"new0-tag": ""}, **{"new0-amount": "2"}))
    assert "Limit 2, tag: Name the tag" in wrong
    limit.refresh_from_db()
    assert limit.amount == 1_000


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
