"""Roles and the rows that each may see (ruling C9): operator, support, tenant admin, member."""

import uuid
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.db.models import Model, QuerySet
from rest_framework.exceptions import NotFound, ParseError
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser

if TYPE_CHECKING:
    # DRF imports this module through its settings, before DRF's views can be imported.
    from rest_framework.views import APIView

_M = TypeVar("_M", bound=Model)
# The attribute of a request's user with the kept membership, in a tuple.
_KEPT = "_cus_kept_membership"


def role_of(user: Any) -> str | None:
    """`operator`, `support`, `admin`, `member`, or None for a user without a role."""
    if not isinstance(user, CusUser) or not user.is_active:
        return None
    if user.is_superuser:
        return "operator"
    if user.is_support:
        return "support"
    membership = _membership(user)
    return membership.role if membership else None


def own_tenant(user: CusUser) -> uuid.UUID | None:
    """The tenant that the user belongs to, unless it is closed."""
    membership = _membership(user)
    return membership.tenant_id if membership else None


def visible_to(queryset: QuerySet[_M], user: CusUser) -> QuerySet[_M]:
    """The rows of `queryset` (anything with a tenant_id) that the user may see."""
    role = role_of(user)
    if role in ("operator", "support"):
        return queryset
    if role is None:
        return queryset.none()
    return queryset.filter(tenant_id=own_tenant(user))


class IsTenantPerson(BasePermission):
    """People of a tenant read; its admins and operators change; support only reads (C9)."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        role = role_of(request.user)
        if request.method in SAFE_METHODS:
            return role is not None
        return role in ("operator", "admin")


def tenant_of(request: Request) -> CusTenant:
    """The tenant of a request: the caller's own, or the tenant that `tenant_id` names.

    Only operators and support may name a tenant; for all others, other tenants do not exist.
    """
    user = request.user
    if role_of(user) not in ("operator", "support"):
        return CusTenant.objects.get(memberships__user=cast("CusUser", user))
    tenant_id = request.query_params.get("tenant_id", "")
    try:
        return CusTenant.objects.get(id=uuid.UUID(tenant_id))
    except ValueError:
        raise ParseError("Name the tenant: ?tenant_id=<its id>.") from None
    except CusTenant.DoesNotExist:
        raise NotFound("There is no such tenant.") from None


def _membership(user: CusUser) -> CusMembership | None:
    kept = getattr(user, _KEPT, None)
    return kept[0] if kept else _read_membership(user)


def keep_membership(user: CusUser) -> None:
    """Read the person's membership once for a request, which has loaded its user anew.

    Without this each page of the console asks for the role some ninety times.
    """
    setattr(user, _KEPT, (_read_membership(user),))


def _read_membership(user: CusUser) -> CusMembership | None:
    return (
        CusMembership.objects.filter(user=user, tenant__closed_at__isnull=True)
        .select_related("tenant")
        .first()
    )
