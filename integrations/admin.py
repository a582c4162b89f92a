"""The console's pages on authority."""

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from integrations.cus_console import CusReadOnlyAdmin
from integrations.cus_models import CusIntegration

# Roles are ours (ruling C9); Django's groups would only pretend to grant something.
admin.site.unregister(Group)
_GOOD, _BAD, _SO_SO = "success", "danger", "warning"


@admin.register(CusIntegration)
class CusIntegrationAdmin(CusReadOnlyAdmin):
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
