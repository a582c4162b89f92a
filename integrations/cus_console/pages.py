"""Bases of the console's pages: scoped to the viewer's tenant, and read-only."""

from collections.abc import Iterable
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin.options import TO_FIELD_VAR, ShowFacets
from django.contrib.admin.views.main import ERROR_FLAG, IGNORED_PARAMS, PAGE_VAR
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DataError
from django.db.models import ForeignKey, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import display

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.permissions import (
    own_tenant,
    role_of,
    sees_all_tenants,
    visible_to,
)
from integrations.cus_console.filters import CusTenantFilter, FilterRefused
from integrations.cus_console.newest_first import BEFORE
from integrations.cus_console.panels import NOTHING

# All roles of `role_of` (ruling C9).
EVERY_ROLE = ("operator", "support", "finance", "admin", "member")
# The roles that read the audit trail. Support reads usage, decisions and health alone (C9).
TRAIL_READERS = ("operator", "admin", "member")
# Parameters of a list's address that are no filters.
_LISTS_OWN = {*IGNORED_PARAMS, PAGE_VAR, ERROR_FLAG, BEFORE}
_LONGEST_NAME = 50
_IMPOSSIBLE = (
    "The address has a filter, a search or a page that is not possible, so the list is shown without "
    "filters."
)


class CusReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Shows the rows that the viewer may see, without changing them."""

    # The roles (`role_of`) for which the page exists.
    viewers: tuple[str, ...] = EVERY_ROLE
    empty_value_display = NOTHING
    show_full_result_count = False
    # Counts of each filter's rows would read the whole table.
    show_facets = ShowFacets.NEVER
    list_per_page = list_max_show_all = 50
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return visible_to(super().get_queryset(request), cast("CusUser", request.user))

    def address_of(self, row: Any) -> str:
        """The address of a row's page."""
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_change"
        return reverse(name, args=[row.pk])

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Django lets a URL filter by any column, shown or not. Without this, a viewer could guess
        # the value of a hidden column letter by letter (ruling C8).
        field, _, comparison = lookup.partition("__")
        shown = self.get_list_filter(request) if request else self.list_filter
        if any(lookup == getattr(offered, "parameter_name", None) for offered in shown):
            return True
        return field in shown and comparison in ("", "exact", "in", "isnull", "id__exact")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list. What the address asks for and the list does not have is named in a message."""
        unknown = [name for name in request.GET if not self._is_known(request, name)]
        if unknown:
            names = ", ".join(f"“{name[:_LONGEST_NAME]}”" for name in unknown)
            text = f"This list has no filter {names}, so it is shown without."
            return self._without(request, unknown, text)
        try:
            page: HttpResponse = super().changelist_view(request, extra_context)
        except FilterRefused as refusal:
            return self._without(request, [refusal.name], str(refusal))
        except (DataError, ValueError, ValidationError):
            if request.method == "GET" and not request.GET:
                raise
            # The filter, the search or the chosen row is impossible, such as a text with a NUL.
            return self._without(request, list(request.GET), _IMPOSSIBLE)
        if page.headers.get("Location", "").endswith(f"?{ERROR_FLAG}=1"):
            # Django answers so to a value that a filter can't have, or a page that is not there.
            return self._without(request, list(request.GET), _IMPOSSIBLE)
        return page

    def _is_known(self, request: HttpRequest, name: str) -> bool:
        """Whether the list has a parameter of the address."""
        if name == TO_FIELD_VAR:
            return all(self.to_field_allowed(request, one) for one in request.GET.getlist(name))
        if name in _LISTS_OWN:
            return True
        values = request.GET.getlist(name)
        return all(self.lookup_allowed(name, value, request) for value in values)

    def _without(self, request: HttpRequest, names: Iterable[str], text: str) -> HttpResponse:
        """Lead to the list without these parameters, and tell why."""
        query = request.GET.copy()
        for name in names:
            query.pop(name, None)
        messages.warning(request, text)
        return redirect(f"{request.path}?{query.urlencode()}" if query else request.path)

    def formfield_for_foreignkey(
        self, db_field: "ForeignKey[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> Any:
        """Let a picker offer and accept only the rows that the person may see."""
        if db_field.related_model is CusTenant:
            kwargs["queryset"] = tenants_of(request)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        # A picker on another page finds no rows of a page that the viewer may not see (ruling C8).
        if not self.has_view_permission(request):
            raise PermissionDenied
        if "\0" in search_term:
            # PostgreSQL raises an error for a text with a NUL, and no stored text has a NUL.
            return queryset.none(), False
        found: tuple[QuerySet[Any], bool] = super().get_search_results(
            request, queryset, search_term
        )
        return found

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit trail's entries on a row: Django's own history knows no tenants."""
        may = self.has_view_permission(request) and role_of(request.user) in TRAIL_READERS
        if not may or self.get_object(request, object_id) is None:
            raise PermissionDenied
        trail = reverse("admin:integrations_cusauditentry_changelist")
        # With the kind, an index finds the entries.
        query = {"object_type": str(self.opts.verbose_name), "object_id__exact": object_id}
        return redirect(f"{trail}?{urlencode(query)}")

    @display(description="Tenant")
    def tenant_shown(self, row: Any) -> str:
        """The tenant's name, without Django's link to a page that only operators may open."""
        return str(row.tenant or "")

    @display(description="Created by")
    def created_by_shown(self, row: Any) -> str:
        """The person's address, without a link to a page that the viewer may not open."""
        return str(row.created_by or "")

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> None:
        """Do nothing: the audit trail records the addition, with its tenant."""

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> None:
        """Do nothing: the audit trail records the change."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return role_of(request.user) in self.viewers

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def tenants_of(request: HttpRequest) -> QuerySet[CusTenant]:
    """The open tenants for which the person may change something."""
    tenants = CusTenant.objects.filter(closed_at__isnull=True).order_by("name")
    user: Any = request.user
    role = role_of(user)
    if role == "operator":
        return tenants
    own = own_tenant(user)
    return tenants.filter(id=own) if own and role == "admin" else tenants.none()


class CusOfTenants:
    """A list of rows of tenants: who sees several has a column and a filter for the tenant."""

    # The column after which the tenant's stands.
    tenant_after: str

    def get_list_display(self: Any, request: HttpRequest) -> list[str]:
        shown = list(super().get_list_display(request))  # type: ignore[misc]  # the page's own
        if sees_all_tenants(request.user):
            shown.insert(shown.index(self.tenant_after) + 1, "tenant_name")
        return shown

    def get_list_filter(self: Any, request: HttpRequest) -> list[Any]:
        offered = list(super().get_list_filter(request))  # type: ignore[misc]
        if sees_all_tenants(request.user):
            offered.insert(0, CusTenantFilter)
        return offered

    @display(description="Tenant")
    def tenant_name(self, row: Any) -> str:
        """The tenant's name: the row's own `tenant_name`, or that of its tenant."""
        return str(getattr(row, "tenant_name", None) or getattr(row, "tenant", None) or "")
