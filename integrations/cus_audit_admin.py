"""The console's page on what was changed, by whom."""

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from integrations.cus_audit_models import CusAuditEntry
from integrations.cus_console import BoundedPaginator, CusReadOnlyAdmin
from integrations.cus_console_export import CusExport


@admin.register(CusAuditEntry)
class CusAuditEntryAdmin(CusExport, CusReadOnlyAdmin):
    """The audit trail of the viewer's tenant, newest first; of everything for operators."""

    # Support reads usage, decisions and health (ruling C9): this is neither.
    viewers = ("operator", "admin", "member")
    list_display = ("created_at", "action", "object_label", "object_type", "actor_label", "what")
    list_filter = ("object_type",)
    search_fields = ("action", "object_label", "actor_label", "object_id__exact")
    search_help_text = "An action, a name, a person, or a whole id"
    ordering = ("-created_at", "-id")
    sortable_by = ()
    paginator = BoundedPaginator
    fields = (
        "created_at",
        "action",
        "object_type",
        "object_label",
        "object_id",
        "actor_label",
        "tenant",
        "what",
    )
    readonly_fields = ("what",)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # What the pages' "History" leads to.
        return lookup == "object_id__exact" or super().lookup_allowed(lookup, value, request)

    @display(description="Changes")
    def what(self, entry: CusAuditEntry) -> str:
        return "; ".join(_said(name, change) for name, change in sorted(entry.changes.items()))


def _said(name: str, change: object) -> str:
    label = name.replace("_", " ")
    if not isinstance(change, dict):
        return f"{label} {change}"
    before, after = change.get("from"), change.get("to")
    return f"{label}: {_value(before)} → {_value(after)}"


def _value(value: object) -> str:
    return "nothing" if value in (None, "", {}) else str(value)
