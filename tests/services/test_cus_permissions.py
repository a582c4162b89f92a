"""What `visible_to` and `tenant_of` say of each role, by themselves."""

import pytest
from django.core.exceptions import PermissionDenied

from integrations.cus_accounts.models import CusTenant
from integrations.cus_accounts.permissions import own_tenant, role_of, shown_tenant, visible_to
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_tenancy.tenant_service import CusTenantService
from tests.cus_factories import make_integration, make_tenant, make_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("role", "seen"),
    [("operator", 2), ("support", 2), ("finance", 2), ("admin", 1), ("member", 1), ("nobody", 0)],
)
def test_each_role_sees_its_rows(role: str, seen: int, tenant: CusTenant) -> None:
    own, _foreign = make_integration(tenant), make_integration(make_tenant())
    user = make_user(role, tenant if role in ("admin", "member") else None)

    rows = visible_to(CusIntegration.objects.all(), user)

    assert rows.count() == seen
    assert own in rows or not seen


@pytest.mark.parametrize("role", ["operator", "support", "finance", "admin", "member"])
def test_staff_are_shown_all_tenants_and_others_their_own(role: str, tenant: CusTenant) -> None:
    is_staff = role not in ("admin", "member")
    user = make_user(role, None if is_staff else tenant)
    assert shown_tenant(user) == (None if is_staff else tenant.id)


def test_who_has_no_role_is_shown_no_tenant_rather_than_all() -> None:
    with pytest.raises(PermissionDenied):
        shown_tenant(make_user("nobody"))


def test_who_was_deactivated_or_whose_tenant_closed_has_no_role(tenant: CusTenant) -> None:
    gone, left = make_user("operator"), make_user("admin", tenant)
    gone.is_active = False
    CusTenantService().close(tenant)

    assert [role_of(who) for who in (gone, left, None, object())] == [None] * 4
    assert own_tenant(left) is None
    assert not visible_to(CusTenant.objects.all(), gone).exists()
