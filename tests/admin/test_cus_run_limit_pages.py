"""Budgets in code in the console: listed, found by session, raised in dollars."""

import re
from typing import Any

import pytest
from django.test import Client

from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.limit_models import CusRunLimit
from tests.admin.cus_console_world import ROLES
from tests.cus_factories import SdkClient, browser_of, make_integration, record
from tests.cus_limits import make_run_limit

pytestmark = pytest.mark.django_db
WHY = {"reason": "The report has to be done today."}


@pytest.fixture
def admin(integration: CusIntegration) -> Client:
    return browser_of("admin", integration.tenant)


def _list(integration: CusIntegration) -> str:
    return f"/admin/run-limits/{integration.id}/"


def _page(row: CusRunLimit) -> str:
    return f"/admin/run-limits/{row.integration_id}/{row.limit_id}/"


def _text(client: Client, address: str) -> str:
    answer = client.get(address, follow=True)
    assert answer.status_code == 200, answer.status_code
    return re.sub(r"\s+", " ", answer.content.decode())


def _raise(client: Client, row: CusRunLimit, **boxes: Any) -> Any:
    seen = {"seen_version": row.version}
    return client.post(_page(row), WHY | seen | boxes, follow=True)


def test_the_list_shows_what_is_used_of_each_budget(
    admin: Client, integration: CusIntegration, sdk: SdkClient
) -> None:
    row = make_run_limit(integration, "chat/1", cents=100, tokens=5_000)
    sdk.report(record(cost_cents=30, session_id="chat/1"))
    text = _text(admin, _list(integration))
    assert f'href="{_page(row)}"' in text
    assert "$0.30 used of $1.00" in text
    assert "of 5,000 tokens" in text


def test_a_session_is_found_by_its_name(admin: Client, integration: CusIntegration) -> None:
    for session in ("a-session", "another"):
        make_run_limit(integration, session)
    text = _text(admin, f"{_list(integration)}?session=a-session")
    assert "a-session</a>" in text
    assert "another</a>" not in text
    assert "No session has a budget" in _text(admin, f"{_list(integration)}?session=%00")


def test_long_lists_have_pages(
    admin: Client, integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetry.cus_run_budgets.console._PAGE_SIZE", 2)
    for number in range(5):
        make_run_limit(integration, f"s-{number}")
    address, seen = _list(integration), []
    for _ in range(3):
        text = _text(admin, address)
        seen += re.findall(r">(s-\d)</a>", text)
        following = re.search(r'href="([^"]*cursor=[^"]*)"', text)
        address = following[1] if following else ""
    assert sorted(seen) == [f"s-{number}" for number in range(5)]
    assert address == ""
    assert admin.get(f"{_list(integration)}?cursor=nonsense").status_code == 404


def test_an_admin_raises_a_budget_in_dollars_and_takes_it_back(
    admin: Client, integration: CusIntegration
) -> None:
    row = make_run_limit(integration, "s", cents=100, calls=5)
    answer = _raise(admin, row, cents="2.00", calls="")
    assert "is as you entered it" in answer.content.decode()
    row.refresh_from_db()
    assert (row.raised_cents, row.raised_calls, row.raised_reason) == (200, None, WHY["reason"])
    text = _text(admin, _page(row))
    assert "$0.00 used of $2.00 (code gives $1.00)" in text
    assert WHY["reason"] in text
    _raise(admin, row, cents="", calls="")
    row.refresh_from_db()
    assert row.raised_cents is None


def test_a_refused_increase_says_why_at_its_box(admin: Client, integration: CusIntegration) -> None:
    row = make_run_limit(integration, "s", cents=100, calls=5)
    assert "Code gives this session $1.00" in _raise(admin, row, cents="1.00").content.decode()
    assert "whole number of calls" in _raise(admin, row, calls="5.50").content.decode()
    assert "This field is required" in _raise(admin, row, cents="3", reason="").content.decode()
    row.refresh_from_db()
    assert (row.raised_cents, row.version) == (None, 1)


def test_two_people_do_not_overwrite_each_other(admin: Client, integration: CusIntegration) -> None:
    row = make_run_limit(integration, "s")
    _raise(admin, row, cents="2.00")
    answer = _raise(admin, row, cents="9.00")
    assert "Another person raised it" in answer.content.decode()
    row.refresh_from_db()
    assert row.raised_cents == 200


@pytest.mark.parametrize("role", ROLES)
def test_who_may_raise_has_a_form_and_others_may_read(
    role: str, integration: CusIntegration
) -> None:
    row = make_run_limit(integration, "s")
    client = browser_of(role, integration.tenant if role in ("admin", "member") else None)
    may_raise = role in ("operator", "admin")
    if role != "nobody":
        assert ("seen_version" in _text(client, _page(row))) == may_raise
    answer = client.post(_page(row), WHY | {"seen_version": 1, "cents": "2.00"})
    assert answer.status_code == (302 if may_raise else 403)
    row.refresh_from_db()
    assert row.raised_cents == (200 if may_raise else None)


def test_another_tenants_budgets_do_not_exist(admin: Client) -> None:
    row = make_run_limit(make_integration(), "s")
    assert admin.get(f"/admin/run-limits/{row.integration_id}/").status_code == 404
    assert admin.get(_page(row)).status_code == 404
    assert _raise(admin, row, cents="2.00").status_code == 404


def test_a_budget_of_a_sibling_is_not_raised_under_another_integration(
    admin: Client, integration: CusIntegration
) -> None:
    row = make_run_limit(make_integration(integration.tenant), "s")
    assert admin.get(f"{_list(integration)}{row.limit_id}/").status_code == 404


def test_the_address_in_a_refusal_leads_to_where_the_budget_is_raised(
    admin: Client, integration: CusIntegration
) -> None:
    make_run_limit(integration, "chat/1 a")
    text = _text(admin, f"/console/run-limits/{integration.id}/chat%2F1%20a")
    assert "Budget in code of session chat/1 a" in text
    assert "seen_version" in text


def test_an_integrations_page_shows_the_last_budgets_if_there_are_any(
    admin: Client, integration: CusIntegration
) -> None:
    page = f"/admin/integrations/cusintegration/{integration.id}/tab/overview/"
    assert "Budgets in code" not in _text(admin, page)
    for number in range(6):
        make_run_limit(integration, f"s-{number}")
    text = _text(admin, page)
    assert "All budgets in code" in text
    assert len(set(re.findall(r">(s-\d)</a>", text))) == 5
