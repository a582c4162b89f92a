"""Lists of rows by time, newest first, that stay quick over millions of rows.

A page begins after the last row of the page before, so no row is skipped or shown twice while new
rows arrive, and nothing is counted. Where no index has the order of all tenants' rows, the newest
are looked for in a short time first, then in longer ones.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.contrib import messages
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from unfold.views import ChangeList

BEFORE: Final = "before"
_BETWEEN: Final = "~"
_FIRST_YEAR, _YEARS_END = 2000, 3000
_WINDOWS: Final = (timedelta(minutes=10), timedelta(hours=6), timedelta(days=7))


class Place(NamedTuple):
    """A row's place in the order of a list."""

    moment: datetime
    id: uuid.UUID

    @classmethod
    def read(cls, text: str) -> "Place | None":
        """The place in the text of an address; None if it is not one."""
        moment, _, name = text.partition(_BETWEEN)
        try:
            place = cls(datetime.fromisoformat(moment), uuid.UUID(name))
        except ValueError:
            return None
        # A moment that no row of ours has may have no moment before it to look back to.
        is_ours = place.moment.tzinfo is not None and _FIRST_YEAR <= place.moment.year < _YEARS_END
        return place if is_ours else None

    def __str__(self) -> str:
        return f"{self.moment.isoformat()}{_BETWEEN}{self.id}"


@dataclass(frozen=True)
class Older:
    """What the end of a page shows: how to go on. Stands where Django has a paginator."""

    template_name = "admin/cus_newest_first_pages.html"
    # The addresses of the first page, if this is another, and of the next.
    newest: str | None
    older: str | None


def newest(rows: QuerySet[Any], before: Place | None, limit: int) -> tuple[list[Any], Place | None]:
    """The newest rows before a place, and the last row's place if there are more."""
    ordered = rows.order_by("-created_at", "-id")
    if before is not None:
        ordered = ordered.filter(
            Q(created_at__lt=before.moment) | Q(created_at=before.moment, id__lt=before.id),
            created_at__lte=before.moment,
        )
    found = _within_windows(ordered, before.moment if before else Now(), limit + 1)
    shown = found[:limit]
    more = len(found) > limit
    return shown, Place(shown[-1].created_at, shown[-1].id) if more else None


def _within_windows(ordered: QuerySet[Any], end: datetime | Now, wanted: int) -> list[Any]:
    for window in _WINDOWS:
        found = list(ordered.filter(created_at__gte=end - window)[:wanted])
        if len(found) == wanted:
            return found
    return list(ordered[:wanted])


class NewestFirstList(ChangeList):  # type: ignore[misc]  # unfold has no types
    """The list of a model with `created_at` and `id`."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        text = request.GET.get(BEFORE, "")
        self.before = Place.read(text)
        if text and self.before is None:
            messages.warning(
                request, "The address names no place in this list: shown from its top."
            )
        super().__init__(request, *args, **kwargs)

    def get_filters_params(self, params: Any = None) -> Any:
        """All parameters of the address that filter: the place does not."""
        found = super().get_filters_params(params)
        found.pop(BEFORE, None)
        return found

    def get_results(self, request: HttpRequest) -> None:
        """Read a page."""
        rows, following = newest(self.queryset, self.before, self.list_per_page)
        first = self.get_query_string(remove=[BEFORE]) if self.before else None
        older = self.get_query_string({BEFORE: str(following)}) if following else None
        self.paginator = Older(first, older)
        self.result_list = rows
        self.result_count = len(rows)
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = False
        self.can_show_all = self.multi_page = False


class NewestFirst:
    """A console page whose list shows the newest rows first."""

    ordering = ("-created_at", "-id")
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return NewestFirstList
