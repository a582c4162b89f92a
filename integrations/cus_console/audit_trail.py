"""The console's page on the audit trail."""

from datetime import datetime
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_console import panels
from integrations.cus_console.export import CusExport
from integrations.cus_console.facts import in_words
from integrations.cus_console.filters import TIME_FILTERS, CusChoiceFilter, CusTextFilter
from integrations.cus_console.newest_first import NewestFirst
from integrations.cus_console.pages import TRAIL_READERS, CusOfTenants, CusReadOnlyAdmin
from integrations.cus_console.panels import Page, Panel, table

_LAST = 20
_NOTHING: tuple[object, ...] = (None, "", {}, 0)


class CusKindFilter(CusChoiceFilter):
    """Changes of one kind of object."""

    title, parameter_name = "kind of object", "object_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        models = apps.get_app_config("integrations").get_models()
        kinds = sorted({str(model._meta.verbose_name) for model in models})
        return [(kind, kind) for kind in kinds]


class CusObjectFilter(CusTextFilter):
    """Changes of one object; with its kind an index finds them."""

    is_indexed = True
    title, parameter_name = "whole id of the object", "object_id__exact"


@admin.register(CusAuditEntry)
class CusAuditEntryAdmin(CusExport, NewestFirst, CusOfTenants, CusReadOnlyAdmin):
    """The audit trail of the viewer's tenant, newest first; of all tenants for operators."""

    viewers = TRAIL_READERS
    list_display = ("created_at", "action", "object_label", "actor_label", "what")
    tenant_after = "created_at"
    list_select_related = ("tenant",)
    list_filter = (CusKindFilter, CusObjectFilter, *TIME_FILTERS)
    search_fields = ("action", "object_label", "actor_label", "object_id__exact")
    search_help_text = "An action, a name, a person, or a whole id"
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
    label = name.removesuffix("_cents").replace("_", " ")
    if not isinstance(change, dict):
        return f"{label} {change}"
    before, after = change.get("from"), change.get("to")
    if before in _NOTHING:
        # A new object: list the values that it has, and leave empty fields out.
        return "" if after in _NOTHING or after is False else f"{label}: {_value(name, after)}"
    return f"{label}: {_value(name, before)} → {_value(name, after)}"


def _value(name: str, value: object) -> str:
    """A value as it was typed: amounts in dollars, times as the console writes them."""
    if isinstance(value, dict):
        value = ", ".join(f"{key} {part}" for key, part in sorted(value.items()))
    if isinstance(value, str) and (moment := _moment(value)):
        value = moment
    return "nothing" if value in _NOTHING else str(in_words(name, value))


def _moment(text: str) -> datetime | None:
    """The moment that a text is; None for a text that is none, and for a day."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
