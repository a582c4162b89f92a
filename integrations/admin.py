"""The console's pages on authority."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from integrations.cus_console import CusReadOnlyAdmin
from integrations.cus_health_admin import CusHealthTestButton
from integrations.cus_models import CusIntegration, CusPriceOverride, CusTenant, CusUser
from integrations.cus_permissions import own_tenant, role_of
from integrations.cus_price_override_form import PriceOverrideForm
from integrations.cus_price_override_service import CusPriceOverrideService

# Roles are ours (ruling C9); Django's groups would only pretend to grant something.
admin.site.unregister(Group)
_GOOD, _BAD, _SO_SO = "success", "danger", "warning"


@admin.register(CusIntegration)
class CusIntegrationAdmin(CusHealthTestButton, CusReadOnlyAdmin):
    """Integrations of the viewer's tenant; of all tenants for operators and support."""

    list_display = (
        "name",
        "tenant",
        "provider_type",
        "status_label",
        "health_label",
        "budget",
        "default_model",
        "created_at",
    )
    list_filter = ("status", "health_state", "provider_type")
    search_fields = ("name", "tenant__name")
    list_select_related = ("tenant",)
    fieldsets = (
        (None, {"fields": ("name", "tenant", "provider_type", "status", "default_model")}),
        (
            "Limits",
            {
                "fields": (
                    "enforcement_level",
                    "budget_limit_cents",
                    "budget_basis",
                    "token_limit_month",
                    "rate_limit_rpm",
                )
            },
        ),
        (
            "Health",
            {
                "fields": (
                    "health_state",
                    "health_checked_at",
                    "health_message",
                    "credential_state",
                )
            },
        ),
        ("Record", {"fields": ("id", "config_version", "created_at", "updated_at", "created_by")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[CusIntegration]:
        scope: QuerySet[CusIntegration] = super().get_queryset(request)
        return scope.filter(deleted_at__isnull=True)

    @display(
        description="Status",
        ordering="status",
        label={"enabled": _GOOD, "error": _BAD, "disabled": _SO_SO},
    )
    def status_label(self, integration: CusIntegration) -> tuple[str, str]:
        return integration.status, integration.get_status_display()

    @display(
        description="Health",
        ordering="health_state",
        label={"healthy": _GOOD, "failing": _BAD, "degraded": _SO_SO},
    )
    def health_label(self, integration: CusIntegration) -> tuple[str, str]:
        return integration.health_state, integration.get_health_state_display()

    @display(description="Monthly budget", ordering="budget_limit_cents")
    def budget(self, integration: CusIntegration) -> str:
        limit = integration.budget_limit_cents
        return f"${limit // 100:,}.{limit % 100:02d}" if limit else "No limit"


@admin.register(CusPriceOverride)
class CusPriceOverrideAdmin(CusReadOnlyAdmin):
    """Tenants' own prices. A new one is added; none is ever changed."""

    list_display = ("model", "tenant", "input_price", "output_price", "valid_from", "note")
    search_fields = ("model",)
    list_select_related = ("tenant",)
    form = PriceOverrideForm
    fields = ("tenant", "model", "prices", "valid_from", "note", "created_at", "created_by")

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
        change: bool,  # noqa: FBT001
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
