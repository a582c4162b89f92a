"""The console's read-only pages on facts."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from aos_sdk.cus_cost import CusTokenUsage
from integrations.cus_console import finders, panels
from integrations.cus_console.amounts import exact_dollars
from integrations.cus_console.finders import Finder
from integrations.cus_console.pages import EVERY_ROLE
from integrations.cus_console.panels import Page, Panel
from integrations.cus_integrations.admin import CusIntegrationAdmin
from telemetry.cus_analytics.panels import this_month, unusual_hours
from telemetry.cus_corrections.models import CusCostAdjustment
from telemetry.cus_corrections.repricing import corrected_microcents
from telemetry.cus_coverage.models import CusBypassReport
from telemetry.cus_evidence.console import CusCallListAdmin, CusEvidenceAdmin, CusReportedAdmin
from telemetry.cus_evidence.lookup import counted_cents
from telemetry.cus_evidence.models import CusLLMUsage, CusUsageSettlement
from telemetry.cus_evidence.panels import (
    answers_of,
    cost_shown,
    find_calls,
    last_calls,
    outcome_of,
    with_settled_cost,
)
from telemetry.cus_evidence.settlements import SAME_ANSWER
from telemetry.cus_holds.limits import holds_warning
from telemetry.cus_holds.panels import limit_bars
from telemetry.cus_statements.panels import last_months

CusIntegrationAdmin.warnings.append(holds_warning)
for _panel in (
    Panel(Page.HOME, "month", "Cost this month", EVERY_ROLE, this_month),
    Panel(Page.HOME, "unusual", "Unusual hours", EVERY_ROLE, unusual_hours),
    Panel(Page.HOME, "statements", "Statements", ("finance",), last_months, is_first=True),
    Panel(Page.INTEGRATION, "limits", "Use of the limits this month (UTC)", EVERY_ROLE, limit_bars),
    Panel(Page.INTEGRATION, "calls", "Last calls", EVERY_ROLE, last_calls),
):
    panels.register(_panel)
finders.register(Finder("Calls", EVERY_ROLE, find_calls))


@admin.register(CusLLMUsage)
class CusLLMUsageAdmin(CusEvidenceAdmin):
    """Usage records, newest first."""

    list_display = (
        "created_at",
        "call_id",
        "integration_name",
        "model",
        "tokens_in",
        "tokens_out",
        "exact_cost",
        "latency_ms",
        "outcome",
    )
    # These fields have fixed choices. A filter that looks for values in use reads the whole table.
    list_filter = ("policy_result", "pricing", *CusEvidenceAdmin.call_filters)
    search_fields = ("call_id__exact",)
    search_help_text = "A whole call id"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "call_id",
                    "model",
                    "model_requested",
                    "provider",
                    "host",
                    "region",
                    "operation",
                    "stream",
                    "service_tier",
                )
            },
        ),
        (
            "Whose",
            {
                "fields": (
                    "tenant_id",
                    "integration_id",
                    "session_id",
                    "agent_id",
                    "end_user",
                    "tags",
                )
            },
        ),
        (
            "Tokens",
            {
                "description": "The kinds below the first two are parts of them.",
                "fields": (*CusTokenUsage._fields, "billed_units", "turns"),
            },
        ),
        (
            "Cost",
            {
                "fields": (
                    "exact_cost",
                    "corrected_cost",
                    "cost_cents",
                    "counted",
                    "cost_microcents",
                    "pricing",
                    "pricing_version",
                    "price_id",
                    "unpriced_units",
                    "reported_pricing_version",
                    "provider_cost_microcents",
                    "provisional_cents",
                    "provisional_microcents",
                    "provisional_tokens",
                    "settlement",
                )
            },
        ),
        (
            "Outcome",
            {
                "fields": (
                    "policy_result",
                    "error_code",
                    "error_message",
                    "latency_ms",
                    "degraded",
                    "lease_id",
                    "metadata",
                )
            },
        ),
        (
            "At the provider",
            {
                "fields": (
                    "response_id",
                    "provider_request_id",
                    "provider_project",
                    "provider_key_hint",
                )
            },
        ),
        (
            "Evidence",
            {
                "fields": (
                    "id",
                    "created_at",
                    "occurred_at",
                    "sent_timestamp",
                    "admitted_at",
                    "flags",
                    "process_id",
                    "sequence",
                )
            },
        ),
    )
    readonly_fields = ("exact_cost", "corrected_cost", "counted", "settlement")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_settled_cost(super().get_queryset(request))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Rows of a call id; also the row of the answer of a call that has none of its own."""
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        answers = answers_of(request, search_term)
        if answers:
            found = queryset.filter(Q(call_id=search_term.strip()) | answers)
        return found, may_repeat

    @display(description="Cents that limits count")
    def counted(self, usage: CusLLMUsage) -> int:
        return counted_cents(usage)

    @display(description="As corrected")
    def corrected_cost(self, usage: CusLLMUsage) -> str:
        return exact_dollars(corrected_microcents(usage))

    @display(description="Exact cost")
    def exact_cost(self, usage: CusLLMUsage) -> str:
        return cost_shown(usage)

    @display(description="Settled by")
    def settlement(self, usage: CusLLMUsage) -> str:
        if usage.pricing != CusLLMUsage.Pricing.UNMEASURED:
            return "-"
        settled = CusUsageSettlement.objects.filter(tenant_id=usage.tenant_id, usage_id=usage.id)
        found = settled.first()
        if found is None:
            return "not yet: budgets count the provisional amounts"
        if SAME_ANSWER in found.flags:
            return f"{found.call_id}: another call names the same answer and counts its usage"
        return (
            f"{found.tokens_in:,} tokens in, {found.tokens_out:,} out, "
            f"{exact_dollars(found.cost_microcents)} on {found.created_at:%d %B %Y}"
        )

    @display(
        description="Outcome",
        label={"ok": "success", "failed": "danger", "blocked": "danger", "warned": "warning"},
    )
    def outcome(self, usage: CusLLMUsage) -> tuple[str, str]:
        return outcome_of(usage)


@admin.register(CusCostAdjustment)
class CusCostAdjustmentAdmin(CusCallListAdmin):
    """Corrections of costs, newest first."""

    list_display = (
        "created_at",
        "usage_id",
        "old_version",
        "new_version",
        "difference_microcents",
        "occurred_at",
    )
    list_filter = CusCallListAdmin.call_filters


@admin.register(CusBypassReport)
class CusBypassReportAdmin(CusReportedAdmin):
    """The reports of SDKs on bypassed calls, newest first."""

    list_display = (
        "created_at",
        "integration_name",
        "governed_calls",
        "bypassed_calls",
        "went_to",
        "window_start",
        "window_end",
        "process_id",
    )

    @display(description="Bypassed calls went to")
    def went_to(self, report: CusBypassReport) -> str:
        return ", ".join(sorted(report.hosts)) or "-"
