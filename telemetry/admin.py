"""The console's read-only pages on facts."""

from decimal import Decimal
from typing import Any, cast

from django.contrib import admin
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from unfold.decorators import display

from aos_sdk.cus_cost import CusTokenUsage
from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_console.pages import BoundedPaginator, CusReadOnlyAdmin
from integrations.cus_integrations.admin import CusIntegrationAdmin
from telemetry.cus_corrections.models import CusCostAdjustment
from telemetry.cus_corrections.repricing import corrected_microcents
from telemetry.cus_coverage.models import CusBypassReport
from telemetry.cus_evidence.console import CusEvidenceAdmin, CusReportedAdmin
from telemetry.cus_evidence.lookup import counted_cents
from telemetry.cus_evidence.models import CusCallAlias, CusLLMUsage, CusUsageSettlement
from telemetry.cus_evidence.settlements import SAME_ANSWER
from telemetry.cus_holds.limits import holds_warning

CusIntegrationAdmin.warnings.append(holds_warning)
# Integrations that have a call of the same id; beyond these a search is no search for one call.
_MOST_ALIASES = 50
_MICROCENTS_PER_DOLLAR = Decimal(100_000_000)
_WITHOUT_COST: dict[str, str] = {
    CusLLMUsage.Pricing.UNKNOWN: "no price known",
    CusLLMUsage.Pricing.UNMEASURED: "usage not known",
}


def _dollars(microcents: int) -> str:
    return f"${Decimal(microcents) / _MICROCENTS_PER_DOLLAR:.8f}"


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
    list_filter = ("policy_result", "pricing")
    search_fields = ("call_id__exact",)
    search_help_text = "A whole call id"
    ordering = ("-created_at", "-id")
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
        settled = CusUsageSettlement.objects.filter(
            tenant_id=OuterRef("tenant_id"), usage_id=OuterRef("id")
        )
        cost = Subquery(settled.values("cost_microcents")[:1])
        rows: QuerySet[Any] = super().get_queryset(request).annotate(settled_microcents=cost)
        return rows

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Rows of a call id; also the row of the answer of a call that has none of its own."""
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        aliases = CusCallAlias.objects.filter(call_id=search_term.strip())
        places = visible_to(aliases, cast("CusUser", request.user))[:_MOST_ALIASES]
        rows = [(alias.usage_created_at, alias.usage_id) for alias in places]
        if not rows or "\0" in search_term:
            return found, may_repeat
        moments, ids = zip(*rows, strict=True)
        own = Q(call_id=search_term.strip())
        return queryset.filter(own | Q(created_at__in=moments, id__in=ids)), may_repeat

    @display(description="Cents that limits count")
    def counted(self, usage: CusLLMUsage) -> int:
        return counted_cents(usage)

    @display(description="As corrected")
    def corrected_cost(self, usage: CusLLMUsage) -> str:
        return _dollars(corrected_microcents(usage))

    @display(description="Exact cost")
    def exact_cost(self, usage: Any) -> str:
        if usage.settled_microcents is not None:
            return _dollars(usage.settled_microcents)
        return _WITHOUT_COST.get(usage.pricing) or _dollars(usage.cost_microcents)

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
            f"{_dollars(found.cost_microcents)} on {found.created_at:%d %B %Y}"
        )

    @display(
        description="Outcome",
        label={"ok": "success", "failed": "danger", "blocked": "danger", "warned": "warning"},
    )
    def outcome(self, usage: CusLLMUsage) -> tuple[str, str]:
        if usage.policy_result == "blocked":
            return "blocked", usage.error_code or "blocked"
        if usage.error_code:
            return "failed", usage.error_code
        return ("warned", "warned") if usage.policy_result == "warned" else ("ok", "ok")


@admin.register(CusCostAdjustment)
class CusCostAdjustmentAdmin(CusReadOnlyAdmin):
    """Corrections of costs, newest first."""

    list_display = (
        "created_at",
        "usage_id",
        "old_version",
        "new_version",
        "difference_microcents",
        "occurred_at",
    )
    ordering = ("-created_at", "-id")
    paginator = BoundedPaginator
    sortable_by = ()


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
    ordering = ("-created_at", "-id")

    @display(description="Bypassed calls went to")
    def went_to(self, report: CusBypassReport) -> str:
        return ", ".join(sorted(report.hosts)) or "-"
