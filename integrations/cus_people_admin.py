"""The console's page on people, for operators."""

from typing import Any, cast

from django.contrib import admin
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from integrations.cus_console import CusReadOnlyAdmin
from integrations.cus_console_actions import CusActions, Question
from integrations.cus_console_export import CusExport
from integrations.cus_models import CusUser
from integrations.cus_permissions import role_of
from integrations.cus_person_service import CusPersonService


@admin.register(CusUser)
class CusUserAdmin(CusActions, CusExport, CusReadOnlyAdmin):
    """Everybody who signs in."""

    viewers = ("operator",)
    list_display = ("email", "role", "belongs_to", "is_active", "has_second_factor", "last_login")
    list_filter = ("is_active", "is_superuser", "is_support")
    search_fields = ("email",)
    ordering = ("email",)
    fields = (
        "email",
        "role",
        "belongs_to",
        "is_active",
        "has_second_factor",
        "last_login",
        "date_joined",
    )
    readonly_fields = ("role", "belongs_to", "has_second_factor")
    list_select_related = ("membership__tenant",)
    actions_detail = ("deactivate", "reactivate", "reset_second_factor", "history")

    def get_queryset(self, request: HttpRequest) -> Any:
        # A person's row has no tenant_id: who may not see all sees none (`viewers`).
        people = super(CusReadOnlyAdmin, self).get_queryset(request)
        devices = TOTPDevice.objects.filter(user=OuterRef("pk"), confirmed=True)
        return people.annotate(second_factor=Exists(devices))

    def has_act_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return role_of(request.user) == "operator"

    @display(description="Role")
    def role(self, person: CusUser) -> str:
        if person.is_superuser:
            return "Operator"
        if person.is_support:
            return "Support"
        membership = getattr(person, "membership", None)
        return membership.get_role_display() if membership else "None"

    @display(description="Tenant")
    def belongs_to(self, person: CusUser) -> str:
        membership = getattr(person, "membership", None)
        return str(membership.tenant) if membership else ""

    @display(description="Second factor", boolean=True)
    def has_second_factor(self, person: CusUser) -> bool:
        return bool(person.second_factor)  # type: ignore[attr-defined]  # annotated above

    @action(
        description="Deactivate", icon="block", permissions=["act"], variant=ActionVariant.DANGER
    )
    def deactivate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        question = Question(
            "Deactivate the person",
            "They can't sign in any more, and all their API tokens end.",
            "Deactivate",
            "The person is deactivated.",
            is_dangerous=True,
        )
        return self.run(request, object_id, question, _service(request).deactivate)

    @action(description="Reactivate", icon="check_circle", permissions=["act"])
    def reactivate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        question = Question(
            "Reactivate the person",
            "They can sign in again, with the password that they had. Ended API tokens stay ended.",
            "Reactivate",
            "The person may sign in again.",
        )
        return self.run(request, object_id, question, _service(request).reactivate)

    @action(description="Reset second factor", icon="phonelink_erase", permissions=["act"])
    def reset_second_factor(self, request: HttpRequest, object_id: str) -> HttpResponse:
        question = Question(
            "Reset the second factor",
            "Their authenticator and recovery codes are forgotten. Until they have set up a new "
            "one, a password alone opens that page: make sure that it is they who ask.",
            "Reset it",
            "The person sets up a new second factor at the next sign-in.",
            is_dangerous=True,
        )
        return self.run(request, object_id, question, _service(request).reset_second_factor)


def _service(request: HttpRequest) -> CusPersonService:
    return CusPersonService(actor=cast("CusUser", request.user))
