"""An integration's page in tabs: who sees which, what they show, the ladder's buttons."""

import re
import uuid
from decimal import Decimal

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from integrations.cus_accounts.models import CusTenant
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import browser_of, make_integration, make_tenant, turn_health

pytestmark = pytest.mark.django_db
A = "/admin/integrations/cusintegration/"
TABS = {
    "operator": ["Overview", "Settings", "SDK keys", "Enforcement", "Health", "History"],
    "support": ["Overview", "Settings", "Enforcement", "Health"],
    "finance": ["Overview", "Settings", "Enforcement", "Health"],
    "admin": ["Overview", "Settings", "SDK keys", "Enforcement", "Health", "History"],
    "member": ["Overview", "Settings", "Enforcement", "Health", "History"],
}


def browser(role: str, tenant: CusTenant) -> Client:
    return browser_of(role, tenant if role in ("admin", "member") else None)


def tab_of(integration: CusIntegration, tab: str) -> str:
    return f"{A}{integration.id}/{'change' if tab == 'change' else f'tab/{tab}'}/"


def text_of(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, (address, answer.status_code)
    return str(answer.content.decode())


def tabs_on(text: str) -> dict[str, str]:
    nav = text[text.index('class="cus-tabs') :].split("</nav>")[0]
    found = re.findall(r'<a href="([^"]+)"[^>]*>\s*([^<]+?)\s*</a>', nav)
    return {title: address for address, title in found}


@pytest.mark.parametrize("role", TABS)
def test_each_role_has_its_tabs_and_none_leads_to_a_refusal(
    role: str, integration: CusIntegration
) -> None:
    client = browser(role, integration.tenant)
    tabs = tabs_on(text_of(client, tab_of(integration, "overview")))

    assert list(tabs) == TABS[role]
    for address in tabs.values():
        assert tabs_on(text_of(client, address)) == tabs


@pytest.mark.parametrize("tab", ["overview", "keys", "ladder", "health", "trail"])
def test_another_tenants_integration_has_no_tabs(tab: str, tenant: CusTenant) -> None:
    foreign = make_integration(make_tenant(), name="Foreign one")
    client = browser_of("member", tenant)

    for address in (tab_of(foreign, tab), f"{A}{uuid.uuid4()}/tab/{tab}/"):
        answer = client.get(address, follow=True)
        assert "Foreign one" not in answer.content.decode()
        assert answer.redirect_chain


def test_a_tab_without_anything_for_the_person_does_not_exist(integration: CusIntegration) -> None:
    client = browser_of("support")

    for tab in ("keys", "trail", "nonsense"):
        assert client.get(tab_of(integration, tab)).status_code == 404


def test_a_stranger_is_asked_to_sign_in(integration: CusIntegration) -> None:
    answer = Client().get(tab_of(integration, "overview"))

    assert answer["Location"].startswith("/admin/login/")


def test_links_to_an_integration_lead_to_its_first_tab(integration: CusIntegration) -> None:
    client = browser_of("operator")

    assert f'href="{tab_of(integration, "overview")}"' in text_of(client, A)
    assert f'href="{tab_of(integration, "overview")}"' in text_of(
        client, f"/admin/find/?q={integration.id}"
    )


@pytest.mark.parametrize(("role", "seen"), [("member", True), ("support", False)])
def test_the_overview_shows_the_state_and_the_credentials_end_to_who_may_see_it(
    role: str, seen: bool, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(
        health_state="failing", health_message="the host does not answer"
    )

    text = text_of(browser(role, integration.tenant), tab_of(integration, "overview"))

    assert "Failing: the host does not answer" in text
    assert ("…cdef" in text) == seen


def test_keys_are_listed_with_the_way_to_issue_another(integration: CusIntegration) -> None:
    key, text = issue_sdk_key(integration, label="worker")

    page = text_of(browser_of("operator"), tab_of(integration, "keys"))

    assert f"aosk_…{key.hint}" in page
    assert text not in page
    add = f"/admin/integrations/cussdkkey/add/?integration={integration.id}"
    assert f'href="{add}"' in page
    assert re.search(rf'value="{integration.id}"\s+selected', text_of(browser_of("operator"), add))


def test_health_and_history_show_what_happened(integration: CusIntegration) -> None:
    turn_health(integration, "unknown", "degraded")
    client = browser_of("operator")

    health = text_of(client, tab_of(integration, "health"))
    assert "health unknown → degraded" in health
    assert "The provider was slow." in health
    assert "integration.created" in text_of(client, tab_of(integration, "trail"))


def test_the_ladder_says_what_the_next_rung_needs(integration: CusIntegration) -> None:
    rows = CusIntegration.objects.filter(id=integration.id)
    client = browser_of("operator")
    assert "This is the top of the ladder." in text_of(client, tab_of(integration, "ladder"))

    rows.update(enforcement_level="throttle", coverage_percent=Decimal(60))
    page = text_of(client, tab_of(integration, "ladder"))
    assert "Block needs: Of the calls seen lately 60.00 % were governed" in page
    assert "Raise to" not in page

    rows.update(coverage_percent=Decimal(97))
    page = text_of(client, tab_of(integration, "ladder"))
    assert "nothing is missing for it" in page
    assert "Raise to Block" in page
    assert "Lower to Warn" in page


def test_the_ladders_buttons_move_by_a_rung(integration: CusIntegration) -> None:
    client = browser_of("admin", integration.tenant)

    for button, level in (
        ("lower_level", "throttle"),
        ("lower_level", "warn"),
        ("raise_level", "throttle"),
    ):
        answer = client.post(f"{A}{integration.id}/{button}/")
        assert answer.status_code == 302
        integration.refresh_from_db()
        assert integration.enforcement_level == level


def test_a_rung_that_coverage_forbids_is_refused(integration: CusIntegration) -> None:
    rows = CusIntegration.objects.filter(id=integration.id)
    rows.update(enforcement_level="throttle", coverage_percent=Decimal(60))

    answer = browser_of("operator").post(f"{A}{integration.id}/raise_level/", follow=True)

    assert "Route the rest through the SDK first" in answer.content.decode()
    assert rows.get().enforcement_level == "throttle"


def test_a_members_ladder_has_no_buttons(integration: CusIntegration) -> None:
    page = text_of(browser("member", integration.tenant), tab_of(integration, "ladder"))

    assert "Lower to" not in page


@pytest.mark.parametrize("tab", ["overview", "keys", "ladder", "health", "trail"])
def test_a_tab_reads_only_its_own_panels(
    tab: str, integration: CusIntegration, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = browser_of("operator")
    client.get(tab_of(integration, tab))

    # Of the overview, six are savepoints of sums, which only a test's transaction needs.
    with django_assert_max_num_queries(26 if tab == "overview" else 10):
        client.get(tab_of(integration, tab))
