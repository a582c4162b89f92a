"""The console's page on decisions: to read, never to change."""

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from aos_sdk.cus_wire import CusEnforcementResult, CusReasonCode
from enforcement.cus_decisions.decision_page import (
    RESULTS,
    decided_again,
    figures,
    headline_of,
    ladder,
    other_reasons,
    stored_json,
)
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_decisions.panels import (
    because,
    blocked_lately,
    decisions_on_call,
    find_decisions,
    last_refusals,
    last_refusals_of_tenant,
    refused_by_day,
    refused_lately,
)
from enforcement.cus_what_if.page import what_if_panel
from integrations.cus_accounts.permissions import role_of
from integrations.cus_console import attention, finders, panels
from integrations.cus_console.facts import CusFactsAdmin, Headline
from integrations.cus_console.filters import choice, yes_or_no
from integrations.cus_console.finders import Finder
from integrations.cus_console.pages import EVERY_ROLE
from integrations.cus_console.panels import Cell, Page, Panel
from integrations.cus_integrations.panels import integration_page
from telemetry.cus_evidence.console import CusEvidenceAdmin
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_evidence.panels import record_page

_STAFF = ("operator", "support", "finance")
for _panel in (
    Panel(Page.HOME, "refused", "Refused in the last hour", _STAFF, refused_lately),
    Panel(Page.HOME, "refusals", "Last refusals", ("admin", "member"), last_refusals_of_tenant),
    Panel(Page.INTEGRATION, "refusals", "Last refusals", EVERY_ROLE, last_refusals),
    Panel(Page.INTEGRATION, "what-if", "What if", EVERY_ROLE, what_if_panel),
    Panel(Page.COST, "decisions", "Throttled and blocked", EVERY_ROLE, refused_by_day),
    Panel(Page.CALL, "decisions", "Decisions on the call", EVERY_ROLE, decisions_on_call),
    Panel(Page.DECISION, "ladder", "The checks in their order", EVERY_ROLE, ladder),
    Panel(Page.DECISION, "figures", "The limits at that moment", EVERY_ROLE, figures),
    Panel(Page.DECISION, "also", "Other reasons", EVERY_ROLE, other_reasons),
    Panel(Page.DECISION, "again", "Decided again", EVERY_ROLE, decided_again),
    Panel(Page.DECISION, "json", "As stored", EVERY_ROLE, stored_json),
):
    panels.register(_panel)
attention.register(blocked_lately)
_REASONS = [(code.value, code.value.replace("_", " ")) for code in CusReasonCode]
_RESULTS = [(word.value, word.value.replace("_", " ")) for word in CusEnforcementResult]
finders.register(
    Finder("Decisions", EVERY_ROLE, find_decisions, "by their id or their call's, whole")
)


@admin.register(CusEnforcementDecision)
class CusEnforcementDecisionAdmin(CusFactsAdmin, CusEvidenceAdmin):
    """Every decision but a plain `allowed`, newest first."""

    list_display = ("received", "call_id", "integration_name", "result_label", "because")
    list_display_links = ("received", "call_id")
    export_columns = (
        *("created_at", "evaluated_at", "call_id", "tenant_name", "integration_name"),
        *("result", "reason", "because", "step", "degraded", "decided_by"),
    )
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
        (
            "The decision",
            {"fields": ("call_id", "usage", "result", "reason", "degraded", "decided_by")},
        ),
        (
            "Whose and when",
            {"fields": ("tenant", "integration", "evaluated_at", "created_at", "id")},
        ),
    )
    readonly_fields = ("tenant", "integration", "usage")
    panels_of = Page.DECISION
    labels: ClassVar[dict[str, str]] = {
        "degraded": "without a look at its limits",
        "evaluated_at": "decided",
        "created_at": "received, by our clock",
        "id": "id of the decision",
    }

    def headline(self, request: HttpRequest, row: Any) -> Headline:
        return headline_of(row)

    def text_of(self, request: HttpRequest, row: Any, name: str) -> Cell:
        if name == "result":
            return RESULTS[CusEnforcementResult(row.result)]
        if name == "decided_by":
            return "this server" if row.decided_by == "server" else "the program (SDK)"
        if name == "reason":
            return str(row.reason.replace("_", " "))
        text: Cell = super().text_of(request, row, name)
        return text

    def link_of(self, request: HttpRequest, row: Any, name: str) -> str:
        if name == "tenant" and role_of(request.user) == "operator":
            return reverse("admin:integrations_custenant_change", args=[row.tenant_id])
        return integration_page(row.integration_id) if name == "integration" else ""

    @display(description="Tenant")
    def tenant(self, decision: CusEnforcementDecision) -> str:
        return str(self.tenant_name(decision))

    @display(description="Integration")
    def integration(self, decision: CusEnforcementDecision) -> str:
        return str(self.integration_name(decision))

    @display(description="Usage of the call")
    def usage(self, decision: CusEnforcementDecision) -> str:
        """A link to the call's record; a refused call mostly has none."""
        rows = CusLLMUsage.objects.filter(
            tenant_id=decision.tenant_id,
            integration_id=decision.integration_id,
            call_id=decision.call_id,
        )
        usage = rows.first()
        if usage is None:
            return "none was reported"
        return format_html('<a href="{}" class="underline">its record</a>', record_page(usage))

    @display(description="Because")
    def because(self, decision: CusEnforcementDecision) -> str:
        return because(decision)

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
