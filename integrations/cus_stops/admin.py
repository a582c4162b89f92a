"""The console's page of stops: stop, list, lift."""

from typing import cast

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.decorators import display
from unfold.enums import ActionVariant

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_console.actions import CusActions, Question, asked
from integrations.cus_console.export import CusExport
from integrations.cus_console.forms import CusServiceForm
from integrations.cus_lifecycle.console import CusOffersIntegrations
from integrations.cus_stops.models import CusStop
from integrations.cus_stops.service import CusStopService


class StopForm(CusServiceForm):
    """Whose calls of which integration to refuse, and why."""

    class Meta:
        model = CusStop
        fields = ("integration", "scope", "value", "reason")
        help_texts = {
            "value": "Exactly as calls have it.",
            "reason": "Refused calls are told this, and who stopped them.",
        }

    def call_service(self) -> CusStop:
        cleaned = self.cleaned_data
        actor = cast("CusUser", self.request.user)
        service = CusStopService(cleaned["integration"], actor=actor)
        names = ("scope", "value", "reason")
        return service.stop(**{name: cleaned[name] for name in names})


@admin.register(CusStop)
class CusStopAdmin(CusActions, CusExport, CusOffersIntegrations):
    """The kill switch. A stop is made and lifted, never changed."""

    form = StopForm
    list_display = ("scope", "value", "integration", "state", "reason", "stopped_by", "created_at")
    list_filter = ("scope",)
    search_fields = ("value", "integration__name")
    list_select_related = ("integration", "tenant")
    readonly_fields = ("tenant_shown", "stopped_by", "created_at", "lifted_at", "lifted_by_shown")
    actions_row = ("lift",)
    actions_detail = ("lift", "history")

    def get_fields(self, request: HttpRequest, obj: CusStop | None = None) -> list[str]:
        asked_for = ["integration", "scope", "value", "reason"]
        return [*asked_for, *self.readonly_fields] if obj else asked_for

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_act_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return role_of(request.user) in self.changers

    def is_offered(self, button: str, row: CusStop) -> bool:
        return button != "lift" or row.lifted_at is None

    @display(description="State", label={"stopped": "danger", "lifted": "info"})
    def state(self, row: CusStop) -> tuple[str, str]:
        return ("lifted", "Lifted") if row.lifted_at else ("stopped", "Stopped")

    @display(description="Lifted by")
    def lifted_by_shown(self, row: CusStop) -> str:
        return str(row.lifted_by or "")

    @asked(
        Question(
            "Lift the stop",
            "Calls run again, as far as limits allow.",
            "Lift",
            "The stop is lifted.",
        ),
        description="Lift",
        icon="play_arrow",
        variant=ActionVariant.PRIMARY,
    )
    def lift(self, row: CusStop, actor: CusUser) -> None:
        CusStopService(row.integration, actor=actor).lift(row.id)
