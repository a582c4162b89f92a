"""What API tokens change of access is told once a day, in one list for each person (ruling C10)."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.models import CusMembership, CusTenant, CusTokenChange, CusUser
from integrations.cus_accounts.token_digest import forget_told_changes, mail_token_digests
from integrations.cus_accounts.token_rights import TokenRights
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_mail.models import CusMail
from integrations.cus_mail.service import queue_mail
from tests.cus_factories import make_tenant, make_user, sent_mails, sent_notices, signed_in

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def _program(user: CusUser) -> Client:
    rights = TokenRights(may_change_access=True)
    _, text = CusTokenService(user).issue(name="rotator", now=timezone.now(), rights=rights)
    return Client(headers={"Authorization": f"Bearer {text}"})


def _issue_key(client: Client, integration: CusIntegration, label: str = "x") -> Any:
    url = f"/api/v1/cus/integrations/{integration.id}/keys"
    answer = client.post(url, {"label": label}, content_type="application/json")
    assert answer.status_code == 201
    return answer.json()


def _tomorrow() -> datetime:
    return timezone.now() + DAY


def test_what_a_token_changes_is_not_mailed_at_once(
    admin: CusUser, integration: CusIntegration
) -> None:
    _issue_key(_program(admin), integration)

    assert mail_token_digests(now=timezone.now().replace(hour=23)) == 0
    assert sent_notices() + sent_mails() == []


def test_the_next_day_one_mail_lists_all_of_it_with_the_token_and_no_secret(
    admin: CusUser, integration: CusIntegration
) -> None:
    client = _program(admin)
    keys = [_issue_key(client, integration, label) for label in ("one", "two")]

    assert mail_token_digests(now=_tomorrow()) == 1

    (mail,) = sent_mails()
    assert (mail.to, mail.subject) == (
        [admin.email],
        "Access changed with API tokens: 2 changes",
    )
    text = str(mail.body)
    assert text.count("- ") == 2
    for key in keys:
        assert key["hint"] in text
        assert key["key"] not in text
    assert f"by {admin.email} with token rotator (…" in text
    assert "change your password" in text


def test_a_session_is_still_told_at_once(admin: CusUser, integration: CusIntegration) -> None:
    _issue_key(signed_in(admin), integration)

    assert [mail.subject for mail in sent_notices()] == ["Access changed: an SDK key was issued"]
    assert not CusTokenChange.objects.exists()


def test_no_change_is_told_twice(admin: CusUser, integration: CusIntegration) -> None:
    _issue_key(_program(admin), integration)

    counts = [mail_token_digests(now=_tomorrow() + hours) for hours in (DAY * 0, DAY * 0, DAY)]

    assert counts == [1, 0, 0]
    assert CusMail.objects.count() == 1


def test_a_missed_day_is_made_up_for(admin: CusUser, integration: CusIntegration) -> None:
    _issue_key(_program(admin), integration)

    assert mail_token_digests(now=timezone.now() + DAY * 5) == 1


def test_the_person_whose_access_it_is_gets_a_list_of_their_own(
    admin: CusUser, tenant: CusTenant, integration: CusIntegration
) -> None:
    member, client = make_user("member", tenant), _program(admin)
    _issue_key(client, integration)
    client.patch(
        f"/api/v1/cus/members/{CusMembership.objects.get(user=member).pk}",
        {"role": "admin"},
        content_type="application/json",
    )

    mail_token_digests(now=_tomorrow())

    told = {mail.to[0]: str(mail.body) for mail in sent_mails()}
    assert set(told) == {admin.email, member.email}
    assert "an SDK key was issued" in told[admin.email]
    assert "an SDK key was issued" not in told[member.email]
    assert "another role" in told[member.email]


def test_people_of_another_tenant_hear_nothing(admin: CusUser, integration: CusIntegration) -> None:
    make_user("admin", make_tenant())
    _issue_key(_program(admin), integration)

    mail_token_digests(now=_tomorrow())

    assert [mail.to for mail in sent_mails()] == [[admin.email]]


def test_a_refused_change_is_in_no_list(admin: CusUser, integration: CusIntegration) -> None:
    _, text = CusTokenService(admin).issue(name="no right", now=timezone.now())

    refused = Client(headers={"Authorization": f"Bearer {text}"}).post(
        f"/api/v1/cus/integrations/{integration.id}/keys", {}, content_type="application/json"
    )

    assert refused.status_code == 403
    assert mail_token_digests(now=_tomorrow()) == 0


def test_a_list_beyond_the_limit_of_mails_waits_for_the_next_day(
    admin: CusUser, integration: CusIntegration, settings: Settings
) -> None:
    _issue_key(_program(admin), integration)
    queue_mail(to=admin.email, template="token_digest", context={})
    settings.CUS_MAILS_PER_ADDRESS_HOUR = 1

    assert mail_token_digests(now=_tomorrow()) == 0
    settings.CUS_MAILS_PER_ADDRESS_HOUR = 60
    assert mail_token_digests(now=_tomorrow() + DAY) == 1


def _changes(user: CusUser, tenant: CusTenant, count: int, label: str = "x") -> None:
    """So many changes that the person's token made."""
    token, _ = CusTokenService(user).issue(name="rotator", now=timezone.now())
    for _ in range(count):
        entry = CusAuditEntry.objects.create(
            tenant=tenant,
            actor=user,
            actor_label=user.email,
            action="sdk_key.issued",
            object_type="SDK key",
            object_id="1",
            object_label=label,
        )
        CusTokenChange.objects.create(entry=entry, person=user, token=token)


def test_a_long_list_is_cut_and_says_so(admin: CusUser, tenant: CusTenant) -> None:
    _changes(admin, tenant, 203)

    mail_token_digests(now=_tomorrow())

    (mail,) = sent_mails()
    assert "203 changes" in mail.subject
    assert str(mail.body).count("\n- ") == 200
    assert "And 3 more, in the audit trail." in str(mail.body)


def test_a_chosen_name_makes_no_line_of_its_own(admin: CusUser, tenant: CusTenant) -> None:
    _changes(admin, tenant, 1, label="x\n- 2026-01-01 all is well")

    mail_token_digests(now=_tomorrow())

    assert str(sent_mails()[0].body).count("\n- ") == 1


def test_what_was_told_is_forgotten_after_thirty_days_and_what_waits_is_not(
    admin: CusUser, tenant: CusTenant
) -> None:
    _changes(admin, tenant, 1)
    forget_told_changes(now=timezone.now() + DAY * 40)
    assert CusTokenChange.objects.count() == 1

    mail_token_digests(now=_tomorrow())
    forget_told_changes(now=timezone.now() + DAY * 30)
    assert CusTokenChange.objects.count() == 1
    forget_told_changes(now=timezone.now() + DAY * 32)

    assert not CusTokenChange.objects.exists()
    assert CusAuditEntry.objects.exists()
