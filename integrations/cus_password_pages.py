"""Django's pages for a lost password, in the console's look."""

from typing import Any

from django.contrib import admin
from django.contrib.auth import forms, views
from django.http import HttpResponse, HttpResponseRedirect
from unfold.widgets import BASE_INPUT_CLASSES

from integrations.cus_mail import PASSWORD_RESET, queue_mail


class InTheme:
    """For a view of Django's: what the theme's pages need to know."""

    def get_context_data(self: Any, **context: Any) -> dict[str, Any]:
        page: dict[str, Any] = super().get_context_data(**context)  # type: ignore[misc]  # the view's own
        return admin.site.each_context(self.request) | page


class CusPasswordResetForm(forms.PasswordResetForm):
    """The address, in the theme's box."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _dress(self)


class CusSetPasswordForm(forms.SetPasswordForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """The new password twice, in the theme's boxes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _dress(self)


class CusPasswordResetView(InTheme, views.PasswordResetView):
    """Asks where to send the link."""

    form_class = CusPasswordResetForm

    def form_valid(self, form: forms.PasswordResetForm) -> HttpResponse:
        """The answer is the same whoever the address is, and however many mails they had."""
        address = form.cleaned_data["email"]
        for person in form.get_users(address):
            queue_mail(to=person.email, template=PASSWORD_RESET, context={}, person=person)
        return HttpResponseRedirect(self.get_success_url())


class CusPasswordSentView(InTheme, views.PasswordResetDoneView):
    """Says the same whether the address is somebody's or not."""


class CusPasswordDoneView(InTheme, views.PasswordResetCompleteView):
    """The password is set."""


def _dress(form: Any) -> None:
    for field in form.fields.values():
        field.widget.attrs["class"] = " ".join(BASE_INPUT_CLASSES)
