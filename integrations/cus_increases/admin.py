"""The console's pages of requests for increases: ask, approve, refuse."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.enums import ActionVariant

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_console import panels
from integrations.cus_console.actions import SHOWN_ROW, CusActions, Question, asked
from integrations.cus_console.export import CusExport
from integrations.cus_console.filters import choice
from integrations.cus_console.forms import CusServiceAdmin
from integrations.cus_console.pages import CusOfTenants
from integrations.cus_console.panels import Page, Panel
from integrations.cus_increases.form import IncreaseForm
from integrations.cus_increases.models import CusIncreaseRequest
from integrations.cus_increases.panels import open_requests
from integrations.cus_increases.service import CusIncreaseService
from integrations.cus_lifecycle.console import CusIntegrationFilter
from integrations.cus_limits.rights import ASKERS, DECIDERS
from integrations.cus_limits.words import amount_text, window_text

panels.register(Panel(Page.HOME, "increases", "Increases asked for", DECIDERS, open_requests))
_ASKED = ("which", "value", "amount", "valid_until", "reason")
_STATES = {
    "open": "warning",
    "approved": "success",
    "refused": "danger",
    "withdrawn": "info",
    "lapsed": "info",
}


@admin.register(CusIncreaseRequest)
class CusIncreaseRequestAdmin(CusActions, CusExport, CusOfTenants, CusServiceAdmin):
    """Requests for temporary increases. A request is asked, decided or withdrawn, never changed."""

    changers = DECIDERS
    form = IncreaseForm
    list_display = (
        "created_at",
        "wanted",
        "whose_shown",
        "integration_shown",
        "standing",
        "asked_by",
    )
    tenant_after = "integration_shown"
    list_filter = (
        CusIntegrationFilter,
        choice("state", "state", CusIncreaseRequest.State.choices),
    )
    list_filter_submit = True
    search_fields = ("value", "asked_by", "integration__name")
    list_select_related = ("integration", "tenant", "decided_by")
    readonly_fields = (
        "tenant_shown",
        "integration_shown",
        "whose_shown",
        "present",
        "wanted",
        "reason",
        "asked_by",
        "created_at",
        "state_text",
        "decided_at",
        "decider",
        "answer",
        "became",
    )
    actions_row = ("approve", "refuse")
    actions_detail = ("approve", "refuse", "withdraw", "history")

    def get_fields(self, request: HttpRequest, obj: CusIncreaseRequest | None = None) -> list[str]:
        return list(self.readonly_fields if obj else _ASKED)

    def get_readonly_fields(
        self, request: HttpRequest, obj: CusIncreaseRequest | None = None
    ) -> tuple[str, ...]:
        return self.readonly_fields if obj else ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return role_of(request.user) in ASKERS

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_act_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return role_of(request.user) in DECIDERS

    def has_withdraw_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        row = getattr(request, SHOWN_ROW, None) or (
            self.get_object(request, object_id) if object_id else None
        )
        is_own = row is not None and row.created_by_id == request.user.pk
        return is_own and role_of(request.user) in ASKERS

    def is_offered(self, button: str, row: CusIncreaseRequest) -> bool:
        is_open = row.state == CusIncreaseRequest.State.OPEN
        if button == "approve":
            return is_open and not row.has_lapsed(timezone.now())
        return button not in ("refuse", "withdraw") or is_open

    @display(description="Wanted")
    def wanted(self, row: CusIncreaseRequest) -> str:
        return f"{_amount(row, row.amount)} until {row.until}"

    @display(description="Limit when it was asked")
    def present(self, row: CusIncreaseRequest) -> str:
        return _amount(row, row.present_amount)

    @display(description="For which calls")
    def whose_shown(self, row: CusIncreaseRequest) -> str:
        return row.whose

    @display(description="Integration")
    def integration_shown(self, row: CusIncreaseRequest) -> str:
        return str(row.integration)

    @display(description="State", label=_STATES)
    def standing(self, row: CusIncreaseRequest) -> tuple[str, str]:
        state = "lapsed" if row.has_lapsed(timezone.now()) else str(row.state)
        return state, state.capitalize()

    @display(description="State")
    def state_text(self, row: CusIncreaseRequest) -> str:
        return str(self.standing(row)[1])

    @display(description="Decided by")
    def decider(self, row: CusIncreaseRequest) -> str:
        return str(row.decided_by or "")

    @display(description="Became")
    def became(self, row: CusIncreaseRequest) -> str | SafeString:
        """The way to the limit that an approved request became."""
        if row.made_limit_id is None:
            return ""
        return format_html(
            '<a href="/admin/integrations/cusscopedlimit/{}/change/" class="underline">a limit that '
            "ends by itself</a>",
            row.made_limit_id,
        )

    @asked(
        Question(
            "Approve the increase",
            "It holds from now on, in place of the limit, and ends by itself. The person who asked "
            "gets a mail.",
            "Approve",
            "The increase is approved and holds now.",
        ),
        description="Approve",
        icon="check",
        variant=ActionVariant.PRIMARY,
    )
    def approve(self, row: CusIncreaseRequest, actor: CusUser) -> None:
        CusIncreaseService(row.tenant, actor=actor).approve(row.id, now=timezone.now())

    @asked(
        Question(
            "Refuse the increase",
            "The limit stays as it is. The person who asked gets a mail with your reason.",
            "Refuse",
            "The increase is refused.",
            is_dangerous=True,
            asks="Why, for the person who asked",
        ),
        description="Refuse",
        icon="close",
    )
    def refuse(self, row: CusIncreaseRequest, actor: CusUser, text: str) -> None:
        service = CusIncreaseService(row.tenant, actor=actor)
        service.refuse(row.id, now=timezone.now(), answer=text)

    @asked(
        Question(
            "Withdraw the request",
            "Nobody decides on it any more, and the limit stays as it is. You can ask again.",
            "Withdraw",
            "The request is withdrawn.",
        ),
        description="Withdraw",
        icon="undo",
        permission="withdraw",
    )
    def withdraw(self, row: CusIncreaseRequest, actor: CusUser) -> None:
        CusIncreaseService(row.tenant, actor=actor).withdraw(row.id, now=timezone.now())


def _amount(row: CusIncreaseRequest, amount: int) -> str:
    return f"{amount_text(row.unit, amount)} {window_text(row.window)}"
