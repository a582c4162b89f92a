"""Lists over HTTP: pages that stay correct while rows are added, and strict filters."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError
from rest_framework import pagination, serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.views import APIView

PAGE_SIZE = 100
_OF_PAGES = "cursor"


class CusPages(pagination.CursorPagination):
    """Pages by a cursor. An invalid cursor is 404, like any page that does not exist."""

    page_size = PAGE_SIZE

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        try:
            page: list[Any] | None = super().paginate_queryset(queryset, request, view)
        except (ValidationError, ValueError, OverflowError, DataError):
            raise NotFound("This cursor names no page. Start from the first page.") from None
        return page


class NewestFirst(CusPages):
    """Newest row first, by the time of creation."""

    ordering = ("-created_at", "-id")


def filters_of(request: Request, filters: type[serializers.Serializer[object]]) -> dict[str, Any]:
    """The query's parameters as `filters` checks them. Raises ValidationError, by name."""
    given = request.query_params
    twice = [name for name in given if len(given.getlist(name)) > 1]
    if twice:
        hint = "This parameter is given more than once."
        raise serializers.ValidationError({name: [hint] for name in twice})
    checked = filters(data={name: given[name] for name in given if name != _OF_PAGES})
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)
