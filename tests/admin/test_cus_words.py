"""The console's words: one name a thing, yes and no, amounts as typed, pages on errors."""

import re

import pytest
from django.test import Client, override_settings

from integrations.cus_accounts.models import CusTenant
from integrations.cus_console.audit_trail import _sentence
from integrations.cus_console.facts import in_words
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage
from tests.cus_factories import SdkClient, browser_of, record

pytestmark = pytest.mark.django_db


def _title(client: Client, page: str) -> str:
    text = client.get(page).content.decode()
    header = text.split('id="main"', 1)[-1].split('id="content"', 1)[0]
    return " ".join(re.sub(r"<[^>]*>", " ", header).split())


def test_a_page_has_the_name_that_leads_to_it() -> None:
    client = browser_of("operator")
    sidebar = client.get("/admin/").content.decode().split('id="nav-sidebar-apps"')[1]
    links = re.findall(
        r'href="(/admin/[a-z/_-]+)".*?</a>', sidebar.split('id="main"')[0], re.DOTALL
    )
    names = {link: _last_words(sidebar, link) for link in links if link not in _OWN_TITLES}
    assert len(names) > 15
    for link, name in names.items():
        assert name.lower() in _title(client, link).lower()


# Home, pages whose title is their subject (a month, the first step), and a page that needs a code.
_OWN_TITLES = ("/admin/", "/admin/statement/", "/admin/start/", "/admin/second-factor/codes/")


def _last_words(sidebar: str, link: str) -> str:
    """The name of a link of the sidebar, without its icon."""
    found = re.search(rf'href="{link}".*?</a>', sidebar, re.DOTALL)
    assert found
    texts = [text.strip() for text in re.findall(r">([^<]+)<", found[0])]
    return str([text for text in texts if text][-1])


def test_an_id_keeps_its_letters_in_the_title(sdk: SdkClient) -> None:
    sdk.report(record(call_id="abc-DEF"))
    row = CusLLMUsage.objects.get()
    title = _title(browser_of("operator"), f"/admin/telemetry/cusllmusage/{row.id}/change/")
    assert "Usage records" in title
    assert "abc-DEF" in title


def test_no_list_shows_a_red_cross_for_no(integration: CusIntegration, tenant: CusTenant) -> None:
    client = browser_of("operator")
    for page in ("integrations/cusintegration", "integrations/cususer", "telemetry/cusllmusage"):
        assert b"close_small" not in client.get(f"/admin/{page}/").content


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("cost_cents", 5, "$0.05"),
        ("cost_microcents", 750_000, "$0.00750000"),
        ("latency_ms", 1_234, "1,234 ms"),
        ("tokens_in", 12_000, "12,000"),
        ("degraded", False, "no"),
        ("tags", ["a=b", "c=d"], "a=b, c=d"),
        ("tags", [], ""),
        ("metadata", {}, ""),
        ("anything", None, ""),
    ],
)
def test_values_are_written_as_people_write_them(name: str, value: object, text: str) -> None:
    assert in_words(name, value) == text


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("budget_limit_cents", {"from": 1_000, "to": 2_550}, "budget limit: $10.00 → $25.50"),
        ("budget_limit_cents", {"from": 0, "to": 500}, "budget limit: $5.00"),
        (
            "revoked_at",
            {"from": None, "to": "2026-11-29T09:34:51.701307+00:00"},
            "revoked at: 2026-11-29 09:34:51 UTC",
        ),
        ("name", {"from": "2026", "to": "2027-01-01"}, "name: 2026 → 2027-01-01"),
        ("credential", "changed", "credential changed"),
    ],
)
def test_the_trail_writes_changes_as_they_were_typed(
    name: str, change: object, sentence: str
) -> None:
    assert _sentence(name, change) == sentence


# --- The search from every page -----------------------------------------------------------------


def test_every_page_has_the_search_of_the_product(integration: CusIntegration) -> None:
    client = browser_of("support")
    for page in ("", "cost/", "integrations/cusintegration/", "telemetry/cusllmusage/"):
        text = client.get(f"/admin/{page}").content.decode()
        sidebar = text.split('id="nav-sidebar"')[1]
        assert re.search(r'<form[^>]*action="/admin/find/"[^>]*role="search"', sidebar)
        assert "/admin/search/" not in text


# --- Errors -------------------------------------------------------------------------------------


def test_an_address_without_a_page_gets_a_page_that_leads_on(client: Client) -> None:
    answer = client.get("/no-such-page/")
    assert answer.status_code == 404
    text = answer.content.decode()
    assert "There is nothing here" in text
    assert 'href="/admin/"' in text
    assert "aos_project/cus_error" in text
    assert "<script" not in text


def test_a_refusal_is_a_page_that_leads_on() -> None:
    answer = browser_of("support").get("/admin/integrations/custenant/")
    assert answer.status_code == 403
    assert "You may not do this" in answer.content.decode()


def test_a_malformed_request_is_a_page(client: Client) -> None:
    with override_settings(ALLOWED_HOSTS=["here.example"]):
        answer = client.get("/admin/", headers={"host": "elsewhere.example"})
    assert answer.status_code == 400
    assert "This request makes no sense" in answer.content.decode()


def test_a_form_without_its_token_is_told_to_be_loaded_again() -> None:
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "x"})
    assert answer.status_code == 403
    assert "The page was too old to be sent" in answer.content.decode()


def test_an_error_of_ours_is_a_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("integrations.cus_console.panels.shown", broken)
    operator = browser_of("operator")
    operator.raise_request_exception = False
    answer = operator.get("/admin/cost/")
    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.content.decode()
