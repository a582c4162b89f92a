"""Filters of the console's lists. Each is one parameter of the address, so filters combine."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter, TextFilter

from integrations.cus_accounts.models import CusTenant
from integrations.cus_console.finders import as_id

ANY_TIME = "any"
USUAL_DAYS = "31"
FEWEST_DAYS = "1"
_MOST_DIGITS = 3
_FIRST_YEAR, _YEARS_END = 2000, 3000
# A longer list of choices would make every page of the list large.
MOST_OFFERED = 500


class FilterRefused(Exception):
    """The address gives a filter a value that it cannot have. `name` is the filter's parameter."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class _Titled:
    """A filter whose box is titled by its `title`, and not "By …"."""

    title: str
    parameter_name: str
    # Whether an index finds the rows: of one tenant, or of all that the person may see.
    is_indexed = False
    # Whether the rows are then of one tenant, whose rows an index has in their order.
    is_of_one_tenant = False

    def choices(self: Any, changelist: Any) -> Iterator[dict[str, Any]]:
        for shown in super().choices(changelist):  # type: ignore[misc]  # the theme's
            field = shown["form"].fields[self.parameter_name]
            field.label = self.title[:1].upper() + self.title[1:]
            yield shown

    def chosen_text(self: Any) -> str:
        """The chosen value in words."""
        value = str(self.value() or "")
        return str(dict(self.lookup_choices).get(value, value))


class CusTextFilter(_Titled, TextFilter):  # type: ignore[misc]  # unfold has no types
    """A box for a value."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = (self.value() or "").strip()
        return self.narrowed(request, queryset, text) if text else queryset

    def narrowed(self, request: HttpRequest, rows: QuerySet[Any], text: str) -> QuerySet[Any]:
        """The rows with the value. Raises FilterRefused."""
        return rows.filter(**{self.parameter_name: text})


class CusChoiceFilter(_Titled, DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """A choice of values."""

    # (value, text) pairs.
    offered: ClassVar[Sequence[tuple[str, str]]] = ()

    def has_output(self) -> bool:
        # Also without choices: a value in the address must not be ignored.
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return self.offered

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = (self.value() or "").strip()
        if not value:
            return queryset
        if value not in dict(self.lookup_choices):
            text = f"“{self.title}” has no choice {value[:50]!r}: the list is shown without it."
            raise FilterRefused(self.parameter_name, text)
        return self.narrowed(request, queryset, value)

    def narrowed(self, request: HttpRequest, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The rows with the value, which is one of those offered."""
        return rows.filter(**{self.parameter_name: value})


def choice(name: str, title: str, offered: Sequence[tuple[str, str]]) -> type[CusChoiceFilter]:
    """A filter by a column's value."""
    values = {"parameter_name": name, "title": title, "offered": offered}
    return type(f"CusChoiceOf_{name}", (CusChoiceFilter,), values)


def yes_or_no(name: str, title: str) -> type[CusChoiceFilter]:
    """A filter by a column that is true or false."""

    def narrowed(
        _self: Any, _request: HttpRequest, rows: QuerySet[Any], value: str
    ) -> QuerySet[Any]:
        return rows.filter(**{name: value == "yes"})

    values = {
        "parameter_name": name,
        "title": title,
        "offered": (("yes", "yes"), ("no", "no")),
        "narrowed": narrowed,
    }
    return type(f"CusYesOrNo_{name}", (CusChoiceFilter,), values)


class CusReceivedFilter(_Titled, DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """How far back a list goes. By the list's time rows are in order, and mostly indexed."""

    is_indexed = True
    title = "time"
    parameter_name = "received"
    all_option = None

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("", "any time"),
            (FEWEST_DAYS, "24 hours"),
            ("7", "7 days"),
            (USUAL_DAYS, "31 days"),
            ("366", "a year"),
            (ANY_TIME, "any time, however long it takes"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        start = since(self.value())
        return (
            queryset.filter(**{f"{_moment(self.model_admin)}__gte": start}) if start else queryset
        )

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        self.model_admin = model_admin
        super().__init__(request, params, model, model_admin)


class _BoundFilter(CusTextFilter):
    """A moment, written as a date or as a date and a time, in UTC unless it names a zone."""

    is_indexed = True
    comparison: ClassVar[str]

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        self.model_admin = model_admin
        super().__init__(request, params, model, model_admin)

    def narrowed(self, request: HttpRequest, rows: QuerySet[Any], text: str) -> QuerySet[Any]:
        moment = _read_moment(text)
        if moment is None:
            refusal = (
                f"“{self.title}” takes a time such as 2026-11-29 or 2026-11-29 14:30 (UTC): the "
                "list is shown without it."
            )
            raise FilterRefused(self.parameter_name, refusal)
        return rows.filter(**{f"{_moment(self.model_admin)}__{self.comparison}": moment})


class CusFromFilter(_BoundFilter):
    """Rows from a moment on."""

    title, parameter_name, comparison = "from (UTC)", "from", "gte"


class CusToFilter(_BoundFilter):
    """Rows up to a moment, without it."""

    title, parameter_name, comparison = "up to (UTC)", "to", "lt"


TIME_FILTERS = (CusReceivedFilter, CusFromFilter, CusToFilter)


class CusTenantFilter(CusChoiceFilter):
    """For who sees several tenants: the rows of one."""

    is_indexed = is_of_one_tenant = True
    title, parameter_name = "tenant", "tenant"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return offered_rows(CusTenant.objects.order_by("name"), self.value())

    def narrowed(self, request: HttpRequest, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(tenant_id=value)


def offered_rows(rows: QuerySet[Any], chosen: str | None) -> list[tuple[str, str]]:
    """Choices of named rows by id: the first ones, and the chosen one."""
    found = list(rows[:MOST_OFFERED])
    chosen_id = as_id(chosen or "")
    if chosen_id and chosen_id not in {row.pk for row in found}:
        found += rows.filter(pk=chosen_id)
    return [(str(row.pk), str(row)) for row in found]


def since(days: str | None) -> CombinedExpression | None:
    """The moment so many days ago, by the database's clock; None if this is no number of days."""
    if not days or not days.isdecimal() or len(days) > _MOST_DIGITS or not days.isascii():
        return None
    return Now() - timedelta(days=int(days))


def has_time_bound(request: HttpRequest) -> bool:
    """Whether the address says from when or up to when."""
    return any(request.GET.get(one.parameter_name, "").strip() for one in TIME_FILTERS)


def without_index(filters: Sequence[Any]) -> Iterator[str]:
    """The parameters of the filters that no index serves."""
    return (one.parameter_name for one in filters if not getattr(one, "is_indexed", False))


def _moment(page: Any) -> str:
    return str(getattr(page, "moment_column", "created_at"))


def _read_moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # A moment that no row of ours has may be none that the database knows.
    if not _FIRST_YEAR <= moment.year < _YEARS_END:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
