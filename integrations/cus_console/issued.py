"""Pages of secrets for programs: a secret is shown once when issued, and revoked by a button."""

from collections.abc import Sequence
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
    """A form that issues a secret. The secret's text exists only in the answer that shows it."""

    def issue(self) -> tuple[Any, str]:
        """The new row and its whole text. Raises ValidationError or CusError."""
        raise NotImplementedError

    def call_service(self) -> Model:
        row, text = self.issue()
        row.shown_once = text
        issued: Model = row
        return issued


class CusIssuedAdmin(CusActions, CusServiceAdmin):
    """A page of such secrets, including ended secrets. It never shows or changes a secret."""

    add_changes_access = True

    def ends_at(self, row: Any) -> datetime | None:
        """When the secret expires; None: never."""
        raise NotImplementedError

    def use_of(self, row: Any) -> str:
        """How to use the secret; the page that shows the secret prints this."""
        raise NotImplementedError

    def snippets_of(self, request: HttpRequest, row: Any, text: str) -> Sequence[Any]:
        """Ready programs with the secret, for the page that shows it."""
        return ()

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
        """Offer a single button, because every button would lead to the page with the secret."""
        single = {"show_save_and_add_another": False, "show_save_and_continue": False}
        page: HttpResponse = super().add_view(request, form_url, single | (extra_context or {}))
        return page

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the secret in this answer itself, so that no session has to keep it."""
        context = {
            **self.admin_site.each_context(request),
            "title": f"Your new {self.opts.verbose_name}",
            "opts": self.opts,
            "object": obj,
            "ends_at": self.ends_at(obj),
            "use": self.use_of(obj),
            "text": obj.shown_once,
            "snippets": self.snippets_of(request, obj, obj.shown_once),
            "back": self._url_of(None),
        }
        page = TemplateResponse(request, "admin/cus_secret_issued.html", context)
        add_never_cache_headers(page)
        return page
