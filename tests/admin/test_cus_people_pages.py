"""People, tenants and tokens in the console: let in, kept out, on record."""

import re
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

from integrations.cus_accounts.models import CusApiToken, CusMembership, CusTenant, CusUser
from integrations.cus_accounts.proof import Factor
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_audit.models import CusAuditEntry
from tests.cus_factories import make_integration, make_tenant, make_user, sent_mails, signed_in
from tests.cus_proofs import prove

pytestmark = pytest.mark.django_db

A = "/admin/integrations/"
MEMBERS, TENANTS, PEOPLE = f"{A}cusmembership/", f"{A}custenant/", f"{A}cususer/"
TOKENS = f"{A}cusapitoken/"


@pytest.fixture
def operator() -> CusUser:
    return make_user("operator")


def _errors(answer: Any) -> list[str]:
    return list(answer.context["adminform"].form.errors)


def test_a_tenant_admin_invites_and_the_mailed_link_lets_in(
    admin: CusUser, tenant: CusTenant
) -> None:
    client = signed_in(admin)

    assert (
        client.post(
            f"{MEMBERS}add/", {"invited_email": "ada@example.com", "role": "member"}
        ).status_code
        == 302
    )
    assert "Invited" in client.get(MEMBERS).content.decode()
    (link,) = re.findall(r"https?://[^/]+(/admin/password_reset/\S+)", str(sent_mails()[0].body))
    guest = Client()
    form = guest.get(link, follow=True)
    password = {"new_password1": "a long horse 77", "new_password2": "a long horse 77"}
    done = guest.post(form.redirect_chain[-1][0], password, follow=True)

    assert "Your password is set" in done.content.decode()
    assert CusMembership.objects.get(user__email="ada@example.com").tenant == tenant
    answer = guest.post(
        "/admin/login/", {"username": "ada@example.com", "password": "a long horse 77"}
    )
    assert answer.status_code == 302


def test_an_invitation_that_can_not_be_stands_in_the_form(admin: CusUser) -> None:
    client = signed_in(admin)
    member = {"invited_email": "ada@example.com", "role": "member"}
    client.post(f"{MEMBERS}add/", member)

    for wrong in (member, member | {"invited_email": "x"}, member | {"role": "operator"}):
        answer = client.post(f"{MEMBERS}add/", wrong)
        assert answer.status_code == 200
        assert _errors(answer)
    assert CusMembership.objects.filter(user=None).count() == 1


def test_nobody_raises_themselves(tenant: CusTenant, admin: CusUser) -> None:
    member = make_user("member", tenant)
    membership = CusMembership.objects.get(user=member)
    own = CusMembership.objects.get(user=admin)

    assert (
        signed_in(member)
        .post(f"{MEMBERS}{membership.id}/change/", {"role": "admin", "is_superuser": "on"})
        .status_code
        == 403
    )
    assert _errors(signed_in(admin).post(f"{MEMBERS}{own.id}/change/", {"role": "member"}))
    membership.refresh_from_db()
    member.refresh_from_db()
    assert (membership.role, member.is_superuser) == ("member", False)


def test_a_removed_person_keeps_neither_session_nor_token(
    tenant: CusTenant, admin: CusUser
) -> None:
    member = make_user("member", tenant)
    session = signed_in(member)
    _, text = CusTokenService(member).issue(name="x", now=timezone.now())
    membership = CusMembership.objects.get(user=member)

    signed_in(admin).post(f"{MEMBERS}{membership.id}/remove/")

    assert session.get("/admin/").status_code == 302
    assert CusApiToken.objects.get().revoked_at
    # Also if somebody takes them in again.
    CusMembership.objects.create(user=member, tenant=tenant, role="member")
    program = Client(headers={"Authorization": f"Bearer {text}"})
    assert program.get("/api/v1/cus/tokens").status_code == 401


def test_the_last_admin_stays(tenant: CusTenant, admin: CusUser) -> None:
    own = CusMembership.objects.get(user=admin)

    signed_in(admin).post(f"{MEMBERS}{own.id}/remove/")

    assert CusMembership.objects.filter(id=own.id).exists()


def test_an_operator_makes_renames_and_closes_a_tenant(operator: CusUser) -> None:
    client = signed_in(operator)
    client.post(f"{TENANTS}add/", {"name": "Acme"})
    tenant = CusTenant.objects.get(name="Acme")
    assert _errors(client.post(f"{TENANTS}add/", {"name": "Acme"})) == ["name"]

    client.post(f"{TENANTS}{tenant.id}/change/", {"name": "Acme Corp"})
    integration = make_integration(tenant)
    client.post(f"{TENANTS}{tenant.id}/close/")

    tenant.refresh_from_db()
    integration.refresh_from_db()
    assert tenant.name == "Acme Corp"
    assert tenant.closed_at
    assert integration.status == "disabled"
    assert 'name="_save"' not in client.get(f"{TENANTS}{tenant.id}/change/").content.decode()
    actions = CusAuditEntry.objects.filter(tenant=tenant).values_list("action", flat=True)
    assert {"tenant.created", "tenant.renamed", "tenant.closed"} <= set(actions)


def test_a_deactivated_person_is_out_at_once_and_tokens_stay_ended(
    operator: CusUser, admin: CusUser
) -> None:
    session = signed_in(admin)
    _, text = CusTokenService(admin).issue(name="x", now=timezone.now())
    client = signed_in(operator)

    client.post(f"{PEOPLE}{admin.id}/deactivate/")
    assert session.get("/admin/").status_code == 302
    client.post(f"{PEOPLE}{admin.id}/reactivate/")

    admin.refresh_from_db()
    assert admin.is_active
    program = Client(headers={"Authorization": f"Bearer {text}"})
    assert program.get("/api/v1/cus/tokens").status_code == 401
    said = CusAuditEntry.objects.filter(actor=operator).values_list("action", flat=True)
    assert {"person.deactivated", "person.reactivated", "token.revoked"} <= set(said)


@pytest.mark.parametrize(
    "button", ["deactivate", "reset_second_factor", "make_support", "make_operator", "revoke_role"]
)
def test_an_operator_does_not_lock_themselves_out(operator: CusUser, button: str) -> None:
    TOTPDevice.objects.create(user=operator, confirmed=True)
    client = signed_in(operator)
    session = client.session
    session["otp_device_id"] = TOTPDevice.objects.get().persistent_id
    session.save()
    prove(client, Factor.CODE)

    answer = client.post(f"{PEOPLE}{operator.id}/{button}/", follow=True)

    assert "do this to yourself" in str(*answer.context["messages"])
    operator.refresh_from_db()
    assert operator.is_operator
    assert TOTPDevice.objects.exists()


def test_a_reset_second_factor_is_set_up_anew_and_on_record(
    operator: CusUser, admin: CusUser
) -> None:
    TOTPDevice.objects.create(user=admin, confirmed=True)
    client = signed_in(operator)
    assert client.get(PEOPLE).status_code == 200

    client.post(f"{PEOPLE}{admin.id}/reset_second_factor/")

    assert not TOTPDevice.objects.exists()
    entry = CusAuditEntry.objects.get(action="person.second_factor_reset")
    assert (entry.actor, entry.object_label) == (operator, admin.email)


def test_a_second_factor_is_reset_from_the_command_line(admin: CusUser) -> None:
    TOTPDevice.objects.create(user=admin, confirmed=True)

    call_command("cus_reset_second_factor", admin.email.upper())

    assert not TOTPDevice.objects.exists()
    assert CusAuditEntry.objects.get(action="person.second_factor_reset").actor is None
    with pytest.raises(CommandError, match="There is no person"):
        call_command("cus_reset_second_factor", "nobody@example.com")


def test_a_token_is_shown_on_the_page_that_made_it_and_nowhere_else(admin: CusUser) -> None:
    client = signed_in(admin)

    issued = client.post(
        f"{TOKENS}add/", {"name": "nightly", "expires_at_0": "", "expires_at_1": ""}
    )

    assert issued.status_code == 200
    assert "no-store" in issued["Cache-Control"]
    (text,) = re.findall(r"aost_[0-9a-f]{64}", issued.content.decode())
    program = Client(headers={"Authorization": f"Bearer {text}"})
    assert program.get("/api/v1/cus/tokens").status_code == 200
    token = CusApiToken.objects.get()
    for url in (TOKENS, f"{TOKENS}{token.id}/change/", "/admin/", f"{A}cusauditentry/"):
        page = client.get(url).content.decode()
        assert text not in page
        assert token.digest not in page
    assert text not in "".join(f"{cookie}" for cookie in client.cookies.values())


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [({"name": ""}, "name"), ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "__all__")],
)
def test_a_token_that_can_not_be_is_refused_in_the_form(
    admin: CusUser, fields: dict[str, str], wrong: str
) -> None:
    form = {"name": "nightly", "expires_at_0": "", "expires_at_1": ""} | fields

    answer = signed_in(admin).post(f"{TOKENS}add/", form)

    assert _errors(answer) == [wrong]
    assert not CusApiToken.objects.exists()


def test_a_person_revokes_an_own_token_and_an_operator_anybodys(
    operator: CusUser, admin: CusUser
) -> None:
    mine, _ = CusTokenService(admin).issue(name="one", now=timezone.now())
    other, _ = CusTokenService(admin).issue(name="two", now=timezone.now())

    signed_in(admin).post(f"{TOKENS}{mine.id}/revoke/")
    signed_in(operator).post(f"{TOKENS}{other.id}/revoke/")

    assert not CusApiToken.objects.filter(revoked_at=None).exists()
    by = CusAuditEntry.objects.filter(action="token.revoked").values_list("actor", flat=True)
    assert set(by) == {admin.id, operator.id}


def test_a_colleagues_token_is_not_shown(tenant: CusTenant, admin: CusUser) -> None:
    token, _ = CusTokenService(admin).issue(name="private name", now=timezone.now())
    for other in (
        make_user("admin", tenant),
        make_user("support"),
        make_user("member", make_tenant()),
    ):
        client = signed_in(other)
        assert "private name" not in client.get(TOKENS).content.decode()
        assert client.post(f"{TOKENS}{token.id}/revoke/").status_code == 302
    token.refresh_from_db()
    assert token.revoked_at is None


def test_a_forgotten_password_is_mailed_for_and_tells_nobody_who_is_here(admin: CusUser) -> None:
    pages = [
        Client().post("/admin/password_reset/", {"email": email}, follow=True).content.decode()
        for email in (admin.email, "nobody@example.com")
    ]

    assert pages[0] == pages[1]
    assert [message.to for message in sent_mails()] == [[admin.email]]


def test_a_used_link_says_so(admin: CusUser) -> None:
    page = Client().get("/admin/password_reset/x/set-password/")

    assert "has been used or is too old" in page.content.decode()
