"""What `visible_to` and `tenant_of` say of each role, by themselves."""

import pytest

from integrations.cus_accounts.models import CusTenant
from integrations.cus_accounts.permissions import own_tenant, role_of, visible_to
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


def test_who_was_deactivated_or_whose_tenant_closed_has_no_role(tenant: CusTenant) -> None:
    gone, left = make_user("operator"), make_user("admin", tenant)
    gone.is_active = False
    CusTenantService().close(tenant)

    assert [role_of(who) for who in (gone, left, None, object())] == [None] * 4
    assert own_tenant(left) is None
    assert not visible_to(CusTenant.objects.all(), gone).exists()
