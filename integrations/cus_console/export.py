"""Export all rows of a page as CSV, with the page's scope, filters and columns (ruling C8)."""

import csv
from collections.abc import Iterator
from itertools import islice
from typing import Any

import structlog
from django.contrib.admin.utils import display_for_field, label_for_field, lookup_field
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DatabaseError, DataError
from django.db.models import Field as ModelField
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.utils.html import strip_tags
from django.utils.safestring import SafeString
from import_export.admin import ExportMixin
from import_export.formats.base_formats import CSV

log = structlog.get_logger(__name__)

# How many rows are read from the database at once, and how many lines are sent at once.
_AT_ONCE = 500
# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class CusExport(ExportMixin):  # type: ignore[misc]  # import-export has no types
    """Mixin for an admin page: a button that downloads all rows of the list."""

    # The list's template reads this where the list is cut, to point to the export.
    is_exported = True

    def has_export_permission(self: Any, request: HttpRequest) -> bool:
        return bool(self.has_view_permission(request))

    def export_action(self, request: HttpRequest) -> HttpResponseBase:
        """The download. An invalid filter redirects to the list, as on the list itself."""
        if not self.has_export_permission(request):
            raise PermissionDenied
        try:
            rows = _asked(self.get_export_queryset(request))
        except (DataError, ValueError, ValidationError):
            return HttpResponseRedirect("../?e=1")
        columns = [_Column(self, name) for name in self.get_list_display(request)]
        name = self.get_export_filename(request, None, CSV())
        return StreamingHttpResponse(
            _joined(_lines(columns, rows)),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


class _Column:
    """A column of the page, as text."""

    def __init__(self, page: Any, name: str) -> None:
        self.head = str(label_for_field(name, page.model, page)).capitalize()
        self._page, self._name = page, name

    def cell(self, row: Model) -> str:
        field, _, value = lookup_field(self._name, row, self._page)
        return safe_cell(_text(field, value))


def _asked(rows: "QuerySet[Any]") -> Iterator[Any]:
    """The rows of one moment, one by one. An invalid filter raises here, not while sending.

    The database's cursor opens when the first row is taken, so a client that leaves before opens
    no cursor.
    """
    bool(rows[:1])
    return rows.iterator(chunk_size=_AT_ONCE)


class _Echo:
    """A file for `csv` whose `write` returns the line."""

    def write(self, line: str) -> str:
        return line


def _lines(columns: list[_Column], rows: Iterator[Any]) -> Iterator[str]:
    writer: Any = csv.writer(_Echo())
    yield writer.writerow(column.head for column in columns)
    count = 0
    try:
        for row in rows:
            yield writer.writerow(column.cell(row) for column in columns)
            count += 1
    except DatabaseError:
        # The answer has begun, so its status can't report the error any more.
        log.exception("an export was cut", rows=count)
        yield writer.writerow(
            [
                f"CUT after {count:,} rows: the database gave up. Narrow the list by a filter and "
                "export again."
            ]
        )


def _joined(lines: Iterator[str]) -> Iterator[str]:
    while some := list(islice(lines, _AT_ONCE)):
        yield "".join(some)


def _text(field: "ModelField[Any, Any] | None", value: Any) -> str:
    if isinstance(field, ModelField):
        return str(display_for_field(value, field, ""))
    if isinstance(value, tuple):
        # A label of the theme's is a pair: colour and text.
        value = value[-1]
    if isinstance(value, SafeString):
        value = strip_tags(value)
    return "" if value is None else str(value)


def safe_cell(text: str) -> str:
    """The text, escaped so that a spreadsheet does not take it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
