"""The pages of the second factor: set it up, and enter a code at sign-in."""

import base64
from typing import Any, cast

import qrcode
from django import forms
from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from django_otp import login as mark_verified
from django_otp.plugins.otp_static.models import StaticDevice
from qrcode.image.svg import SvgPathImage
from unfold.widgets import UnfoldAdminTextInputWidget

from integrations.cus_accounts.models import CusTotpDevice, CusUser
from integrations.cus_accounts.proof import Factor, note_proof
from integrations.cus_accounts.proof_pages import next_page, proof_first, refusal, warn_of_used_code
from integrations.cus_accounts.second_factor_gate import second_factor_is_due
from integrations.cus_accounts.second_factor_service import CusSecondFactorService

# The session's key for the authenticator that it is setting up; no other session saw its seed.
_SETTING_UP = "cus_setting_up"


class CodeForm(forms.Form):
    """One code, typed with or without spaces."""

    code = forms.CharField(
        max_length=32,
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"}
        ),
    )


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def second_factor(request: HttpRequest) -> HttpResponse:
    """Ask for a code; redirect a person without an authenticator to setting one up."""
    service = CusSecondFactorService(cast("CusUser", request.user))
    if not second_factor_is_due(request):
        return HttpResponseRedirect(next_page(request))
    if not service.is_set_up():
        return redirect("cus-second-factor-setup")
    form = CodeForm(request.POST or None)
    if not form.is_valid():
        return _page(request, "ask", form=form)
    device = service.verify(form.cleaned_data["code"])
    if device is None:
        form.add_error("code", refusal(service))
        return _page(request, "ask", form=form)
    _pass(request, device)
    warn_of_used_code(request, device, service)
    return HttpResponseRedirect(next_page(request))


@never_cache
@login_required
@proof_first
@require_http_methods(["GET", "POST"])
def set_up(request: HttpRequest) -> HttpResponse:
    """Set up an authenticator, also in place of the present one.

    This needs a fresh proof by the password, and by the present authenticator if there is one.
    """
    service = CusSecondFactorService(cast("CusUser", request.user))
    # A thief who knows only the password must not replace the authenticator.
    if service.is_set_up() and second_factor_is_due(request):
        return redirect("cus-second-factor")
    device = service.begin(request.session.get(_SETTING_UP))
    request.session[_SETTING_UP] = device.id
    form = CodeForm(request.POST or None)
    codes = service.confirm(device, form.cleaned_data["code"]) if form.is_valid() else None
    if codes is not None:
        del request.session[_SETTING_UP]
        _pass(request, device)
        return _page(request, "recovery_codes", codes=codes)
    if form.is_valid():
        form.add_error("code", refusal(service))
    return _page(request, "set_up", form=form, **_shown(device))


@never_cache
@login_required
@proof_first
@require_http_methods(["GET", "POST"])
def renew_recovery_codes(request: HttpRequest) -> HttpResponse:
    """Ask, then show new recovery codes, which replace the present codes."""
    service = CusSecondFactorService(cast("CusUser", request.user))
    if not service.is_set_up():
        return redirect("cus-second-factor-setup")
    if request.method != "POST":
        return _page(request, "renew_codes", left=service.recovery_codes_left())
    return _page(request, "recovery_codes", codes=service.renew_recovery_codes())


def _pass(request: HttpRequest, device: CusTotpDevice | StaticDevice) -> None:
    """Mark the session as verified. It gains rights, so it gets a new key."""
    request.session.cycle_key()
    mark_verified(request, device)
    note_proof(request.session, Factor.CODE, at=timezone.now())


def _shown(device: CusTotpDevice) -> dict[str, str]:
    """The seed for an authenticator app: as a QR code, and as text."""
    picture = qrcode.make(device.config_url, image_factory=SvgPathImage, border=2)
    text = base64.b32encode(device.bin_key).decode()
    return {
        "picture": "data:image/svg+xml;base64," + base64.b64encode(picture.to_string()).decode(),
        "text": " ".join(text[at : at + 4] for at in range(0, len(text), 4)),
    }


def _page(request: HttpRequest, name: str, **context: Any) -> HttpResponse:
    everything = admin.site.each_context(request) | {"title": "Second factor"} | context
    return render(request, f"second_factor/cus_{name}.html", everything)
