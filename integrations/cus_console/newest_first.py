"""Lists of rows by time, newest first, that stay quick over millions of rows.

A page begins after the last row of the page before, so no row is skipped or shown twice while new
rows arrive, and nothing is counted. Where no index has the order of all tenants' rows, the newest
are looked for in a short time first, then in longer ones. A filter that no index serves looks at a
bounded number of rows for a page; the page says how far back they reach, and leads on from there.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.contrib import messages
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from unfold.views import ChangeList

from integrations.cus_accounts.permissions import sees_all_tenants

BEFORE: Final = "before"
_BETWEEN: Final = "~"
_FIRST_YEAR, _YEARS_END = 2000, 3000
_WINDOWS: Final[Sequence[timedelta]] = (
    *(timedelta(minutes=10), timedelta(hours=6), timedelta(days=7)),
)
# Many rows are looked at, so each window is not much longer than the one before.
_WINDOWS_OF_MANY: Final[Sequence[timedelta]] = (
    *(timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6)),
    *(timedelta(days=1), timedelta(days=7)),
)
# The most rows that are looked at for a page with a filter that no index serves.
MOST_LOOKED_AT: Final = 50_000


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
    # Set if the page ends because so many rows were looked at: up to which moment.
    looked_back_to: datetime | None = None
    looked_at = MOST_LOOKED_AT


@dataclass(frozen=True)
class Found:
    """The rows of a page, and the place after which the next page begins; None if there is none.

    `looked_back_to` is set if the page ends because enough rows were looked at.
    """

    rows: list[Any]
    following: Place | None
    looked_back_to: datetime | None = None


@dataclass(frozen=True)
class Order:
    """Newest first by a column with a time, then by `id`."""

    column: str = "created_at"

    def page(
        self,
        rows: QuerySet[Any],
        before: Place | None,
        limit: int,
        *,
        indexed: QuerySet[Any] | None = None,
        is_in_index: bool = False,
    ) -> Found:
        """The newest rows before a place.

        `indexed`: the rows without the filters that no index serves. If it is given, at most
        `MOST_LOOKED_AT` of these are looked at. `is_in_index`: an index has the order of the rows,
        because they are of one tenant.
        """
        end = before.moment if before else Now()
        ordered, start = self._before(rows, before), None
        if indexed is None:
            found = self._newest(ordered, end, limit + 1, () if is_in_index else _WINDOWS)
        else:
            windows = () if is_in_index else _WINDOWS_OF_MANY
            start = self._start(self._before(indexed, before), end, windows)
            if start is not None:
                ordered = ordered.filter(**{f"{self.column}__gte": start})
            found = list(ordered[: limit + 1])
        shown = found[:limit]
        if len(found) > limit:
            return Found(shown, Place(getattr(shown[-1], self.column), shown[-1].id))
        # Before all rows of the moment up to which rows were looked at.
        return Found(shown, Place(start, uuid.UUID(int=0)) if start else None, start)

    def _before(self, rows: QuerySet[Any], before: Place | None) -> QuerySet[Any]:
        ordered = rows.order_by(f"-{self.column}", "-id")
        if before is None:
            return ordered
        return ordered.filter(
            Q((f"{self.column}__lt", before.moment))
            | Q((self.column, before.moment), id__lt=before.id),
            Q((f"{self.column}__lte", before.moment)),
        )

    def _start(
        self, ordered: QuerySet[Any], end: datetime | Now, windows: Sequence[timedelta]
    ) -> datetime | None:
        """The moment of the last row to look at; None if there are fewer rows."""
        moments = ordered.order_by(f"-{self.column}").values_list(self.column, flat=True)
        for window in self._windows(moments, end, windows):
            found: list[datetime] = list(window[MOST_LOOKED_AT - 1 : MOST_LOOKED_AT])
            if found:
                return found[0]
        return None

    def _newest(
        self,
        ordered: QuerySet[Any],
        end: datetime | Now,
        wanted: int,
        windows: Sequence[timedelta],
    ) -> list[Any]:
        found: list[Any] = []
        for window in self._windows(ordered, end, windows):
            found = list(window[:wanted])
            if len(found) == wanted:
                break
        return found

    def _windows(
        self, ordered: QuerySet[Any], end: datetime | Now, windows: Sequence[timedelta]
    ) -> Iterator[QuerySet[Any]]:
        for window in windows:
            yield ordered.filter(**{f"{self.column}__gte": end - window})
        yield ordered


@dataclass(frozen=True)
class ChosenFilter:
    """A filter that narrows a list: its title and value, and the list's address without it."""

    title: str
    text: str
    without: str


class NewestFirstList(ChangeList):  # type: ignore[misc]  # unfold has no types
    """The list of a model with a time and an `id`."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        text = request.GET.get(BEFORE, "")
        self.before = Place.read(text)
        if text and self.before is None:
            messages.warning(
                request, "The address names no place in this list: shown from its top."
            )
        super().__init__(request, *args, **kwargs)

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        # The place is no filter, and a new filter or search begins at the top again.
        self.filter_params.pop(BEFORE, None)
        rows: QuerySet[Any] = super().get_queryset(request, *args, **kwargs)
        return rows

    def get_results(self, request: HttpRequest) -> None:
        """Read a page."""
        order = Order(self.model_admin.moment_column)
        found = order.page(
            self.queryset,
            self.before,
            self.list_per_page,
            indexed=self._indexed(request),
            is_in_index=self._is_of_one_tenant(request),
        )
        newest = self.get_query_string() if self.before else None
        older = self.get_query_string({BEFORE: str(found.following)}) if found.following else None
        self.paginator = Older(newest, older, found.looked_back_to)
        self.result_list = found.rows
        self.result_count = len(found.rows)
        # Equal to the number of rows here, so that the theme writes no number that was not counted.
        self.full_result_count = len(found.rows)
        self.show_full_result_count = False
        self.show_admin_actions = False
        self.can_show_all = self.multi_page = False

    def chosen(self) -> list[ChosenFilter]:
        """The filters that narrow the list."""
        return [
            ChosenFilter(
                spec.title, spec.chosen_text(), self.get_query_string(remove=[spec.parameter_name])
            )
            for spec in self.filter_specs
            if any(spec.used_parameters.values())
        ]

    def _is_of_one_tenant(self, request: HttpRequest) -> bool:
        if not sees_all_tenants(request.user):
            return True
        return any(
            getattr(spec, "is_of_one_tenant", False) and any(spec.used_parameters.values())
            for spec in self.filter_specs
        )

    def _indexed(self, request: HttpRequest) -> QuerySet[Any] | None:
        """The rows without the filters that no index serves; None if there are no such filters."""
        chosen = [spec for spec in self.filter_specs if any(spec.used_parameters.values())]
        served = [spec for spec in chosen if getattr(spec, "is_indexed", False)]
        if len(served) == len(chosen) and not self.query:
            return None
        rows = self.root_queryset
        for spec in served:
            rows = spec.queryset(request, rows)
        return None if self._finds_by_index() else rows

    def _finds_by_index(self) -> bool:
        """Whether an index serves the search, so that it finds few rows for further filters."""
        return bool(self.query) and self.model_admin.search_is_indexed


class NewestFirst:
    """A console page whose list shows the newest rows first, and whose filters are all ours."""

    # The column with the time by which the list is in order.
    moment_column = "created_at"
    # Whether an index serves the list's search.
    search_is_indexed = False
    sortable_by = ()
    list_filter_submit = True
    list_before_template = "admin/cus_chosen_filters.html"

    def get_ordering(self, request: HttpRequest) -> tuple[str, str]:
        return f"-{self.moment_column}", "-id"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return NewestFirstList
