"""The console's page of SDK keys: issued with one look at them, listed, revoked."""

from typing import Any, cast

from django.contrib import admin, messages
from django.db.models import ForeignKey, QuerySet
from django.forms import ModelChoiceField, ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import display

from integrations.cus_console import CusReadOnlyAdmin
from integrations.cus_errors import CusError
from integrations.cus_models import CusIntegration, CusSdkKey, CusUser
from integrations.cus_permissions import role_of, visible_to
from integrations.cus_sdk_key_service import CusSdkKeyService

_STATES = {"alive": "success", "expired": "warning", "revoked": "danger"}


@admin.register(CusSdkKey)
class CusSdkKeyAdmin(CusReadOnlyAdmin):
    """The keys of the integrations that the viewer manages (ruling C9)."""

    viewers = ("operator", "admin")
    list_display = (
        "key",
        "integration",
        "label",
        "state",
        "created_at",
        "expires_at",
        "last_used_at",
    )
    search_fields = ("label", "hint", "integration__name")
    list_select_related = ("integration",)
    ordering = ("-created_at",)
    actions = ("revoke_keys",)  # type: ignore[assignment]  # None for pages that only show

    def get_fields(self, request: HttpRequest, obj: CusSdkKey | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("integration", "label", "expires_at")
        return ("key", "integration", "label", "state", *_MOMENTS, "created_by")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return role_of(request.user) in self.viewers

    def formfield_for_foreignkey(
        self, db_field: "ForeignKey[Any, Any]", request: HttpRequest, **options: Any
    ) -> "ModelChoiceField[Any] | None":
        if db_field.name == "integration":
            living = CusIntegration.objects.filter(deleted_at__isnull=True)
            options["queryset"] = visible_to(living, cast("CusUser", request.user))
        field: ModelChoiceField[Any] | None = super().formfield_for_foreignkey(
            db_field, request, **options
        )
        return field

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            page: HttpResponse = super().changeform_view(request, *args, **kwargs)
        except CusError as error:
            self.message_user(request, error.detail, messages.ERROR)
            return HttpResponseRedirect(reverse("admin:integrations_cussdkkey_changelist"))
        return page

    def save_model(
        self,
        request: HttpRequest,
        obj: CusSdkKey,
        form: "ModelForm[CusSdkKey]",
        change: bool,  # noqa: FBT001  (Django's own signature)
    ) -> None:
        service = CusSdkKeyService(obj.integration, actor=cast("CusUser", request.user))
        issued, text = service.issue(label=obj.label, expires_at=obj.expires_at)
        obj.pk, obj.hint = issued.pk, issued.hint
        # For the very next answer, and for nothing that outlives it.
        request.issued_sdk_key = text  # type: ignore[attr-defined]

    def response_add(
        self, request: HttpRequest, obj: CusSdkKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The one page that shows the key: the answer itself, so that nothing has to keep it."""
        context = {
            **self.admin_site.each_context(request),
            "title": "SDK key issued",
            "key": obj,
            "integration": obj.integration,
            "issued_text": request.issued_sdk_key,  # type: ignore[attr-defined]
        }
        return TemplateResponse(request, "integrations/cus_sdk_key_issued.html", context)

    @admin.action(description="Revoke: refused everywhere within two seconds", permissions=["add"])
    def revoke_keys(self, request: HttpRequest, keys: QuerySet[CusSdkKey]) -> None:
        for key in keys.select_related("integration"):
            service = CusSdkKeyService(key.integration, actor=cast("CusUser", request.user))
            service.revoke(key.id)
        self.message_user(request, f"{len(keys)} revoked.", messages.SUCCESS)

    @display(description="Key")
    def key(self, key: CusSdkKey) -> str:
        return f"aosk_…{key.hint}"

    @display(description="State", label=_STATES)
    def state(self, key: CusSdkKey) -> str:
        if key.revoked_at:
            return "revoked"
        return "expired" if key.expires_at and key.expires_at <= timezone.now() else "alive"


_MOMENTS = ("created_at", "expires_at", "last_used_at", "revoked_at")
