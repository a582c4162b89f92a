"""The console's pages on integrations."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import display
from unfold.enums import ActionVariant

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import role_of, sees_all_tenants
from integrations.cus_console import attention, finders, panels
from integrations.cus_console.actions import Question, asked
from integrations.cus_console.export import CusExport
from integrations.cus_console.finders import Finder, by_page
from integrations.cus_console.forms import CusServiceAdmin
from integrations.cus_console.pages import EVERY_ROLE
from integrations.cus_console.panels import OVERVIEW, Page, Panel
from integrations.cus_console.tabs import FORM, CusTabs
from integrations.cus_currency.service import display_currency
from integrations.cus_health.admin import CusHealthTestButton
from integrations.cus_health.panels import health_timeline
from integrations.cus_integrations.fieldsets import SHOWN, entered, only_read
from integrations.cus_integrations.form import (
    CONFIG,
    SECRETS,
    IntegrationForm,
    types_with_config,
    types_with_secret,
)
from integrations.cus_integrations.ladder import ladder, neighbour
from integrations.cus_integrations.panels import needs_attention, of_tenant, troubles
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_integrations.state_panel import credential_shown, state
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.standing_in import own_limits_stood_in_text

for _panel in (
    Panel(Page.HOME, "attention", "What needs attention", EVERY_ROLE, needs_attention),
    Panel(Page.TENANT, "integrations", "Integrations", ("operator",), of_tenant),
    Panel(Page.INTEGRATION, "state", "State", EVERY_ROLE, state, is_first=True),
    Panel(Page.INTEGRATION, "health", "Health", EVERY_ROLE, health_timeline, tab="health"),
    Panel(Page.INTEGRATION, "ladder", "The ladder", EVERY_ROLE, ladder, tab="ladder"),
):
    panels.register(_panel)
attention.register(troubles)
finders.register(Finder("Integrations", EVERY_ROLE, by_page(CusIntegration)))
_GOOD, _BAD, _SO_SO = "success", "danger", "warning"


def _shown_for(types: list[str]) -> str:
    """The theme's condition for showing a box: the chosen provider is one of `types`."""
    return f"{types}.includes(provider_type)"


@admin.register(CusIntegration)
class CusIntegrationAdmin(CusTabs, CusHealthTestButton, CusExport, CusServiceAdmin):
    """Integrations of the viewer's tenant; of all tenants for the staff."""

    # Changing needs a proof only if the form has a new credential, so the form opens without one.
    add_changes_access = True
    form = IntegrationForm
    page = Page.INTEGRATION
    tabs = (
        (OVERVIEW, "Overview"),
        (FORM, "Settings"),
        ("keys", "SDK keys"),
        ("ladder", "Enforcement"),
        ("health", "Health"),
        ("trail", "History"),
    )
    list_display = (
        "name",
        "tenant",
        "provider_type",
        "status_label",
        "health_label",
        "budget_shown",
        "default_model",
        "created_at",
    )
    search_fields = ("name", "tenant__name")
    list_select_related = ("tenant", "stored_credential")
    list_filter = ("status", "health_state", "provider_type")
    actions_row = ("enable", "disable")
    actions_detail = (
        "test_now",
        "enable",
        "disable",
        "recover",
        "raise_level",
        "lower_level",
        "remove",
        "history",
    )
    conditional_fields: ClassVar[dict[str, str]] = {
        **{f"config_{key}": _shown_for(types_with_config(key)) for key in CONFIG},
        **{f"secret_{key}": _shown_for(types_with_secret(key)) for key in SECRETS},
    }
    # Warnings about an integration; the other planes' `admin.py` add theirs to this list.
    warnings: ClassVar[list[Callable[[CusIntegration], str | None]]] = [own_limits_stood_in_text]
    readonly_fields = (
        "tenant_shown",
        "status",
        "health_state",
        "budget_shown",
        "budget_in_currency",
        "config_shown",
        "credential_shown",
        "health_checked_at",
        "health_message",
        "error_reason",
        "credential_state",
        "coverage_percent",
        "unproven_shown",
        "created_at",
        "updated_at",
        "created_by_shown",
    )

    def warn(self, request: HttpRequest, row: CusIntegration) -> None:
        for text in filter(None, (warning_of(row) for warning_of in self.warnings)):
            messages.warning(request, text)

    def get_queryset(self, request: HttpRequest) -> QuerySet[CusIntegration]:
        scope: QuerySet[CusIntegration] = super().get_queryset(request)
        return scope.filter(deleted_at__isnull=True).select_related("tenant")

    def get_list_filter(self, request: HttpRequest) -> list[str]:
        sees_all = sees_all_tenants(request.user)
        return [*(("tenant",) if sees_all else ()), *self.list_filter]

    def has_operate_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return role_of(request.user) == "operator"

    def is_offered(self, button: str, row: CusIntegration) -> bool:
        applies = {
            "enable": row.status in ("created", "disabled"),
            "disable": row.status != "disabled",
            "recover": row.error_reason is not None,
        }
        # The ladder has buttons of its own, and the trail a tab.
        elsewhere = ("raise_level", "lower_level", "history")
        return button not in elsewhere and applies.get(button, True)

    def get_fieldsets(self, request: HttpRequest, obj: CusIntegration | None = None) -> Any:
        if obj is None:
            whose = ("tenant",) if role_of(request.user) == "operator" else ()
            about = (*whose, "name", "provider_type")
            return [(None, {"fields": about}), *entered(request)]
        if not self.has_change_permission(request, obj):
            return only_read(request)
        return [
            (None, {"fields": ("name", "provider_type", "tenant_shown", "seen_version")}),
            *entered(request, ("credential_shown",)),
            *SHOWN,
        ]

    @display(
        description="Status",
        ordering="status",
        label={"enabled": _GOOD, "error": _BAD, "disabled": _SO_SO},
    )
    def status_label(self, integration: CusIntegration) -> tuple[str, str]:
        return integration.status, integration.get_status_display()

    @display(
        description="Health",
        ordering="health_state",
        label={"healthy": _GOOD, "failing": _BAD, "degraded": _SO_SO},
    )
    def health_label(self, integration: CusIntegration) -> tuple[str, str]:
        return integration.health_state, integration.get_health_state_display()

    @display(description="Claimed calls without a record")
    def unproven_shown(self, integration: CusIntegration) -> str:
        """Calls claimed as governed that were not stored a day later either (ruling F8a)."""
        calls = integration.unproven_calls
        if not calls:
            return "not looked at yet" if calls is None else "none"
        return f"{calls:,} of the 7 days until a day ago: coverage does not count them"

    @display(description="Monthly budget", ordering="budget_limit_cents")
    def budget_shown(self, integration: CusIntegration) -> str:
        limit = integration.budget_limit_cents
        return f"${limit // 100:,}.{limit % 100:02d}" if limit else "No limit"

    @display(description="Monthly budget in your currency")
    def budget_in_currency(self, integration: CusIntegration) -> str:
        """Beside the budget, which is in US dollars."""
        display = display_currency(integration.tenant_id, timezone.now())
        if display is None:
            return "No display rate has been entered: amounts are in US dollars"
        limit = integration.budget_limit_cents
        if not limit:
            return "No limit"
        return f"{display.shown(limit * MICROCENTS_PER_CENT, decimals=2)} {display}"

    @display(description="Configuration")
    def config_shown(self, integration: CusIntegration) -> str:
        return ", ".join(f"{key} {value}" for key, value in sorted(integration.config.items()))

    @display(description="Stored credential")
    def credential_shown(self, integration: CusIntegration) -> str:
        return credential_shown(integration)

    @asked(
        Question(
            "Enable the integration",
            "The integration admits calls from now on, within its limits.",
            "Enable",
            "The integration is enabled.",
        ),
        description="Enable",
        icon="play_arrow",
    )
    def enable(self, row: CusIntegration, actor: CusUser) -> None:
        CusIntegrationService(row.tenant, actor=actor).enable(row)

    @asked(
        Question(
            "Disable the integration",
            "Every call through it is blocked until it is enabled again.",
            "Disable",
            "The integration is disabled.",
            is_dangerous=True,
        ),
        description="Disable",
        icon="pause",
    )
    def disable(self, row: CusIntegration, actor: CusUser) -> None:
        CusIntegrationService(row.tenant, actor=actor).disable(row)

    @asked(
        Question(
            "Clear the error",
            "The integration returns to the status that it had before the error.",
            "Clear it",
            "No error is open.",
        ),
        description="Clear error",
        icon="healing",
        permission="operate",
    )
    def recover(self, row: CusIntegration, actor: CusUser) -> None:
        CusIntegrationService(row.tenant, actor=actor).recover(row)

    @asked(
        Question(
            "Raise the enforcement by a rung",
            "What the next rung does applies to all calls that begin from now on.",
            "Raise it",
            "The enforcement is a rung higher.",
        ),
        description="Raise enforcement",
        icon="arrow_upward",
    )
    def raise_level(self, row: CusIntegration, actor: CusUser) -> None:
        _move(row, actor, 1)

    @asked(
        Question(
            "Lower the enforcement by a rung",
            "Calls that the present rung stops run from now on.",
            "Lower it",
            "The enforcement is a rung lower.",
            is_dangerous=True,
        ),
        description="Lower enforcement",
        icon="arrow_downward",
    )
    def lower_level(self, row: CusIntegration, actor: CusUser) -> None:
        _move(row, actor, -1)

    @asked(
        Question(
            "Delete the integration",
            "Its credential is destroyed and every call is blocked, for good. Its name becomes "
            "free; what was used stays on record, and late reports still arrive.",
            "Delete it",
            "The integration is deleted.",
            is_dangerous=True,
            # Deleting destroys the credential, too.
            changes_access=True,
        ),
        description="Delete",
        icon="delete",
        variant=ActionVariant.DANGER,
    )
    def remove(self, row: CusIntegration, actor: CusUser) -> None:
        CusIntegrationService(row.tenant, actor=actor).delete(row)


def _move(row: CusIntegration, actor: CusUser, steps: int) -> None:
    level = neighbour(row, steps)
    if level:
        CusIntegrationService(row.tenant, actor=actor).change(row.id, enforcement_level=level)
