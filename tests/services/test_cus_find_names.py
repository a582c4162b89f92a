"""The search of sessions, agents and end users: whole names, by an index, of calls that are not old."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_console.finders import Hit
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence import find_names
from telemetry.cus_evidence.find_names import find_agents, find_end_users, find_sessions
from tests.cus_factories import SdkClient, make_integration, make_tenant, make_user, record

pytestmark = pytest.mark.django_db
NAMED = {"session_id": "chat-9", "agent_id": "clerk", "end_user": "ada"}
FINDERS = {"chat-9": find_sessions, "clerk": find_agents, "ada": find_end_users}


def _found(text: str, person: CusUser, query: str = "") -> list[Hit]:
    request: Any = RequestFactory().get(f"/admin/find/?{query}")
    request.user = person
    return list(FINDERS[text](request, text))


def _report(integration: CusIntegration, **fields: Any) -> None:
    answer = SdkClient.of(integration).report(record(**(NAMED | fields)))
    assert answer.status_code in (200, 201)


@pytest.mark.parametrize("text", FINDERS)
def test_a_name_is_found_where_it_called_and_leads_to_its_calls(text: str) -> None:
    ours, theirs = make_tenant("Ours"), make_tenant("Theirs")
    for tenant in (ours, theirs):
        _report(make_integration(tenant, name="chat"))

    hits = _found(text, make_user("operator"))
    own = _found(text, make_user("member", ours))

    assert sorted("Ours" in hit.about for hit in hits) == [False, True]
    assert [hit.title for hit in own] == [text]
    assert "received=31" in own[0].link
    assert f"={text}" in own[0].link


@pytest.mark.parametrize("text", ["chat-9", "ada"])
def test_a_name_of_two_integrations_is_found_in_both_and_narrowed_to_one(text: str) -> None:
    tenant = make_tenant()
    first, second = (make_integration(tenant, name=name) for name in ("first", "second"))
    for integration in (first, second, second):
        _report(integration)
    person = make_user("admin", tenant)

    assert sorted(hit.about.split(",")[0] for hit in _found(text, person)) == ["first", "second"]
    (hit,) = _found(text, person, f"integration={first.id}")
    assert hit.about.startswith("first")


def test_an_end_user_is_found_by_name_where_rows_have_a_pseudonym(
    settings: Settings, integration: CusIntegration
) -> None:
    settings.CUS_HASH_END_USERS = True
    _report(integration)
    assert len(_found("ada", make_user("support"))) == 1


@pytest.mark.parametrize("text", ["chat-9", "clerk"])
def test_calls_from_before_those_days_do_not_answer(
    text: str, integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    _report(integration)
    person = make_user("operator")
    assert _found(text, person)
    monkeypatch.setattr(find_names, "DAYS", -1)
    assert not _found(text, person)


@pytest.mark.parametrize("role", ["operator", "member"])
@pytest.mark.parametrize("text", ["chat-9", "clerk"])
def test_an_index_finds_the_name(text: str, role: str, tenant: CusTenant) -> None:
    _report(make_integration(tenant))
    person = make_user(role, tenant if role == "member" else None)
    with CaptureQueriesContext(connection) as captured:
        assert _found(text, person)
    (asked,) = [query["sql"] for query in captured if "cus_llm_usage" in query["sql"]]

    with connection.cursor() as cursor:
        # A few rows are read faster without an index.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {asked}")
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "Seq Scan on cus_llm_usage" not in plan
    if text == "clerk":
        conditions = " ".join(re.findall("Index Cond: (.*)", plan))
        assert "agent_id)::text = 'clerk'" in conditions
