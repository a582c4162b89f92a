"""What the console's pages on evidence share: partitioned rows that name their integration."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from integrations.cus_console.pages import BoundedPaginator, CusReadOnlyAdmin
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_ids import made_at

# Between the making of a row's id and the transaction that stored it.
_ID_WINDOW = timedelta(hours=1)


class CusReportedAdmin(CusReadOnlyAdmin):
    """What programs reported, with the name of their integration."""

    paginator = BoundedPaginator
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        names = CusIntegration.objects.filter(id=OuterRef("integration_id")).values("name")
        scope = super().get_queryset(request)
        named: QuerySet[Any] = scope.annotate(integration_name=Subquery(names[:1]))
        return named

    @admin.display(description="Integration")
    def integration_name(self, row: Any) -> str:
        return str(row.integration_name)


class CusEvidenceAdmin(CusReportedAdmin):
    """Rows of a table that is partitioned by `created_at`."""

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        # The id alone is in no index; the moment inside it says in which partition to look.
        try:
            moment = made_at(UUID(object_id))
        except (ValueError, OverflowError):
            return None
        window = (moment - _ID_WINDOW, moment + _ID_WINDOW)
        return self.get_queryset(request).filter(created_at__range=window, id=object_id).first()
