"""Setting a password by a mailed link: Django's own flow, which also accepts invitations."""

import uuid
from contextlib import suppress
from typing import Any

from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.views import PasswordChangeView, PasswordResetConfirmView
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse_lazy

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.password_pages import (
    CusChangePasswordForm,
    CusSetPasswordForm,
    InTheme,
)
from integrations.cus_accounts.proof import proved_by_mailed_link
from integrations.cus_tenancy.member_service import accept_invitation

# The session's key for the invitation that the link was mailed for.
_INVITATION = "cus_invitation"


class CusPasswordConfirmView(InTheme, PasswordResetConfirmView):
    """Sets a password by a mailed link. Using the link also accepts its invitation."""

    form_class = CusSetPasswordForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Remember the link's invitation: Django redirects to an address without it."""
        if kwargs.get("token") != self.reset_url_token:
            request.session[_INVITATION] = request.GET.get("invitation", "")
        return super().dispatch(request, *args, **kwargs)

    @transaction.atomic
    def form_valid(self, form: "SetPasswordForm[CusUser]") -> HttpResponse:
        """Store the password, and accept the link's invitation."""
        named = self.request.session.pop(_INVITATION, "")
        with proved_by_mailed_link():
            response = super().form_valid(form)
            with suppress(ValueError):
                accept_invitation(form.user, uuid.UUID(named))
        return response


class CusPasswordChangeView(InTheme, PasswordChangeView):
    """Changes the signed-in person's password, by the old password."""

    form_class = CusChangePasswordForm
    success_url = reverse_lazy("admin:password_change_done")
    title = "Password change"

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "request": self.request}
