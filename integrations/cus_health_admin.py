"""Health in the console: its history, and a button that tests an integration now."""

from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.db.models import Model
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import action, display

from integrations.cus_console import CusReadOnlyAdmin
from integrations.cus_health_models import CusHealthTransition
from integrations.cus_health_service import CusHealthService, TestedTooOften
from integrations.cus_health_turns import CheckUnderWay
from integrations.cus_models import CusIntegration, CusUser
from integrations.cus_permissions import role_of

_LABELS = {"healthy": "success", "degraded": "warning", "failing": "danger"}


@admin.register(CusHealthTransition)
class CusHealthTransitionAdmin(CusReadOnlyAdmin):
    """What became of health, credential and status, and after which check."""

    list_display = ("checked_at", "integration", "tenant", "health", "change", "message")
    list_filter = ("health_to", "credential_to", "status_to")
    search_fields = ("integration__name", "tenant__name")
    list_select_related = ("integration", "tenant")
    date_hierarchy = "checked_at"

    @display(description="Health", ordering="health_to", label=_LABELS)
    def health(self, transition: CusHealthTransition) -> tuple[str, str]:
        return transition.health_to, transition.get_health_to_display()

    @display(description="Change")
    def change(self, transition: CusHealthTransition) -> str:
        pairs = (
            ("health", transition.health_from, transition.health_to),
            ("credential", transition.credential_from, transition.credential_to),
            ("status", transition.status_from, transition.status_to),
        )
        return ", ".join(f"{name} {was} → {now}" for name, was, now in pairs if was != now)


class CusHealthTestButton:
    """For the page of one integration: "Test now", asked about first and done by POST alone.

    Not within a transaction of the page: it would hold the integration locked while the
    provider takes its time.
    """

    actions_detail: ClassVar[Any] = ("run_health_test",)

    def has_health_test_permission(self, request: HttpRequest, _object_id: Any = None) -> bool:
        """Whether the person may have the provider asked: as for POST …/test."""
        return role_of(request.user) in ("operator", "admin")

    @action(
        description="Test now",
        url_path="test",
        permissions=["health_test"],
        icon="network_check",
        dialog={
            "title": "Test this integration now?",
            "description": "The provider is asked which models there are, which costs nothing.",
            "form_class": None,
            "form_submit_text": "Test now",
        },
    )
    def run_health_test(
        self: Any, request: HttpRequest, form: Form, object_id: str, **kwargs: Any
    ) -> HttpResponse:
        """Test, say what came of it, and go back to the page."""
        integration: Model | None = self.get_object(request, object_id)
        if integration is None:
            missing: HttpResponse = self._get_obj_does_not_exist_redirect(
                request, self.opts, object_id
            )
            return missing
        _say_result(request, cast("CusIntegration", integration))
        page = reverse("admin:integrations_cusintegration_change", args=[object_id])
        # The dialog's form is sent by htmx, which follows this header and not a redirect.
        return HttpResponse(headers={"HX-Redirect": page})


def _say_result(request: HttpRequest, integration: CusIntegration) -> None:
    service = CusHealthService(integration.tenant, actor=cast("CusUser", request.user))
    try:
        result = service.test(integration, now=timezone.now())
    except (TestedTooOften, CheckUnderWay) as refusal:
        messages.warning(request, refusal.detail)
        return
    say = messages.success if result.ok else messages.error
    say(request, result.message)
