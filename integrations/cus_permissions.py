"""Who may see what (ruling C9): operator, support, tenant admin, tenant member."""

import uuid
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from integrations.cus_models import CusMembership, CusUser

_M = TypeVar("_M", bound=Model)


def role_of(user: Any) -> str | None:
    """`operator`, `support`, `admin`, `member`, or None for who has no business here."""
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


def _membership(user: CusUser) -> CusMembership | None:
    return (
        CusMembership.objects.filter(user=user, tenant__closed_at__isnull=True)
        .select_related("tenant")
        .first()
    )
