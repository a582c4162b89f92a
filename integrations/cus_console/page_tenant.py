"""Whose rows a page of the console shows that belongs to no model, and links that keep to it."""

import uuid
from typing import cast
from urllib.parse import urlencode

from django.http import Http404, HttpRequest

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.permissions import role_of, sees_all_tenants, tenant_of_member
from integrations.cus_console.own_page import Link

TENANT = "tenant"


def tenant_shown(request: HttpRequest) -> CusTenant | None:
    """Whose rows a page shows: the person's own tenant, or the one that a person of the staff names
    in the address by `tenant`. None if such a person names none. Raises Http404 for any other.
    """
    user = cast("CusUser", request.user)
    named = request.GET.get(TENANT, "")
    if not sees_all_tenants(user):
        own = tenant_of_member(user)
        if own is None or named not in ("", str(own.id)):
            raise Http404
        return own
    if not named:
        return None
    try:
        return CusTenant.objects.get(id=uuid.UUID(named))
    except (ValueError, CusTenant.DoesNotExist):
        raise Http404 from None


def of_tenant(request: HttpRequest, address: str, tenant: CusTenant | None, **query: str) -> str:
    """An address with what it shows, and with the tenant where the person must name one."""
    whose = {TENANT: str(tenant.id)} if tenant and sees_all_tenants(request.user) else {}
    text = urlencode(query | whose)
    return f"{address}?{text}" if text else address


def tenant_trail(request: HttpRequest, address: str, tenant: CusTenant | None) -> list[Link]:
    """For the staff on a tenant's page: the way back to all tenants, and to the tenant itself."""
    if tenant is None or not sees_all_tenants(request.user):
        return []
    trail = [Link("All tenants", address)]
    if role_of(request.user) == "operator":
        trail.append(Link(tenant.name, f"/admin/integrations/custenant/{tenant.id}/change/"))
    return trail
