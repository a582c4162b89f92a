"""How often a password may be wrong: what django-axes counts by, and what it answers.

Counted for a person at an address together. Counting the person alone would let anybody lock
anybody out; counting the address alone would lock an office out for one forgetful colleague.
"""

from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from integrations.cus_addresses import address_of
from integrations.cus_models import CusUser

# No e-mail address is longer, and django-axes' column takes little more.
_LONGEST_NAME = 254


def client_address(request: HttpRequest) -> str | None:
    """The address that a request comes from; of IPv6, its network."""
    return address_of(request.META.get("REMOTE_ADDR", ""), request.headers.get("X-Forwarded-For"))


def login_name(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str:
    """The e-mail address that somebody signs in with, in the one spelling that is counted."""
    given = (credentials or {}).get("username") or request.POST.get("username", "")
    # Upper case first, as the database compares: it takes a dotless i for an i.
    return str(given).strip().upper().casefold()[:_LONGEST_NAME]


def is_right_password(request: HttpRequest, person: CusUser, password: str) -> bool:
    """Whether the signed-in person's password is this one, counted like a sign-in.

    After too many wrong ones django-axes answers the request, as `locked_out` does.
    """
    proved = authenticate(request, username=person.email, password=password)
    if proved is None or proved.pk != person.pk:
        return False
    name = login_name(request, {"username": person.email})
    AxesProxyHandler.reset_attempts(ip_address=client_address(request), username=name)
    return True


def locked_out(request: HttpRequest, *_details: Any) -> HttpResponse:
    """429, and when to come back."""
    minutes = settings.CUS_LOGIN_COOL_OFF_MINUTES
    context = admin.site.each_context(request) | {"title": "Too many attempts", "minutes": minutes}
    page = render(request, "registration/cus_locked_out.html", context, status=429)
    page["Retry-After"] = str(minutes * 60)
    return page
