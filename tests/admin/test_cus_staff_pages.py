"""Operators and support in the console: who becomes one, who stops being one, who must stay."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone

from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_tenancy.person_service import CusPersonService, LastOperator
from integrations.cus_web.errors import CusError, OperatorsOnly
from tests.cus_factories import as_written, make_user, signed_in

pytestmark = pytest.mark.django_db

PEOPLE = "/admin/integrations/cususer/"


@pytest.fixture
def operator() -> CusUser:
    return make_user("operator")


def _role(person: CusUser) -> str | None:
    return role_of(CusUser.objects.get(id=person.id))


@pytest.mark.parametrize(
    ("button", "role"), [("make_support", "support"), ("make_operator", "operator")]
)
def test_a_member_who_joins_the_staff_leaves_the_tenant(
    button: str, role: str, operator: CusUser, tenant: CusTenant
) -> None:
    person = make_user("admin", tenant)
    session = signed_in(person)
    _, text = CusTokenService(person).issue(name="x", now=timezone.now())
    client = signed_in(operator)

    assert button in client.get(f"{PEOPLE}{person.id}/change/").content.decode()
    client.post(f"{PEOPLE}{person.id}/{button}/")

    assert _role(person) == role
    assert not CusMembership.objects.filter(user=person).exists()
    # What was made with a tenant's rights has not suddenly those over all tenants.
    program = Client(headers={"Authorization": f"Bearer {text}"})
    assert program.get("/api/v1/cus/tokens").status_code == 401
    # The password is theirs still.
    assert session.get("/admin/").status_code == 200
    assert button not in client.get(f"{PEOPLE}{person.id}/change/").content.decode()
    entry = CusAuditEntry.objects.get(action="person.role_changed")
    assert (entry.actor, entry.object_id, entry.tenant) == (operator, str(person.id), None)
    assert entry.changes == {"role": {"from": None, "to": role}}
    left = CusAuditEntry.objects.get(action="member.removed")
    assert (left.actor, left.tenant) == (operator, tenant)


@pytest.mark.parametrize("role", ["operator", "support"])
def test_a_revoked_role_ends_pages_and_tokens_at_once(role: str, operator: CusUser) -> None:
    person = make_user(role)
    session = signed_in(person)
    _, text = CusTokenService(person).issue(name="x", now=timezone.now())

    signed_in(operator).post(f"{PEOPLE}{person.id}/revoke_role/")

    assert _role(person) is None
    assert session.get("/admin/integrations/cusintegration/").status_code == 403
    signed_in(operator).post(f"{PEOPLE}{person.id}/make_support/")
    program = Client(headers={"Authorization": f"Bearer {text}"})
    assert program.get("/api/v1/cus/tokens").status_code == 401
    changes = as_written(CusAuditEntry.objects.filter(action="person.role_changed"))
    assert [one.changes["role"] for one in changes] == [
        {"from": role, "to": None},
        {"from": None, "to": "support"},
    ]


def test_a_role_that_is_held_already_changes_nothing(operator: CusUser) -> None:
    person = make_user("support")
    _, text = CusTokenService(person).issue(name="x", now=timezone.now())

    signed_in(operator).post(f"{PEOPLE}{person.id}/make_support/")

    assert not CusAuditEntry.objects.filter(action="person.role_changed").exists()
    program = Client(headers={"Authorization": f"Bearer {text}"})
    assert program.get("/api/v1/cus/tokens").status_code == 200


_LEAVING: list[Callable[[CusPersonService, CusUser], None]] = [
    lambda service, person: service.change_role(person, None),
    lambda service, person: service.change_role(person, "support"),
    lambda service, person: service.deactivate(person),
]


@pytest.mark.parametrize("leave", _LEAVING)
def test_the_last_operator_stays_whoever_asks(
    leave: Callable[[CusPersonService, CusUser], None], operator: CusUser
) -> None:
    # One who is deactivated runs nothing.
    CusUser.objects.filter(id=make_user("operator").id).update(is_active=False)

    with pytest.raises(LastOperator):
        leave(CusPersonService(), operator)

    assert _role(operator) == "operator"
    other = make_user("operator")
    leave(CusPersonService(actor=other), operator)
    assert _role(operator) != "operator"


@pytest.mark.parametrize("leave", _LEAVING)
def test_who_was_put_out_meanwhile_puts_nobody_out(
    leave: Callable[[CusPersonService, CusUser], None], operator: CusUser
) -> None:
    """Two operators who put each other out at once: the second is none any more."""
    other = make_user("operator")
    begun = CusPersonService(actor=other)
    CusPersonService(actor=operator).change_role(other, None)

    with pytest.raises(OperatorsOnly):
        leave(begun, operator)

    assert _role(operator) == "operator"


@pytest.mark.parametrize("role", ["support", "admin", "member"])
def test_only_operators_give_roles(role: str, tenant: CusTenant) -> None:
    asking = make_user(role, tenant if role != "support" else None)

    with pytest.raises(CusError) as refused:
        CusPersonService(actor=asking).change_role(asking, "operator")

    assert refused.type is OperatorsOnly
    assert _role(asking) == role
