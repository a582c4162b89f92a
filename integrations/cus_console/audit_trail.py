"""The console's page on the audit trail."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_console import panels
from integrations.cus_console.export import CusExport
from integrations.cus_console.pages import TRAIL_READERS, BoundedPaginator, CusReadOnlyAdmin
from integrations.cus_console.panels import Page, Panel, table

_LAST = 20
_NOTHING: tuple[object, ...] = (None, "", {}, 0)


@admin.register(CusAuditEntry)
class CusAuditEntryAdmin(CusExport, CusReadOnlyAdmin):
    """The audit trail of the viewer's tenant, newest first; of all tenants for operators."""

    viewers = TRAIL_READERS
    list_display = ("moment", "action", "object_label", "object_type", "actor_label", "what")
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
        "tenant_shown",
        "what",
    )
    readonly_fields = ("tenant_shown", "what")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # The button "History" of the pages uses this filter.
        return lookup == "object_id__exact" or super().lookup_allowed(lookup, value, request)

    @display(description="When (UTC)", ordering="-created_at")
    def moment(self, entry: CusAuditEntry) -> str:
        text = f"{entry.created_at:%Y-%m-%d %H:%M:%S}"
        return format_html('<span class="whitespace-nowrap">{}</span>', text)

    @display(description="Changes")
    def what(self, entry: CusAuditEntry) -> str:
        return changes_of(entry)


def changes_of(entry: CusAuditEntry) -> str:
    """What was changed, in words."""
    sentences = (_sentence(name, change) for name, change in sorted(entry.changes.items()))
    return "; ".join(sentence for sentence in sentences if sentence)


def trail_of(_request: HttpRequest, row: Any) -> SafeString:
    """The newest entries on a row, and the way to all of them."""
    entries = CusAuditEntry.objects.filter(object_id=str(row.pk)).order_by("-created_at", "-id")
    trail = reverse("admin:integrations_cusauditentry_changelist")
    html = table(
        ["When (UTC)", "What", "Who", "Changes"],
        [
            [
                f"{entry.created_at:%Y-%m-%d %H:%M:%S}",
                entry.action,
                entry.actor_label,
                changes_of(entry),
            ]
            for entry in entries[:_LAST]
        ],
        empty="Nothing is recorded.",
    )
    return format_html(
        '{}<p class="mt-4"><a href="{}?object_id__exact={}" class="underline">All entries</a></p>',
        html,
        trail,
        row.pk,
    )


panels.register(
    Panel(Page.INTEGRATION, "trail", "Audit trail", TRAIL_READERS, trail_of, tab="trail")
)


def _sentence(name: str, change: object) -> str:
    label = name.replace("_", " ")
    if not isinstance(change, dict):
        return f"{label} {change}"
    before, after = change.get("from"), change.get("to")
    if before in _NOTHING:
        # A new object: list the values that it has, and leave empty fields out.
        return "" if after in _NOTHING or after is False else f"{label}: {_value(after)}"
    return f"{label}: {_value(before)} → {_value(after)}"


def _value(value: object) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{key} {part}" for key, part in sorted(value.items()))
    return "nothing" if value in _NOTHING else str(value)
