"""Roles and the rows that each may see (ruling C9): operator, support, finance, admin, member."""

import uuid
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from rest_framework.exceptions import NotFound, ParseError
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_web.log_context import note_whose

if TYPE_CHECKING:
    # DRF imports this module through its settings, before DRF's views can be imported.
    from rest_framework.views import APIView

_M = TypeVar("_M", bound=Model)
# The attribute of a request's user with the kept membership, in a tuple.
_KEPT = "_cus_kept_membership"


def role_of(user: Any) -> str | None:
    """`operator`, `support`, `finance`, `admin`, `member`, or None for a user without a role.

    Finance is a role of the staff or of one tenant: `sees_all_tenants` tells them apart.
    """
    if not isinstance(user, CusUser) or not user.is_active:
        return None
    if user.is_superuser:
        return "operator"
    if user.is_support:
        return "support"
    if user.is_finance:
        return "finance"
    membership = _membership(user)
    return membership.role if membership else None


def sees_all_tenants(user: Any) -> bool:
    """Whether the user is of the staff, and so reads what the role may read of all tenants."""
    has_role = role_of(user) is not None
    return has_role and bool(user.is_superuser or user.is_support or user.is_finance)


def own_tenant(user: CusUser) -> uuid.UUID | None:
    """The tenant that the user belongs to, unless it is closed."""
    tenant = tenant_of_member(user)
    return tenant.id if tenant else None


def shown_tenant(user: CusUser) -> uuid.UUID | None:
    """The only tenant that is shown to the user; None for the staff, who see all tenants.

    Raises PermissionDenied for who has no role, so that nobody takes theirs for the staff's None.
    """
    if sees_all_tenants(user):
        return None
    own = own_tenant(user)
    if own is None:
        raise PermissionDenied
    return own


def tenant_of_member(user: CusUser) -> CusTenant | None:
    """The tenant that the user belongs to, unless it is closed, as it was at the request's start."""
    membership = _membership(user)
    if membership is None:
        return None
    note_whose(membership.tenant_id)
    return membership.tenant


def visible_to(queryset: QuerySet[_M], user: CusUser) -> QuerySet[_M]:
    """The rows of `queryset` (anything with a tenant_id) that the user may see."""
    if sees_all_tenants(user):
        return queryset
    if role_of(user) is None:
        return queryset.none()
    return queryset.filter(tenant_id=own_tenant(user))


class IsTenantPerson(BasePermission):
    """People with a role read; operators and a tenant's admins change (C9)."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        role = role_of(request.user)
        if request.method in SAFE_METHODS:
            return role is not None
        return role in ("operator", "admin")


class IsFinance(IsTenantPerson):
    """Finance and operators close months and enter invoices; all people with a role read (C9)."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if request.method in SAFE_METHODS:
            return super().has_permission(request, view)
        return role_of(request.user) in ("operator", "finance")


def tenant_of(request: Request) -> CusTenant:
    """The tenant of a request: the caller's own, or the tenant that `tenant_id` names.

    Only the staff may name a tenant; for all others, other tenants do not exist.
    """
    tenant = _tenant_of(request)
    note_whose(tenant.id)
    return tenant


def _tenant_of(request: Request) -> CusTenant:
    user = request.user
    if not sees_all_tenants(user):
        return CusTenant.objects.get(memberships__user=cast("CusUser", user))
    tenant_id = request.query_params.get("tenant_id", "")
    try:
        return CusTenant.objects.get(id=uuid.UUID(tenant_id))
    except ValueError:
        raise ParseError("Name the tenant: ?tenant_id=<its id>.") from None
    except CusTenant.DoesNotExist:
        raise NotFound("There is no such tenant.") from None


def _membership(user: CusUser) -> CusMembership | None:
    kept: list[CusMembership | None] | None = getattr(user, _KEPT, None)
    if kept is None:
        return _read_membership(user)
    if not kept:
        kept.append(_read_membership(user))
    return kept[0]


def keep_membership(user: CusUser) -> None:
    """Read the person's membership once at most for a request, which has loaded its user anew.

    Without this each page of the console asks for the role some ninety times.
    """
    setattr(user, _KEPT, [])


def keep_loaded_membership(user: CusUser) -> None:
    """Keep the membership that was loaded by `membership__tenant` in the user's own statement."""
    # None for a person without one: Django's error is an AttributeError.
    membership: CusMembership | None = getattr(user, "membership", None)
    is_open = membership is not None and membership.tenant.closed_at is None
    setattr(user, _KEPT, [membership if is_open else None])


def _read_membership(user: CusUser) -> CusMembership | None:
    return (
        CusMembership.objects.filter(user=user, tenant__closed_at__isnull=True)
        .select_related("tenant")
        .first()
    )
