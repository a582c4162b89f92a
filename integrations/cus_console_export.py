"""A page's rows as CSV: the same scope, the same filters, the same columns (ruling C8)."""

from typing import Any

from django.contrib.admin.utils import display_for_field, label_for_field, lookup_field
from django.core.exceptions import ValidationError
from django.db import DataError
from django.db.models import Field as ModelField
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import strip_tags
from django.utils.safestring import SafeString
from import_export.admin import ExportMixin
from import_export.fields import Field
from import_export.formats.base_formats import CSV
from import_export.resources import Resource

# A page's worth of work for a spreadsheet; more is the API's business.
_MOST_ROWS = 10_000
# A spreadsheet computes what begins so.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class CusExport(ExportMixin):  # type: ignore[misc]  # import-export has no types
    """For an admin page: a button that downloads what its list shows."""

    def is_skip_export_form_enabled(self) -> bool:
        """There is nothing to choose: the columns are the page's."""
        return True

    def get_export_formats(self) -> list[type[CSV]]:
        return [CSV]

    def has_export_permission(self: Any, request: HttpRequest) -> bool:
        return bool(self.has_view_permission(request))

    def export_action(self, request: HttpRequest) -> HttpResponse:
        """The download; a filter that no value can have leads back to the list, as it does there."""
        try:
            answer: HttpResponse = super().export_action(request)
        except (DataError, ValueError, ValidationError):
            return HttpResponseRedirect("../?e=1")
        return answer

    def get_export_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows: QuerySet[Any] = super().get_export_queryset(request)
        return rows[:_MOST_ROWS]

    def get_export_resource_classes(self: Any, request: HttpRequest) -> list[type[Resource]]:
        columns = {name: _Column(self, name) for name in self.get_list_display(request)}
        return [type("Columns", (Resource,), columns)]

    def get_valid_export_item_pks(self, request: HttpRequest) -> list[object]:
        """None: rows are chosen by the page's filters, not by naming them."""
        return []


class _Column(Field):  # type: ignore[misc]  # as above
    """A column of the page, as text."""

    def __init__(self, page: Any, name: str) -> None:
        label = str(label_for_field(name, page.model, page)).capitalize()
        super().__init__(attribute=name, column_name=label)
        self._page = page

    def export(self, instance: Model, **_options: Any) -> str:
        field, _, value = lookup_field(self.attribute, instance, self._page)
        return safe_cell(_text(field, value))

    def __deepcopy__(self, _memo: dict[int, Any]) -> "_Column":
        # A resource copies its fields; the page behind one is not to be copied.
        return self


def _text(field: "ModelField[Any, Any] | None", value: Any) -> str:
    if isinstance(field, ModelField):
        return str(display_for_field(value, field, ""))
    if isinstance(value, tuple):
        # A label of the theme's: its colour, and what it says.
        value = value[-1]
    if isinstance(value, SafeString):
        value = strip_tags(value)
    return "" if value is None else str(value)


def safe_cell(text: str) -> str:
    """The text so that a spreadsheet shows it, and computes nothing."""
    return f"'{text}" if text.startswith(_FORMULA) else text
