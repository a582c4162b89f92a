"""People hear by mail of each change of access: the person who did it, and whose access it is."""

import re
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.access_changes import SENTENCES
from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_keys.service import CusSdkKeyService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_mail.models import CusMail
from tests.cus_factories import make_user, sent_mails, sent_notices, signed_in
from tests.cus_proofs import stale

pytestmark = pytest.mark.django_db

A = "/admin/integrations/"
KEYS = "/api/v1/cus/integrations/{}/keys"
SOURCE = Path(__file__).resolve().parents[2] / "integrations"
_ACTION = re.compile(r"\"((?:sdk_key|token|member|person)\.[a-z_]+)\"")


def _told() -> list[tuple[str, str]]:
    """Each notice: to whom, and of what."""
    return [(mail.to[0], mail.subject.partition(": ")[2]) for mail in sent_notices()]


def test_every_action_has_its_sentence() -> None:
    used = {action for file in SOURCE.glob("*.py") for action in _ACTION.findall(file.read_text())}

    assert used <= set(SENTENCES)


def test_who_issues_a_key_hears_of_it_in_words_that_say_what_to_do(
    admin: CusUser, integration: CusIntegration
) -> None:
    answer = signed_in(admin).post(
        KEYS.format(integration.id), {"label": "x"}, content_type="application/json"
    )

    (mail,) = sent_notices()
    assert (mail.to, mail.subject) == ([admin.email], "Access changed: an SDK key was issued")
    text = str(mail.body)
    assert f"…{answer.json()['hint']}" in text
    assert f"By:   {admin.email}" in text
    assert "change your password" in text
    assert answer.json()["key"] not in text


def test_a_person_hears_what_an_operator_did_about_them(admin: CusUser) -> None:
    operator = make_user("operator")
    CusTokenService(admin).issue(name="x", now=timezone.now())

    signed_in(operator).post(f"{A}cususer/{admin.pk}/deactivate/")

    # One mail each, and none about the token that ended by it.
    what = "a person was deactivated"
    assert sorted(_told()) == sorted([(admin.email, what), (operator.email, what)])


def test_a_member_hears_of_another_role(admin: CusUser, tenant: CusTenant) -> None:
    member = make_user("member", tenant)
    row = CusMembership.objects.get(user=member)

    answer = signed_in(admin).post(f"{A}cusmembership/{row.pk}/change/", {"role": "admin"})

    row.refresh_from_db()
    assert (answer.status_code, row.role) == (302, "admin")
    what = "a member was given another role"
    assert sorted(_told()) == sorted([(admin.email, what), (member.email, what)])


def test_an_invited_address_of_another_tenant_hears_only_of_the_invitation(
    admin: CusUser,
) -> None:
    other = make_user("member", CusTenant.objects.create(name="Another"))

    signed_in(admin).post(
        f"{A}cusmembership/add/", {"invited_email": other.email, "role": "member"}
    )

    assert _told() == [(admin.email, "a person was invited")]
    assert [mail.to for mail in sent_mails()] == [[other.email]]


def test_a_password_set_by_a_mailed_link_is_told(admin: CusUser) -> None:
    guest = Client()
    guest.post("/admin/password_reset/", {"email": admin.email})
    (mail,) = sent_mails()
    (link,) = re.findall(r"https?://[^/]+(/admin/password_reset/\S+)", str(mail.body))
    form = guest.get(link, follow=True).redirect_chain[-1][0]

    guest.post(form, {"new_password1": "a long horse 77", "new_password2": "a long horse 77"})

    assert _told() == [(admin.email, "a password was changed")]


def test_a_mailed_link_is_a_proof_also_in_somebody_elses_session(admin: CusUser) -> None:
    client = stale(make_user("operator"))
    client.post("/admin/password_reset/", {"email": admin.email})
    (link,) = re.findall(r"(/admin/password_reset/\S+/\S+)", str(sent_mails()[0].body))
    form = client.get(link, follow=True).redirect_chain[-1][0]

    client.post(form, {"new_password1": "a long horse 77", "new_password2": "a long horse 77"})

    admin.refresh_from_db()
    assert admin.check_password("a long horse 77")


def test_a_refused_change_is_told_to_nobody(admin: CusUser, integration: CusIntegration) -> None:
    stale(admin).post(KEYS.format(integration.id), {}, content_type="application/json")

    assert not CusMail.objects.exists()


def test_what_the_system_does_is_told_to_nobody(
    admin: CusUser, integration: CusIntegration
) -> None:
    CusSdkKeyService(integration, actor=admin).issue()

    assert not CusMail.objects.exists()


def test_changes_of_limits_are_told_to_nobody(admin: CusUser, integration: CusIntegration) -> None:
    signed_in(admin).patch(
        f"/api/v1/cus/integrations/{integration.id}",
        {"budget_limit_cents": 5},
        content_type="application/json",
    )

    assert not CusMail.objects.exists()


def test_many_notices_of_one_kind_of_change_keep_no_other_away(
    admin: CusUser, integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_MAILS_PER_ADDRESS_HOUR = 1
    client = signed_in(admin)

    for label in ("harmless", "harmless, too"):
        client.post(KEYS.format(integration.id), {"label": label}, content_type="application/json")
    client.post("/api/v1/cus/tokens", {"name": "thief"}, content_type="application/json")

    assert _told() == [
        (admin.email, "an SDK key was issued"),
        (admin.email, "an API token was issued"),
    ]
