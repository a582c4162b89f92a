"""The console's page on tenants, for operators."""

from typing import Any, cast

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.decorators import display
from unfold.enums import ActionVariant

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_console import finders, panels
from integrations.cus_console.actions import CusActions, Question, asked
from integrations.cus_console.export import CusExport
from integrations.cus_console.finders import Finder, by_page
from integrations.cus_console.forms import CusServiceAdmin, CusServiceForm
from integrations.cus_console.pages import CusReadOnlyAdmin
from integrations.cus_console.panels import Page
from integrations.cus_tenancy.settings_service import CusTenantSettingsService
from integrations.cus_tenancy.tenant_service import CusTenantService


class TenantForm(CusServiceForm):
    """A tenant's name and time zone."""

    class Meta:
        model = CusTenant
        fields = ("name", "time_zone")

    def call_service(self) -> CusTenant:
        actor = cast("CusUser", self.request.user)
        service = CusTenantService(actor=actor)
        name, time_zone = self.cleaned_data["name"], self.cleaned_data["time_zone"]
        tenant = service.create(name) if self.is_new else service.rename(self.instance, name)
        return CusTenantSettingsService(tenant, actor=actor).change(time_zone=time_zone or "UTC")


finders.register(Finder("Tenants", ("operator",), by_page(CusTenant)))


@admin.register(CusTenant)
class CusTenantAdmin(CusActions, CusExport, CusServiceAdmin):
    """Tenants, open and closed."""

    viewers = changers = ("operator",)
    form = TenantForm
    list_display = ("name", "state", "created_at", "closed_at")
    search_fields = ("name",)
    ordering = ("name",)
    fields = ("name", "time_zone", "created_at", "closed_at")
    readonly_fields = ("created_at", "closed_at")
    actions_detail = ("close", "history")
    change_form_outer_after_template = "admin/cus_panels.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        # A tenant's row has no tenant_id, so only viewers who may see all tenants have the page.
        return super(CusReadOnlyAdmin, self).get_queryset(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may = super().has_change_permission(request, obj)
        return may and not (isinstance(obj, CusTenant) and obj.closed_at)

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if shown := kwargs.get("obj"):
            context["panels"] = panels.shown(Page.TENANT, request, shown)
        page: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return page

    def is_offered(self, button: str, row: CusTenant) -> bool:
        return button != "close" or row.closed_at is None

    @display(description="State", label={"open": "success", "closed": "danger"})
    def state(self, tenant: CusTenant) -> tuple[str, str]:
        return ("closed", "Closed") if tenant.closed_at else ("open", "Open")

    @asked(
        Question(
            "Close the tenant",
            "Its people see nothing any more and its integrations stop, for good. What they used "
            "stays on record.",
            "Close it",
            "The tenant is closed.",
            is_dangerous=True,
            changes_access=True,
        ),
        description="Close",
        icon="lock",
        variant=ActionVariant.DANGER,
    )
    def close(self, row: CusTenant, actor: CusUser) -> None:
        CusTenantService(actor=actor).close(row)
