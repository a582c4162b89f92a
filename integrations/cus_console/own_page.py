"""Pages of the console that belong to no model: one layout, and whose rows they show."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import format_html
from django.utils.safestring import SafeString

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.permissions import role_of, sees_all_tenants, tenant_of_member
from integrations.cus_console.panels import ShownPanel

TENANT = "tenant"


@dataclass(frozen=True)
class Link:
    """A link with its text; `is_here` marks the tab that is shown, `variant` a button's look."""

    title: str
    link: str
    is_here: bool = False
    variant: str = "default"

    @property
    def html(self) -> SafeString:
        """The link in a cell or a sentence."""
        return format_html('<a href="{}" class="underline">{}</a>', self.link, self.title)


@dataclass(frozen=True)
class Layout:
    """What a page shows, from its top: links to pages above and beside, a sentence, tabs, buttons,
    panels. A page with a form passes `form`, `form_title` and `form_button` to `shown`.
    """

    title: str
    lead: str | SafeString = ""
    trail: Sequence[Link] = ()
    tabs: Sequence[Link] = ()
    buttons: Sequence[Link] = ()
    panels: Sequence[ShownPanel] = field(default_factory=list)


def shown(
    request: HttpRequest,
    layout: Layout,
    *,
    template: str = "admin/cus_own_page.html",
    **context: Any,
) -> HttpResponse:
    """The page. `template` extends the usual one."""
    tabs = [{"title": tab.title, "link": tab.link, "active": tab.is_here} for tab in layout.tabs]
    whole = {
        **admin.site.each_context(request),
        "title": layout.title,
        "layout": layout,
        "tabs_list": tabs,
        "panels": layout.panels,
        **context,
    }
    return render(request, template, whole)


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
