"""Pages of secrets that programs carry: shown once when they are issued, ended by a button."""

from datetime import datetime
from typing import Any

from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from unfold.decorators import display

from integrations.cus_accounts.permissions import role_of
from integrations.cus_console.actions import CusActions
from integrations.cus_console.forms import CusServiceAdmin, CusServiceForm

_LABELS = {"alive": "success", "expired": "warning", "revoked": "danger"}


class CusIssuingForm(CusServiceForm):
    """A form that issues a secret. Its text lives as long as the answer that shows it."""

    def issue(self) -> tuple[Any, str]:
        """The new row and its whole text. Raises ValidationError or CusError."""
        raise NotImplementedError

    def call_service(self) -> Model:
        row, text = self.issue()
        row.shown_once = text
        issued: Model = row
        return issued


class CusIssuedAdmin(CusActions, CusServiceAdmin):
    """A page of such secrets, also the ended ones. None is shown again, none is changed."""

    add_changes_access = True

    def ends_at(self, row: Any) -> datetime | None:
        """When the secret stops by itself; None: never."""
        raise NotImplementedError

    def use_of(self, row: Any) -> str:
        """What to do with the secret, said where it is shown."""
        raise NotImplementedError

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_act_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return role_of(request.user) in self.changers

    def is_offered(self, button: str, row: Any) -> bool:
        return button != "revoke" or row.revoked_at is None

    @display(description="State", label=_LABELS)
    def state(self, row: Any) -> tuple[str, str]:
        ends_at = self.ends_at(row)
        if row.revoked_at:
            return "revoked", "Revoked"
        over = ends_at is not None and ends_at <= timezone.now()
        return ("expired", "Expired") if over else ("alive", "Alive")

    @display(description="State")
    def standing(self, row: Any) -> str:
        return str(self.state(row)[1])

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One button: what follows is the page that shows the secret, whichever was pressed."""
        one = {"show_save_and_add_another": False, "show_save_and_continue": False}
        page: HttpResponse = super().add_view(request, form_url, one | (extra_context or {}))
        return page

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The secret: in the answer itself, so that nothing has to keep it."""
        context = {
            **self.admin_site.each_context(request),
            "title": f"Your new {self.opts.verbose_name}",
            "opts": self.opts,
            "object": obj,
            "ends_at": self.ends_at(obj),
            "use": self.use_of(obj),
            "text": obj.shown_once,
            "back": self._url_of(None),
        }
        page = TemplateResponse(request, "admin/cus_secret_issued.html", context)
        add_never_cache_headers(page)
        return page
