"""The console's page on tenants' own prices."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.decorators import display

from integrations.cus_accounts.permissions import role_of
from integrations.cus_console.actions import CusActions
from integrations.cus_console.export import CusExport
from integrations.cus_console.forms import CusServiceAdmin
from integrations.cus_prices.form import PriceOverrideForm
from integrations.cus_prices.models import CusPriceOverride


@admin.register(CusPriceOverride)
class CusPriceOverrideAdmin(CusActions, CusExport, CusServiceAdmin):
    """Tenants' own prices. Prices are added, never changed."""

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

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: CusPriceOverride | None = None) -> list[str]:
        if obj:
            return list(self.fields)
        asked = ["model", *PriceOverrideForm.price_fields, "valid_from", "note"]
        return asked if role_of(request.user) == "admin" else ["tenant", *asked]

    @display(description="Input, per million tokens")
    def input_price(self, override: CusPriceOverride) -> str:
        return f"${override.prices['input']}"

    @display(description="Output, per million tokens")
    def output_price(self, override: CusPriceOverride) -> str:
        return f"${override.prices['output']}"
