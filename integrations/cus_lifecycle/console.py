"""What pages of the console share that have a box for an integration."""

from typing import Any, cast

from django.db.models import ForeignKey
from django.http import HttpRequest

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_console.forms import CusServiceAdmin
from integrations.cus_lifecycle.models import CusIntegration


class CusOffersIntegrations(CusServiceAdmin):
    """A form's box for an integration offers those that the person sees and nobody has deleted."""

    def formfield_for_foreignkey(
        self, db_field: "ForeignKey[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "integration":
            living = CusIntegration.objects.filter(deleted_at__isnull=True).order_by("name")
            kwargs["queryset"] = visible_to(living, cast("CusUser", request.user))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)
