"""What pages of the console share that are of an integration, or have a box or a filter for one."""

import uuid
from typing import Any, cast

from django.db.models import ForeignKey, QuerySet
from django.http import HttpRequest
from django.shortcuts import get_object_or_404

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_console.filters import CusChoiceFilter, offered_rows
from integrations.cus_console.forms import CusServiceAdmin
from integrations.cus_lifecycle.models import CusIntegration


def integration_shown(request: HttpRequest, integration_id: uuid.UUID) -> CusIntegration:
    """The integration that a page is about. Raises Http404 if the person sees none of this id, or it
    is deleted.
    """
    living = CusIntegration.objects.filter(deleted_at__isnull=True).select_related("tenant")
    return get_object_or_404(visible_to(living, cast("CusUser", request.user)), id=integration_id)


class CusIntegrationFilter(CusChoiceFilter):
    """The rows of one integration; deleted ones have rows, too."""

    is_indexed = is_of_one_tenant = True
    title, parameter_name = "integration", "integration"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        seen = visible_to(CusIntegration.objects.all(), cast("CusUser", request.user))
        return offered_rows(seen.order_by("name", "id"), self.value())

    def narrowed(self, request: HttpRequest, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        # With the tenant, an index finds the rows.
        tenants = CusIntegration.objects.filter(id=value).values_list("tenant_id", flat=True)
        return rows.filter(tenant_id=tenants[0], integration_id=value)


class CusOffersIntegrations(CusServiceAdmin):
    """A form's box for an integration offers those that the person sees and nobody has deleted."""

    def formfield_for_foreignkey(
        self, db_field: "ForeignKey[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "integration":
            living = CusIntegration.objects.filter(deleted_at__isnull=True).order_by("name")
            kwargs["queryset"] = visible_to(living, cast("CusUser", request.user))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)
