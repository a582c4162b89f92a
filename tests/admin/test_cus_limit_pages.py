"""Limits and increases in the console: entered in dollars, shown with their use, decided."""

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_increases.models import CusIncreaseRequest
from integrations.cus_increases.service import CusIncreaseService, Which
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits import uses
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.service import CusLimitService
from integrations.cus_limits.uses import Use, Uses
from telemetry.cus_evidence.models import CusLLMUsage
from tests.admin.cus_console_world import ROLES
from tests.cus_factories import (
    SdkClient,
    browser_of,
    make_integration,
    make_user,
    record,
    signed_in,
)

pytestmark = pytest.mark.django_db
LIMITS = "/admin/integrations/cusscopedlimit/"
INCREASES = "/admin/integrations/cusincreaserequest/"
NOW = datetime.now(UTC)
_TENANTS_OWN = ("admin", "member")


@pytest.fixture
def admin(integration: CusIntegration) -> Client:
    return browser_of("admin", integration.tenant)


def _limit(integration: CusIntegration, **fields: Any) -> CusScopedLimit:
    values: dict[str, Any] = {"scope": "agent_id", "unit": "cents", "window": "day", "amount": 500}
    return CusLimitService(integration).create(now=NOW, **values | fields)


def _entered(of: CusIntegration, **boxes: str) -> dict[str, str]:
    return {
        "integration": str(of.id),
        "scope": "agent_id",
        "value": "crawler",
        "unit": "cents",
        "window": "day",
        "amount": "5.00",
        "warning_percent": "80",
        "enabled": "on",
    } | boxes


def _page(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.status_code
    return str(answer.content.decode())


def _words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


@pytest.fixture
def known_uses() -> Iterator[dict[uuid.UUID, Uses]]:
    """What the pages show as used, where a test says so; facts are read otherwise."""
    known: dict[uuid.UUID, Uses] = {}
    before = list(uses._readers)
    uses.register(lambda limits, most: {
        limit.id: Uses(found.values, found.fullest[:most])
        for limit in limits if (found := known.get(limit.id))
    })  # fmt: skip
    yield known
    uses._readers[:] = before


def test_money_is_entered_in_dollars_and_kept_in_cents(
    admin: Client, integration: CusIntegration
) -> None:
    assert admin.post(f"{LIMITS}add/", _entered(integration)).status_code == 302
    limit = CusScopedLimit.objects.get()
    assert (limit.amount, limit.value, limit.result) == (500, "crawler", "blocked")
    page = _page(admin, f"{LIMITS}{limit.id}/change/")
    assert 'value="5.00"' in page
    assert "$5.00 a day" in _words(page)
    assert "agent crawler" in _words(page)


def test_a_limit_without_a_name_is_of_each_and_one_of_tokens_is_entered_as_a_number(
    admin: Client, integration: CusIntegration
) -> None:
    boxes = {"value": "", "unit": "tokens", "amount": "1000", "window": "minute"}
    assert admin.post(f"{LIMITS}add/", _entered(integration, **boxes)).status_code == 302
    limit = CusScopedLimit.objects.get()
    assert (limit.value, limit.amount, limit.result) == (None, 1_000, "throttled")
    assert "1,000 tokens in 60 seconds" in _words(_page(admin, LIMITS))
    assert "each agent" in _words(_page(admin, LIMITS))


@pytest.mark.parametrize(
    ("boxes", "text"),
    [
        ({"window": "life"}, "Only a session has a limit in all"),
        ({"scope": "tag"}, "Name the tag&#x27;s key"),
        ({"scope": "integration"}, "counts all calls"),
        ({"unit": "calls", "amount": "1.5"}, "Enter a whole number of calls."),
        ({"integration": ""}, "This field is required."),
        ({"amount": "0"}, "greater than or equal to 0.01"),
        ({"valid_until_0": "2020-01-01", "valid_until_1": "00:00:00"}, "must be later"),
    ],
)
def test_a_refused_limit_shows_the_form_with_the_reason(
    admin: Client, integration: CusIntegration, boxes: dict[str, str], text: str
) -> None:
    answer = admin.post(f"{LIMITS}add/", _entered(integration, **boxes))
    assert answer.status_code == 200
    assert text in answer.content.decode()
    assert not CusScopedLimit.objects.exists()


def test_a_change_is_refused_if_another_person_was_quicker(
    admin: Client, integration: CusIntegration
) -> None:
    limit = _limit(integration)
    boxes = {"amount": "6.00", "warning_percent": "80", "enabled": "on", "seen_version": "1"}
    assert admin.post(f"{LIMITS}{limit.id}/change/", boxes).status_code == 302
    late = admin.post(f"{LIMITS}{limit.id}/change/", boxes | {"amount": "7.00"})
    assert "Another person changed this limit" in late.content.decode()
    limit.refresh_from_db()
    assert (limit.amount, limit.result, limit.version) == (600, "blocked", 2)


def test_a_limit_says_when_it_ends_by_itself_and_what_it_is_now(
    admin: Client, integration: CusIntegration
) -> None:
    later = NOW + timedelta(days=1)
    _limit(integration, value="ends", valid_until=datetime(2099, 1, 1, tzinfo=UTC))
    _limit(integration, value="begins", valid_from=later)
    _limit(integration, value="off", enabled=False)
    closed = make_integration(integration.tenant)
    _limit(closed, value="of-closed")
    CusIntegrationService(integration.tenant).delete(closed)
    gone = _limit(integration, value="gone")
    CusLimitService(integration).delete(gone.id, now=NOW)
    words = _words(_page(admin, LIMITS))
    for text in ("ends by itself at 2099-01-01 00:00 UTC", "Yet to begin", "Off", "In force"):
        assert text in words
    deleted = _words(_page(admin, f"{LIMITS}?state=deleted"))
    for name in ("agent gone", "agent of-closed"):
        assert name not in words
        assert name in deleted
    assert "_save" not in _page(admin, f"{LIMITS}{gone.id}/change/")


def test_the_use_of_a_limit_is_a_bar_and_of_a_default_that_of_its_fullest_value(
    admin: Client, integration: CusIntegration, known_uses: dict[uuid.UUID, Uses]
) -> None:
    default, one = _limit(integration), _limit(integration, value="one", unit="tokens", amount=100)
    dollar = 100_000_000
    known_uses[default.id] = Uses(
        12, (Use("crawler", 2 * dollar, dollar, dollar), Use("idle", 0, 0, 0))
    )
    known_uses[one.id] = Uses(1, (Use("one", 40),))

    listed = _words(_page(admin, LIMITS))
    assert "$2.00 used, $1.00 held, $1.00 lent of $5.00" in listed
    assert "crawler" in listed
    assert "12 agents counted now, the fullest first" in listed
    assert "40 used of 100 tokens" in listed
    known_uses[default.id] = Uses(100_001, (Use("crawler", dollar),))
    assert "100,001 agents counted now, the fullest first: more than 100,000" in _words(
        _page(admin, LIMITS)
    )
    known_uses[default.id] = Uses(100_001)
    assert "100,001 agents counted now: more than 100,000" in _words(_page(admin, LIMITS))
    known_uses[default.id] = Uses(
        12, (Use("crawler", 2 * dollar, dollar, dollar), Use("idle", 0, 0, 0))
    )
    page = _page(admin, f"{LIMITS}{default.id}/change/")
    assert 'class="cus-bar-used cus-bar-near" width="400"' in page
    assert "idle" in page


def test_a_list_of_limits_is_read_in_as_many_queries_as_a_list_of_one(
    admin: Client,
    integration: CusIntegration,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        _limit(make_integration(integration.tenant), value=f"agent-{number}")
    with django_assert_max_num_queries(14):
        assert "agent-19" in _page(admin, LIMITS)


@pytest.mark.parametrize("role", ROLES)
def test_each_role_sees_the_limits_of_its_tenants_and_of_no_other(
    role: str, integration: CusIntegration
) -> None:
    _limit(integration, value="own-agent")
    _limit(make_integration(), value="foreign-agent")
    client = browser_of(role, integration.tenant if role in _TENANTS_OWN else None)
    if role == "nobody":
        assert client.get(LIMITS).status_code == 403
        return
    page = _page(client, LIMITS)
    assert "own-agent" in page
    assert ("foreign-agent" in page) == (role not in _TENANTS_OWN)
    assert ("Add limit" in page) == (role in ("operator", "admin"))


def test_the_integration_filter_also_has_the_tenants_limits(
    admin: Client, integration: CusIntegration
) -> None:
    other = make_integration(integration.tenant)
    _limit(integration, value="of-this")
    _limit(other, value="of-other")
    _limit(other, scope="tenant", amount=12_345)
    words = _words(_page(admin, f"{LIMITS}?integration={integration.id}"))
    assert "of-this" in words
    assert "$123.45 a day" in words
    assert "of-other" not in words
    foreign = make_integration()
    assert admin.get(f"{LIMITS}?integration={foreign.id}").status_code == 302


def test_an_integrations_page_lists_its_limits_and_leads_to_the_form(
    admin: Client, integration: CusIntegration
) -> None:
    limit = _limit(integration, value="crawler")
    address = f"/admin/integrations/cusintegration/{integration.id}/tab/overview/"
    page = _page(admin, address)
    assert "$5.00 a day for agent crawler" in page
    assert f"{LIMITS}{limit.id}/change/" in page
    form = _page(admin, f"{LIMITS}add/?integration={integration.id}")
    assert re.search(rf'<option value="{integration.id}"\s+selected', form)
    member = _page(browser_of("member", integration.tenant), address)
    assert "Add a limit" in page
    assert "Add a limit" not in member


def test_a_permanent_address_leads_to_a_limit_for_who_may_see_it(
    integration: CusIntegration, tenant: CusTenant
) -> None:
    limit = _limit(integration)
    link = f"/console/limits/{limit.id}"
    seen = browser_of("member", tenant).get(link)
    assert seen["Location"] == f"{LIMITS}{limit.id}/change/"
    foreign = browser_of("admin", make_integration().tenant)
    missing = foreign.get(f"/console/limits/{uuid.uuid4()}")
    assert foreign.get(link)["Location"].replace(str(limit.id), "") == re.sub(
        "[0-9a-f-]{36}", "", missing["Location"]
    )
    assert Client().get(link)["Location"] == f"/admin/login/?next={link}"


def test_a_calls_record_leads_to_the_limits_that_count_such_calls(
    admin: Client, integration: CusIntegration, sdk: SdkClient
) -> None:
    sdk.report(record(agent_id="crawler", tags=["team=search"]))
    sdk.report(record(call_id="other"))
    mine = [
        _limit(integration),
        _limit(integration, value="crawler"),
        _limit(integration, scope="tag", tag="team", value="search"),
        _limit(make_integration(integration.tenant), scope="tenant"),
    ]
    others = [
        _limit(integration, value="another"),
        _limit(integration, scope="tag", tag="team", value="ads"),
        _limit(integration, scope="session_id"),
    ]
    row = CusLLMUsage.objects.get(agent_id="crawler")
    page = _page(admin, f"/admin/telemetry/cusllmusage/{row.id}/change/")
    assert [f"{LIMITS}{limit.id}/" in page for limit in mine] == [True] * 4
    assert [f"{LIMITS}{limit.id}/" in page for limit in others] == [False] * 3


def test_a_member_asks_in_dollars_and_an_admin_approves_by_a_button(
    admin: Client, integration: CusIntegration
) -> None:
    limit = _limit(integration)
    member = browser_of("member", integration.tenant)
    page = _page(member, f"{LIMITS}{limit.id}/change/")
    ask = f"{INCREASES}add/?which=limit:{limit.id}"
    assert ask in page
    assert re.search(rf'<option value="limit:{limit.id}"\s+selected', _page(member, ask))
    boxes = {
        "which": f"limit:{limit.id}",
        "value": "crawler",
        "amount": "9.00",
        "valid_until_0": "2099-01-01",
        "valid_until_1": "00:00:00",
        "reason": "The launch.",
    }
    assert member.post(f"{INCREASES}add/", boxes).status_code == 302
    request = CusIncreaseRequest.objects.get()
    assert (request.amount, request.value, request.reason) == (900, "crawler", "The launch.")

    assert "The launch." in _page(admin, "/admin/")
    assert "Increases asked for" not in _page(member, "/admin/")
    assert "Approve" not in _page(member, f"{INCREASES}{request.id}/change/")
    assert "Approve" in _page(admin, f"{INCREASES}{request.id}/change/")
    assert admin.post(f"{INCREASES}{request.id}/approve/").status_code == 302
    request.refresh_from_db()
    assert request.made_limit is not None
    decided = _page(admin, f"{INCREASES}{request.id}/change/")
    assert f"{LIMITS}{request.made_limit_id}/change/" in decided
    assert f"{request.id}/approve/" not in decided
    assert "Increases asked for" not in _page(admin, "/admin/")


def _asked_by(member: CusUser, integration: CusIntegration) -> CusIncreaseRequest:
    return CusIncreaseService(integration.tenant, actor=member).ask(
        integration,
        Which(limit=_limit(integration)),
        now=NOW,
        amount=900,
        valid_until=NOW + timedelta(days=1),
        reason="The launch.",
    )


def test_a_refusal_needs_a_reason_and_shows_it(admin: Client, integration: CusIntegration) -> None:
    member = make_user("member", integration.tenant)
    request = _asked_by(member, integration)
    refuse = f"{INCREASES}{request.id}/refuse/"
    assert 'name="text"' in _page(admin, refuse)
    silent = admin.post(refuse, {"text": " "}, follow=True)
    assert "Say why" in silent.content.decode()
    request.refresh_from_db()
    assert request.state == "open"
    admin.post(refuse, {"text": "Too\0 dear."})
    words = _words(_page(signed_in(member), f"{INCREASES}{request.id}/change/"))
    assert "Refused" in words
    assert re.search(r"bg-red-100[^>]*>\s*Refused", _page(admin, INCREASES))
    assert "Too dear." in words


def test_who_asked_withdraws_by_a_button_that_nobody_else_has(
    admin: Client, integration: CusIntegration
) -> None:
    member = make_user("member", integration.tenant)
    request = _asked_by(member, integration)
    page, withdraw = f"{INCREASES}{request.id}/change/", f"{INCREASES}{request.id}/withdraw/"
    other = signed_in(make_user("member", integration.tenant))
    for client in (admin, other):
        assert withdraw not in _page(client, page)
        assert client.post(withdraw).status_code == 403
    own = signed_in(member)
    assert withdraw in _page(own, page)
    assert "The request is withdrawn." in own.post(withdraw, follow=True).content.decode()
    request.refresh_from_db()
    assert (request.state, request.decided_by) == ("withdrawn", member)
    assert withdraw not in _page(own, page)
    assert re.search(r"bg-[a-z]+-100[^>]*>\s*Withdrawn", _page(admin, INCREASES))


def test_a_limits_page_says_what_holds_in_its_place_also_when_it_is_lowered(
    admin: Client, integration: CusIntegration
) -> None:
    limit = _limit(integration)
    page = f"{LIMITS}{limit.id}/change/"
    assert "In its place now" not in _page(admin, page)
    _limit(integration, amount=900, valid_until=datetime(2099, 1, 1, tzinfo=UTC))
    says = (
        "Until 2099-01-01 00:00 UTC $9.00 a day for each agent holds in place of this limit, which "
        "refuses nothing meanwhile."
    )
    assert f"In its place now {says}" in _words(_page(admin, page))

    boxes = {"amount": "1.00", "warning_percent": "80", "enabled": "on", "seen_version": "1"}
    lowered = admin.post(page, boxes, follow=True)

    assert says in _words(lowered.content.decode())


def test_ones_own_request_is_not_approved_by_oneself(integration: CusIntegration) -> None:
    person = make_user("admin", integration.tenant)
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=500)
    client = signed_in(person)
    boxes = {
        "which": f"budget_limit_cents:{integration.id}",
        "amount": "9.00",
        "valid_until_0": "2099-01-01",
        "valid_until_1": "00:00:00",
        "reason": "The launch.",
    }
    client.post(f"{INCREASES}add/", boxes)
    request = CusIncreaseRequest.objects.get()
    answer = client.post(f"{INCREASES}{request.id}/approve/", follow=True)
    assert "You asked for this increase" in answer.content.decode()
    assert not CusScopedLimit.objects.exists()


def test_the_form_offers_no_limits_of_other_tenants(
    admin: Client, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(token_limit_month=7)
    foreign = make_integration(name="foreign-integration", token_limit_month=8)
    limit = _limit(foreign, value="foreign-agent")
    page = _page(admin, f"{INCREASES}add/")
    assert "7 tokens a month" in page
    assert "foreign-" not in page
    for which in (f"limit:{limit.id}", f"token_limit_month:{foreign.id}"):
        boxes = {
            "which": which,
            "amount": "9.00",
            "valid_until_0": "2099-01-01",
            "valid_until_1": "00:00:00",
            "reason": "The launch.",
        }
        answer = admin.post(f"{INCREASES}add/", boxes)
        assert "is not one of the available choices" in answer.content.decode()
    assert not CusIncreaseRequest.objects.exists()
