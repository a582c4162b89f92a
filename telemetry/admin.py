"""The console's read-only pages on facts."""

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
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
from telemetry.cus_evidence.list_filters import USAGE_FILTERS
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

CusIntegrationAdmin.warnings.append(holds_warning)
for _panel in (
    Panel(Page.HOME, "month", "Cost this month", EVERY_ROLE, this_month),
    Panel(Page.HOME, "unusual", "Unusual hours", EVERY_ROLE, unusual_hours),
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
        "tokens",
        "exact_cost",
        "latency",
        "outcome",
    )
    list_display_links = ("created_at", "call_id")
    list_filter = (
        *CusEvidenceAdmin.base_filters,
        *USAGE_FILTERS,
        *CusEvidenceAdmin.fact_filters,
    )
    search_is_indexed = True
    export_columns = (
        *("created_at", "occurred_at", "call_id", "tenant_name", "integration_name"),
        *("provider", "model", "model_requested", "region", "operation", "stream"),
        *("session_id", "agent_id", "end_user", "tags"),
        *CusTokenUsage._fields,
        *("cost_in_dollars", "cost_cents", "counted", "pricing", "pricing_version"),
        *("outcome", "error_code", "latency_ms", "degraded", "flags"),
        *("response_id", "provider_request_id"),
    )
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

    @display(description="Tokens")
    def tokens(self, usage: CusLLMUsage) -> str:
        return f"{usage.tokens_in:,} in, {usage.tokens_out:,} out"

    @display(description="Latency")
    def latency(self, usage: CusLLMUsage) -> str:
        return "" if usage.latency_ms is None else f"{usage.latency_ms:,} ms"

    @display(description="Exact cost (US dollars)")
    def cost_in_dollars(self, usage: Any) -> str:
        """For the export: a number that a spreadsheet adds up; empty if the cost is not known."""
        settled = usage.settled_microcents
        if settled is None and usage.pricing in (usage.Pricing.UNKNOWN, usage.Pricing.UNMEASURED):
            return ""
        return (
            exact_dollars(usage.cost_microcents if settled is None else settled)
            .replace("$", "")
            .replace(",", "")
        )

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
