"""The console's pages of notifications: who is told, and how each delivery fared."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.cache import add_never_cache_headers
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_console.actions import CusActions, Question, asked
from integrations.cus_console.export import CusExport
from integrations.cus_console.forms import CusServiceAdmin, CusServiceForm, tenant_for
from integrations.cus_console.pages import CusReadOnlyAdmin
from integrations.cus_notifications.kinds import MUTABLE_CHOICES, Kind
from integrations.cus_notifications.models import CusNotificationDelivery, CusNotificationTarget
from integrations.cus_notifications.service import CusNotificationService
from integrations.cus_web.errors import CusError

# A webhook's URL may hold a secret, so the roles that see SDK keys see targets (ruling C9).
_MANAGERS = ("operator", "admin")
_ROTATE = Question(
    "Rotate the webhook's secret",
    "The new secret is shown once. The one before signs too for 24 hours, so that the receiver can "
    "be changed in between.",
    "Rotate",
    "",
)


class MuteForm(CusServiceForm):
    """Of what a target is not told."""

    muted_kinds = forms.MultipleChoiceField(
        choices=MUTABLE_CHOICES,
        required=False,
        label="Not told of",
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    class Meta:
        model = CusNotificationTarget
        fields: tuple[str, ...] = ("muted_kinds",)

    def call_service(self) -> CusNotificationTarget:
        service = CusNotificationService(
            self.instance.tenant, actor=cast("CusUser", self.request.user)
        )
        return service.mute(self.instance.id, self.cleaned_data["muted_kinds"])


class TargetForm(MuteForm):
    """Which address is told, and of what it is not."""

    address = forms.CharField(
        max_length=2_048,
        help_text="An e-mail address, or the https URL of the tenant's one webhook.",
        widget=UnfoldAdminTextInputWidget,
    )

    class Meta(MuteForm.Meta):
        fields = ("tenant", "medium", "address", "muted_kinds")

    def call_service(self) -> CusNotificationTarget:
        cleaned = self.cleaned_data
        tenant = tenant_for(self.request, cleaned)
        service = CusNotificationService(tenant, actor=cast("CusUser", self.request.user))
        names = ("medium", "address", "muted_kinds")
        target, secret = service.add(**{name: cleaned[name] for name in names})
        target.shown_once = secret  # type: ignore[attr-defined]  # the answer alone has it
        return target


@admin.register(CusNotificationTarget)
class CusNotificationTargetAdmin(CusActions, CusExport, CusServiceAdmin):
    """Addresses that are told of a tenant's events. What a target mutes can be changed."""

    viewers = changers = _MANAGERS
    form = MuteForm
    add_form = TargetForm
    list_display = ("address", "medium", "tenant", "state", "muted_shown", "created_at")
    list_filter = ("medium",)
    search_fields = ("address",)
    list_select_related = ("tenant",)
    readonly_fields = (
        "tenant_shown",
        "medium_shown",
        "address_shown",
        "standing",
        "created_at",
        "created_by_shown",
    )
    actions_row = ("remove",)
    actions_detail = ("try_out", "rotate", "remove", "history")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(deleted_at__isnull=True)

    def get_fields(self, request: HttpRequest, obj: CusNotificationTarget | None = None) -> Any:
        if obj:
            return ("muted_kinds", *self.readonly_fields)
        asked_for = ("medium", "address", "muted_kinds")
        return asked_for if role_of(request.user) == "admin" else ("tenant", *asked_for)

    def is_offered(self, button: str, row: CusNotificationTarget) -> bool:
        return button != "rotate" or row.medium == CusNotificationTarget.Medium.WEBHOOK

    @display(description="Medium")
    def medium_shown(self, row: CusNotificationTarget) -> str:
        return row.get_medium_display()

    @display(description="Address")
    def address_shown(self, row: CusNotificationTarget) -> str:
        return row.address

    @display(description="State", label={"good": "success", "failing": "danger"})
    def state(self, row: CusNotificationTarget) -> tuple[str, str]:
        return ("failing", "Failing") if row.failures else ("good", "Told")

    @display(description="State")
    def standing(self, row: CusNotificationTarget) -> str:
        if not row.retry_at:
            return "Told"
        return f"{row.failures:,} failed tries; the next at {row.retry_at:%Y-%m-%d %H:%M:%S} UTC"

    @display(description="Not told of")
    def muted_shown(self, row: CusNotificationTarget) -> str:
        return ", ".join(Kind(kind).label for kind in row.muted_kinds)

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show a webhook's secret in this answer itself, so that no session has to keep it."""
        if secret := getattr(obj, "shown_once", None):
            return self._secret_page(request, obj, secret)
        added: HttpResponse = super().response_add(request, obj, post_url_continue)
        return added

    @asked(
        Question(
            "Send a test",
            "A webhook is sent one now; a mail is sent within a minute.",
            "Send",
            "The mail is queued.",
            # The receiver may take seconds.
            is_atomic=False,
        ),
        description="Send a test",
        icon="send",
    )
    def try_out(self, row: CusNotificationTarget, actor: CusUser) -> str | None:
        delivery = CusNotificationService(row.tenant, actor=actor).test(row.id)
        return delivery.result or None

    @action(description="Rotate secret", icon="cached", permissions=["act"])
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask; on POST, show the new secret."""
        row = self.get_object(request, object_id)
        if request.method != "POST" or row is None:
            page: HttpResponse = self.run(request, object_id, _ROTATE, lambda _row: None)
            return page
        if not self.has_act_permission(request, object_id):
            raise PermissionDenied
        service = CusNotificationService(row.tenant, actor=cast("CusUser", request.user))
        try:
            target, secret = service.rotate(row.id)
        except CusError as refusal:
            self.message_user(request, refusal.detail, level="error")
            back: HttpResponse = self._back(request, row)
            return back
        return self._secret_page(request, target, secret)

    @asked(
        Question(
            "Remove the target",
            "It is told no more, and what waits for it is not sent.",
            "Remove",
            "The target is removed.",
            is_dangerous=True,
        ),
        description="Remove",
        icon="delete",
        variant=ActionVariant.DANGER,
    )
    def remove(self, row: CusNotificationTarget, actor: CusUser) -> None:
        CusNotificationService(row.tenant, actor=actor).remove(row.id)

    def _secret_page(
        self, request: HttpRequest, target: CusNotificationTarget, secret: str
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Your webhook's secret",
            "opts": self.opts,
            "object": target,
            "ends_at": None,
            "use": "Give it to the receiver, which verifies with it that messages are ours.",
            "text": secret,
            "snippets": (),
            "back": self._url_of(None),
        }
        page = TemplateResponse(request, "admin/cus_secret_issued.html", context)
        add_never_cache_headers(page)
        return page


@admin.register(CusNotificationDelivery)
class CusNotificationDeliveryAdmin(CusExport, CusReadOnlyAdmin):
    """The log of deliveries: the last 30 days."""

    viewers = _MANAGERS
    list_display = (
        "created_at",
        "summary",
        "target",
        "state",
        "attempts",
        "result",
    )
    list_filter = ("status",)
    list_select_related = ("event", "target", "tenant")
    ordering = ("-created_at", "-id")
    fields = readonly_fields = (
        "tenant_shown",
        "event_id_shown",
        "kind",
        "summary",
        "target_shown",
        "standing",
        "attempts",
        "last_tried_at",
        "next_try",
        "result",
        "sent_at",
        "created_at",
    )

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    @display(description="Event's id")
    def event_id_shown(self, row: CusNotificationDelivery) -> str:
        return str(row.event_id)

    @display(description="Kind")
    def kind(self, row: CusNotificationDelivery) -> str:
        return row.event.get_kind_display()

    @display(description="Event")
    def summary(self, row: CusNotificationDelivery) -> str:
        return row.event.summary

    @display(description="Target")
    def target_shown(self, row: CusNotificationDelivery) -> str:
        return str(row.target)

    @display(description="Next try")
    def next_try(self, row: CusNotificationDelivery) -> str:
        return f"{row.next_try_at:%Y-%m-%d %H:%M:%S} UTC" if row.next_try_at else "-"

    @display(
        description="State",
        ordering="status",
        label={"waiting": "warning", "queued": "info", "sent": "success", "failed": "danger"},
    )
    def state(self, row: CusNotificationDelivery) -> tuple[str, str]:
        return row.status, row.get_status_display()

    @display(description="State")
    def standing(self, row: CusNotificationDelivery) -> str:
        return row.get_status_display()
