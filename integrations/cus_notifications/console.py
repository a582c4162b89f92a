"""The page on which each person says of what they get no mail."""

from typing import cast

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from integrations.cus_accounts.models import CusUser
from integrations.cus_console.own_page import Layout, shown
from integrations.cus_notifications.kinds import MUTABLE_CHOICES
from integrations.cus_notifications.service import CusMuteService

_LEAD = (
    "An admin chooses the addresses that are told of limits, refusals, credentials and stops. Where "
    "yours is one of them, you get no mail of what you choose here."
)


class MutedForm(forms.Form):
    """The kinds of events of which the person wants no mail."""

    kinds = forms.MultipleChoiceField(
        choices=MUTABLE_CHOICES,
        required=False,
        label="Send me no mail of",
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )


def muted(request: HttpRequest) -> HttpResponse:
    """What the person has muted, and the form to change it."""
    service = CusMuteService(cast("CusUser", request.user))
    is_sent = request.method == "POST"
    form = MutedForm(request.POST if is_sent else None, initial={"kinds": service.kinds()})
    if is_sent and form.is_valid():
        service.mute(form.cleaned_data["kinds"])
        messages.success(request, "Your choice is stored.")
        return redirect("cus-notifications")
    layout = Layout("What you are told of", lead=_LEAD)
    return shown(request, layout, form=form, form_title="Mute", form_button="Store")
