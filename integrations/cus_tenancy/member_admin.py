"""The console's page on the people of a tenant."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminEmailInputWidget

from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_console import finders
from integrations.cus_console.actions import END_SESSIONS, CusActions, Question, asked
from integrations.cus_console.export import CusExport
from integrations.cus_console.finders import Finder, by_page
from integrations.cus_console.forms import CusServiceAdmin, CusServiceForm, tenant_for
from integrations.cus_tenancy.member_service import CusMemberService

_ADDRESS = Coalesce("user__email", "invited_email")
# Support reads usage, decisions and health (ruling C9): people are neither.
_VIEWERS = ("operator", "admin", "member")


class MemberForm(CusServiceForm):
    """The address and the role of an invitation; later, the role of a member."""

    invited_email = forms.EmailField(
        label="E-mail address",
        widget=UnfoldAdminEmailInputWidget,
        help_text="We mail a link there with which the person chooses a password.",
    )

    class Meta:
        model = CusMembership
        fields = ("tenant", "invited_email", "role")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.is_new:
            # The page of a member shows no box for the address, so the field could not be filled.
            del self.fields["invited_email"]

    def call_service(self) -> CusMembership:
        role = self.cleaned_data["role"]
        if not self.is_new:
            return _service(self.request, self.instance.tenant).change_role(self.instance.id, role)
        tenant = tenant_for(self.request, self.cleaned_data)
        email = self.cleaned_data["invited_email"]
        return _service(self.request, tenant).invite(email=email, role=role)


finders.register(Finder("Members", _VIEWERS, by_page(CusMembership), "by a part of their address"))


@admin.register(CusMembership)
class CusMembershipAdmin(CusActions, CusExport, CusServiceAdmin):
    """The people of the viewer's tenant, and the invitations that are open."""

    viewers = _VIEWERS
    add_changes_access = change_changes_access = True
    form = MemberForm
    list_display = ("address", "tenant", "role", "state", "created_at")
    list_filter = ("role",)
    search_fields = ("user__email", "invited_email")
    list_select_related = ("tenant", "user")
    ordering = ("tenant__name", _ADDRESS)
    actions_detail = ("end_sessions", "remove", "history")

    def get_fields(self, request: HttpRequest, obj: CusMembership | None = None) -> list[str]:
        if obj:
            return ["address", "tenant_shown", "role", "standing", "created_at"]
        asked = ["invited_email", "role"]
        return ["tenant", *asked] if role_of(request.user) == "operator" else asked

    def get_readonly_fields(
        self, request: HttpRequest, obj: CusMembership | None = None
    ) -> list[str]:
        return ["address", "tenant_shown", "standing", "created_at"] if obj else []

    @display(description="E-mail address", ordering=_ADDRESS)
    def address(self, membership: CusMembership) -> str:
        return membership.email

    @display(
        description="State", label={"joined": "success", "invited": "warning", "out": "danger"}
    )
    def state(self, membership: CusMembership) -> tuple[str, str]:
        if membership.user is None:
            return "invited", "Invited"
        return ("joined", "Joined") if membership.user.is_active else ("out", "Deactivated")

    @display(description="State")
    def standing(self, membership: CusMembership) -> str:
        return str(self.state(membership)[1])

    def is_offered(self, button: str, row: CusMembership) -> bool:
        # An open invitation has no person and so no sessions.
        return button != "end_sessions" or row.user_id is not None

    @asked(END_SESSIONS, description="End sessions", icon="logout")
    def end_sessions(self, row: CusMembership, actor: CusUser) -> None:
        CusMemberService(row.tenant, actor=actor).end_sessions(row.id)

    @asked(
        Question(
            "Remove from the tenant",
            "They see nothing of the tenant any more: their sessions and API tokens end. An "
            "invitation is withdrawn.",
            "Remove",
            "The person has been removed.",
            is_dangerous=True,
            changes_access=True,
        ),
        description="Remove",
        icon="person_remove",
        variant=ActionVariant.DANGER,
    )
    def remove(self, row: CusMembership, actor: CusUser) -> None:
        CusMemberService(row.tenant, actor=actor).remove(row.id)


def _service(request: HttpRequest, tenant: CusTenant) -> CusMemberService:
    return CusMemberService(tenant, actor=cast("CusUser", request.user))
