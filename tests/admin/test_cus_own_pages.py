"""The console's pages that belong to no model, and the sidebar that leads to them, for each role."""

import re
import uuid
from datetime import UTC, date, datetime

import pytest
from django.test import Client

from aos_project.cus_console.pages import PAGES
from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_seals.models import CusEvidenceSeal
from tests.admin.cus_console_world import ROLES
from tests.cus_factories import (
    SdkClient,
    browser_of,
    make_integration,
    make_tenant,
    record,
)
from tests.cus_limits import make_run_limit

pytestmark = pytest.mark.django_db
TENANTS_OWN = ("admin", "member")
ALL = ("operator", "support", "finance", "admin", "member")

# The roles that each page is for (ruling C9).
STARTERS = ("operator", "admin")
VIEWERS = {
    "cus-start": STARTERS,
    "cus-start-tenant": ("operator",),
    "cus-start-provider": STARTERS,
    "cus-start-credential": STARTERS,
    "cus-start-test": STARTERS,
    "cus-start-limits": STARTERS,
    "cus-start-key": STARTERS,
    "cus-start-call": STARTERS,
    "cus-cost": ALL,
    "cus-statement-now": ALL,
    "cus-statement": ALL,
    "cus-statement-invoices": ALL,
    "cus-statement-close": ("operator", "finance"),
    "cus-run-limits": ALL,
    "cus-run-limit": ALL,
    "cus-coverage": ALL,
    "cus-system": ("operator",),
    "cus-local-mails": ("operator",),
    "cus-notifications": ALL,
    "cus-seals": ("operator", "finance", "admin", "member"),
}
# An example for each part of an address.
PARTS = {"<month:month>": "2026-11", "<str:provider_type>": "openai"}
OF_A_TENANT = ("cus-statement", "cus-statement-invoices", "cus-coverage", "cus-seals")
GROUPS = {
    "operator": ["Watch", "Money", "Control", "People", "Proof"],
    "support": ["Watch", "Money", "Control", "People", "Proof"],
    "finance": ["Money", "Watch", "Control", "People", "Proof"],
    "admin": ["Watch", "Money", "Control", "People", "Proof"],
    "member": ["Watch", "Money", "Control", "People", "Proof"],
    "nobody": [],
}


def browser(role: str, tenant: CusTenant) -> Client:
    return browser_of(role, tenant if role in TENANTS_OWN else None)


def address_of(name: str, tenant: CusTenant) -> str:
    route = next(page.route for page in PAGES if page.name == name)
    for part, value in PARTS.items():
        route = route.replace(part, value)
    if "<uuid:integration_id>" in route:
        named = CusIntegration.objects.filter(tenant=tenant).first() or make_integration(tenant)
        route = route.replace("<uuid:integration_id>", str(named.id))
        if "<uuid:limit_id>" in route:
            route = route.replace("<uuid:limit_id>", str(make_run_limit(named, "s").limit_id))
    return f"/admin/{route}?tenant={tenant.id}"


def text_of(client: Client, address: str) -> str:
    answer = client.get(address, follow=True)
    assert answer.status_code == 200, answer.status_code
    return str(answer.content.decode())


def test_the_table_names_every_page() -> None:
    assert {page.name for page in PAGES} == set(VIEWERS)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", VIEWERS)
def test_a_page_is_open_to_its_roles_and_refused_to_others(name: str, role: str) -> None:
    tenant = make_tenant()
    expected = 200 if role in VIEWERS[name] else 403

    assert browser(role, tenant).get(address_of(name, tenant), follow=True).status_code == expected


@pytest.mark.parametrize("name", VIEWERS)
def test_a_page_asks_a_stranger_to_sign_in(name: str) -> None:
    answer = Client().get(address_of(name, make_tenant()))

    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("role", [*TENANTS_OWN, "finance"])
@pytest.mark.parametrize("name", OF_A_TENANT)
def test_another_tenant_named_in_the_address_does_not_exist(name: str, role: str) -> None:
    tenant, other = make_tenant(), make_tenant("Foreign tenant")
    client = browser_of(role, tenant)

    assert client.get(address_of(name, tenant)).status_code == 200
    for named in (other.id, uuid.uuid4(), "nonsense"):
        address = address_of(name, tenant).replace(str(tenant.id), str(named))
        assert client.get(address, follow=True).status_code == 404


@pytest.mark.parametrize("role", ROLES)
def test_the_sidebar_has_the_groups_that_the_role_may_open(role: str) -> None:
    text = text_of(browser(role, make_tenant()), "/admin/")
    sidebar = text[text.index('id="nav-sidebar-apps"') : text.index('id="main"')]

    assert re.findall(r"<h2[^>]*>\s*(\w+)", sidebar) == GROUPS[role]
    assert ("/admin/system/" in sidebar) == (role == "operator")


@pytest.mark.parametrize("role", ROLES)
def test_no_link_of_the_sidebar_leads_to_a_refusal(role: str) -> None:
    client = browser(role, make_tenant())
    text = text_of(client, "/admin/")
    sidebar = text[text.index('id="nav-sidebar-apps"') : text.index('id="main"')]

    for address in set(re.findall(r'href="(/admin/[^"]*)"', sidebar)):
        assert client.get(address, follow=True).status_code == 200, address


def test_every_page_has_the_search_box_that_a_key_opens() -> None:
    text = text_of(browser_of("support"), "/admin/telemetry/cusllmusage/")

    assert 'action="/admin/find/"' in text
    assert 'data-cus-key="/"' in text
    assert "Search apps" not in text


def test_the_coverage_page_shows_the_worst_integration_first_and_missing_records() -> None:
    tenant = make_tenant()
    good, bad = (make_integration(tenant, name=name) for name in ("complete", "leaky"))
    CusIntegration.objects.filter(id=good.id).update(coverage_percent=100)
    CusIntegration.objects.filter(id=bad.id).update(coverage_percent=40)
    for sequence in (1, 2, 5):
        body = record(process_id="worker-1", sequence=sequence)
        assert SdkClient.of(good).report(body).status_code == 201

    text = text_of(browser_of("support"), f"/admin/coverage/?tenant={tenant.id}")

    assert text.index("leaky") < text.index("complete")
    assert "40 %" in text or "40.00 %" in text
    assert "worker-1" in text
    assert "3-4" in text


def test_the_seals_page_shows_a_tenants_sealed_days() -> None:
    tenant = make_tenant()
    CusEvidenceSeal.objects.create(
        tenant_id=tenant.id,
        day=date(2026, 11, 27),
        form=1,
        key_id="k",
        rows=1_234,
        settlements=0,
        adjustments=0,
        rows_digest="a" * 64,
        settlements_digest="b" * 64,
        adjustments_digest="c" * 64,
        previous=CusEvidenceSeal.START,
        digest="d" * 64,
        sealed_at=datetime(2026, 11, 28, 1, 11, tzinfo=UTC),
    )

    of_tenant = text_of(browser("member", tenant), "/admin/seals/")
    of_all = text_of(browser_of("operator"), "/admin/seals/")

    assert "1,234" in of_tenant
    assert "dddddddddddddddd…" in of_tenant
    assert tenant.name in of_all
    assert "2026-11-27" in of_all


def test_a_tenants_page_leads_to_its_integrations_and_pages() -> None:
    tenant = make_tenant()
    integration = make_integration(tenant, name="assistant")
    text = text_of(browser_of("operator"), f"/admin/integrations/custenant/{tenant.id}/change/")

    overview = f"/admin/integrations/cusintegration/{integration.id}/tab/overview/"
    assert f'href="{overview}"' in text
    for page in ("statement", "coverage", "seals", "start"):
        assert f'href="/admin/{page}/?tenant={tenant.id}"' in text
    back = f'href="/admin/integrations/custenant/{tenant.id}/change/"'
    assert back in text_of(browser_of("operator"), overview)
    assert back not in text_of(browser("member", tenant), overview)
