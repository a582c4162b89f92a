"""Bases of the console's pages: scoped to the viewer's tenant, and read-only."""

from typing import Any, cast
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db import DataError
from django.db.models import ForeignKey, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import cached_property
from unfold.admin import ModelAdmin
from unfold.decorators import display

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.permissions import own_tenant, role_of, visible_to

# All roles of `role_of` (ruling C9).
EVERY_ROLE = ("operator", "support", "finance", "admin", "member")
# The roles that read the audit trail. Support reads usage, decisions and health alone (C9).
TRAIL_READERS = ("operator", "admin", "member")
_OF_A_DATE = ("year", "month", "day")


class CusReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Shows the rows that the viewer may see, without changing them."""

    # The roles (`role_of`) for which the page exists.
    viewers: tuple[str, ...] = EVERY_ROLE
    show_full_result_count = False
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
        if field == self.date_hierarchy and comparison in _OF_A_DATE:
            return True
        shown = self.get_list_filter(request) if request else self.list_filter
        if any(lookup == getattr(offered, "parameter_name", None) for offered in shown):
            return True
        return field in shown and comparison in ("", "exact", "in", "isnull", "id__exact")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            page: HttpResponse = super().changelist_view(request, extra_context)
        except (DataError, ValueError, ValidationError):
            # The filter, the search or the chosen row is impossible, such as a text with a NUL.
            return HttpResponseRedirect(f"{request.path}?e=1")
        return page

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
        return redirect(f"{trail}?{urlencode({'object_id__exact': object_id})}")

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


class AtLeast(int):
    """A count that stopped at its bound; shown as "more than …"."""

    def __str__(self) -> str:
        return f"more than {int(self):,}"


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # not subscriptable at run time
    """Counts rows up to a bound, because `count(*)` over millions of rows takes seconds.

    The list ends at the bound; it says so, and how to get the other rows.
    """

    COUNTED = 10_000
    template_name = "admin/cus_bounded_pages.html"

    @cached_property
    def count(self) -> int:
        """The number of rows, up to the bound."""
        rows: Any = self.object_list
        found = int(rows[: self.COUNTED + 1].count())
        return AtLeast(self.COUNTED) if found > self.COUNTED else found

    @property
    def is_cut(self) -> bool:
        """Whether there are rows beyond the last page."""
        return isinstance(self.count, AtLeast)
