"""The console's page on reports of bypassed calls."""

from django.contrib import admin
from unfold.decorators import display

from integrations.cus_console.facts import CusFactsAdmin
from telemetry.cus_coverage.models import CusBypassReport
from telemetry.cus_evidence.console import CusReportedAdmin


@admin.register(CusBypassReport)
class CusBypassReportAdmin(CusFactsAdmin, CusReportedAdmin):
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

    fields = (
        *("integration_name", "tenant_name", "governed_calls", "bypassed_calls", "went_to"),
        *("window_start", "window_end", "sdk", "process_id", "created_at", "id"),
    )
    readonly_fields = ("integration_name", "tenant_name", "went_to")

    @display(description="Bypassed calls went to")
    def went_to(self, report: CusBypassReport) -> str:
        return ", ".join(sorted(report.hosts)) or "-"
