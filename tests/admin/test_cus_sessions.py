"""Where people are signed in: shown to them, and ended by them or for them (ruling C10)."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from integrations.cus_accounts.browsers import browser_of
from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_accounts.proof import Factor
from integrations.cus_accounts.second_factor_service import CusSecondFactorService
from integrations.cus_accounts.session_models import CusSession
from integrations.cus_accounts.token_rights import TokenRights
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_audit.models import CusAuditEntry
from integrations.tasks import cus_clear_sessions
from tests.cus_factories import make_tenant, make_user, sent_notices, signed_in
from tests.cus_proofs import prove

pytestmark = pytest.mark.django_db

PAGE = "/admin/sessions/"
PEOPLE = "/admin/integrations/cususer/"
MEMBERS = "/admin/integrations/cusmembership/"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:142.0) Gecko/20100101 Firefox/142.0"
PASSWORD = "correct horse"


def _sign_in(user: CusUser, agent: str = FIREFOX, address: str = "192.0.2.7") -> Client:
    """A browser in which the person has signed in by the form."""
    client = Client(headers={"User-Agent": agent}, REMOTE_ADDR=address)
    answer = client.post("/admin/login/", {"username": user.email, "password": PASSWORD})
    assert answer.status_code == 302
    return client


def _row(client: Client) -> CusSession:
    return CusSession.objects.get(id=client.session["cus_session"])


def _is_in(client: Client) -> bool:
    page, api = client.get("/admin/"), client.get("/api/v1/cus/tokens")
    assert (page.status_code == 200) == (api.status_code == 200)
    return page.status_code == 200


def test_a_person_sees_where_they_are_signed_in_and_which_session_is_this(admin: CusUser) -> None:
    here = _sign_in(admin)
    there = _sign_in(admin, "curl/8", "2001:db8::5")

    page = here.get(PAGE)

    rows = {row[1]: row for row in page.context["sessions"]["rows"]}
    assert rows["192.0.2.7"][0] == "Firefox on Windows"
    assert rows["192.0.2.7"][4] == "This session"
    assert rows["2001:db8::5"][0] == "Unknown browser"
    assert f"{_row(there).id}/end/" in rows["2001:db8::5"][4]
    html = page.content.decode()
    assert "Firefox on Windows" in html
    assert "End all other sessions" in html


def test_a_person_sees_the_tokens_that_are_alive_and_what_each_may(admin: CusUser) -> None:
    service, now = CusTokenService(admin), timezone.now()
    rights = TokenRights(read_only=True, address_ranges=["192.0.2.0/24"])
    token, text = service.issue(name="nightly", now=now, rights=rights)
    ended, _ = service.issue(name="ended", now=now)
    service.revoke(ended, now=now)

    page = signed_in(admin).get(PAGE)

    (row,) = page.context["tokens"]["rows"]
    assert row[1:3] == [f"…{token.hint}", "Read only; from 192.0.2.0/24"]
    html = page.content.decode()
    assert "nightly" in html
    assert f"{token.id}/revoke/" in html
    assert text not in html


@pytest.mark.parametrize("role", ["operator", "support", "admin", "member", "nobody"])
def test_the_page_is_everybodys_and_shows_only_what_is_ones_own(
    role: str, tenant: CusTenant
) -> None:
    colleague = make_user("admin", tenant)
    _sign_in(colleague, address="203.0.113.77")
    CusTokenService(colleague).issue(name="private name", now=timezone.now())
    user = make_user(role, tenant if role in ("admin", "member") else None)

    page = signed_in(user).get(PAGE)

    assert page.status_code == 200
    assert "This session" in page.content.decode()
    assert "203.0.113.77" not in page.content.decode()
    assert "private name" not in page.content.decode()


def test_nobody_is_led_to_the_login_and_none_but_get_is_taken(admin: CusUser) -> None:
    assert Client().get(PAGE)["Location"].startswith("/admin/login/")
    assert signed_in(admin).post(PAGE).status_code == 405


def test_it_stands_below_the_persons_name(admin: CusUser) -> None:
    assert f'href="{PAGE}"' in signed_in(admin).get("/admin/").content.decode()


def test_an_ended_session_is_out_at_once_on_record_and_told(admin: CusUser) -> None:
    here, there, third = (_sign_in(admin) for _ in range(3))
    url = f"{PAGE}{_row(there).id}/end/"
    key = there.session.session_key

    asked = here.get(url)
    assert "has to sign in again" in asked.content.decode()
    assert _is_in(there)
    ended = here.post(url, follow=True)

    assert "The session has ended." in ended.content.decode()
    assert not Session.objects.filter(session_key=key).exists()
    assert [_is_in(client) for client in (here, there, third)] == [True, False, True]
    entry = CusAuditEntry.objects.get(action="person.sessions_ended")
    assert (entry.actor, entry.tenant) == (admin, admin.membership.tenant)
    assert entry.changes == {"sessions": "Firefox on Windows at 192.0.2.7"}
    assert [mail.subject for mail in sent_notices()] == ["Access changed: sessions were ended"]


def test_all_others_end_and_this_one_stays(admin: CusUser) -> None:
    here, *others = (_sign_in(admin) for _ in range(3))
    stranger = _sign_in(make_user("member", make_tenant()))

    assert here.get(f"{PAGE}end-others/").status_code == 200
    assert all(_is_in(client) for client in others)
    here.post(f"{PAGE}end-others/")

    assert [_is_in(client) for client in (here, stranger, *others)] == [True, True, False, False]
    assert "End all other sessions" not in here.get(PAGE).content.decode()


def test_ending_nothing_is_not_on_record(admin: CusUser) -> None:
    signed_in(admin).post(f"{PAGE}end-others/")

    assert not CusAuditEntry.objects.filter(action="person.sessions_ended").exists()


def test_a_session_of_somebody_else_can_not_be_ended(admin: CusUser, tenant: CusTenant) -> None:
    there = _sign_in(admin)
    url = f"{PAGE}{_row(there).id}/end/"

    for other in (
        make_user("admin", tenant),
        make_user("operator"),
        make_user("admin", make_tenant()),
    ):
        client = signed_in(other)
        assert client.get(url).status_code == client.post(url).status_code == 404
    assert _is_in(there)


def test_a_link_that_somebody_sends_ends_nothing(admin: CusUser) -> None:
    here, there = _sign_in(admin), _sign_in(admin)
    here.handler.enforce_csrf_checks = True

    for url in (f"{PAGE}end-others/", f"{PAGE}{_row(there).id}/end/"):
        assert here.post(url).status_code == 403
    assert _is_in(there)


def test_an_ended_session_stays_ended_if_a_request_under_way_brings_its_row_back(
    admin: CusUser,
) -> None:
    here, there = _sign_in(admin), _sign_in(admin)
    kept = Session.objects.get(session_key=there.session.session_key)

    here.post(f"{PAGE}end-others/")
    Session.objects.create(
        session_key=kept.session_key,
        session_data=kept.session_data,
        expire_date=kept.expire_date,
    )

    assert not _is_in(there)


def test_a_session_whose_key_changed_is_the_same_session_and_ends(admin: CusUser) -> None:
    here, there = _sign_in(admin), _sign_in(admin)
    row = _row(there)
    prove(there, Factor.PASSWORD, at=timezone.now() - timedelta(hours=1))

    before = there.session.session_key
    there.post("/admin/prove/", {"password": PASSWORD})
    key = there.session.session_key
    assert key != before
    here.post(f"{PAGE}{row.id}/end/")

    assert not Session.objects.filter(session_key=key).exists()
    assert not _is_in(there)


def test_who_signs_out_is_shown_no_more(admin: CusUser) -> None:
    here, there = _sign_in(admin), _sign_in(admin)

    there.post("/admin/logout/")

    assert len(here.get(PAGE).context["sessions"]["rows"]) == 1


def test_signing_in_again_in_one_browser_is_one_session(admin: CusUser) -> None:
    client = _sign_in(admin)
    client.post("/admin/login/", {"username": admin.email, "password": PASSWORD})

    assert len(client.get(PAGE).context["sessions"]["rows"]) == 1


def test_another_person_in_the_same_browser_has_a_session_of_their_own(
    admin: CusUser, tenant: CusTenant
) -> None:
    client, other = _sign_in(admin), make_user("member", tenant)
    client.force_login(other)

    assert _is_in(client)
    assert _row(client).user == other


def test_a_session_from_before_the_release_works_and_appears_when_it_is_seen(
    admin: CusUser,
) -> None:
    client = signed_in(admin, headers={"User-Agent": FIREFOX})
    session = client.session
    del session["cus_session"]
    session.save()
    CusSession.objects.all().delete()

    page = client.get(PAGE)

    (row,) = page.context["sessions"]["rows"]
    assert row[0] == "Firefox on Windows"
    assert row[2] == "Before this was kept"
    assert row[4] == "This session"
    client.get(PAGE)
    assert CusSession.objects.count() == 1


def test_last_seen_is_written_every_five_minutes_at_most(admin: CusUser) -> None:
    client = _sign_in(admin)
    first = _row(client).last_seen_at
    client.get("/admin/")
    assert _row(client).last_seen_at == first

    CusSession.objects.update(last_seen_at=first - timedelta(minutes=6))
    client.get("/admin/", REMOTE_ADDR="192.0.2.99")

    row = _row(client)
    assert row.last_seen_at > first - timedelta(minutes=1)
    assert row.address == "192.0.2.99"


def test_the_table_opens_no_session(admin: CusUser) -> None:
    client = _sign_in(admin)

    row = CusSession.objects.filter(id=_row(client).id).values().get()

    key = client.session.session_key
    assert key
    assert key not in str(row)


def test_sessions_that_are_over_are_not_shown_and_later_forgotten(admin: CusUser) -> None:
    here, there, third = (_sign_in(admin) for _ in range(3))
    now = timezone.now()
    CusSession.objects.filter(id=_row(there).id).update(expires_at=now - timedelta(hours=1))
    CusSession.objects.filter(id=_row(third).id).update(ended_at=now - timedelta(hours=25))
    assert len(here.get(PAGE).context["sessions"]["rows"]) == 1

    cus_clear_sessions()

    kept = set(CusSession.objects.values_list("id", flat=True))
    assert kept == {_row(here).id, _row(there).id}


def _change_password(client: Client, _user: CusUser) -> None:
    new = {"new_password1": "a long horse 77", "new_password2": "a long horse 77"}
    answer = client.post("/admin/password_change/", {"old_password": PASSWORD} | new)
    assert answer.status_code == 302


def _set_up_second_factor(_client: Client, user: CusUser) -> None:
    from django_otp.oath import totp

    service = CusSecondFactorService(user)
    device = service.begin()
    assert service.confirm(device, f"{totp(device.bin_key):06d}")


@pytest.mark.parametrize("change", [_change_password, _set_up_second_factor])
def test_other_sessions_end_with_the_password_and_the_factor(admin: CusUser, change: Any) -> None:
    here, there = _sign_in(admin), _sign_in(admin)
    row = _row(there)

    change(here, admin)

    assert not _is_in(there)
    row.refresh_from_db()
    assert row.ended_at


def test_who_changes_their_password_stays_signed_in(admin: CusUser) -> None:
    here = _sign_in(admin)

    _change_password(here, admin)

    assert _is_in(here)
    assert len(here.get(PAGE).context["sessions"]["rows"]) == 1


def test_an_operator_ends_the_sessions_of_anybody(admin: CusUser) -> None:
    operator, theirs = make_user("operator"), [_sign_in(admin), _sign_in(admin)]

    page = signed_in(operator).post(f"{PEOPLE}{admin.pk}/end_sessions/", follow=True)

    assert "signed out everywhere" in page.content.decode()
    assert not any(_is_in(client) for client in theirs)
    assert CusAuditEntry.objects.get(action="person.sessions_ended").actor == operator
    assert {mail.to[0] for mail in sent_notices()} == {admin.email, operator.email}


def test_an_operator_who_ends_their_own_stays_here() -> None:
    operator = make_user("operator")
    here, there = _sign_in(operator), _sign_in(operator)

    here.post(f"{PEOPLE}{operator.pk}/end_sessions/")

    assert [_is_in(here), _is_in(there)] == [True, False]


def test_an_admin_ends_the_sessions_of_the_tenants_people_and_of_nobody_else(
    admin: CusUser, tenant: CusTenant
) -> None:
    member, stranger = make_user("member", tenant), make_user("member", make_tenant())
    clients = [_sign_in(member), _sign_in(stranger)]

    for person in (member, stranger):
        row = CusMembership.objects.get(user=person)
        signed_in(admin).post(f"{MEMBERS}{row.pk}/end_sessions/")

    assert [_is_in(client) for client in clients] == [False, True]


def test_an_invitation_has_no_sessions_to_end(admin: CusUser, tenant: CusTenant) -> None:
    invited = CusMembership.objects.create(
        tenant=tenant, invited_email="ada@example.com", role="member"
    )
    joined = CusMembership.objects.get(user=admin)
    client = signed_in(admin)

    for row, is_offered in ((invited, False), (joined, True)):
        page = client.get(f"{MEMBERS}{row.pk}/change/").content.decode()
        assert (f"{row.pk}/end_sessions/" in page) == is_offered


def test_a_person_who_was_let_in_again_signs_in_anew(admin: CusUser) -> None:
    theirs, operator = _sign_in(admin), signed_in(make_user("operator"))

    operator.post(f"{PEOPLE}{admin.pk}/deactivate/")
    operator.post(f"{PEOPLE}{admin.pk}/reactivate/")

    assert not _is_in(theirs)
    assert _is_in(_sign_in(admin))


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        (FIREFOX, "Firefox on Windows"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.5 Safari/605.1.15",
            "Safari on macOS",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/139.0.0.0 Safari/537.36",
            "Chrome on Linux",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
            "Gecko) CriOS/139.0 Mobile/15E148 Safari/604.1",
            "Chrome on iPhone",
        ),
        ("", "Unknown browser"),
        ("<script>alert(1)</script>" * 100, "Unknown browser"),
    ],
)
def test_a_browser_is_named_in_a_few_words(agent: str, shown: str) -> None:
    assert browser_of(agent) == shown
