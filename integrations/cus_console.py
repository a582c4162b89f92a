"""Bases of the console's pages: scoped to the viewer's tenant, and read-only."""

from typing import Any

from django.core.paginator import Paginator
from django.db import DataError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import cached_property
from unfold.admin import ModelAdmin

from integrations.cus_permissions import role_of, visible_to


class CusReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Shows the rows that the viewer may see, and changes none of them."""

    # What `role_of` must say for the page to exist for someone.
    viewers: tuple[str, ...] = ("operator", "support", "admin", "member")
    show_full_result_count = False
    list_per_page = list_max_show_all = 50
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return visible_to(super().get_queryset(request), request.user)  # type: ignore[arg-type]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Django lets a URL filter by any column, shown or not: a hidden one could be guessed
        # letter by letter (ruling C8).
        field, _, comparison = lookup.partition("__")
        return field in self.list_filter and comparison in ("", "exact", "in", "isnull")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            page: HttpResponse = super().changelist_view(request, extra_context)
        except (DataError, ValueError):
            # A filter or a search that no value can have, such as a NUL.
            return HttpResponseRedirect(f"{request.path}?e=1")
        return page

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


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # not subscriptable at run time
    """Counts no further than it must: `count(*)` over millions of rows takes seconds."""

    COUNTED = 10_000

    @cached_property
    def count(self) -> int:
        """How many rows there are, up to the bound."""
        rows: Any = self.object_list
        return int(rows[: self.COUNTED].count())
