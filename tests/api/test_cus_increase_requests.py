"""Increases on request: a member asks, another person decides, and what is approved ends itself."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from integrations.cus_accounts.models import CusMembership, CusUser
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_increases.models import CusIncreaseRequest
from integrations.cus_increases.service import CusIncreaseService, RequestLapsed, Which
from integrations.cus_lifecycle.limits import LIMITS
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.service import CusLimitService, integration_of
from integrations.cus_tenancy.member_service import CusMemberService
from tests.cus_factories import (
    as_written,
    make_integration,
    make_tenant,
    make_user,
    sent_mails,
    signed_in,
)

pytestmark = pytest.mark.django_db
URL = "/api/v1/cus/increase-requests"
NOW = datetime.now(UTC)
UNTIL = "2099-01-01T00:00:00Z"


@pytest.fixture
def member(integration: CusIntegration) -> CusUser:
    return make_user("member", integration.tenant)


@pytest.fixture
def admin(integration: CusIntegration) -> CusUser:
    return make_user("admin", integration.tenant)


@pytest.fixture
def limit(integration: CusIntegration) -> CusScopedLimit:
    return _limit(integration)


def _limit(integration: CusIntegration, **fields: Any) -> CusScopedLimit:
    values: dict[str, Any] = {"scope": "agent_id", "unit": "cents", "window": "day", "amount": 500}
    return CusLimitService(integration).create(now=NOW, **values | fields)


def _post(who: CusUser | Client, url: str, body: dict[str, Any] | None = None) -> Any:
    client = who if isinstance(who, Client) else signed_in(who)
    return client.post(url, body or {}, content_type="application/json")


def _ask(who: CusUser, **fields: Any) -> Any:
    body = {"amount": 900, "valid_until": UNTIL, "reason": "The launch."} | fields
    return _post(who, URL, body)


def _withdraw(who: CusUser, asked: dict[str, Any]) -> Any:
    return _post(who, f"{URL}/{asked['id']}/withdraw")


def _asked(who: CusUser, **fields: Any) -> dict[str, Any]:
    answer = _ask(who, **fields)
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    return made


def _approve(who: CusUser, request: dict[str, Any]) -> Any:
    return _post(who, f"{URL}/{request['id']}/approve")


def _refuse(who: CusUser, request: dict[str, Any], reason: str = "Too dear.") -> Any:
    return _post(who, f"{URL}/{request['id']}/refuse", {"reason": reason})


def test_what_another_person_approves_is_a_limit_that_ends_by_itself(
    integration: CusIntegration, limit: CusScopedLimit, member: CusUser, admin: CusUser
) -> None:
    asked = _asked(member, limit_id=str(limit.id), value="crawler")
    assert (asked["state"], asked["present_amount"], asked["amount"]) == ("open", 500, 900)
    assert (asked["asked_by"], asked["decided_by"]) == (member.email, None)
    version = CusIntegration.objects.get(id=integration.id).config_version

    answer = _approve(admin, asked)

    assert answer.status_code == 200
    approved = answer.json()
    assert (approved["state"], approved["decided_by"]) == ("approved", admin.email)
    made = CusScopedLimit.objects.get(id=approved["made_limit_id"])
    assert (made.scope, made.value, made.unit, made.window) == (
        "agent_id",
        "crawler",
        "cents",
        "day",
    )
    assert made.amount == 900
    assert made.valid_until == datetime(2099, 1, 1, tzinfo=UTC)
    assert made.created_by == admin
    assert made.reason == f"Asked for by {member.email}: The launch."
    assert CusIntegration.objects.get(id=integration.id).config_version == version + 1
    limit.refresh_from_db()
    assert (limit.amount, limit.valid_until) == (500, None)


def test_an_increase_counts_and_refuses_as_the_limit_that_it_stands_in_for(
    integration: CusIntegration, member: CusUser, admin: CusUser
) -> None:
    fields = {"result": "throttled", "basis": "exact", "warning_percent": 60}
    limit = _limit(integration, scope="tag", tag="team", value="search", **fields)
    approved = _approve(admin, _asked(member, limit_id=str(limit.id))).json()
    made = CusScopedLimit.objects.get(id=approved["made_limit_id"])
    assert (made.tag, made.value) == ("team", "search")
    assert (made.result, made.basis, made.warning_percent) == ("throttled", "exact", 60)


@pytest.mark.parametrize("own", LIMITS, ids=lambda own: own.column)
def test_each_of_the_integrations_own_limits_can_be_asked_for(
    integration: CusIntegration, member: CusUser, admin: CusUser, own: Any
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(
        **{own.column: 500}, budget_basis="exact"
    )
    asked = _asked(member, integration_id=str(integration.id), limit=own.column)
    assert (asked["limit"], asked["limit_id"], asked["value"]) == (own.column, None, None)
    made = CusScopedLimit.objects.get(id=_approve(admin, asked).json()["made_limit_id"])
    assert (made.scope, made.value) == ("integration", "")
    assert (made.unit, made.window, made.basis) == (own.unit, own.window, "exact")
    assert made.result == own.reached.result


def test_a_limit_of_the_tenant_is_raised_over_all_integrations(
    integration: CusIntegration, member: CusUser, admin: CusUser
) -> None:
    limit = _limit(integration, scope="tenant", window="month")
    approved = _approve(admin, _asked(member, limit_id=str(limit.id))).json()
    made = CusScopedLimit.objects.get(id=approved["made_limit_id"])
    assert (made.scope, made.integration_id, made.amount) == ("tenant", None, 900)


@pytest.mark.parametrize(
    ("fields", "attr", "text"),
    [
        ({"amount": 500}, "amount", "The limit is $5.00 now, so this is no increase."),
        ({"amount": 2**31}, "amount", "The most that a limit of cents takes"),
        ({"reason": " "}, "reason", "Say why"),
        ({"valid_until": "2020-01-01T00:00:00Z"}, "valid_until", "must be later"),
        ({"valid_until": None}, "valid_until", "may not be null"),
        ({"limit": "budget_limit_cents"}, "limit", "not both"),
        ({"until": "x"}, "until", "Unknown field"),
        ({"limit_id": "x"}, "limit_id", "valid UUID"),
    ],
)
def test_what_is_no_increase_is_refused_by_its_field(
    limit: CusScopedLimit, member: CusUser, fields: dict[str, Any], attr: str, text: str
) -> None:
    answer = _ask(member, **{"limit_id": str(limit.id)} | fields)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["attr"] == attr
    assert text in error["detail"]
    assert not CusIncreaseRequest.objects.exists()
    assert sent_mails() == []


def test_a_request_names_one_limit_that_is_there(
    integration: CusIntegration, limit: CusScopedLimit, member: CusUser
) -> None:
    whose = {"integration_id": str(integration.id)}
    assert "Name the limit" in str(_ask(member).json())
    assert "Name the limit" in str(_ask(member, **whose).json())
    assert "no such limit" in str(_ask(member, **whose, limit="token_limit_month").json())
    of_one = _limit(integration, value="crawler")
    assert "the same calls" in str(_ask(member, limit_id=str(of_one.id), value="other").json())

    foreign = _limit(make_integration())
    assert _ask(member, limit_id=str(foreign.id)).status_code == 404
    own = {"integration_id": str(foreign.integration_id), "limit": "budget_limit_cents"}
    assert _ask(member, **own).status_code == 404
    CusLimitService(integration).delete(limit.id, now=NOW)
    assert _ask(member, limit_id=str(limit.id)).status_code == 404


def test_nobody_decides_their_own_request(
    limit: CusScopedLimit, member: CusUser, admin: CusUser
) -> None:
    asked = _asked(admin, limit_id=str(limit.id))
    for answer in (_approve(admin, asked), _refuse(admin, asked)):
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "own_request")
    assert CusIncreaseRequest.objects.get().state == "open"
    another = make_user("admin", limit.tenant)
    assert _approve(another, asked).status_code == 200


def test_a_member_asks_and_does_not_decide(limit: CusScopedLimit, member: CusUser) -> None:
    asked = _asked(member, limit_id=str(limit.id))
    other = make_user("member", limit.tenant)
    assert _approve(other, asked).status_code == 403
    assert _refuse(other, asked).status_code == 403


def test_a_request_is_decided_once(limit: CusScopedLimit, member: CusUser, admin: CusUser) -> None:
    asked = _asked(member, limit_id=str(limit.id))
    refused = _refuse(admin, asked).json()
    assert (refused["state"], refused["answer"]) == ("refused", "Too dear.")
    for answer in (_approve(admin, asked), _refuse(admin, asked)):
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "request_decided")
    assert CusScopedLimit.objects.count() == 1
    assert _refuse(admin, _asked(member, limit_id=str(limit.id)), " ").status_code == 400


def test_who_asked_may_withdraw_while_nobody_has_decided(
    limit: CusScopedLimit, member: CusUser, admin: CusUser
) -> None:
    asked = _asked(member, limit_id=str(limit.id))
    for other in (admin, make_user("member", limit.tenant)):
        refused = _withdraw(other, asked)
        assert refused.status_code == 403
        assert refused.json()["errors"][0]["code"] == "not_own_request"
    mails = len(sent_mails())

    withdrawn = _withdraw(member, asked).json()

    assert (withdrawn["state"], withdrawn["decided_by"]) == ("withdrawn", member.email)
    assert CusAuditEntry.objects.filter(action="increase.withdrawn", actor=member).count() == 1
    assert len(sent_mails()) == mails
    for answer in (_approve(admin, asked), _refuse(admin, asked), _withdraw(member, asked)):
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "request_decided")
    assert CusScopedLimit.objects.count() == 1
    listed = signed_in(member).get(URL, {"state": "withdrawn"}).json()["results"]
    assert [one["id"] for one in listed] == [asked["id"]]


def test_what_is_decided_is_not_withdrawn(
    limit: CusScopedLimit, member: CusUser, admin: CusUser
) -> None:
    asked = _asked(member, limit_id=str(limit.id))
    assert _approve(admin, asked).status_code == 200
    assert _withdraw(member, asked).json()["errors"][0]["code"] == "request_decided"
    assert CusIncreaseRequest.objects.get().state == "approved"


def test_a_request_lapses_when_nobody_decided_in_time(
    limit: CusScopedLimit, member: CusUser, admin: CusUser
) -> None:
    asked = _asked(member, limit_id=str(limit.id))
    after = datetime(2099, 1, 1, tzinfo=UTC)
    service = CusIncreaseService(limit.tenant, actor=admin)
    with pytest.raises(RequestLapsed):
        service.approve(uuid.UUID(asked["id"]), now=after)
    assert CusScopedLimit.objects.count() == 1
    assert service.refuse(uuid.UUID(asked["id"]), now=after, answer="Late.").state == "refused"


def test_an_increase_of_what_is_gone_or_as_high_by_now_is_not_made(
    integration: CusIntegration, limit: CusScopedLimit, member: CusUser, admin: CusUser
) -> None:
    asked = _asked(member, limit_id=str(limit.id))
    CusLimitService(integration).change(limit.id, now=NOW, amount=900)
    assert "no increase" in str(_approve(admin, asked).json())
    CusLimitService(integration).delete(limit.id, now=NOW)
    answer = _approve(admin, asked)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "limit_gone")
    assert CusIncreaseRequest.objects.get().state == "open"


def test_admins_are_told_of_a_request_and_the_asker_of_the_decision(
    limit: CusScopedLimit, member: CusUser, admin: CusUser, settings: Settings
) -> None:
    settings.CUS_PUBLIC_URL = "https://aos.example.com"
    asker, other = make_user("admin", limit.tenant), make_user("admin", limit.tenant)
    make_user("admin", make_integration().tenant)
    asked = _asked(asker, limit_id=str(limit.id))
    mails = sent_mails()
    assert sorted(mail.to[0] for mail in mails) == sorted([admin.email, other.email])
    assert mails[0].subject == f"An increase is asked for: {limit.integration}"
    for text in (
        f"{asker.email} asks for $9.00 a day for each agent until 2099-01-01 00:00 UTC.",
        "The limit is $5.00 now.",
        "The launch.",
        f"https://aos.example.com/admin/integrations/cusincreaserequest/{asked['id']}/change/",
    ):
        assert text in mails[0].body

    _refuse(admin, asked)
    mail = sent_mails()[-1]
    assert mail.to == [asker.email]
    assert mail.subject == f"Your increase was refused: {limit.integration}"
    assert f"{admin.email} refused it: Too dear." in mail.body

    _approve(admin, _asked(member, limit_id=str(limit.id)))
    mail = sent_mails()[-1]
    assert mail.to == [member.email]
    assert f"{admin.email} approved it." in mail.body


@pytest.mark.parametrize("belongs_to", ["nobody", "another tenant"])
def test_who_has_left_the_tenant_is_not_told_of_the_decision(
    limit: CusScopedLimit, member: CusUser, admin: CusUser, belongs_to: str
) -> None:
    asked = _asked(member, limit_id=str(limit.id))
    CusMemberService(limit.tenant).remove(CusMembership.objects.get(user=member).id)
    if belongs_to == "another tenant":
        CusMemberService(make_tenant()).add(member, "admin")

    assert _refuse(admin, asked).status_code == 200

    assert member.email not in [address for mail in sent_mails() for address in mail.to]


def test_the_audit_trail_has_the_request_the_decision_and_the_limit(
    limit: CusScopedLimit, member: CusUser, admin: CusUser
) -> None:
    asked = _asked(member, limit_id=str(limit.id))
    approved = _approve(admin, asked).json()
    trail = as_written(CusAuditEntry.objects.filter(object_id=asked["id"]))
    assert [(one.action, one.actor) for one in trail] == [
        ("increase.asked", member),
        ("increase.approved", admin),
    ]
    assert trail[0].changes["amount_cents"] == {"from": None, "to": 900}
    assert trail[1].changes["made_limit_id"] == {"from": None, "to": approved["made_limit_id"]}
    made = CusAuditEntry.objects.get(object_id=approved["made_limit_id"])
    assert (made.action, made.actor) == ("limit.made", admin)


def test_requests_are_listed_by_state_and_integration_and_those_of_others_are_not(
    integration: CusIntegration, limit: CusScopedLimit, member: CusUser, admin: CusUser
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=1)
    first = _asked(member, limit_id=str(limit.id))
    second = _asked(member, integration_id=str(integration.id), limit="budget_limit_cents")
    foreign = _limit(make_integration())
    _asked(make_user("member", foreign.tenant), limit_id=str(foreign.id))
    _approve(admin, first)
    client = signed_in(member)

    def listed(query: str = "") -> list[str]:
        return [one["id"] for one in client.get(f"{URL}?{query}").json()["results"]]

    assert listed() == [second["id"], first["id"]]
    assert listed("state=open") == [second["id"]]
    assert listed(f"integration_id={integration.id}") == [second["id"], first["id"]]
    assert listed(f"integration_id={foreign.integration_id}") == []
    assert client.get(f"{URL}?tenant_id={integration.tenant_id}").status_code == 400
    assert len(signed_in(make_user("support")).get(URL).json()["results"]) == 3


def test_a_foreign_request_answers_as_one_that_is_not_there(
    limit: CusScopedLimit, member: CusUser
) -> None:
    asked = _asked(member, limit_id=str(limit.id))
    stranger = make_user("admin", make_integration().tenant)
    missing = {"id": "00000000-0000-4000-8000-000000000000"}
    for decide in (_approve, _refuse):
        foreign, gone = decide(stranger, asked), decide(stranger, missing)
        assert (foreign.status_code, foreign.content) == (404, gone.content)
    assert CusIncreaseRequest.objects.get().state == "open"


def test_only_open_requests_that_may_still_hold_count_to_the_quota(
    limit: CusScopedLimit, member: CusUser, admin: CusUser, settings: Settings
) -> None:
    settings.CUS_QUOTA_INCREASE_REQUESTS = 1
    asked = _asked(member, limit_id=str(limit.id))
    assert _ask(member, limit_id=str(limit.id)).json()["errors"][0]["code"] == "quota_exceeded"
    _refuse(admin, asked)
    _asked(member, limit_id=str(limit.id))
    CusIncreaseService(limit.tenant).ask(
        integration_of(limit),
        Which(limit=limit),
        now=datetime(2099, 1, 1, tzinfo=UTC),
        amount=900,
        valid_until=datetime(2099, 1, 2, tzinfo=UTC),
        reason="The first has lapsed by now.",
    )
