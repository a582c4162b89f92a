"""The console's page on display rates."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextInputWidget

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_console.actions import CusActions
from integrations.cus_console.export import CusExport
from integrations.cus_console.forms import CusServiceAdmin, CusServiceForm, tenant_for
from integrations.cus_currency.models import CusDisplayRate
from integrations.cus_currency.service import CusDisplayRateService


class DisplayRateForm(CusServiceForm):
    """Which currency, what a dollar is worth in it, and from when on."""

    rate = forms.CharField(
        help_text="What one US dollar is worth in the currency, such as 0.92",
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
    )

    class Meta:
        model = CusDisplayRate
        fields = ("tenant", "currency", "rate", "valid_from")
        help_texts = {"currency": "Three capital letters, such as EUR. USD: no other currency"}

    def call_service(self) -> CusDisplayRate:
        cleaned = self.cleaned_data
        tenant = tenant_for(self.request, cleaned)
        service = CusDisplayRateService(tenant, actor=cast("CusUser", self.request.user))
        return service.append(
            currency=cleaned["currency"], rate=cleaned["rate"], valid_from=cleaned["valid_from"]
        )


@admin.register(CusDisplayRate)
class CusDisplayRateAdmin(CusActions, CusExport, CusServiceAdmin):
    """Rates at which amounts are shown beside US dollars. A new one is added; none is changed."""

    list_display = ("currency", "tenant", "rate", "valid_from")
    list_select_related = ("tenant",)
    form = DisplayRateForm
    fields = ("tenant_shown", "currency", "rate", "valid_from", "created_at", "created_by_shown")
    readonly_fields = ("tenant_shown", "created_at", "created_by_shown")
    actions_detail = ("history",)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: CusDisplayRate | None = None) -> Any:
        if obj:
            return self.fields
        asked = ("currency", "rate", "valid_from")
        return asked if role_of(request.user) == "admin" else ("tenant", *asked)
