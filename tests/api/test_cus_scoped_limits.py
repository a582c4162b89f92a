"""Limits at scopes over HTTP: made, read, changed and deleted, and what is refused."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits import uses
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.moments import announce_moments
from integrations.cus_limits.service import CusLimitService, LimitOver
from integrations.cus_limits.uses import Uses
from tests.cus_factories import as_written, make_integration, make_user, signed_in

pytestmark = pytest.mark.django_db
BODY = {
    "scope": "agent_id",
    "value": "crawler",
    "unit": "cents",
    "window": "day",
    "amount": 500,
}
NOW = datetime.now(UTC)
# What is read of a limit beside what was made.
UNUSED = {"live_values": 0, "are_many": False}


@pytest.fixture
def admin(integration: CusIntegration) -> Client:
    return signed_in(make_user("admin", integration.tenant))


def _url(integration: CusIntegration, limit: dict[str, Any] | None = None) -> str:
    of_one = f"/{limit['id']}" if limit else ""
    return f"/api/v1/cus/integrations/{integration.id}/scoped-limits{of_one}"


def _post(admin: Client, integration: CusIntegration, **fields: Any) -> Any:
    body = {name: value for name, value in (BODY | fields).items() if value != "left out"}
    return admin.post(_url(integration), body, content_type="application/json")


def _make(admin: Client, integration: CusIntegration, **fields: Any) -> dict[str, Any]:
    answer = _post(admin, integration, **fields)
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    return made


def _patch(admin: Client, url: str, body: dict[str, Any], etag: str | None = None) -> Any:
    headers = {"If-Match": etag} if etag else {}
    return admin.patch(url, body, content_type="application/json", headers=headers)


def _errors(answer: Any) -> dict[str, str]:
    return {error["attr"]: error["detail"] for error in answer.json()["errors"]}


def _version(integration: CusIntegration) -> int:
    return CusIntegration.objects.get(id=integration.id).config_version


def test_a_change_of_an_integrations_own_limit_says_what_holds_in_its_place(
    admin: Client, integration: CusIntegration
) -> None:
    url = f"/api/v1/cus/integrations/{integration.id}"
    assert _patch(admin, url, {"budget_limit_cents": 500}).json()["stood_in_for"] == []
    until = {"valid_until": "2099-01-01T00:00:00Z", "window": "month", "value": "left out"}
    for amount in (900, 800):
        _make(admin, integration, scope="integration", amount=amount, **until)

    lowered = _patch(admin, url, {"budget_limit_cents": 100}).json()

    assert lowered["stood_in_for"] == [
        "Until 2099-01-01 00:00 UTC $9.00 a month for the integration holds in place of the limit "
        "“monthly budget”, which refuses nothing meanwhile."
    ]
    page = admin.get(f"/admin/integrations/cusintegration/{integration.id}/change/")
    assert lowered["stood_in_for"][0] in page.content.decode()
    # No limit, so nothing holds in its place.
    assert _patch(admin, url, {"budget_limit_cents": 0}).json()["stood_in_for"] == []


def test_an_answer_says_which_temporary_limit_holds_in_place_of_a_permanent_one(
    admin: Client, integration: CusIntegration
) -> None:
    limit = _make(admin, integration, value=None, amount=500)
    url = _url(integration, limit)
    assert limit["stood_in_for"] is None
    until = {"valid_until": "2099-01-01T00:00:00Z"}
    of_one = _make(admin, integration, value="crawler", amount=700, **until)

    assert _patch(admin, url, {"amount": 100}).json()["stood_in_for"] == (
        "Until 2099-01-01 00:00 UTC $7.00 a day for agent crawler holds in place of this limit for "
        "those calls."
    )
    _make(admin, integration, value=None, amount=900, **until)
    larger = _make(admin, integration, value=None, amount=901, **until)
    assert _patch(admin, url, {"amount": 90}).json()["stood_in_for"] == (
        "Until 2099-01-01 00:00 UTC $9.01 a day for each agent holds in place of this limit, which "
        "refuses nothing meanwhile."
    )
    # Of a temporary limit nothing is said, nor because of a disabled one or of another kind.
    assert larger["stood_in_for"] is None
    CusScopedLimit.objects.filter(valid_until__isnull=False).update(enabled=False)
    _make(admin, integration, value=None, amount=9, unit="tokens", **until)
    assert admin.get(url).json()["stood_in_for"] is None
    assert of_one["stood_in_for"] is None


def test_a_limit_is_made_with_what_is_usual_and_read_with_its_etag(
    admin: Client, integration: CusIntegration
) -> None:
    answer = _post(admin, integration)
    made = answer.json()
    assert made | BODY == made
    assert (made["basis"], made["result"]) == ("rounded", "blocked")
    assert (made["warning_percent"], made["enabled"]) == (80, True)
    assert (made["valid_until"], made["tag"], made["reason"]) == (None, "", "")
    assert made["integration_id"] == str(integration.id)

    read = admin.get(_url(integration, made))
    assert read.json() == made | UNUSED
    assert read["ETag"] == answer["ETag"] == '"1"'
    # What holds in a limit's place, and what it counts, is said of each by itself.
    listed = {name: made[name] for name in made.keys() - UNUSED.keys() - {"stood_in_for"}}
    assert admin.get(_url(integration)).json()["results"] == [listed]


@pytest.mark.parametrize(
    ("unit", "window", "result"),
    [
        ("cents", "minute", "blocked"),
        ("cents", "life", "blocked"),
        ("tokens", "minute", "throttled"),
        ("tokens", "month", "blocked"),
        ("calls", "minute", "throttled"),
        ("calls", "week", "throttled"),
        ("calls", "life", "blocked"),
    ],
)
def test_rates_throttle_and_amounts_block_unless_the_body_says_otherwise(
    admin: Client, integration: CusIntegration, unit: str, window: str, result: str
) -> None:
    body = {"scope": "session_id", "unit": unit, "window": window}
    assert _make(admin, integration, **body)["result"] == result
    if window != "life":
        other = "throttled" if result == "blocked" else "blocked"
        assert _make(admin, integration, **body, value="s", result=other)["result"] == other


def test_cents_are_compared_by_the_integrations_basis_unless_the_limit_has_its_own(
    admin: Client, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_basis="exact")
    assert _make(admin, integration)["basis"] == "exact"
    assert _make(admin, integration, value="other", basis="rounded")["basis"] == "rounded"


@pytest.mark.parametrize(
    ("fields", "tag", "value"),
    [
        ({"scope": "model", "value": "gpt-4o"}, "", "gpt-4o"),
        ({"scope": "session_id", "value": None}, "", None),
        ({"scope": "agent_id", "value": "left out"}, "", None),
        ({"scope": "tag", "tag": "team", "value": "search"}, "team", "search"),
        ({"scope": "tag", "tag": "team", "value": None}, "team", None),
        ({"scope": "tag", "value": "team=search=x"}, "team", "search=x"),
        ({"scope": "integration", "value": None}, "", None),
        ({"scope": "tenant", "value": "left out"}, "", None),
    ],
)
def test_a_limit_is_of_one_name_or_of_each(
    admin: Client, integration: CusIntegration, fields: dict[str, Any], tag: str, value: str | None
) -> None:
    made = _make(admin, integration, **fields)
    assert (made["tag"], made["value"]) == (tag, value)


@pytest.mark.parametrize(
    ("fields", "attr", "text"),
    [
        ({"scope": "region"}, "scope", "not a valid choice"),
        ({"scope": "integration", "value": "x"}, "value", "counts all calls"),
        ({"scope": "tag", "value": "search"}, "tag", "Name the tag's key"),
        ({"scope": "tag", "tag": "a=b", "value": "c"}, "tag", "Name the tag's key"),
        ({"scope": "tag", "tag": "k" * 60, "value": "vvvvv"}, "value", "64 characters at most"),
        ({"tag": "team"}, "tag", "Only limits of the scope tag"),
        ({"value": " crawler"}, "value", "begin or end with a space"),
        ({"value": "x" * 101}, "value", "no more than 100 characters"),
        ({"unit": "dollars"}, "unit", "not a valid choice"),
        ({"window": "hour"}, "window", "not a valid choice"),
        ({"window": "life"}, "window", "Only a session has a limit in all"),
        (
            {"scope": "session_id", "window": "life", "result": "throttled"},
            "result",
            "never gets room again",
        ),
        ({"amount": 0}, "amount", "greater than or equal to 1"),
        ({"amount": 2**31}, "amount", "The most that a limit of cents takes is 2,147,483,647."),
        ({"amount": 1.5}, "amount", "valid integer"),
        ({"warning_percent": 101}, "warning_percent", "less than or equal to 100"),
        ({"valid_until": "2020-01-01T00:00:00Z"}, "valid_until", "must be later"),
        (
            {"valid_from": "2099-02-01T00:00:00Z", "valid_until": "2099-01-01T00:00:00Z"},
            "valid_until",
            "must be later",
        ),
        ({"valid_until": "tomorrow"}, "valid_until", "Give a time with its zone"),
        ({"version": 3}, "version", "Unknown field"),
        ({"id": "x"}, "id", "only shown"),
    ],
)
def test_what_can_be_no_limit_is_refused_by_its_field(
    admin: Client, integration: CusIntegration, fields: dict[str, Any], attr: str, text: str
) -> None:
    answer = _post(admin, integration, **fields)
    assert answer.status_code == 400
    errors = _errors(answer)
    assert errors.keys() == {attr}
    assert text in errors[attr]
    assert not CusScopedLimit.objects.exists()


def test_one_permanent_limit_of_a_kind_and_any_number_that_end(
    admin: Client, integration: CusIntegration
) -> None:
    first = _make(admin, integration)
    again = _post(admin, integration, amount=900)
    assert (again.status_code, again.json()["errors"][0]["code"]) == (409, "limit_exists")

    until = {"valid_until": "2099-01-01T00:00:00Z"}
    temporary = [_make(admin, integration, amount=900, **until) for _ in range(2)]
    assert all(one["valid_until"] == "2099-01-01T00:00:00Z" for one in temporary)
    # An end that is taken away makes a second permanent limit of the temporary one.
    lasting = _patch(admin, _url(integration, temporary[0]), {"valid_until": None})
    assert lasting.status_code == 409

    assert admin.delete(_url(integration, first)).status_code == 204
    assert _patch(admin, _url(integration, temporary[0]), {"valid_until": None}).status_code == 200


def test_a_change_needs_the_etag_that_was_read_and_changes_what_it_names(
    admin: Client, integration: CusIntegration
) -> None:
    made = _make(admin, integration)
    url = _url(integration, made)
    changed = _patch(admin, url, {"amount": 700, "enabled": False}, etag='"1"')
    assert changed.status_code == 200
    assert changed["ETag"] == '"2"'
    assert changed.json() | {"updated_at": ""} == made | {
        "amount": 700,
        "enabled": False,
        "updated_at": "",
    }

    late = _patch(admin, url, {"amount": 800}, etag='"1"')
    assert late.status_code == 412
    assert "The limit has changed since you read it" in late.json()["errors"][0]["detail"]
    assert admin.delete(url, headers={"If-Match": '"1"'}).status_code == 412
    assert admin.get(url).json()["amount"] == 700
    # Any version, and without a word of it.
    assert _patch(admin, url, {"amount": 800}, etag="*").status_code == 200
    assert _patch(admin, url, {"amount": 900}).status_code == 200
    # What changes nothing is no change.
    assert _patch(admin, url, {"amount": 900})["ETag"] == '"4"'
    assert admin.delete(url, headers={"If-Match": '"3", "4"'}).status_code == 204


@pytest.mark.parametrize("name", ["scope", "value", "tag", "unit", "window"])
def test_what_a_limit_counts_never_changes(
    admin: Client, integration: CusIntegration, name: str
) -> None:
    made = _make(admin, integration)
    answer = _patch(admin, _url(integration, made), {name: "model"})
    assert answer.status_code == 400
    assert "What a limit counts never changes" in _errors(answer)[name]


def test_a_deleted_limit_is_gone_and_its_row_stays(
    admin: Client, integration: CusIntegration
) -> None:
    made = _make(admin, integration)
    assert admin.delete(_url(integration, made)).status_code == 204
    assert admin.get(_url(integration)).json()["results"] == []
    for answer in (
        admin.get(_url(integration, made)),
        _patch(admin, _url(integration, made), {"amount": 1}),
        admin.delete(_url(integration, made)),
    ):
        assert answer.status_code == 404
    assert CusScopedLimit.objects.get().deleted_at is not None


def test_a_limit_that_ended_can_only_be_deleted(admin: Client, integration: CusIntegration) -> None:
    made = _make(admin, integration, valid_until="2099-01-01T00:00:00Z")
    CusScopedLimit.objects.update(
        valid_from=NOW - timedelta(days=2), valid_until=NOW - timedelta(days=1)
    )
    answer = _patch(admin, _url(integration, made), {"valid_until": None})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "limit_over")
    assert admin.delete(_url(integration, made)).status_code == 204


def test_the_databases_clock_has_the_last_word_on_whether_a_limit_ended(
    admin: Client, integration: CusIntegration
) -> None:
    made = _make(admin, integration, valid_until="2099-01-01T00:00:00Z")
    CusScopedLimit.objects.update(
        valid_from=NOW - timedelta(days=2), valid_until=NOW - timedelta(days=1)
    )
    service = CusLimitService(integration)
    with pytest.raises(LimitOver):
        service.change(uuid.UUID(made["id"]), now=NOW - timedelta(days=2), valid_until=None)


def test_each_change_raises_the_version_of_the_integration_and_of_no_other(
    admin: Client, integration: CusIntegration
) -> None:
    other = make_integration(integration.tenant)
    before = _version(integration), _version(other)
    made = _make(admin, integration)
    _patch(admin, _url(integration, made), {"amount": 1})
    _patch(admin, _url(integration, made), {"amount": 1})
    admin.delete(_url(integration, made))
    assert (_version(integration), _version(other)) == (before[0] + 3, before[1])


def test_a_limit_of_the_tenant_is_seen_at_each_integration_and_raises_all_versions(
    admin: Client, integration: CusIntegration
) -> None:
    other, foreign = make_integration(integration.tenant), make_integration()
    before = _version(integration), _version(other), _version(foreign)
    made = _make(admin, integration, scope="tenant", value=None, window="month")
    assert made["integration_id"] is None
    assert admin.get(_url(other, made)).json() == made | UNUSED
    _patch(admin, _url(other, made), {"amount": 1})
    assert (_version(integration), _version(other), _version(foreign)) == (
        before[0] + 2,
        before[1] + 2,
        before[2],
    )
    operator = signed_in(make_user("operator"))
    assert operator.get(_url(foreign, made)).status_code == 404
    assert admin.delete(_url(other, made)).status_code == 204
    assert admin.get(_url(integration)).json()["results"] == []


def test_limits_of_another_integration_are_not_there(
    admin: Client, integration: CusIntegration
) -> None:
    made = _make(admin, integration)
    sibling = make_integration(integration.tenant)
    assert admin.get(_url(sibling, made)).status_code == 404
    assert admin.get(_url(sibling)).json()["results"] == []
    assert admin.get(_url(integration, {"id": uuid.uuid4()})).status_code == 404


def test_the_audit_trail_has_who_changed_what_from_what_to_what(
    admin: Client, integration: CusIntegration
) -> None:
    made = _make(admin, integration)
    _patch(admin, _url(integration, made), {"amount": 700})
    admin.delete(_url(integration, made))
    trail = list(as_written(CusAuditEntry.objects.filter(object_id=made["id"])))
    assert [one.action for one in trail] == ["limit.made", "limit.changed", "limit.deleted"]
    assert trail[0].changes["value"] == {"from": None, "to": "crawler"}
    assert trail[1].changes == {"amount_cents": {"from": 500, "to": 700}}
    assert trail[1].object_label == "$7.00 a day for agent crawler"
    assert {one.tenant_id for one in trail} == {integration.tenant_id}


def test_where_names_must_not_be_stored_an_end_user_is_named_by_a_pseudonym(
    admin: Client, integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_HASH_END_USERS = True
    made = _make(admin, integration, scope="end_user", value="Zoë")
    assert made["value"].startswith("hmac-sha256:")
    assert "Zoë" not in str(CusAuditEntry.objects.get(object_id=made["id"]).changes)
    # The pseudonym, as usage records show it, names the same person.
    assert _post(admin, integration, scope="end_user", value=made["value"]).status_code == 409


def test_programs_learn_when_a_limit_begins_and_when_it_ends(
    admin: Client, integration: CusIntegration
) -> None:
    begins, ends = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    _make(admin, integration, valid_from=begins.isoformat(), valid_until=ends.isoformat())
    _make(admin, integration, value="lasting")
    seen = _version(integration)
    announced = [
        announce_moments(now=moment)
        for moment in (NOW, begins, begins, ends - timedelta(seconds=1), ends, ends)
    ]
    assert announced == [0, 1, 0, 0, 1, 0]
    assert _version(integration) == seen + 2


def test_a_run_that_was_missed_tells_of_all_that_began_and_ended(
    admin: Client, integration: CusIntegration
) -> None:
    other = make_integration(integration.tenant)
    until = (NOW + timedelta(hours=1)).isoformat()
    _make(admin, integration, scope="tenant", value=None, valid_until=until)
    _make(admin, integration, valid_until=until)
    seen = _version(integration), _version(other)
    assert announce_moments(now=NOW + timedelta(days=1)) == 2
    assert announce_moments(now=NOW + timedelta(days=1)) == 0
    # Once for the tenant's limit, once for the integration's own.
    assert (_version(integration), _version(other)) == (seen[0] + 2, seen[1] + 1)


def test_a_limit_that_was_moved_or_deleted_is_announced_by_its_new_times(
    admin: Client, integration: CusIntegration
) -> None:
    until = (NOW + timedelta(hours=1)).isoformat()
    moved = _make(admin, integration, valid_until=until)
    gone = _make(admin, integration, valid_until=until)
    later = (NOW + timedelta(hours=3)).isoformat()
    _patch(admin, _url(integration, moved), {"valid_until": later})
    admin.delete(_url(integration, gone))
    assert announce_moments(now=NOW + timedelta(hours=2)) == 0
    assert announce_moments(now=NOW + timedelta(hours=3)) == 1


@pytest.mark.parametrize(("values", "are_many"), [(100_000, False), (100_001, True)])
def test_a_limit_that_is_read_tells_how_many_values_are_live(
    admin: Client,
    integration: CusIntegration,
    monkeypatch: pytest.MonkeyPatch,
    values: int,
    are_many: bool,
) -> None:
    made = _make(admin, integration, value=None)
    monkeypatch.setattr(uses, "_readers", [lambda limits, most: {limits[0].id: Uses(values)}])
    read = admin.get(_url(integration, made)).json()
    assert read == made | {"live_values": values, "are_many": are_many}
