"""Export all rows of a page as CSV, with the page's scope, filters and columns (ruling C8)."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import structlog
from django.contrib import messages
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.utils import display_for_field, label_for_field, lookup_field
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DatabaseError, DataError, OperationalError
from django.db.models import Field as ModelField
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.utils.html import strip_tags
from django.utils.safestring import SafeString
from import_export.admin import ExportMixin
from import_export.formats.base_formats import CSV
from psycopg.errors import QueryCanceled

from integrations.cus_console.filters import FilterRefused

log = structlog.get_logger(__name__)

# How many rows are read from the database at once, and how many lines are sent at once.
_AT_ONCE = 500
# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
# What a list answers with a message.
_REFUSALS = (DataError, ValueError, ValidationError, FilterRefused, DisallowedModelAdminLookup)
_TOO_LONG = (
    "The database took too long to look through all rows. Narrow the list by a filter, such as a "
    "time, and export again."
)


class CusExport(ExportMixin):  # type: ignore[misc]  # import-export has no types
    """Mixin for an admin page: a button that downloads all rows of the list."""

    # The columns of the file: fields and methods of the page, or of the row. The list's, if empty.
    export_columns: Sequence[str] = ()

    def get_export_columns(self: Any, request: HttpRequest) -> Sequence[str]:
        """The columns for the person."""
        return self.export_columns or list(self.get_list_display(request))

    def has_export_permission(self: Any, request: HttpRequest) -> bool:
        return bool(self.has_view_permission(request))

    def export_action(self, request: HttpRequest) -> HttpResponseBase:
        """The download. Where the address asks for what is not possible, the list says what."""
        if not self.has_export_permission(request):
            raise PermissionDenied
        try:
            rows = _asked(self.get_export_queryset(request))
        except _REFUSALS:
            return HttpResponseRedirect(f"../?{request.GET.urlencode()}")
        except OperationalError as error:
            if not isinstance(error.__cause__, QueryCanceled):
                raise
            messages.warning(request, _TOO_LONG)
            return HttpResponseRedirect("../")
        columns = [_Column(self, name) for name in self.get_export_columns(request)]
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
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(field, ModelField):
        return str(display_for_field(value, field, ""))
    if isinstance(value, tuple):
        # A label of the theme's is a pair: colour and text.
        value = value[-1]
    if isinstance(value, SafeString):
        value = strip_tags(value)
    return str(value)


def safe_cell(text: str) -> str:
    """The text, escaped so that a spreadsheet does not take it for a formula; numbers are none."""
    is_formula = text.startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text
