"""The console's pages on facts: to read, never to change."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from unfold.decorators import display

from integrations.cus_console import BoundedPaginator, CusReadOnlyAdmin
from integrations.cus_models import CusIntegration
from telemetry.cus_bypass_models import CusBypassReport
from telemetry.cus_ids import made_at
from telemetry.cus_models import CusCostAdjustment, CusLLMUsage
from telemetry.cus_repricing import corrected_microcents

_MICROCENTS_PER_DOLLAR = Decimal(100_000_000)
# Between the making of a row's id and the transaction that stored it.
_ID_WINDOW = timedelta(hours=1)


def _dollars(microcents: int) -> str:
    return f"${Decimal(microcents) / _MICROCENTS_PER_DOLLAR:.8f}"


@admin.register(CusLLMUsage)
class CusLLMUsageAdmin(CusReadOnlyAdmin):
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
    # Filters with a list of their own: looking for values in use would read the whole table.
    list_filter = ("policy_result", "pricing")
    search_fields = ("call_id__exact",)
    search_help_text = "A whole call id"
    ordering = ("-created_at", "-id")
    fieldsets = (
        (None, {"fields": ("call_id", "model", "provider", "operation", "stream", "service_tier")}),
        ("Whose", {"fields": ("tenant_id", "integration_id", "session_id", "agent_id")}),
        (
            "Tokens",
            {
                "description": "The kinds below the first two are parts of them.",
                "fields": (
                    "tokens_in",
                    "tokens_out",
                    "tokens_cached",
                    "tokens_cache_write",
                    "tokens_cache_write_1h",
                    "tokens_reasoning",
                    "tokens_audio_in",
                    "tokens_audio_out",
                    "tokens_image_in",
                    "tokens_total",
                    "billed_units",
                ),
            },
        ),
        (
            "Cost",
            {
                "fields": (
                    "exact_cost",
                    "corrected_cost",
                    "cost_cents",
                    "cost_microcents",
                    "pricing",
                    "pricing_version",
                    "price_id",
                    "reported_pricing_version",
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
    readonly_fields = ("exact_cost", "corrected_cost")
    paginator = BoundedPaginator
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[CusLLMUsage]:
        scope: QuerySet[CusLLMUsage] = super().get_queryset(request)
        names = CusIntegration.objects.filter(id=OuterRef("integration_id")).values("name")
        return scope.annotate(integration_name=Subquery(names[:1]))

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> CusLLMUsage | None:
        # The id alone is in no index; the moment inside it says in which partition to look.
        try:
            moment = made_at(UUID(object_id))
        except (ValueError, OverflowError):
            return None
        window = (moment - _ID_WINDOW, moment + _ID_WINDOW)
        found: CusLLMUsage | None = (
            self.get_queryset(request).filter(created_at__range=window, id=object_id).first()
        )
        return found

    @display(description="As corrected")
    def corrected_cost(self, usage: CusLLMUsage) -> str:
        return _dollars(corrected_microcents(usage))

    @display(description="Integration")
    def integration_name(self, usage: CusLLMUsage) -> str:
        return str(usage.integration_name)  # type: ignore[attr-defined]  # annotated above

    @display(description="Exact cost")
    def exact_cost(self, usage: CusLLMUsage) -> str:
        if usage.pricing == CusLLMUsage.Pricing.UNKNOWN:
            return "no price known"
        return _dollars(usage.cost_microcents)

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
class CusBypassReportAdmin(CusReadOnlyAdmin):
    """What SDKs saw of calls that went past them, newest first."""

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
    paginator = BoundedPaginator
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[CusBypassReport]:
        scope: QuerySet[CusBypassReport] = super().get_queryset(request)
        names = CusIntegration.objects.filter(id=OuterRef("integration_id")).values("name")
        return scope.annotate(integration_name=Subquery(names[:1]))

    @display(description="Integration")
    def integration_name(self, report: CusBypassReport) -> str:
        return str(report.integration_name)  # type: ignore[attr-defined]  # annotated above

    @display(description="Bypassed calls went to")
    def went_to(self, report: CusBypassReport) -> str:
        return ", ".join(sorted(report.hosts)) or "-"
