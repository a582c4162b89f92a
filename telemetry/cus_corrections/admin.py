"""The console's page on corrections of costs."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from integrations.cus_console.amounts import exact_dollars
from integrations.cus_console.facts import CusFactsAdmin
from integrations.cus_console.panels import Cell
from telemetry.cus_corrections.models import CusCostAdjustment
from telemetry.cus_evidence.call_page import kept_price_in_words
from telemetry.cus_evidence.console import CusCallListAdmin
from telemetry.cus_evidence.models import CusLLMUsage


@admin.register(CusCostAdjustment)
class CusCostAdjustmentAdmin(CusFactsAdmin, CusCallListAdmin):
    """Corrections of costs, newest first."""

    list_display = (
        "created_at",
        "call",
        "integration_name",
        "difference",
        "old_version",
        "new_version",
        "occurred_at",
    )
    list_filter = (*CusCallListAdmin.base_filters, *CusCallListAdmin.fact_filters)
    fields = (
        *("call", "integration_name", "tenant_name", "difference", "number"),
        *("old_version", "new_version", "old_price_id", "new_price_id"),
        *("occurred_at", "created_at", "id"),
    )
    readonly_fields = ("call", "integration_name", "tenant_name", "difference")
    labels: ClassVar[dict[str, str]] = {
        "number": "which of the call's corrections",
        "old_price_id": "price before",
        "new_price_id": "price now",
        "occurred_at": "the call began",
        "created_at": "corrected",
        "id": "id of the correction",
    }

    def text_of(self, request: HttpRequest, row: Any, name: str) -> Cell:
        if name in ("old_price_id", "new_price_id"):
            return kept_price_in_words(getattr(row, name))
        text: Cell = super().text_of(request, row, name)
        return text

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        usage = CusLLMUsage.objects.filter(
            tenant_id=OuterRef("tenant_id"),
            created_at=OuterRef("usage_created_at"),
            id=OuterRef("usage_id"),
        )
        call = Subquery(usage.values("call_id")[:1])
        corrections: QuerySet[Any] = super().get_queryset(request).annotate(call_id=call)
        return corrections

    @display(description="Call")
    def call(self, adjustment: Any) -> str:
        """A link to the call's record; its id alone where retention dropped the record."""
        if adjustment.call_id is None:
            return f"record {adjustment.usage_id}, which is no longer kept"
        page = reverse("admin:telemetry_cusllmusage_change", args=[adjustment.usage_id])
        return format_html('<a href="{}" class="underline">{}</a>', page, adjustment.call_id)

    @display(description="Adds to the exact cost")
    def difference(self, adjustment: CusCostAdjustment) -> str:
        return exact_dollars(adjustment.difference_microcents)
