"""The console's page on decisions: to read, never to change."""

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from aos_sdk.cus_wire import CusEnforcementResult, CusReasonCode
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_decisions.panels import find_decisions, last_refusals, refused_lately
from integrations.cus_console import finders, panels
from integrations.cus_console.filters import choice, yes_or_no
from integrations.cus_console.finders import Finder
from integrations.cus_console.pages import EVERY_ROLE
from integrations.cus_console.panels import Page, Panel
from integrations.cus_integrations.panels import integration_page
from telemetry.cus_evidence.console import CusEvidenceAdmin

for _panel in (
    Panel(Page.HOME, "refused", "Refused in the last hour", EVERY_ROLE, refused_lately),
    Panel(Page.INTEGRATION, "refusals", "Last refusals", EVERY_ROLE, last_refusals),
):
    panels.register(_panel)
_REASONS = [(code.value, code.value.replace("_", " ")) for code in CusReasonCode]
_RESULTS = [(word.value, word.value.replace("_", " ")) for word in CusEnforcementResult]
finders.register(Finder("Decisions", EVERY_ROLE, find_decisions))


@admin.register(CusEnforcementDecision)
class CusEnforcementDecisionAdmin(CusEvidenceAdmin):
    """Every decision but a plain `allowed`, newest first."""

    list_display = (
        "created_at",
        "call_id",
        "integration_name",
        "result_label",
        "reason",
        "degraded",
        "decided_by",
    )
    list_display_links = ("created_at", "call_id")
    list_filter = (
        *CusEvidenceAdmin.base_filters,
        choice("result", "result", _RESULTS),
        choice("reason", "reason", _REASONS),
        choice("decided_by", "decided by", CusEnforcementDecision.By.choices),
        yes_or_no("degraded", "degraded"),
        *CusEvidenceAdmin.fact_filters,
    )
    search_is_indexed = True
    search_fields = ("call_id__exact",)
    search_help_text = "A whole call id"
    fieldsets = (
        (None, {"fields": ("call_id", "result", "reason", "step", "degraded", "decided_by")}),
        ("Whose", {"fields": ("tenant_id", "integration", "usage")}),
        ("On which grounds", {"fields": ("reasons", "facts")}),
        ("Record", {"fields": ("id", "evaluated_at", "created_at")}),
    )
    readonly_fields = ("integration", "usage")

    @display(description="Integration")
    def integration(self, decision: CusEnforcementDecision) -> SafeString:
        address = integration_page(decision.integration_id)
        return format_html('<a href="{}">{}</a>', address, self.integration_name(decision))

    @display(description="Usage reported of the call")
    def usage(self, decision: CusEnforcementDecision) -> SafeString:
        address = reverse("admin:telemetry_cusllmusage_changelist")
        return format_html('<a href="{}?q={}">{}</a>', address, decision.call_id, decision.call_id)

    @display(
        description="Result",
        label={
            "allowed": "success",
            "warned": "warning",
            "throttled": "warning",
            "blocked": "danger",
            "hard_blocked": "danger",
        },
    )
    def result_label(self, decision: CusEnforcementDecision) -> tuple[str, str]:
        return decision.result, decision.result.replace("_", " ")
