"""What the console's pages on evidence share: partitioned rows that name their integration."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.db import OperationalError
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from psycopg.errors import QueryCanceled

from integrations.cus_accounts.models import CusTenant
from integrations.cus_console.export import CusExport
from integrations.cus_console.filters import (
    FEWEST_DAYS,
    TIME_FILTERS,
    USUAL_DAYS,
    CusReceivedFilter,
    has_time_bound,
    without_index,
)
from integrations.cus_console.newest_first import NewestFirst
from integrations.cus_console.pages import CusOfTenants, CusReadOnlyAdmin
from integrations.cus_lifecycle.console import CusIntegrationFilter
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.list_filters import FACT_FILTERS
from telemetry.cus_ids import made_at

# Between the making of a row's id and the transaction that stored it.
_ID_WINDOW = timedelta(hours=1)


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


class CusReportedAdmin(CusExport, NewestFirst, CusOfTenants, CusReadOnlyAdmin):
    """What programs reported, with the names of its integration and tenant."""

    tenant_after = "integration_name"
    list_filter: tuple[Any, ...] = (CusIntegrationFilter, *TIME_FILTERS)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        names = CusIntegration.objects.filter(id=OuterRef("integration_id")).values("name")
        tenants = CusTenant.objects.filter(id=OuterRef("tenant_id")).values("name")
        scope = super().get_queryset(request)
        named: QuerySet[Any] = scope.annotate(
            integration_name=Subquery(names[:1]), tenant_name=Subquery(tenants[:1])
        )
        return named

    @admin.display(description="Received")
    def received(self, row: Any) -> datetime:
        moment: datetime = row.created_at
        return moment

    @admin.display(description="Integration")
    def integration_name(self, row: Any) -> str:
        return str(row.integration_name or "")


class CusCallListAdmin(CusReportedAdmin):
    """A list of rows on calls, narrowed by facts of the calls that mostly no index has."""

    # For the lists of pages: how far back, and whose the call was.
    base_filters = (*TIME_FILTERS, CusIntegrationFilter)
    fact_filters = FACT_FILTERS

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list. One that is filtered without an index goes 31 days back unless told further."""
        chosen = {name for name, value in request.GET.items() if str(value).strip()}
        needs_bound = chosen.intersection(without_index(self.get_list_filter(request)))
        if needs_bound and not has_time_bound(request):
            return self._again(request, USUAL_DAYS)
        try:
            return super().changelist_view(request, extra_context)
        except OperationalError as error:
            is_shortest = request.GET.get(CusReceivedFilter.parameter_name) == FEWEST_DAYS
            if is_shortest or not isinstance(error.__cause__, QueryCanceled):
                raise
        messages.warning(
            request,
            "The database took too long to look through all rows. The list shows 24 hours: choose "
            "further filters before you go further back.",
        )
        return self._again(request, FEWEST_DAYS)

    def _again(self, request: HttpRequest, days: str) -> HttpResponse:
        query = request.GET.copy()
        query[CusReceivedFilter.parameter_name] = days
        return redirect(f"{request.path}?{query.urlencode()}")


class CusEvidenceAdmin(CusCallListAdmin):
    """Rows on calls, of a table that is partitioned by `created_at`."""

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        return row_by_id(self.get_queryset(request), object_id)
