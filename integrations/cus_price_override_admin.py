"""The console's page on tenants' own prices."""

from typing import Any, cast

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from integrations.cus_console import CusReadOnlyAdmin
from integrations.cus_console_actions import CusActions
from integrations.cus_console_export import CusExport
from integrations.cus_models import CusTenant, CusUser
from integrations.cus_permissions import own_tenant, role_of
from integrations.cus_price_override_form import PriceOverrideForm
from integrations.cus_price_override_models import CusPriceOverride
from integrations.cus_price_override_service import CusPriceOverrideService


@admin.register(CusPriceOverride)
class CusPriceOverrideAdmin(CusActions, CusExport, CusReadOnlyAdmin):
    """Tenants' own prices. A new one is added; none is ever changed."""

    list_display = ("model", "tenant", "input_price", "output_price", "valid_from", "note")
    search_fields = ("model",)
    list_select_related = ("tenant",)
    form = PriceOverrideForm
    fields = (
        "tenant_shown",
        "model",
        "prices",
        "valid_from",
        "note",
        "created_at",
        "created_by_shown",
    )
    readonly_fields = ("tenant_shown", "created_at", "created_by_shown")
    actions_detail = ("history",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return role_of(request.user) in ("operator", "admin")

    def get_fields(self, request: HttpRequest, obj: CusPriceOverride | None = None) -> list[str]:
        if obj:
            return list(self.fields)
        asked = ["model", *PriceOverrideForm.price_fields, "valid_from", "note"]
        return asked if role_of(request.user) == "admin" else ["tenant", *asked]

    def get_form(
        self,
        request: HttpRequest,
        obj: CusPriceOverride | None = None,
        change: bool = False,  # noqa: FBT001, FBT002  (Django's own signature)
        **options: Any,
    ) -> Any:
        form = super().get_form(request, obj, change, **options)
        # The form checks a price for a tenant; a tenant admin's is no question.
        user = cast("CusUser", request.user)
        form.tenant_id = own_tenant(user) if role_of(user) == "admin" else None
        return form

    def save_model(
        self,
        request: HttpRequest,
        obj: CusPriceOverride,
        form: PriceOverrideForm,
        change: bool,  # noqa: FBT001  (Django's own signature)
    ) -> None:
        tenant = CusTenant.objects.get(id=obj.tenant_id)
        saved = CusPriceOverrideService(tenant, actor=cast("CusUser", request.user)).append(
            model=obj.model, prices=obj.prices, valid_from=obj.valid_from, note=obj.note
        )
        obj.pk = saved.pk

    @display(description="Input, per million tokens")
    def input_price(self, override: CusPriceOverride) -> str:
        return f"${override.prices['input']}"

    @display(description="Output, per million tokens")
    def output_price(self, override: CusPriceOverride) -> str:
        return f"${override.prices['output']}"
