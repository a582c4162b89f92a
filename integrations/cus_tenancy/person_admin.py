"""The console's page on people, for operators."""

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.decorators import display
from unfold.enums import ActionVariant

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_console import finders
from integrations.cus_console.actions import END_SESSIONS, CusActions, Question, asked
from integrations.cus_console.export import CusExport
from integrations.cus_console.finders import Finder, by_page
from integrations.cus_console.pages import CusReadOnlyAdmin
from integrations.cus_tenancy.person_service import CusPersonService, staff_role

finders.register(Finder("People", ("operator",), by_page(CusUser), "by a part of their address"))


@admin.register(CusUser)
class CusUserAdmin(CusActions, CusExport, CusReadOnlyAdmin):
    """All people who sign in."""

    viewers = ("operator",)
    list_display = ("email", "role", "belongs_to", "is_active", "has_second_factor", "last_login")
    list_filter = ("is_active", "is_superuser", "is_support", "is_finance")
    search_fields = ("email",)
    ordering = ("email",)
    fields = (
        "email",
        "role",
        "belongs_to",
        "active",
        "has_second_factor",
        "last_login",
        "date_joined",
    )
    readonly_fields = ("role", "belongs_to", "active", "has_second_factor")
    list_select_related = ("membership__tenant",)
    actions_detail = (
        "make_support",
        "make_finance",
        "make_operator",
        "revoke_role",
        "deactivate",
        "reactivate",
        "reset_second_factor",
        "end_sessions",
        "history",
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        # A person's row has no tenant_id, so only viewers who may see all people have the page.
        people = super(CusReadOnlyAdmin, self).get_queryset(request)
        devices = TOTPDevice.objects.filter(user=OuterRef("pk"), confirmed=True)
        return people.annotate(second_factor=Exists(devices))

    def has_act_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return role_of(request.user) == "operator"

    def is_offered(self, button: str, row: CusUser) -> bool:
        applies = {
            "make_support": staff_role(row) != "support",
            "make_finance": staff_role(row) != "finance",
            "make_operator": staff_role(row) != "operator",
            "revoke_role": staff_role(row) is not None,
            "deactivate": row.is_active,
            "reactivate": not row.is_active,
            "reset_second_factor": bool(row.second_factor),  # type: ignore[attr-defined]  # annotated above
        }
        return applies.get(button, True)

    @display(description="Role")
    def role(self, person: CusUser) -> str:
        staff = staff_role(person)
        if staff:
            return staff.capitalize()
        membership = getattr(person, "membership", None)
        return membership.get_role_display() if membership else "None"

    @display(description="Tenant")
    def belongs_to(self, person: CusUser) -> str:
        membership = getattr(person, "membership", None)
        return str(membership.tenant) if membership else ""

    @display(description="Active", boolean=True)
    def active(self, person: CusUser) -> bool:
        # Without the help text of Django's field, which speaks of a box that this page lacks.
        return person.is_active

    @display(description="Second factor", boolean=True)
    def has_second_factor(self, person: CusUser) -> bool:
        return bool(person.second_factor)  # type: ignore[attr-defined]  # annotated above

    @asked(
        Question(
            "Make the person support",
            "They read usage, decisions and health of all tenants, and change nothing. They leave "
            "their tenant, if they have one, and their API tokens end.",
            "Make support",
            "The person is support now.",
            changes_access=True,
        ),
        description="Make support",
        icon="support_agent",
    )
    def make_support(self, row: CusUser, actor: CusUser) -> None:
        CusPersonService(actor=actor).change_role(row, "support")

    @asked(
        Question(
            "Make the person finance",
            "They read usage and money of all tenants, close months and enter invoices. They leave "
            "their tenant, if they have one, and their API tokens end.",
            "Make finance",
            "The person is finance now.",
            changes_access=True,
        ),
        description="Make finance",
        icon="account_balance",
    )
    def make_finance(self, row: CusUser, actor: CusUser) -> None:
        CusPersonService(actor=actor).change_role(row, "finance")

    @asked(
        Question(
            "Make the person an operator",
            "They may do everything, for all tenants. Who belongs to a tenant leaves it, and their "
            "API tokens end.",
            "Make operator",
            "The person is an operator now.",
            is_dangerous=True,
            changes_access=True,
        ),
        description="Make operator",
        icon="admin_panel_settings",
    )
    def make_operator(self, row: CusUser, actor: CusUser) -> None:
        CusPersonService(actor=actor).change_role(row, "operator")

    @asked(
        Question(
            "Revoke the role",
            "They have no role for all tenants any more, and see nothing until a tenant "
            "invites them. Their API tokens end.",
            "Revoke it",
            "The person has no role any more.",
            is_dangerous=True,
            changes_access=True,
        ),
        description="Revoke role",
        icon="remove_moderator",
        variant=ActionVariant.DANGER,
    )
    def revoke_role(self, row: CusUser, actor: CusUser) -> None:
        CusPersonService(actor=actor).change_role(row, None)

    @asked(
        Question(
            "Deactivate the person",
            "They can't sign in any more, and all their API tokens end.",
            "Deactivate",
            "The person is deactivated.",
            is_dangerous=True,
            changes_access=True,
        ),
        description="Deactivate",
        icon="block",
        variant=ActionVariant.DANGER,
    )
    def deactivate(self, row: CusUser, actor: CusUser) -> None:
        CusPersonService(actor=actor).deactivate(row)

    @asked(
        Question(
            "Reactivate the person",
            "They can sign in again, with the password that they had. Ended API tokens stay ended.",
            "Reactivate",
            "The person may sign in again.",
            changes_access=True,
        ),
        description="Reactivate",
        icon="check_circle",
    )
    def reactivate(self, row: CusUser, actor: CusUser) -> None:
        CusPersonService(actor=actor).reactivate(row)

    @asked(
        Question(
            "Reset the second factor",
            "Their authenticator and recovery codes are forgotten. Until they have set up a new "
            "one, a password alone opens that page: make sure that the person themselves asks.",
            "Reset it",
            "The person sets up a new second factor at the next sign-in.",
            is_dangerous=True,
            changes_access=True,
        ),
        description="Reset second factor",
        icon="phonelink_erase",
    )
    def reset_second_factor(self, row: CusUser, actor: CusUser) -> None:
        CusPersonService(actor=actor).reset_second_factor(row)

    @asked(END_SESSIONS, description="End sessions", icon="logout")
    def end_sessions(self, row: CusUser, actor: CusUser) -> None:
        CusPersonService(actor=actor).end_sessions(row)
