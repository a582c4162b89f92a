"""Lists of calls are filtered by whose the call was, and by what the provider calls it."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from psycopg.errors import QueryCanceled

from enforcement.cus_decisions.models import CusEnforcementDecision
from integrations.cus_accounts.models import CusTenant
from integrations.cus_console import filters, newest_first
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.filters import CALL_FILTERS, calls_with, of_calls
from telemetry.cus_evidence.models import CusLLMUsage
from tests.cus_factories import (
    SdkClient,
    correct,
    make_integration,
    make_tenant,
    make_user,
    record,
    signed_in,
)

pytestmark = pytest.mark.django_db

USAGE = "/admin/telemetry/cusllmusage/"
DECISIONS = "/admin/enforcement/cusenforcementdecision/"
CORRECTIONS = "/admin/telemetry/cuscostadjustment/"
SECRET = "a" * 40
WHOSE: dict[str, Any] = {
    "session_id": "chat-17",
    "agent_id": "researcher",
    "end_user": "ada",
    "tags": ["team=search", "env=prod"],
    "response_id": "resp_1",
    "provider_request_id": "req_1",
    "provider_project": "proj_1",
    "provider_key_hint": "4f2a",
}
OTHER: dict[str, Any] = {
    **{name: f"{value}x" for name, value in WHOSE.items() if isinstance(value, str)},
    "provider_key_hint": "aaaa",
    "tags": ["teams=search", "env=prod2", "note=team"],
}
FILTERS = [
    *((name, value) for name, value in WHOSE.items() if name != "tags"),
    ("tag", "team=search"),
    ("tag", "env=prod"),
    ("tag", "team"),
]


@pytest.fixture
def person(tenant: CusTenant) -> Client:
    return signed_in(make_user("member", tenant))


def _calls(client: Client, page: str, **query: str) -> set[str]:
    """The call ids in the rows of a list, which may lead on to another address."""
    answer = client.get(page, query, follow=True)
    assert answer.status_code == 200
    return set(re.findall(r"\b(?:own|other|foreign)-call\b", _rows(answer)))


def _rows(answer: Any) -> str:
    return " ".join(row.call_id for row in answer.context["cl"].result_list)


def _three_calls(integration: CusIntegration) -> None:
    sdk = SdkClient.of(integration)
    stored = sdk.report_batch(
        record(call_id="own-call", **WHOSE), record(call_id="other-call", **OTHER)
    )
    assert stored.json()["accepted"] == 2
    foreign = make_integration(make_tenant())
    SdkClient.of(foreign).report(record(call_id="foreign-call", **WHOSE))


def test_every_filter_is_tried_below() -> None:
    assert {name for name, _ in FILTERS} == set(CALL_FILTERS)


def test_usage_records_are_found_by_each_fact_of_the_call(integration: CusIntegration) -> None:
    _three_calls(integration)
    rows = CusLLMUsage.objects.filter(tenant_id=integration.tenant_id)
    for name, value in FILTERS:
        found = rows.filter(calls_with(name, value, [integration.tenant_id]))
        assert [row.call_id for row in found] == ["own-call"], name


@pytest.mark.parametrize("page", [USAGE, DECISIONS, CORRECTIONS])
def test_a_list_has_a_box_for_each_fact(page: str, person: Client) -> None:
    text = person.get(page).content.decode()
    for name in CALL_FILTERS:
        assert f'name="{name}"' in text


@pytest.mark.parametrize(("name", "value"), [("provider_request_id", "req_1"), ("tag", "team")])
def test_a_box_narrows_the_list(
    name: str, value: str, person: Client, integration: CusIntegration
) -> None:
    _three_calls(integration)
    assert _calls(person, USAGE, **{name: f" {value} "}) == {"own-call"}


def test_support_finds_the_calls_of_every_tenant(integration: CusIntegration) -> None:
    _three_calls(integration)
    found = _calls(signed_in(make_user("support")), USAGE, end_user="ada")
    assert found == {"own-call", "foreign-call"}


def test_filters_narrow_each_other(person: Client, integration: CusIntegration) -> None:
    _three_calls(integration)
    assert _calls(person, USAGE, end_user="ada", tag="team=search") == {"own-call"}
    assert _calls(person, USAGE, end_user="ada", tag="env=prod2") == set()


def _decide(integration: CusIntegration, call_id: str) -> None:
    now = timezone.now()
    CusEnforcementDecision.objects.create(
        id=uuid.uuid4(),
        tenant_id=integration.tenant_id,
        integration_id=integration.id,
        call_id=call_id,
        result="blocked",
        reason="budget_exceeded",
        decided_by="server",
        facts={},
        reasons=[],
        evaluated_at=now,
        created_at=now,
    )


def test_decisions_are_found_by_what_was_reported_of_their_call(
    person: Client, integration: CusIntegration
) -> None:
    _three_calls(integration)
    for call_id in ("own-call", "other-call"):
        _decide(integration, call_id)
    for name, value in FILTERS:
        calls = calls_with(name, value, [integration.tenant_id])
        found = CusEnforcementDecision.objects.filter(of_calls(calls))
        assert [decision.call_id for decision in found] == ["own-call"], name
    assert _calls(person, DECISIONS) == {"own-call", "other-call"}
    assert _calls(person, DECISIONS, tag="team=search") == {"own-call"}


def test_corrections_are_found_by_their_call(person: Client, integration: CusIntegration) -> None:
    _three_calls(integration)
    own, other = CusLLMUsage.objects.filter(tenant_id=integration.tenant_id).order_by("-call_id")
    for number, row in enumerate((other, own)):
        correct(row, by_microcents=number)
    answer = person.get(CORRECTIONS, {"tag": "team=search", "received": "31"})
    assert [one.usage_id for one in answer.context["cl"].result_list] == [own.id]


def test_the_page_of_a_record_shows_whose_the_call_was(
    person: Client, integration: CusIntegration
) -> None:
    _three_calls(integration)
    row = CusLLMUsage.objects.get(call_id="own-call")
    page = person.get(f"{USAGE}{row.id}/change/").content.decode()
    for value in (*(WHOSE[name] for name in WHOSE if name != "tags"), "team=search", "env=prod"):
        assert value in page


def test_a_list_filtered_without_an_index_goes_31_days_back_unless_told_further(
    person: Client, integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    _three_calls(integration)
    monkeypatch.setattr(filters, "Now", lambda: Now() + timedelta(days=40))

    answer = person.get(USAGE, {"end_user": "ada", "outcome": "ok"})
    assert answer.status_code == 302
    assert answer["Location"] == f"{USAGE}?end_user=ada&outcome=ok&received=31"
    assert _calls(person, USAGE, end_user="ada") == set()
    assert _calls(person, USAGE, end_user="ada", received="366") == {"own-call"}
    assert _calls(person, USAGE) == {"own-call", "other-call"}


@pytest.mark.parametrize("received", ["nonsense", "-1", "99999999999", "1e3", "²"])
def test_an_impossible_time_is_no_bound(received: str) -> None:
    assert filters.since(received) is None


@pytest.mark.parametrize("page", [USAGE, DECISIONS])
def test_a_text_that_no_row_can_have_ends_in_no_error(page: str, person: Client) -> None:
    impossible = {"end_user": "a\0b", "tag": "a\0b=", "received": "\0"}
    assert person.get(page, impossible, follow=True).status_code == 200


def test_a_search_that_the_database_ends_leads_to_a_shorter_one(
    person: Client, integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many(*_: object, **__: object) -> None:
        raise OperationalError from QueryCanceled()

    with monkeypatch.context() as patched:
        patched.setattr(newest_first.Order, "page", too_many)
        answer = person.get(USAGE, {"end_user": "ada", "received": "any"})
    assert (answer.status_code, answer["Location"]) == (302, f"{USAGE}?end_user=ada&received=1")
    page = person.get(answer["Location"]).content.decode()
    assert "The database took too long" in page


# --- Pseudonyms ---------------------------------------------------------------------------------


def _stored_of(call_id: str) -> str | None:
    return CusLLMUsage.objects.get(call_id=call_id).end_user


def test_end_users_are_stored_by_name_unless_a_setting_says_otherwise(sdk: SdkClient) -> None:
    sdk.report(record(call_id="own-call", end_user="ada"))
    assert _stored_of("own-call") == "ada"


def test_where_the_setting_says_so_a_row_has_a_pseudonym_of_its_tenants_own(
    integration: CusIntegration, settings: Any
) -> None:
    settings.CUS_HASH_END_USERS = True
    sdk, foreign = SdkClient.of(integration), SdkClient.of(make_integration(make_tenant()))
    sibling = SdkClient.of(make_integration(integration.tenant))
    sdk.report(record(call_id="first", end_user="ada"))
    sdk.report(record(call_id="another", end_user="bob"))
    sdk.report(record(call_id="nobody"))
    sibling.report(record(call_id="sibling", end_user="ada"))
    foreign.report(record(call_id="foreign", end_user="ada"))

    pseudonym = _stored_of("first")
    assert re.fullmatch(r"hmac-sha256:[0-9a-f]{32}", pseudonym or "")
    assert _stored_of("sibling") == pseudonym
    assert len({_stored_of("another"), _stored_of("foreign"), pseudonym}) == 3
    assert _stored_of("nobody") is None


def test_a_pseudonym_depends_on_the_servers_secret(sdk: SdkClient, settings: Any) -> None:
    settings.CUS_HASH_END_USERS = True
    sdk.report(record(call_id="before", end_user="ada"))
    key = sdk.key
    settings.CUS_KEY_HASH_SECRET, old = SECRET, settings.CUS_KEY_HASH_SECRET
    renamed = calls_with("end_user", "ada", [CusLLMUsage.objects.get().tenant_id])
    assert not CusLLMUsage.objects.filter(renamed).exists()
    settings.CUS_KEY_HASH_SECRET = old
    assert SdkClient(key).report(record(call_id="after", end_user="ada")).status_code == 201
    assert _stored_of("after") == _stored_of("before")


def test_a_replay_across_the_setting_is_a_duplicate(sdk: SdkClient, settings: Any) -> None:
    call = record(call_id="own-call", end_user="ada")
    assert sdk.report(call).json()["status"] == "accepted"
    settings.CUS_HASH_END_USERS = True
    assert sdk.report(call).json()["status"] == "duplicate"
    assert _stored_of("own-call") == "ada"


@pytest.mark.parametrize("is_operator", [False, True])
def test_a_person_finds_an_end_user_by_name_in_rows_from_before_and_after_the_setting(
    is_operator: bool, tenant: CusTenant, integration: CusIntegration, settings: Any
) -> None:
    user = make_user("operator") if is_operator else make_user("member", tenant)
    sdk, client = SdkClient.of(integration), signed_in(user)
    sdk.report(record(call_id="own-call", end_user="ada"))
    settings.CUS_HASH_END_USERS = True
    sdk.report(record(call_id="other-call", end_user="ada"))
    sdk.report(record(call_id="third-call", end_user="bob"))
    assert _calls(client, USAGE, end_user="ada") == {"own-call", "other-call"}
    assert _calls(client, USAGE, end_user=_stored_of("other-call") or "") == {"other-call"}
