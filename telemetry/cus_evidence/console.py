"""What the console's pages on evidence share: partitioned rows that name their integration."""

import uuid
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, cast

from django.contrib import admin, messages
from django.db import OperationalError
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from psycopg.errors import QueryCanceled
from unfold.contrib.filters.admin import TextFilter

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.permissions import own_tenant
from integrations.cus_console.newest_first import NewestFirst
from integrations.cus_console.pages import CusReadOnlyAdmin
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.filters import CALL_FILTERS, calls_with, of_calls, of_usage
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_ids import made_at

# Between the making of a row's id and the transaction that stored it.
_ID_WINDOW = timedelta(hours=1)
_ANY_TIME = "any"
_USUAL_DAYS = "31"
_FEWEST_DAYS = "1"
_MOST_DIGITS = 3


def row_by_id(rows: QuerySet[Any], text: str) -> Any:
    """The row with this id, of a table that is partitioned by `created_at`; None without one.

    The id alone is in no index; the moment inside it says in which partition to look.
    """
    try:
        name = uuid.UUID(text)
        moment = made_at(name)
        window = (moment - _ID_WINDOW, moment + _ID_WINDOW)
    except (ValueError, OverflowError):
        return None
    return rows.filter(created_at__range=window, id=name).first()


class CusReportedAdmin(NewestFirst, CusReadOnlyAdmin):
    """What programs reported, with the name of their integration."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        names = CusIntegration.objects.filter(id=OuterRef("integration_id")).values("name")
        scope = super().get_queryset(request)
        named: QuerySet[Any] = scope.annotate(integration_name=Subquery(names[:1]))
        return named

    @admin.display(description="Integration")
    def integration_name(self, row: Any) -> str:
        return str(row.integration_name)


class CusReceivedFilter(admin.SimpleListFilter):
    """How far back a list goes, by the time of receipt: by that, rows are in months and indexed."""

    title = "received within"
    parameter_name = "received"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            (_FEWEST_DAYS, "24 hours"),
            ("7", "7 days"),
            (_USUAL_DAYS, "31 days"),
            ("366", "a year"),
            (_ANY_TIME, "any time"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        since = _since(self.value())
        return queryset.filter(created_at__gte=since) if since else queryset


def _since(days: str | None) -> CombinedExpression | None:
    """The moment so many days ago, by the database's clock; None if this is no number of days."""
    if not days or not days.isdecimal() or len(days) > _MOST_DIGITS:
        return None
    return Now() - timedelta(days=int(days))


class _CallFilter(TextFilter):  # type: ignore[misc]  # unfold has no types
    """A box for the whole value of one fact of a call."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = (self.value() or "").strip()
        if not value:
            return queryset
        calls = calls_with(self.parameter_name, value, _tenants_of(request))
        if queryset.model is CusLLMUsage:
            return queryset.filter(calls)
        if hasattr(queryset.model, "usage_id"):
            return queryset.filter(of_usage(calls))
        since = _since(request.GET.get(CusReceivedFilter.parameter_name))
        return queryset.filter(of_calls(calls, since))


def _tenants_of(request: HttpRequest) -> Iterable[uuid.UUID]:
    own = own_tenant(cast("CusUser", request.user))
    return [own] if own else CusTenant.objects.values_list("id", flat=True)


def _call_filters() -> Iterator[type[_CallFilter]]:
    for name, title in CALL_FILTERS.items():
        yield type(f"CusFilterBy_{name}", (_CallFilter,), {"parameter_name": name, "title": title})


class CusCallListAdmin(NewestFirst, CusReadOnlyAdmin):
    """A list of rows on calls, narrowed by facts of the calls that no index has."""

    # For the lists of pages: how far back, and whose the call was.
    call_filters = (CusReceivedFilter, *_call_filters())
    list_filter_submit = True

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list. One that is filtered without an index goes 31 days back unless told further."""
        chosen = {name for name, value in request.GET.items() if str(value).strip()}
        if chosen & CALL_FILTERS.keys() and CusReceivedFilter.parameter_name not in chosen:
            return self._again(request, _USUAL_DAYS)
        try:
            return super().changelist_view(request, extra_context)
        except OperationalError as error:
            is_shortest = request.GET.get(CusReceivedFilter.parameter_name) == _FEWEST_DAYS
            if is_shortest or not isinstance(error.__cause__, QueryCanceled):
                raise
        messages.warning(
            request,
            "The database took too long to look through all rows. The list shows 24 hours: choose "
            "further filters before you go further back.",
        )
        return self._again(request, _FEWEST_DAYS)

    def _again(self, request: HttpRequest, days: str) -> HttpResponse:
        query = request.GET.copy()
        query[CusReceivedFilter.parameter_name] = days
        return redirect(f"{request.path}?{query.urlencode()}")


class CusEvidenceAdmin(CusCallListAdmin, CusReportedAdmin):
    """Rows on calls, of a table that is partitioned by `created_at`."""

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        return row_by_id(self.get_queryset(request), object_id)
