"""The console's pages of limits at scopes."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.views import ChangeList

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_console import panels
from integrations.cus_console.actions import CusActions, Question, asked
from integrations.cus_console.export import CusExport
from integrations.cus_console.filters import CusChoiceFilter, choice
from integrations.cus_console.pages import EVERY_ROLE, CusOfTenants
from integrations.cus_console.panels import Page, Panel
from integrations.cus_lifecycle.console import CusIntegrationFilter, CusOffersIntegrations
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.form import COUNTS, LimitForm
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.panels import limits_of_integration
from integrations.cus_limits.rights import ASKERS
from integrations.cus_limits.service import MUTABLE, CusLimitService, limits_in_force
from integrations.cus_limits.standing_in import standing_in_text
from integrations.cus_limits.uses import uses_of, uses_shown
from integrations.cus_limits.words import amount_text, moment_text, whose_text, window_text

# On a limit's own page.
_MOST_VALUES = 20
_DELETED = Q(deleted_at__isnull=False) | Q(integration__deleted_at__isnull=False)
_SHOWN = ("tenant_shown", "integration_shown", "whose", "counts", "state_text", "ends", "use")
_RECORD = ("created_at", "created_by_shown", "updated_at")
panels.register(
    Panel(Page.INTEGRATION, "scoped-limits", "Limits at scopes", EVERY_ROLE, limits_of_integration)
)


class _OfIntegration(CusIntegrationFilter):
    """The limits of an integration, and those of its tenant over all integrations."""

    def narrowed(self, request: HttpRequest, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        tenants = CusIntegration.objects.filter(id=value).values_list("tenant_id", flat=True)
        of_both = Q(integration_id=value) | Q(integration__isnull=True)
        return rows.filter(of_both, tenant_id=tenants[0])


class _StateFilter(CusChoiceFilter):
    """Without a choice, all that are not deleted with or without their integration."""

    title, parameter_name = "state", "state"
    offered = (
        ("now", "in force or yet to begin"),
        ("over", "over"),
        ("deleted", "deleted"),
    )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not (self.value() or "").strip():
            return queryset.exclude(_DELETED)
        return super().queryset(request, queryset)

    def narrowed(self, request: HttpRequest, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        now = timezone.now()
        if value == "deleted":
            return rows.filter(_DELETED)
        if value == "over":
            return rows.exclude(_DELETED).filter(valid_until__lte=now)
        return rows.filter(limits_in_force(now))


class _LimitList(ChangeList):  # type: ignore[misc]  # unfold has no types
    """A page of limits, whose uses are read together."""

    result_list: list[Any]

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        uses = uses_of(rows)
        for row in rows:
            row.uses = uses.get(row.id)
        self.result_list = rows


@admin.register(CusScopedLimit)
class CusScopedLimitAdmin(CusActions, CusExport, CusOfTenants, CusOffersIntegrations):
    """Limits of an agent, a session, a person, a tag, a model, an integration or the tenant."""

    form = LimitForm
    list_display = ("counts", "whose", "integration_shown", "use", "ends", "state")
    tenant_after = "integration_shown"
    list_filter = (
        _OfIntegration,
        choice("scope", "scope", CusScopedLimit.Scope.choices),
        choice("unit", "unit", CusScopedLimit.Unit.choices),
        _StateFilter,
    )
    list_filter_submit = True
    search_fields = ("value", "tag", "integration__name")
    list_select_related = ("integration", "tenant")
    ordering = ("-created_at", "-id")
    export_columns = (
        *("created_at", "tenant_shown", "integration_shown", "scope", "tag", "value"),
        *("unit", "window", "amount", "basis", "result", "warning_percent", "enabled"),
        *("valid_from", "valid_until", "reason", "state_text"),
    )
    actions_detail = ("remove", "history")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return _LimitList

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # What ended stays as it was.
        has_ended = obj is not None and _state(obj) in ("over", "deleted")
        return not has_ended and super().has_change_permission(request, obj)

    def is_offered(self, button: str, row: CusScopedLimit) -> bool:
        return button != "remove" or _state(row) != "deleted"

    def get_fields(self, request: HttpRequest, obj: CusScopedLimit | None = None) -> list[str]:
        if obj is None:
            return [*COUNTS, *MUTABLE]
        holds = [*MUTABLE, "seen_version"]
        if not self.has_change_permission(request, obj):
            # These are in words above.
            holds = [name for name in MUTABLE if name not in ("amount", "enabled")]
        if obj.unit != CusScopedLimit.Unit.CENTS:
            holds.remove("basis")
        # No link leads to a page that the person may not open.
        ways = ["more_room"] if role_of(request.user) in ASKERS else []
        instead = ["stood_in_for"] if _standing_in(obj) else []
        return [*_SHOWN, *instead, *holds, *ways, *_RECORD]

    def get_readonly_fields(
        self, request: HttpRequest, obj: CusScopedLimit | None = None
    ) -> tuple[str, ...]:
        return (*_SHOWN, "stood_in_for", "more_room", *_RECORD) if obj else ()

    def response_change(self, request: HttpRequest, obj: CusScopedLimit) -> HttpResponse:
        if text := standing_in_text(obj, now=timezone.now()):
            messages.warning(request, text)
        answer: HttpResponse = super().response_change(request, obj)
        return answer

    @display(description="Limit")
    def counts(self, row: CusScopedLimit) -> str:
        return f"{amount_text(row.unit, row.amount)} {window_text(row.window)}"

    @display(description="Of which calls")
    def whose(self, row: CusScopedLimit) -> str:
        return whose_text(row.scope, row.tag, row.value)

    @display(description="Integration")
    def integration_shown(self, row: CusScopedLimit) -> str:
        return str(row.integration or "all of the tenant")

    @display(description="Used")
    def use(self, row: CusScopedLimit) -> str | SafeString:
        """The fullest value in a list, the fullest of all on the limit's own page."""
        uses = getattr(row, "uses", None)
        if uses is None and not hasattr(row, "uses"):
            uses = uses_of([row], _MOST_VALUES).get(row.id)
        return "" if uses is None else uses_shown(row, uses)

    @display(description="Ends")
    def ends(self, row: CusScopedLimit) -> str:
        if row.valid_until is None:
            return ""
        is_over = row.valid_until <= timezone.now()
        return f"{'ended' if is_over else 'ends by itself'} at {moment_text(row.valid_until)}"

    @display(
        description="State",
        label={
            "in force": "success",
            "yet to begin": "info",
            "off": "warning",
            "over": "info",
            "deleted": "danger",
        },
    )
    def state(self, row: CusScopedLimit) -> tuple[str, str]:
        state = _state(row)
        return state, state.capitalize()

    @display(description="State")
    def state_text(self, row: CusScopedLimit) -> str:
        return _state(row).capitalize()

    @display(description="In its place now")
    def stood_in_for(self, row: CusScopedLimit) -> str:
        return _standing_in(row) or ""

    @display(description="More room")
    def more_room(self, row: CusScopedLimit) -> str | SafeString:
        """The way to ask for an increase: for members, too."""
        if _state(row) in ("over", "deleted"):
            return ""
        address = reverse("admin:integrations_cusincreaserequest_add")
        return format_html(
            '<a href="{}?which=limit:{}" class="underline">Ask for an increase</a>', address, row.pk
        )

    @asked(
        Question(
            "Delete the limit",
            "Calls are not held to it from now on. What it counted stays on record.",
            "Delete",
            "The limit is deleted.",
            is_dangerous=True,
        ),
        description="Delete",
        icon="delete",
        variant=ActionVariant.DANGER,
    )
    def remove(self, row: CusScopedLimit, actor: CusUser) -> None:
        if row.deleted_at is None:
            CusLimitService.of(row, actor=actor).delete(row.id, now=timezone.now())


def _standing_in(row: Any) -> str | None:
    """What holds in the limit's place, read once for a page."""
    if not hasattr(row, "standing_in"):
        row.standing_in = standing_in_text(row, now=timezone.now())
    text: str | None = row.standing_in
    return text


def _state(row: CusScopedLimit) -> str:
    now = timezone.now()
    if row.deleted_at or (row.integration and row.integration.deleted_at):
        return "deleted"
    if row.valid_until is not None and row.valid_until <= now:
        return "over"
    if not row.enabled:
        return "off"
    return "yet to begin" if row.valid_from > now else "in force"
