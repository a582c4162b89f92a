"""The console's page on decisions: to read, never to change."""

from datetime import timedelta
from uuid import UUID

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from enforcement.cus_models import CusEnforcementDecision
from integrations.cus_console import BoundedPaginator, CusReadOnlyAdmin
from integrations.cus_models import CusIntegration
from telemetry.cus_ids import made_at

# Between the making of an entry's id and the transaction that stored it.
_ID_WINDOW = timedelta(hours=1)


@admin.register(CusEnforcementDecision)
class CusEnforcementDecisionAdmin(CusReadOnlyAdmin):
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
    # Filters with a list of their own: looking for values in use would read the whole table.
    list_filter = ("result", "decided_by", "degraded")
    search_fields = ("call_id__exact",)
    search_help_text = "A whole call id"
    ordering = ("-created_at", "-id")
    fieldsets = (
        (None, {"fields": ("call_id", "result", "reason", "step", "degraded", "decided_by")}),
        ("Whose", {"fields": ("tenant_id", "integration", "usage")}),
        ("On which grounds", {"fields": ("reasons", "facts")}),
        ("Record", {"fields": ("id", "evaluated_at", "created_at")}),
    )
    readonly_fields = ("integration", "usage")
    paginator = BoundedPaginator
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[CusEnforcementDecision]:
        scope: QuerySet[CusEnforcementDecision] = super().get_queryset(request)
        names = CusIntegration.objects.filter(id=OuterRef("integration_id")).values("name")
        return scope.annotate(integration_name=Subquery(names[:1]))

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> CusEnforcementDecision | None:
        # The id alone is in no index; the moment inside it says in which partition to look.
        try:
            moment = made_at(UUID(object_id))
        except (ValueError, OverflowError):
            return None
        window = (moment - _ID_WINDOW, moment + _ID_WINDOW)
        found: CusEnforcementDecision | None = (
            self.get_queryset(request).filter(created_at__range=window, id=object_id).first()
        )
        return found

    @display(description="Integration")
    def integration_name(self, decision: CusEnforcementDecision) -> str:
        return str(decision.integration_name)  # type: ignore[attr-defined]  # annotated above

    @display(description="Integration")
    def integration(self, decision: CusEnforcementDecision) -> SafeString:
        address = reverse(
            "admin:integrations_cusintegration_change", args=[decision.integration_id]
        )
        return format_html('<a href="{}">{}</a>', address, self.integration_name(decision))

    @display(description="What was reported of the call")
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
