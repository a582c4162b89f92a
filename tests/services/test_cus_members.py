"""Tenants and their people: invitations, roles, removal; tenants learn nothing of each other."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.exceptions import ValidationError
from django.core.mail.message import EmailMessage
from django.db import connections
from django.test import Client
from pytest_django import Settings

from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_tenancy.member_service import CusMemberService
from integrations.cus_tenancy.tenant_service import CusTenantService
from integrations.cus_web.errors import (
    AlreadyMember,
    LastAdmin,
    MailLimitReached,
    MemberNotFound,
    OperatorsOnly,
    OwnRole,
    TenantClosed,
    TenantNameTaken,
)
from tests.cus_factories import make_tenant, make_user, sent_mails, signed_in

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough one 7"


@pytest.fixture
def service(tenant: CusTenant) -> CusMemberService:
    return CusMemberService(tenant, actor=make_user("admin", tenant))


def _link() -> str:
    (path,) = re.findall(r"http://127\.0\.0\.1:8000(/\S+)", str(sent_mails()[-1].body))
    return str(path)


def _set_password(client: Client, link: str) -> Any:
    form = client.get(link, follow=True)
    assert form.status_code == 200
    address = form.redirect_chain[-1][0] if form.redirect_chain else link
    return client.post(address, {"new_password1": PASSWORD, "new_password2": PASSWORD})


def test_who_is_invited_sets_a_password_by_the_mailed_link_and_is_in(
    service: CusMemberService, client: Client
) -> None:
    invited = service.invite(email="new@example.com", role="admin")
    (letter,) = sent_mails()
    assert (letter.to, invited.user) == (["new@example.com"], None)
    person = CusUser.objects.get(email="new@example.com")
    assert role_of(person) is None
    assert not person.has_usable_password()

    assert _set_password(client, _link()).status_code == 302

    assert role_of(person) == "admin"
    answer = client.post("/admin/login/", {"username": person.email, "password": PASSWORD})
    assert answer.status_code == 302
    assert client.get("/admin/integrations/cusintegration/").status_code == 200
    actions = CusAuditEntry.objects.filter(object_id=invited.id).values_list("action", flat=True)
    assert set(actions) == {"member.invited", "member.joined"}


def test_who_forgot_the_password_gets_a_link_and_others_the_same_page(client: Client) -> None:
    person = make_user("operator")
    asked = [
        client.post("/admin/password_reset/", {"email": email}, follow=True)
        for email in (person.email, "unknown@example.com")
    ]

    assert asked[0].status_code == 200
    assert asked[0].redirect_chain == asked[1].redirect_chain
    (letter,) = sent_mails()
    (path,) = re.findall(r"/admin/password_reset/\S+/\S+/", str(letter.body))
    assert _set_password(client, path).status_code == 302
    person.refresh_from_db()
    assert person.check_password(PASSWORD)
    assert role_of(person) == "operator"


def test_a_link_works_once(service: CusMemberService, client: Client) -> None:
    service.invite(email="new@example.com", role="member")
    link = _link()
    _set_password(client, link)

    again = Client().get(link, follow=True)

    assert "new_password1" not in again.content.decode()


def _seen(service: CusMemberService) -> list[tuple[str, str, bool]]:
    return [(row.email, row.role, row.user is None) for row in service.scope()]


@pytest.mark.parametrize("who", ["member", "admin", "operator", "support"])
def test_inviting_somebody_of_elsewhere_looks_as_inviting_somebody_unknown(
    service: CusMemberService, client: Client, who: str
) -> None:
    elsewhere = make_user(who, make_tenant() if who in ("member", "admin") else None)
    role, email = role_of(elsewhere), elsewhere.email

    unknown = service.invite(email="unknown@example.com", role="member")
    known = service.invite(email=email, role="member")

    assert (known.user, known.email) == (unknown.user, email)
    assert {(email, "member", True), ("unknown@example.com", "member", True)} <= set(_seen(service))
    # The person alone is told, and is what they were.
    letter = sent_mails()[-1]
    assert isinstance(letter, EmailMessage)
    assert letter.to == [email]
    assert "invite another address" in letter.body
    assert "/password_reset/" not in letter.body
    assert role_of(CusUser.objects.get(email=email)) == role


def test_of_two_tenants_that_invite_an_address_the_one_whose_link_is_followed_has_it(
    client: Client,
) -> None:
    first, second = make_tenant(), make_tenant()
    CusMemberService(first).invite(email="new@example.com", role="member")
    CusMemberService(second).invite(email="NEW@example.com", role="admin")

    _set_password(client, _link())

    membership = CusMembership.objects.get(user__email="new@example.com")
    assert (membership.tenant, membership.role) == (second, "admin")
    assert [row.user for row in CusMemberService(first).scope()] == [None]


@pytest.mark.parametrize("named", ["", "nonsense", "\0", "other"])
def test_a_link_that_names_no_invitation_of_the_address_joins_nobody(
    service: CusMemberService, client: Client, named: str
) -> None:
    other = service.invite(email="other@example.com", role="admin")
    service.invite(email="new@example.com", role="member")
    path = _link().partition("?")[0]
    query = urlencode({"invitation": str(other.id) if named == "other" else named})

    assert _set_password(client, f"{path}?{query}").status_code == 302

    assert not CusMembership.objects.filter(user__email="new@example.com").exists()


def test_mails_lead_to_us_whatever_host_a_request_names(settings: Settings) -> None:
    settings.ALLOWED_HOSTS, settings.CUS_PUBLIC_URL = ["*"], "https://aos.example.com"
    person = make_user("operator")

    Client(headers={"host": "evil.example.net"}).post(
        "/admin/password_reset/", {"email": person.email}
    )

    body = str(sent_mails()[-1].body)
    assert "https://aos.example.com/admin/password_reset/" in body
    assert "evil" not in body


@pytest.mark.parametrize("email", ["", "nobody", "a@b", "x" * 250 + "@example.com"])
def test_what_is_no_address_is_refused(service: CusMemberService, email: str) -> None:
    with pytest.raises(ValidationError) as refused:
        service.invite(email=email, role="member")

    assert list(refused.value.message_dict) == ["invited_email"]
    assert not sent_mails()


def test_an_address_is_invited_once(service: CusMemberService) -> None:
    assert service.actor
    service.invite(email="new@example.com", role="member")

    for email in ("New@Example.com", service.actor.email.upper()):
        with pytest.raises(AlreadyMember):
            service.invite(email=email, role="member")


def test_an_invitation_beyond_the_limit_of_mails_is_none(
    service: CusMemberService, settings: Settings
) -> None:
    settings.CUS_MAILS_PER_TENANT_DAY = 1
    service.invite(email="first@example.com", role="member")

    with pytest.raises(MailLimitReached, match="limit of 1 a day"):
        service.invite(email="new@example.com", role="member")

    assert not CusMembership.objects.filter(invited_email="new@example.com").exists()
    assert not CusUser.objects.filter(email="new@example.com").exists()


def test_who_is_removed_has_no_role_no_session_and_no_password(
    service: CusMemberService, tenant: CusTenant
) -> None:
    person = make_user("member", tenant)
    client = signed_in(person)
    assert client.get("/api/v1/cus/integrations").status_code == 200

    service.remove(CusMembership.objects.get(user=person).id)

    assert client.get("/api/v1/cus/integrations").status_code == 401
    person.refresh_from_db()
    assert (role_of(person), person.has_usable_password()) == (None, False)
    assert CusAuditEntry.objects.filter(action="member.removed", actor=service.actor).exists()


def test_who_was_removed_can_be_invited_by_another_tenant(
    service: CusMemberService, tenant: CusTenant, client: Client
) -> None:
    person = make_user("member", tenant)
    service.remove(CusMembership.objects.get(user=person).id)
    other = make_tenant()

    CusMemberService(other).invite(email=person.email, role="admin")
    _set_password(client, _link())

    assert CusMembership.objects.get(user=person).tenant == other


def test_nobody_changes_their_own_role(service: CusMemberService, tenant: CusTenant) -> None:
    make_user("admin", tenant)
    own = CusMembership.objects.get(user=service.actor)

    with pytest.raises(OwnRole):
        service.change_role(own.id, "member")


def test_a_role_is_changed_and_recorded(service: CusMemberService, tenant: CusTenant) -> None:
    member = CusMembership.objects.get(user=make_user("member", tenant))

    assert service.change_role(member.id, "admin").role == "admin"
    entry = CusAuditEntry.objects.get(action="member.role_changed")
    assert entry.changes == {"role": {"from": "member", "to": "admin"}}
    with pytest.raises(ValidationError):
        service.change_role(member.id, "owner")


def test_the_last_admin_stays_unless_an_operator_says_otherwise(
    service: CusMemberService, tenant: CusTenant
) -> None:
    own = CusMembership.objects.get(user=service.actor)
    service.invite(email="invited@example.com", role="admin")
    with pytest.raises(LastAdmin):
        service.remove(own.id)

    CusMemberService(tenant, actor=make_user("operator")).remove(own.id)

    assert not CusMembership.objects.filter(id=own.id).exists()


def test_another_tenants_people_are_not_there(service: CusMemberService) -> None:
    stranger = CusMembership.objects.get(user=make_user("member", make_tenant()))

    with pytest.raises(MemberNotFound):
        service.remove(stranger.id)
    with pytest.raises(MemberNotFound):
        service.change_role(stranger.id, "admin")
    with pytest.raises(MemberNotFound):
        service.get("nonsense")


def test_only_operators_add_without_an_invitation(service: CusMemberService) -> None:
    with pytest.raises(OperatorsOnly):
        service.add(make_user("nobody"), "admin")


@pytest.mark.django_db(transaction=True)
def test_two_admins_who_remove_each_other_at_once_leave_one() -> None:
    tenant = make_tenant()
    people = [make_user("admin", tenant), make_user("admin", tenant)]
    rows = [CusMembership.objects.get(user=person) for person in people]
    start = threading.Barrier(2)

    def remove(actor: CusUser, target: CusMembership) -> bool:
        try:
            start.wait(30)
            CusMemberService(tenant, actor=actor).remove(target.id)
        except LastAdmin:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(remove, people, reversed(rows)))

    assert sorted(done) == [False, True]
    assert CusMembership.objects.filter(tenant=tenant).count() == 1


def test_only_operators_make_rename_and_close_tenants(tenant: CusTenant) -> None:
    for actor in (make_user("admin", tenant), make_user("support")):
        with pytest.raises(OperatorsOnly):
            CusTenantService(actor=actor)


def test_a_tenants_name_is_its_own(tenant: CusTenant) -> None:
    service, other = CusTenantService(actor=make_user("operator")), make_tenant()

    with pytest.raises(TenantNameTaken):
        service.create(tenant.name)
    with pytest.raises(TenantNameTaken):
        service.rename(other, tenant.name)
    assert service.rename(other, "Another").name == "Another"
    with pytest.raises(ValidationError):
        service.create("  ")


def test_a_closed_tenant_is_closed_for_its_people(tenant: CusTenant) -> None:
    admin, service = make_user("admin", tenant), CusTenantService(actor=make_user("operator"))

    closed_at = service.close(tenant).closed_at

    assert role_of(admin) is None
    assert service.close(tenant).closed_at == closed_at
    for change in (
        lambda: service.rename(tenant, "New"),
        lambda: CusMemberService(tenant).invite(email="new@example.com", role="member"),
    ):
        with pytest.raises(TenantClosed):
            change()
