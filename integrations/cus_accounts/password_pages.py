"""Django's pages for a lost password, in the console's look."""

from typing import Any

from django.contrib import admin
from django.contrib.auth import forms, views
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.forms import AdminOwnPasswordChangeForm
from unfold.widgets import BASE_INPUT_CLASSES

from integrations.cus_accounts.login_throttle import is_right_password
from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.service import record_change
from integrations.cus_mail.service import PASSWORD_RESET, queue_mail


class InTheme:
    """Mixin for a view of Django's: adds the context that the theme's pages need."""

    def get_context_data(self: Any, **context: Any) -> dict[str, Any]:
        page: dict[str, Any] = super().get_context_data(**context)  # type: ignore[misc]  # the view's own
        return admin.site.each_context(self.request) | page


class CusPasswordResetForm(forms.PasswordResetForm):
    """The address, in the theme's box."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _dress(self)


class _Recorded:
    """Mixin for a form that sets a person's password: records the change in the audit trail."""

    user: CusUser

    @transaction.atomic
    def save(self, commit: bool = True) -> CusUser:  # noqa: FBT001, FBT002  (Django's own signature)
        """Store the new password. Raises ProofRequired; the old password stays valid then."""
        person: CusUser = super().save(commit)  # type: ignore[misc]  # the form's own
        tenant = CusTenant.objects.filter(memberships__user=person).first()
        record_change("person.password_changed", person, actor=person, tenant=tenant)
        return person


class CusSetPasswordForm(_Recorded, forms.SetPasswordForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """The new password twice, in the theme's boxes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _dress(self)


class CusChangePasswordForm(_Recorded, AdminOwnPasswordChangeForm):  # type: ignore[misc]  # unfold has no types
    """The old password, and the new password twice. Wrong old passwords count like sign-ins."""

    def __init__(self, user: CusUser, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(user, *args, **kwargs)
        self.request = request

    def clean_old_password(self) -> str:
        old: str = self.cleaned_data["old_password"]
        if not is_right_password(self.request, self.user, old):
            raise ValidationError("That is not your present password.")
        return old


class CusPasswordResetView(InTheme, views.PasswordResetView):
    """Asks for the address to send the link to."""

    form_class = CusPasswordResetForm

    def form_valid(self, form: forms.PasswordResetForm) -> HttpResponse:
        """The answer is the same for known and unknown addresses, and for any number of mails before.

        The work is the same, too: the job that sends the mail looks up the person of the address.
        """
        queue_mail(to=form.cleaned_data["email"], template=PASSWORD_RESET, context={})
        return HttpResponseRedirect(self.get_success_url())


class CusPasswordSentView(InTheme, views.PasswordResetDoneView):
    """Shows the same text for known and unknown addresses."""


class CusPasswordDoneView(InTheme, views.PasswordResetCompleteView):
    """The password is set."""


def _dress(form: Any) -> None:
    for field in form.fields.values():
        field.widget.attrs["class"] = " ".join(BASE_INPUT_CLASSES)
