"""The page on which a person proves their identity again, and the redirects there and back."""

import functools
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from django_otp.plugins.otp_static.models import StaticDevice
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from integrations.cus_accounts.login_throttle import is_right_password
from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.proof import Factor, needs_proof, note_proof
from integrations.cus_accounts.second_factor_gate import second_factor_is_due
from integrations.cus_accounts.second_factor_service import CusSecondFactorService

_View = Callable[..., HttpResponseBase]


class ProofForm(forms.Form):
    """The password, and a code if the person has a second factor."""

    password = forms.CharField(
        strip=False,
        max_length=4096,
        widget=UnfoldAdminPasswordWidget(
            attrs={"autocomplete": "current-password", "autofocus": True}
        ),
    )
    code = forms.CharField(
        max_length=32,
        help_text="From your authenticator app, or a recovery code.",
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "one-time-code", "spellcheck": "false"}
        ),
    )

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.POST or None)
        self.request = request
        self.person = cast("CusUser", request.user)
        self.second_factor = CusSecondFactorService(self.person)
        self.factors = [Factor.PASSWORD, Factor.CODE]
        if not self.second_factor.is_set_up():
            del self.fields["code"]
            self.factors.remove(Factor.CODE)

    def clean(self) -> None:
        """Check the password first: a code works once, and a mistyped password must not use it."""
        if self.errors:
            return
        if not is_right_password(self.request, self.person, self.cleaned_data["password"]):
            self.add_error("password", "That password is not right.")
        elif "code" in self.fields:
            self._check_code(self.cleaned_data["code"])

    def _check_code(self, code: str) -> None:
        device = self.second_factor.verify(code)
        if device is None:
            self.add_error("code", refusal(self.second_factor))
        else:
            warn_of_used_code(self.request, device, self.second_factor)


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def prove(request: HttpRequest) -> HttpResponse:
    """Ask for password and code, then lead back to `next`."""
    if second_factor_is_due(request) and CusSecondFactorService(_person(request)).is_set_up():
        # The person signed in with the password alone: the second factor comes first.
        return HttpResponseRedirect(_with_next("cus-second-factor", request.get_full_path()))
    if not needs_proof(request):
        return HttpResponseRedirect(next_page(request))
    form = ProofForm(request)
    if not form.is_valid():
        context = admin.site.each_context(request) | {"title": "Prove who you are", "form": form}
        return render(request, "second_factor/cus_prove.html", context)
    # The session gains rights, so its old key must become invalid.
    request.session.cycle_key()
    note_proof(request.session, *form.factors, at=timezone.now())
    if "next" not in request.GET:
        messages.success(request, "You have proved who you are. Go back to your form, and save it.")
    return HttpResponseRedirect(next_page(request))


def proof_first(view: _View) -> _View:
    """Decorate a view that needs a fresh proof: redirect to the proof first, then back."""

    @functools.wraps(view)
    def asked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return ask_for_proof(request) if needs_proof(request) else view(request, *args, **kwargs)

    return asked


def ask_for_proof(request: HttpRequest) -> HttpResponse:
    """Redirect to the page that asks for a proof, and from there back to this page."""
    if request.method == "POST":
        text = "More than 5 minutes have passed, so nothing was changed. Prove who you are first."
        messages.warning(request, text)
    return HttpResponseRedirect(proof_url(request))


def proof_url(request: HttpRequest) -> str:
    """The address of the page that asks for a proof and then returns to this page."""
    return _with_next("cus-prove", request.get_full_path())


def proof_needed_for_form() -> SafeString:
    """The message of a form that was sent without a fresh proof. Its link opens another tab."""
    return format_html(
        "Nothing was saved: you last proved who you are more than 5 minutes ago. "
        '<a href="{}" target="_blank" class="underline">Prove it in another tab</a>, '
        "then save this form again. Passwords and keys in it have to be entered again.",
        reverse("cus-prove"),
    )


def warn_of_used_code(
    request: HttpRequest, device: object, second_factor: CusSecondFactorService
) -> None:
    """Warn after a recovery code: the code is used up, and so many are left."""
    if isinstance(device, StaticDevice):
        left = second_factor.recovery_codes_left()
        messages.warning(request, f"That recovery code is used up; {left} are left.")


def refusal(second_factor: CusSecondFactorService) -> str:
    """Why a code was refused, and when the person may try again."""
    until = second_factor.blocked_until()
    if until is None:
        return "That code is not right. Enter the one that is shown now."
    seconds = max(1, round((until - timezone.now()).total_seconds()))
    return f"That code was not accepted. Wait {seconds} s, then enter the one that is shown then."


def next_page(request: HttpRequest) -> str:
    """The page of ours that `next` names, or the console's first page."""
    page = request.GET.get("next", "")
    safe = url_has_allowed_host_and_scheme(
        page, {request.get_host()}, require_https=request.is_secure()
    )
    return page if safe else reverse("admin:index")


def _with_next(page: str, back: str) -> str:
    return f"{reverse(page)}?{urlencode({'next': back})}"


def _person(request: HttpRequest) -> CusUser:
    return cast("CusUser", request.user)
